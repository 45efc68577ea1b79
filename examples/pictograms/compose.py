"""Scenes: drawings placed on a background, with the exact mask and what is in them."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from attributes import parts_of
from backgrounds import Background, alter, paint_background, smooth_noise
from drawings import CLASS_CODES, Drawing
from numpy.typing import NDArray
from photographs import Photograph
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

CLASSES = tuple(CLASS_CODES)
TINTS = {
    "red": (215, 40, 40), "green": (50, 160, 60), "blue": (50, 90, 210), "yellow": (240, 205, 50),
    "purple": (140, 70, 180), "pink": (240, 130, 180), "grey": (130, 130, 135), "black": (35, 35, 40),
}  # fmt: skip
MIN_VISIBLE = 0.3  # of an object's own area: what shows less is neither there nor absent
Generator = np.random.Generator
Floats = NDArray[np.floating[Any]]


@dataclass
class Scene:
    """pixels: (h, w, 3) uint8. mask: (h, w) uint8, label values. The rest tells what is there, and what is doubtful."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    classes: set[int] = field(default_factory=set)  # 0-based
    doubtful: set[int] = field(default_factory=set)
    tints: dict[int, set[str]] = field(default_factory=dict)  # class -> colours; '' for drawings left as they are
    kinds: dict[int, set[str]] = field(default_factory=dict)  # class -> views and varieties (`attributes.py`)
    styles: set[str] = field(default_factory=set)  # how objects are drawn, of `STYLES`
    part: str = ""  # where the scene is one part of one object, close up
    drawings: set[str] = field(default_factory=set)  # family:code of the objects
    shown: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)


STYLES = ("silhouette", "line drawing", "solid sign")


@dataclass(frozen=True)
class Sprite:
    """A drawing to paste: at its size, half and quarter of it, so that reducing stays smooth.

    Drawings in one colour (`inked`) hold the ink's opacity in the first channel, and the opacity of all that the ink
    encloses in the last; `open_lines` where most of that is not ink.
    """

    levels: tuple[NDArray[np.uint8], ...]
    kind: str = ""
    drawing: str = ""  # family and code, by which scenes tell what they show
    inked: bool = False
    open_lines: bool = False

    def crop(self, box: tuple[float, float, float, float]) -> Sprite:
        """The part in a box of shares: top, left, bottom, right."""
        cut = []
        for level in self.levels:
            height, width = level.shape[:2]
            top, left, bottom, right = (round(v * n) for v, n in zip(box, (height, width) * 2, strict=True))
            cut.append(np.ascontiguousarray(level[top : max(bottom, top + 2), left : max(right, left + 2)]))
        return dataclasses.replace(self, levels=tuple(cut))


@dataclass(frozen=True)
class Look:
    """What became of a drawing as it was pasted: its tint ('' as it was) and its style, of `STYLES` or ''."""

    tint: str = ""
    style: str = ""


@dataclass(frozen=True)
class Placed:
    """An object of a scene: 0-based class, pixels that it covers before others hide it, its drawing and its look."""

    index: int
    area: float
    sprite: Sprite
    look: Look


@dataclass(frozen=True)
class Style:
    """How hard scenes are; the sizes are shares of the shorter side."""

    objects: tuple[float, ...] = (0.35, 0.33, 0.2, 0.12)  # chances of 1, 2, 3 and 4
    smallest: float = 0.1
    largest: float = 1.0
    largest_of_many: float = 0.55
    inside: float = 0.55  # least share of an object's box within the image
    clutter: int = 3
    least_share: float = 0.008  # of the image: objects that show less of themselves are neither there nor absent


EASY = {"objects": (0.7, 0.3), "smallest": 0.4, "clutter": 1}


class Composer:
    """Composes scenes from drawings by class, background things, clutter and a pool of backgrounds.

    photographs: backgrounds that are photographs; `photographic` of the scenes are before one of them.
    """

    def __init__(
        self, drawings: Sequence[Drawing], backgrounds: Sequence[Background], style: Style = Style(),
        photographs: Sequence[Background] = (), photographic: float = 0.4,
    ) -> None:  # fmt: skip
        self.style, self.backgrounds, self.photographs = style, backgrounds, photographs
        self.photographic = photographic if photographs else 0.0
        self.easy = 0.0  # chance of a scene with one or two larger objects and little clutter: learnt from faster
        self.close = 0.0  # chance of a scene that is one part of one object
        self.redrawn = 0.0  # chance of a drawing bent, and of ink drawn with another pen: for training
        self.by_class = [_sprites(drawings, name) for name in CLASSES]
        self.classes = [index for index, own in enumerate(self.by_class) if own]  # those it has drawings of
        self.things = [(d.name, _sprite(d)) for d in drawings if d.name and d.name not in CLASS_CODES]
        self.clutter = [_sprite(d) for d in drawings if not d.name]

    def compose(self, rng: Generator, height: int, width: int, first: int | None = None) -> Scene:
        """One scene of height x width pixels; `first` sets the class of its first object."""
        style, short = self.style, min(height, width)
        if self.close and rng.random() < self.close and (close := self._close_up(rng, height, width)) is not None:
            return close
        if rng.random() < self.easy:
            style = dataclasses.replace(style, **EASY)  # type: ignore[arg-type]
        scene = self._blank(rng, height, width)
        self._add_clutter(rng, scene, int(rng.integers(style.clutter + 1)))
        count = 1 + int(rng.choice(len(style.objects), p=style.objects))
        largest = style.largest if count == 1 else style.largest_of_many + 0.1 * (count == 2)
        placed: list[Placed] = []
        ids = np.zeros((height, width), np.uint8)  # 1 + place in `placed`
        for place in range(count):
            index = self._any_class(rng)
            if place == 0 and first is not None:
                index = first
            sprite = self._pick(rng, index)
            size = short * np.exp(rng.uniform(np.log(style.smallest), np.log(largest)))
            pixels, alpha, look = self._vary(rng, sprite, size)
            _paste(rng, scene.pixels, pixels, alpha, style.inside, ids, len(placed) + 1)
            placed.append(Placed(index, float((alpha > 0.5).sum()), sprite, look))
        if rng.random() < 0.25 and self.clutter:
            self._occlude(rng, scene, ids, short)
        self._describe(scene, ids, placed)
        _relight(rng, scene)
        return scene

    def _any_class(self, rng: Generator) -> int:
        return self.classes[int(rng.integers(len(self.classes)))]

    def _pick(self, rng: Generator, index: int) -> Sprite:
        """A drawing of a class, every kind of drawing as likely as another."""
        kinds = self.by_class[index]
        own = kinds[int(rng.integers(len(kinds)))]
        return own[int(rng.integers(len(own)))]

    def _close_up(self, rng: Generator, height: int, width: int) -> Scene | None:
        """One part of one drawing, as large as the scene; None where the drawing chosen has no parts."""
        index = self._any_class(rng)
        sprite = self._pick(rng, index)
        parts = parts_of(CLASSES[index], sprite.kind)
        if not parts:
            return None
        part = str(rng.choice(sorted(parts)))
        top, left, bottom, right = parts[part]
        piece = sprite.crop((max(0, top - 0.08), max(0, left - 0.08), min(1, bottom + 0.08), min(1, right + 0.08)))
        scene = self._blank(rng, height, width)
        pixels, alpha, look = self._vary(rng, piece, min(height, width) * rng.uniform(0.9, 1.6))
        ids = np.zeros((height, width), np.uint8)
        _paste(rng, scene.pixels, pixels, alpha, 0.8, ids, 1)
        self._describe(scene, ids, [Placed(index, float((alpha > 0.5).sum()), sprite, look)])
        scene.part = part
        scene.doubtful |= scene.classes
        for told in (scene.classes, scene.tints, scene.kinds):
            told.clear()
        _relight(rng, scene)
        return scene

    def _blank(self, rng: Generator, height: int, width: int) -> Scene:
        pool = self.photographs if rng.random() < self.photographic else self.backgrounds
        background = pool[int(rng.integers(len(pool)))]
        rows, columns = background.pixels.shape[:2]
        share = rng.uniform(0.6, 1)
        tall, wide = int(rows * share), int(columns * share)
        y, x = rng.integers(0, rows - tall + 1), rng.integers(0, columns - wide + 1)
        crop = background.pixels[y : y + tall, x : x + wide]
        image = np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BILINEAR))
        if rng.random() < 0.5:
            image = image[:, ::-1]
        mask = np.zeros((height, width), np.uint8)
        return Scene(image.copy(), mask, shown=set(background.shown), unclear=set(background.unclear))

    def _add_clutter(self, rng: Generator, scene: Scene, count: int) -> None:
        height, width = scene.mask.shape
        for _ in range(count):
            size = min(height, width) * rng.uniform(0.1, 0.4)
            kind = rng.random()
            if kind < 0.4 or not (self.things or self.clutter):
                _draw_shape(rng, scene.pixels, size)
                continue
            if kind < 0.75 and self.things:
                name, sprite = self.things[rng.integers(len(self.things))]
                (scene.shown if size > 0.15 * min(height, width) else scene.unclear).add(name)
            else:
                sprite = self.clutter[rng.integers(len(self.clutter))]
            pixels, alpha, _look = self._vary(rng, sprite, size)
            _paste(rng, scene.pixels, pixels, alpha, 0.6, None, 0)

    def _occlude(self, rng: Generator, scene: Scene, ids: NDArray[np.uint8], short: int) -> None:
        sprite = self.clutter[rng.integers(len(self.clutter))]
        pixels, alpha, _look = self._vary(rng, sprite, short * rng.uniform(0.12, 0.3))
        _paste(rng, scene.pixels, pixels, alpha, 0.7, ids, 0)

    def _describe(self, scene: Scene, ids: NDArray[np.uint8], placed: list[Placed]) -> None:
        counts = np.bincount(ids.ravel(), minlength=len(placed) + 1)
        values = np.zeros(len(placed) + 1, np.uint8)
        for place, one in enumerate(placed, start=1):
            values[place] = one.index + 1
            if counts[place] < max(MIN_VISIBLE * one.area, self.style.least_share * ids.size):
                scene.doubtful.add(one.index)
                continue
            scene.classes.add(one.index)
            scene.tints.setdefault(one.index, set()).add(one.look.tint)
            scene.kinds.setdefault(one.index, set()).add(one.sprite.kind)
            scene.drawings.add(one.sprite.drawing)
            if one.look.style:
                scene.styles.add(one.look.style)
        scene.doubtful -= scene.classes
        scene.mask[:] = values[ids]
        scene.unclear -= scene.shown

    def _vary(self, rng: Generator, sprite: Sprite, size: float) -> tuple[Floats, Floats, Look]:
        """A drawing turned, scaled to `size` pixels, perhaps mirrored, drawn otherwise: colours, opacity, look."""
        pixels = _turn(rng, sprite, size, self.redrawn)
        if sprite.inked:
            colours, alpha, look = _ink(rng, pixels, sprite.open_lines, self.redrawn)
        else:
            colours, alpha, look = _recolour(rng, pixels)
        if self.photographs and look.style == "silhouette" and rng.random() < 0.5:
            colours, look = self._cut_out(rng, *alpha.shape), Look()
        elif rng.random() < 0.12:
            colours = colours * self._grain(rng, colours.shape[0], colours.shape[1])
        colours = (colours - 128) * rng.uniform(0.7, 1.2) + 128 + rng.normal(0, 14)
        return colours.clip(0, 255), alpha, look

    def _cut_out(self, rng: Generator, height: int, width: int) -> Floats:
        """(height, width, 3) colours of a piece of a photograph: what a cut-out is filled with."""
        picture = self.photographs[int(rng.integers(len(self.photographs)))].pixels
        side = int(min(picture.shape[:2]) * rng.uniform(0.2, 1))
        y, x = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
        piece = Image.fromarray(picture[y : y + side, x : x + side])
        return np.asarray(piece.resize((width, height), Image.Resampling.BILINEAR), np.float32)

    def _grain(self, rng: Generator, height: int, width: int) -> Floats:
        """(height, width, 1) factors about 1: a natural texture, or noise."""
        side = max(height, width)
        if self.photographs and rng.random() < 0.6:
            picture = self.photographs[int(rng.integers(len(self.photographs)))].pixels
            grey = np.asarray(Image.fromarray(picture).convert("L").resize((side, side)), np.float32)
            grain = (grey - grey.mean()) / 128
        else:
            grain = smooth_noise(rng, side, (int(rng.integers(4, 24)),) * 2) - 0.5
        return 1 + rng.uniform(0.3, 0.9) * grain[:height, :width, None]


def paint_pool(rng: Generator, count: int, side: int = 224) -> list[Background]:
    """Backgrounds to draw from."""
    return [paint_background(rng, side) for _ in range(count)]


def photograph_pool(
    rng: Generator, photographs: Sequence[Photograph], count: int, words: Sequence[str], side: int = 224,
    altered: float = 0.0,
) -> list[Background]:  # fmt: skip
    """`count` crops of photographs, each photograph in its turn; of `words` it may show any, what it shows for certain
    is told only where the crop is nearly the whole. altered: the share of crops after which another one is made of them
    (`backgrounds.alter`), of which nothing is told."""
    pool: list[Background] = []
    if not photographs:
        return pool
    order = [int(i) for _ in range(count // len(photographs) + 1) for i in rng.permutation(len(photographs))]
    for place in sorted(order[:count]):
        pixels = photographs[place].pixels
        rows, columns = pixels.shape[:2]
        share = rng.uniform(0.35, 1)
        edge = int(min(rows, columns) * share)
        y, x = int(rng.integers(rows - edge + 1)), int(rng.integers(columns - edge + 1))
        crop = Image.fromarray(pixels[y : y + edge, x : x + edge]).resize((side, side), Image.Resampling.LANCZOS)
        own = photographs[place].words
        shown = own if len(own) == 1 or share > 0.8 else ()
        pool.append(Background(np.asarray(crop), tuple(shown), tuple(word for word in words if word not in shown)))
    if altered:  # a scene set, of which none are, draws as ever
        for chosen in np.flatnonzero(rng.random(count) < altered):
            other = pool[int(rng.integers(count))].pixels
            pool[chosen] = Background(alter(rng, pool[chosen].pixels, other), (), tuple(words))
    return pool


def _sprites(drawings: Sequence[Drawing], name: str) -> list[list[Sprite]]:
    """Drawings of a class by kind. Kinds with few drawings stand together, lest these be seen too often."""
    kinds: dict[str, list[Sprite]] = {}
    own = [d for d in drawings if d.name == name]
    counts = Counter(drawing.kind for drawing in own)
    for drawing in own:
        alone = counts[drawing.kind] >= max(2, len(own) // 12)
        kinds.setdefault(drawing.kind if alone else "", []).append(_sprite(drawing))
    return list(kinds.values())


def _sprite(drawing: Drawing) -> Sprite:
    pixels, inked, lines = drawing.pixels, drawing.inked, False
    if inked:
        ink = pixels[..., 3]
        enclosed = ndimage.binary_fill_holes(ink > 100)
        whole = np.maximum(ink, 255 * enclosed.astype(np.uint8))
        empty = np.zeros_like(ink)
        pixels = np.stack([ink, empty, empty, whole], axis=-1)
        lines = float(ink.sum()) < 0.55 * float(whole.sum())
    image = Image.fromarray(pixels)
    levels = (pixels, *(np.asarray(image.reduce(factor)) for factor in (2, 4)))
    return Sprite(levels, drawing.kind, f"{drawing.family}:{drawing.code}", inked, lines)


def _turn(rng: Generator, sprite: Sprite, size: float, bent: float) -> Floats:
    """A drawing turned, stretched, sheared, perhaps mirrored and bent, and scaled to about `size` pixels: (h, w, 4)."""
    longest = max(sprite.levels[0].shape[:2])
    level = 2 if size < longest / 4 else 1 if size < longest / 2 else 0
    source = Image.fromarray(sprite.levels[level])
    scale = size / max(source.size)
    angle = np.deg2rad(rng.normal(0, 12))
    stretch_x, stretch_y = scale * np.exp(rng.normal(0, 0.12, 2))
    mirror = -1 if rng.random() < 0.5 else 1
    cos, sin = np.cos(angle), np.sin(angle)
    forward = np.array([[cos * stretch_x * mirror, -sin * stretch_y], [sin * stretch_x * mirror, cos * stretch_y]])
    if rng.random() < 0.3:
        forward = forward @ np.array([[1, rng.normal(0, 0.15)], [0, 1]])
    half = np.array(source.size) / 2
    extent = np.ceil(np.abs(forward) @ half * 2).astype(int) + 1
    inverse = np.linalg.inv(forward)
    shift = half - inverse @ (extent / 2)
    data = (*inverse[0], shift[0], *inverse[1], shift[1])
    turned = source.transform((int(extent[0]), int(extent[1])), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    if bent and rng.random() < bent:
        turned = _bend(rng, turned)
    return np.asarray(turned).astype(np.float32)


def _bend(rng: Generator, image: Image.Image, cells: int = 3) -> Image.Image:
    """An image bent as if drawn on rubber: the inner corners of a grid of cells are moved a little."""
    width, height = image.size
    if min(width, height) < 4 * cells:
        return image
    x, y = np.meshgrid(np.linspace(0, width, cells + 1), np.linspace(0, height, cells + 1))
    amount = rng.uniform(0.01, 0.05)
    x[:, 1:-1] += rng.normal(0, amount * width, (cells + 1, cells - 1))
    y[1:-1] += rng.normal(0, amount * height, (cells - 1, cells + 1))
    columns, rows = (np.linspace(0, side, cells + 1).round().astype(int) for side in (width, height))
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]  # (down, right), as PIL takes them: anticlockwise from the upper left
    mesh = [
        (
            (columns[j], rows[i], columns[j + 1], rows[i + 1]),
            tuple(float(v) for down, right in corners for v in (x[i + down, j + right], y[i + down, j + right])),
        )
        for i in range(cells)
        for j in range(cells)
    ]
    return image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _any_colour(rng: Generator) -> tuple[Floats, str]:
    """A colour, and its name where it is one of `TINTS`."""
    if rng.random() < 0.5:
        name = str(rng.choice(list(TINTS)))
        return np.array(TINTS[name], np.float32) + rng.normal(0, 10, 3).astype(np.float32), name
    return rng.uniform(0, 255, 3).astype(np.float32), ""


def _ink(rng: Generator, pixels: Floats, open_lines: bool, redrawn: float) -> tuple[Floats, Floats, Look]:
    """A drawing in one colour: the ink alone, or on paper that fills what the ink encloses."""
    ink: Floats = pixels[..., 0] / 255
    whole: Floats = pixels[..., 3] / 255
    if redrawn and min(ink.shape) > 24 and rng.random() < redrawn:
        ink, whole = _thicken(rng, ink, whole)
    colour, tint = _any_colour(rng)
    if rng.random() < 0.35:  # as such drawings mostly are
        colour, tint = np.array(TINTS["black"], np.float32), "black"
    flat = np.broadcast_to(colour, (*ink.shape, 3))
    if rng.random() < (0.12 if open_lines else 0.4):
        return flat, ink, Look(tint, "" if open_lines else "solid sign")
    if rng.random() < 0.2:
        return flat, whole, Look(tint, "silhouette")
    paper, paper_tint = _any_colour(rng)
    if rng.random() < 0.3:
        paper, paper_tint = np.full(3, rng.uniform(225, 255), np.float32), ""
    share = np.minimum(ink, whole)[..., None] / np.maximum(whole, 1e-3)[..., None]
    told = Look(paper_tint if open_lines else tint, "line drawing" if open_lines else "")
    return flat * share + paper * (1 - share), whole, told


def _thicken(rng: Generator, ink: Floats, whole: Floats) -> tuple[Floats, Floats]:
    """Ink drawn with a thicker or thinner pen, and all that it encloses."""
    width = 2 + int(rng.integers(max(1, min(ink.shape) // 30)))
    if rng.random() < 0.5:
        return ndimage.minimum_filter(ink, min(width, 3)), whole
    thick = ndimage.maximum_filter(ink, width)
    return thick, np.maximum(whole, thick)


def _recolour(rng: Generator, pixels: Floats) -> tuple[Floats, Floats, Look]:
    """A drawing in colours: as it is, tinted, its hues turned, paler, in lines or as a silhouette."""
    colours, alpha = pixels[..., :3], pixels[..., 3] / 255
    kind = rng.random()
    grey = colours @ np.array([0.3, 0.59, 0.11], np.float32)
    if kind < 0.2:
        tint = str(rng.choice(list(TINTS)))
        strength = rng.uniform(0.65, 0.95)
        tinted = (grey[..., None] / 255 * 0.9 + 0.25) * np.array(TINTS[tint], np.float32)
        return colours * (1 - strength) + tinted * strength, alpha, Look(tint)
    if kind < 0.45:
        return _turn_hue(colours, rng.normal(0, 0.9)), alpha, Look()
    if kind < 0.53:
        share = rng.uniform(0.4, 1)
        return colours * (1 - share) + grey[..., None] * share, alpha, Look()
    if kind < 0.6:
        colour, tint = _any_colour(rng)
        return np.broadcast_to(colour, colours.shape), alpha, Look(tint, "silhouette")
    if kind < 0.68 and min(grey.shape) > 8:
        rows, columns = np.gradient(grey * (alpha > 0.5) + 255 * (alpha <= 0.5))
        line = (np.hypot(rows, columns) / rng.uniform(15, 50)).clip(0, 1)[..., None]
        (pen, _), (paper, tint) = _any_colour(rng), _any_colour(rng)
        pen = pen * rng.uniform(0, 0.6)
        return pen * line + paper * (1 - line), alpha, Look(tint, "line drawing")
    return colours, alpha, Look()


def _turn_hue(colours: Floats, angle: float) -> Floats:
    """Turn colours about the grey axis."""
    cos, sin = np.cos(angle), np.sin(angle) / np.sqrt(3)
    share = (1 - cos) / 3
    matrix = np.array([[cos + share, share - sin, share + sin], [share + sin, cos + share, share - sin],
                       [share - sin, share + sin, cos + share]], np.float32)  # fmt: skip
    return colours @ matrix.T


def _paste(
    rng: Generator, canvas: NDArray[np.uint8], pixels: Floats, alpha: Floats, inside: float,
    ids: NDArray[np.uint8] | None, value: int,
) -> None:  # fmt: skip
    """Draw at a random place, at least the share `inside` of the box within the canvas each way."""
    height, width = alpha.shape
    rows, columns = canvas.shape[:2]
    out = 1 - inside
    low_y, high_y = sorted((-out * height * 0.5, rows - height + out * height * 0.5))
    low_x, high_x = sorted((-out * width * 0.5, columns - width + out * width * 0.5))
    top, left = int(rng.uniform(low_y, high_y)), int(rng.uniform(low_x, high_x))
    y0, x0, y1, x1 = max(0, top), max(0, left), min(rows, top + height), min(columns, left + width)
    if y0 >= y1 or x0 >= x1:
        return
    if rng.random() < 0.3:
        _cast_shadow(rng, canvas, alpha, top, left)
    part = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
    target = canvas[y0:y1, x0:x1]
    colours = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    target[:] = (target + (colours - target) * part[..., None]).astype(np.uint8)
    if ids is not None:
        ids[y0:y1, x0:x1][part > 0.5] = value


def _cast_shadow(rng: Generator, canvas: NDArray[np.uint8], alpha: Floats, top: int, left: int) -> None:
    """Darken where a soft, shifted copy of what is pasted falls."""
    size = max(alpha.shape)
    spread = max(1, int(size * rng.uniform(0.02, 0.08)))
    down, right = int(rng.normal(size * 0.04, size * 0.07)), int(rng.normal(0, size * 0.07))
    padded = Image.fromarray((np.pad(alpha, 2 * spread) * 255).astype(np.uint8))
    soft = np.asarray(padded.filter(ImageFilter.BoxBlur(spread)), np.float32) * (rng.uniform(0.25, 0.7) / 255)
    top, left = top - 2 * spread + down, left - 2 * spread + right
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(canvas.shape[0], top + soft.shape[0]), min(canvas.shape[1], left + soft.shape[1])
    if y0 < y1 and x0 < x1:
        target = canvas[y0:y1, x0:x1]
        target[:] = (target * (1 - soft[y0 - top : y1 - top, x0 - left : x1 - left, None])).astype(np.uint8)


def _draw_shape(rng: Generator, canvas: NDArray[np.uint8], size: float) -> None:
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    y, x = rng.uniform(0, canvas.shape[0]), rng.uniform(0, canvas.shape[1])
    height, width = size * rng.uniform(0.3, 1, 2)
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    kind = rng.integers(4)
    if kind == 0:
        draw.rectangle(box, fill=colour)
    elif kind == 1:
        draw.ellipse(box, fill=colour)
    elif kind == 2:
        draw.polygon([(x + dx, y + dy) for dx, dy in rng.normal(0, size / 2, (3, 2))], fill=colour)
    else:
        draw.line([(x + dx, y + dy) for dx, dy in rng.normal(0, size, (2, 2))], fill=colour, width=1 + int(size / 12))
    canvas[:] = np.asarray(image)


def _relight(rng: Generator, scene: Scene) -> None:
    """Light, colour cast, blur, sensor noise and traces of compression over the whole scene."""
    if rng.random() < 0.15:
        soft = Image.fromarray(scene.pixels).filter(ImageFilter.BoxBlur(float(rng.uniform(0.3, 1.2))))
        scene.pixels = np.asarray(soft)
    image: Floats = scene.pixels.astype(np.float32)
    image = image * (rng.uniform(0.75, 1.2) * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)) + rng.normal(0, 10)
    if rng.random() < 0.3:
        ramp = np.linspace(1, rng.uniform(0.6, 1.3), image.shape[1], dtype=np.float32)
        image *= (ramp if rng.random() < 0.5 else ramp[::-1])[None, :, None]
    if rng.random() < 0.4:
        image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2, 9))
    scene.pixels = image.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        Image.fromarray(scene.pixels).save(buffer, "JPEG", quality=int(rng.integers(20, 80)))
        scene.pixels = np.array(Image.open(buffer))
