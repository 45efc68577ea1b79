"""Scenes: drawings placed on a background, with the exact mask and what is in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from backgrounds import Background, paint_background
from drawings import CLASS_CODES, Drawing
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CLASSES = tuple(CLASS_CODES)
TINTS = {
    "red": (215, 40, 40), "green": (50, 160, 60), "blue": (50, 90, 210), "yellow": (240, 205, 50),
    "purple": (140, 70, 180), "pink": (240, 130, 180), "grey": (130, 130, 135), "black": (35, 35, 40),
}  # fmt: skip
MIN_VISIBLE = 0.3  # of an object's own area: less is neither there nor absent
MIN_SHARE = 0.008  # of the image
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
    shown: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Style:
    """How hard scenes are; the sizes are shares of the shorter side."""

    objects: tuple[float, ...] = (0.35, 0.33, 0.2, 0.12)  # chances of 1, 2, 3 and 4
    smallest: float = 0.26
    largest: float = 1.0
    largest_of_many: float = 0.55
    inside: float = 0.55  # least share of an object's box within the image
    clutter: int = 3


EASY = {"objects": (0.7, 0.3), "smallest": 0.45, "clutter": 1}


class Composer:
    """Composes scenes from drawings by class, background things, clutter and a pool of painted backgrounds."""

    def __init__(self, drawings: Sequence[Drawing], backgrounds: Sequence[Background], style: Style = Style()) -> None:
        self.style, self.backgrounds = style, backgrounds
        self.easy = 0.0  # chance of a scene with one or two larger objects and little clutter: learnt from faster
        self.by_class: list[list[list[NDArray[np.uint8]]]] = [
            [_levels(d.pixels) for d in drawings if d.name == name] for name in CLASSES
        ]
        self.things = [(d.name, _levels(d.pixels)) for d in drawings if d.name and d.name not in CLASS_CODES]
        self.clutter = [_levels(d.pixels) for d in drawings if not d.name]

    def compose(self, rng: Generator, height: int, width: int, first: int | None = None) -> Scene:
        """One scene of height x width pixels; `first` sets the class of its first object."""
        style, short = self.style, min(height, width)
        if rng.random() < self.easy:
            style = dataclasses.replace(style, **EASY)  # type: ignore[arg-type]
        scene = Scene(*self._canvas(rng, height, width))
        self._add_clutter(rng, scene, int(rng.integers(style.clutter + 1)))
        count = 1 + int(rng.choice(len(style.objects), p=style.objects))
        largest = style.largest if count == 1 else style.largest_of_many + 0.1 * (count == 2)
        areas: list[tuple[int, float, str]] = []
        ids = np.zeros((height, width), np.uint8)  # 1 + place in `areas`
        for place in range(count):
            index = int(rng.integers(len(CLASSES)))
            if place == 0 and first is not None:
                index = first
            sprite = self.by_class[index][rng.integers(len(self.by_class[index]))]
            size = short * np.exp(rng.uniform(np.log(style.smallest), np.log(largest)))
            pixels, alpha, tint = _vary(rng, sprite, size)
            _paste(rng, scene.pixels, pixels, alpha, style.inside, ids, len(areas) + 1)
            areas.append((index, float((alpha > 0.5).sum()), tint))
        if rng.random() < 0.25:
            self._occlude(rng, scene, ids, short)
        self._describe(scene, ids, areas)
        _relight(rng, scene)
        return scene

    def _canvas(self, rng: Generator, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        background = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
        self._last = background
        pixels = background.pixels
        side = int(len(pixels) * rng.uniform(0.6, 1))
        y, x = rng.integers(0, len(pixels) - side + 1, 2)
        crop = pixels[y : y + side, x : x + side]
        image = np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BILINEAR))
        if rng.random() < 0.5:
            image = image[:, ::-1]
        return image.copy(), np.zeros((height, width), np.uint8)

    def _add_clutter(self, rng: Generator, scene: Scene, count: int) -> None:
        scene.shown, scene.unclear = set(self._last.shown), set(self._last.unclear)
        height, width = scene.mask.shape
        for _ in range(count):
            size = min(height, width) * rng.uniform(0.1, 0.4)
            kind = rng.random()
            if kind < 0.4:
                _draw_shape(rng, scene.pixels, size)
                continue
            if kind < 0.75 and self.things:
                name, levels = self.things[rng.integers(len(self.things))]
                (scene.shown if size > 0.15 * min(height, width) else scene.unclear).add(name)
            else:
                levels = self.clutter[rng.integers(len(self.clutter))]
            pixels, alpha, _tint = _vary(rng, levels, size)
            _paste(rng, scene.pixels, pixels, alpha, 0.6, None, 0)

    def _occlude(self, rng: Generator, scene: Scene, ids: NDArray[np.uint8], short: int) -> None:
        levels = self.clutter[rng.integers(len(self.clutter))]
        pixels, alpha, _tint = _vary(rng, levels, short * rng.uniform(0.12, 0.3))
        _paste(rng, scene.pixels, pixels, alpha, 0.7, ids, 0)

    def _describe(self, scene: Scene, ids: NDArray[np.uint8], areas: list[tuple[int, float, str]]) -> None:
        counts = np.bincount(ids.ravel(), minlength=len(areas) + 1)
        values = np.zeros(len(areas) + 1, np.uint8)
        for place, (index, area, tint) in enumerate(areas, start=1):
            values[place] = index + 1
            if counts[place] >= max(MIN_VISIBLE * area, MIN_SHARE * ids.size):
                scene.classes.add(index)
                scene.tints.setdefault(index, set()).add(tint)
            else:
                scene.doubtful.add(index)
        scene.doubtful -= scene.classes
        scene.mask[:] = values[ids]
        scene.unclear -= scene.shown


def paint_pool(rng: Generator, count: int, side: int = 224) -> list[Background]:
    """Backgrounds to draw from."""
    return [paint_background(rng, side) for _ in range(count)]


def _levels(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """A drawing at its size, half and quarter of it, so that reducing stays smooth."""
    image = Image.fromarray(pixels)
    return [pixels, *(np.asarray(image.reduce(factor)) for factor in (2, 4))]


def _vary(rng: Generator, levels: list[NDArray[np.uint8]], size: float) -> tuple[Floats, Floats, str]:
    """A drawing turned, scaled to `size` pixels, perhaps mirrored and recoloured: colours, opacity 0..1, its tint."""
    longest = max(levels[0].shape[:2])
    level = 2 if size < longest / 4 else 1 if size < longest / 2 else 0
    source = Image.fromarray(levels[level])
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
    pixels: Floats = np.asarray(turned).astype(np.float32)
    colours, alpha = pixels[..., :3], pixels[..., 3] / 255
    kind, tint = rng.random(), ""
    if kind < 0.2:
        tint = str(rng.choice(list(TINTS)))
        grey = colours @ np.array([0.3, 0.59, 0.11], np.float32)
        strength = rng.uniform(0.65, 0.95)
        tinted = (grey[..., None] / 255 * 0.9 + 0.25) * np.array(TINTS[tint], np.float32)
        colours = colours * (1 - strength) + tinted * strength
    elif kind < 0.5:
        colours = _turn_hue(colours, rng.normal(0, 0.9))
    elif kind < 0.6:
        grey = colours @ np.array([0.3, 0.59, 0.11], np.float32)
        share = rng.uniform(0.4, 1)
        colours = colours * (1 - share) + grey[..., None] * share
    colours = (colours - 128) * rng.uniform(0.7, 1.2) + 128 + rng.normal(0, 14)
    return colours.clip(0, 255), alpha, tint


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
    part = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
    target = canvas[y0:y1, x0:x1]
    colours = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    target[:] = (target + (colours - target) * part[..., None]).astype(np.uint8)
    if ids is not None:
        ids[y0:y1, x0:x1][part > 0.5] = value


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
    """Light, colour cast and sensor noise over the whole scene."""
    image: Floats = scene.pixels.astype(np.float32)
    image = image * (rng.uniform(0.75, 1.2) * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)) + rng.normal(0, 10)
    if rng.random() < 0.3:
        ramp = np.linspace(1, rng.uniform(0.6, 1.3), image.shape[1], dtype=np.float32)
        image *= (ramp if rng.random() < 0.5 else ramp[::-1])[None, :, None]
    if rng.random() < 0.4:
        image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2, 9))
    scene.pixels = image.clip(0, 255).astype(np.uint8)
