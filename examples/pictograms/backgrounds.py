"""Procedural backgrounds: sky, ground, grass, water, walls, streets and patterns, each with the words it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
Generator = np.random.Generator


@dataclass(frozen=True)
class Background:
    """(side, side, 3) uint8, the background words it shows, and those that nobody can deny it."""

    pixels: NDArray[np.uint8]
    shown: tuple[str, ...]
    unclear: tuple[str, ...] = ()


def smooth_noise(rng: Generator, side: int, cells: tuple[int, int]) -> Array:
    """(side, side) noise in 0..1 that varies over about side / cells pixels (rows, columns)."""
    grid = Image.fromarray(rng.random(cells, dtype=np.float32))
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32).clip(0, 1)


def alter(rng: Generator, picture: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of which nobody can say what it shows, made of two of one side, (side, side, 3) uint8.

    Turned, with other colours, the two side by side along a border that is soft or hard, or all of this: there are few
    photographs, and training is to learn how such look, not which there are.
    """
    side = len(picture)
    image: Array = np.rot90(picture, int(rng.integers(4))).astype(np.float32)
    if rng.random() < 0.5:
        border = (smooth_noise(rng, side, (int(rng.integers(2, 6)),) * 2) - rng.uniform(0.3, 0.7)) * rng.uniform(3, 80)
        image += (np.rot90(other, int(rng.integers(4))) - image) * (border.clip(-0.5, 0.5) + 0.5)[..., None]
    if rng.random() < 0.6:
        mixed = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3, p=[0.1, 0.9]) + rng.normal(0, 0.15, (3, 3))
        image = (image - 128) @ mixed.astype(np.float32) * np.float32(rng.uniform(0.5, 1.4))
        image += np.float32(128) + rng.normal(0, 25, 3).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)


def texture(rng: Generator, side: int, colour: Array, strength: float, stretch: int = 1) -> Array:
    """A colour with noise at three scales; `stretch` draws the noise out sideways."""
    noise = np.zeros((side, side), np.float32)
    for cells, weight in ((4, 0.5), (16, 0.3), (side // 2, 0.2)):
        noise += weight * (smooth_noise(rng, side, (cells, max(2, cells // stretch))) - 0.5)
    return np.asarray(colour, np.float32) + 255 * strength * noise[..., None]


def _colour(rng: Generator, *choices: tuple[int, int, int]) -> Array:
    base = np.array(choices[rng.integers(len(choices))], np.float32)
    return (base + rng.normal(0, 14, 3)).astype(np.float32)


def _gradient(side: int, top: Array, bottom: Array) -> Array:
    share = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    return np.broadcast_to(top * (1 - share) + bottom * share, (side, side, 3)).copy()


def _sky(rng: Generator, side: int) -> tuple[Array, tuple[str, ...]]:
    top = _colour(rng, (80, 150, 225), (110, 180, 240), (70, 90, 150), (240, 160, 110), (160, 170, 185))
    image = _gradient(side, top, top + rng.uniform(10, 70))
    if rng.random() < 0.5:
        return image, ("sky",)
    cloud = (smooth_noise(rng, side, (5, 4)) * 0.7 + smooth_noise(rng, side, (14, 9)) * 0.3 - 0.5).clip(0, 0.25) * 4
    return image * (1 - cloud[..., None]) + 250 * cloud[..., None], ("sky", "cloud")


def _grass(rng: Generator, side: int) -> Array:
    colour = _colour(rng, (90, 160, 60), (60, 120, 50), (130, 180, 70), (150, 160, 80))
    return texture(rng, side, colour, rng.uniform(0.15, 0.5))


def _ground(rng: Generator, side: int) -> Array:
    colour = _colour(rng, (150, 115, 80), (190, 160, 115), (120, 95, 75), (215, 195, 150))
    return texture(rng, side, colour, rng.uniform(0.1, 0.4))


def _water(rng: Generator, side: int) -> Array:
    colour = _colour(rng, (40, 100, 170), (50, 140, 170), (30, 70, 120), (80, 150, 190))
    return texture(rng, side, colour, rng.uniform(0.15, 0.5), stretch=4)


def _street(rng: Generator, side: int) -> Array:
    image = texture(rng, side, _colour(rng, (95, 95, 100), (70, 70, 75), (130, 130, 132)), rng.uniform(0.05, 0.2))
    if rng.random() < 0.6:
        row, thick, dash = rng.integers(side // 4, side), side // 40 + 1, side // 6
        for start in range(0, side, dash):
            image[row : row + thick, start : start + dash // 2] = rng.uniform(200, 250)
    return image


def _rock(rng: Generator, side: int) -> Array:
    return texture(rng, side, _colour(rng, (125, 120, 115), (150, 140, 130), (100, 100, 105)), rng.uniform(0.4, 0.8))


def _wall(rng: Generator, side: int) -> Array:
    colour = _colour(
        rng, (225, 215, 195), (170, 190, 200), (190, 110, 85), (205, 205, 210), (220, 190, 190), (120, 140, 120)
    )
    image = texture(rng, side, colour, rng.uniform(0.02, 0.15))
    pattern = rng.integers(4)
    if pattern == 0:  # bricks
        height = int(rng.integers(side // 20 + 2, side // 8))
        for index, row in enumerate(range(0, side, height)):
            image[row : row + max(1, height // 8)] *= 0.75
            for column in range((index % 2) * height, side, 2 * height):
                image[row : row + height, column : column + max(1, height // 8)] *= 0.75
    elif pattern == 1:  # panels or stripes
        width = int(rng.integers(side // 20 + 2, side // 5))
        for index, column in enumerate(range(0, side, width)):
            image[:, column : column + width] += 14 * (index % 2)
            image[:, column : column + 1] *= 0.8
    elif pattern == 2:  # tiles
        width = int(rng.integers(side // 12 + 2, side // 4))
        image[::width] *= 0.8
        image[:, ::width] *= 0.8
    return image


def _building(rng: Generator, side: int) -> Array:
    image = _wall(rng, side)
    pane = _colour(rng, (60, 80, 110), (150, 190, 220), (240, 220, 150), (50, 50, 60))
    step = int(rng.integers(side // 8, side // 3))
    size = int(step * rng.uniform(0.35, 0.65))
    for row in range(step // 4, side, step):
        for column in range(step // 4, side, step):
            image[row : row + int(size * 1.2), column : column + size] = pane
    return image


def _railway(rng: Generator, side: int) -> Array:
    image = texture(rng, side, _colour(rng, (130, 120, 110), (105, 100, 95)), 0.4)
    width = int(rng.integers(side // 16 + 2, side // 8))
    row, height = int(rng.integers(side // 4, side // 2)), int(rng.integers(side // 8, side // 3))
    for column in range(0, side, 2 * width):
        image[row : row + height, column : column + width] = (95, 70, 50)
    for rail in (row + height // 6, row + height * 4 // 6):
        image[rail : rail + max(2, side // 50)] = (170, 170, 178)
    return image


def _pattern(rng: Generator, side: int) -> Array:
    """No place at all: a plain colour, a gradient, stripes, checks or blots."""
    first, second = (rng.uniform(0, 255, 3).astype(np.float32) for _ in range(2))
    kind = rng.integers(5)
    if kind == 0:
        return texture(rng, side, first, rng.uniform(0, 0.3))
    if kind == 1:
        return np.rot90(_gradient(side, first, second), int(rng.integers(4))).copy()
    if kind == 2:
        mask = smooth_noise(rng, side, (int(rng.integers(3, 12)), int(rng.integers(3, 12)))) > 0.5
    else:
        y, x = np.mgrid[:side, :side]
        angle, period = rng.uniform(0, np.pi), side / rng.uniform(3, 16)
        mask = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period) > 0
        if kind == 4:
            mask ^= np.sin(2 * np.pi * (x * np.sin(angle) - y * np.cos(angle)) / period) > 0
    contrast = rng.uniform(0.15, 1)
    return np.where(mask[..., None], first, first * (1 - contrast) + second * contrast).astype(np.float32)


_WATERS = ("water", "lake", "river", "sea", "ocean")
_LOWER: dict[str, tuple[Callable[[Generator, int], Array], tuple[str, ...], tuple[str, ...]]] = {
    "grass": (_grass, ("grass",), ("ground", "land", "valley")),
    "ground": (_ground, ("ground", "land"), ("valley", "road")),
    "water": (_water, _WATERS, ()),
    "street": (_street, ("street", "road"), ("ground",)),
    "rock": (_rock, ("rock",), ("ground", "mountain", "land")),
    "railway": (_railway, ("railway", "railroad"), ("ground", "rock")),
}
_UPPER: dict[str, tuple[Callable[[Generator, int], Array], tuple[str, ...], tuple[str, ...]]] = {
    "wall": (_wall, ("wall",), ("building", "house")),
    "building": (_building, ("building", "house"), ("wall",)),
}


def paint_background(rng: Generator, side: int) -> Background:
    """A background of side x side pixels: one texture, or an upper part over a lower one, sometimes with mountains."""
    unclear: tuple[str, ...]
    kind = rng.random()
    if kind < 0.3:
        return Background(_to_bytes(_pattern(rng, side)), ())
    if kind < 0.5:
        paint, shown, unclear = ({**_LOWER, **_UPPER})[rng.choice([*_LOWER, *_UPPER])]
        return Background(_to_bytes(paint(rng, side)), shown, unclear)
    if kind < 0.6:
        image, shown = _sky(rng, side)
        return Background(_to_bytes(image), shown)
    unclear = ()
    if rng.random() < 0.65:
        upper, shown = _sky(rng, side)
    else:
        paint, shown, unclear = _UPPER[rng.choice(list(_UPPER))]
        upper = paint(rng, side)
    horizon = int(side * rng.uniform(0.3, 0.75))
    if "sky" in shown and rng.random() < 0.3:
        ridge = horizon - side * 0.35 * np.abs(smooth_noise(rng, side, (2, int(rng.integers(3, 8))))[0] - 0.2)
        upper[np.arange(side)[:, None] > ridge[None]] = _colour(rng, (110, 110, 130), (90, 120, 90), (140, 120, 110))
        shown = (*shown, "mountain")
        unclear = (*unclear, "rock", "valley")
    paint, lower_shown, lower_unclear = _LOWER[rng.choice(list(_LOWER))]
    upper[horizon:] = paint(rng, side)[horizon:]
    return Background(_to_bytes(upper), (*shown, *lower_shown), (*unclear, *lower_unclear))


def _to_bytes(image: Array) -> NDArray[np.uint8]:
    return image.clip(0, 255).astype(np.uint8)
