"""How classes are told apart in pictures: colour, hatching, outline, as small palette PNGs; and where names go."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from excel_cam.classes import IGNORE
from excel_cam.labels.colours import CLASS_COLOURS, WHITE, Colour, hatching, inks, outline

# Values of a picture of differences, and their colours, which colour-blind eyes tell apart too.
MISSED, ADDED, CONFUSED, NOT_JUDGED = 1, 2, 3, 255
DIFFERENCE_COLOURS = {MISSED: (213, 94, 0), ADDED: (0, 114, 178), CONFUSED: (240, 228, 66), NOT_JUDGED: (150, 150, 150)}
_LEAST_SHARE = 0.004  # of the picture; smaller regions get no name on them
# Dark violet to pale yellow, ever lighter, so that a heat map reads without its hues. (position, R, G, B)
_HEAT = ((0.0, 18, 8, 46), (0.25, 84, 16, 109), (0.5, 187, 55, 84), (0.75, 249, 142, 9), (1.0, 252, 255, 164))
_HEAT_LEVELS = 64


@dataclass(frozen=True)
class Anchor:
    """Where the name of a class goes: the place of its largest region farthest from any other, as shares 0..1."""

    value: int
    left: float
    top: float


def region_picture(
    values: NDArray[np.uint8], colours: dict[int, Colour] | None = None, outlined: bool = True
) -> Image.Image:
    """(H, W) label values as a palette picture: 0 transparent, other values in colour, hatched, outlined in white.

    colours: by value, instead of the classes' own.
    """
    indices = np.zeros(values.shape, np.uint8)
    palette: list[Colour] = [(0, 0, 0), WHITE]
    for value in (int(value) for value in np.unique(values) if value):
        fill, ink = CLASS_COLOURS[value] if colours is None else (colours[value], inks(colours[value]))
        inside = values == value
        indices[inside] = _entry(palette, fill)
        indices[inside & hatching(values.shape, value)] = _entry(palette, ink)
    if outlined:
        indices[outline(values)] = 1
    picture = Image.fromarray(indices)
    picture.putpalette(bytes(channel for colour in palette for channel in colour))
    picture.info["transparency"] = 0
    return picture


def _entry(palette: list[Colour], colour: Colour) -> int:
    """The index of a colour in a palette; the last one stands in once all 256 are taken."""
    if len(palette) < 256:
        palette.append(colour)
    return len(palette) - 1


def difference(label: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8: where a label is wrong and how; 0 where it is right. A predicted 255 counts as background."""
    label = np.where(label == IGNORE, 0, label)
    wrong = label != truth
    values = np.zeros(label.shape, np.uint8)
    values[wrong] = CONFUSED
    values[wrong & (label == 0)] = MISSED
    values[wrong & (truth == 0)] = ADDED
    values[truth == IGNORE] = NOT_JUDGED
    return values


def heat_colours() -> NDArray[np.uint8]:
    """(levels, 3) uint8: the colours of a heat map, from least to greatest."""
    stops = np.array(_HEAT)
    positions = np.linspace(0, 1, _HEAT_LEVELS)
    return (
        np.stack([np.interp(positions, stops[:, 0], stops[:, i]) for i in (1, 2, 3)], axis=1).round().astype(np.uint8)
    )


def heat_picture(stretched_map: NDArray[np.float64]) -> Image.Image:
    """(h, w) values in 0..1 as a palette picture of that small size; whoever shows it enlarges it smoothly."""
    picture = Image.fromarray((stretched_map * (_HEAT_LEVELS - 1)).round().clip(0, _HEAT_LEVELS - 1).astype(np.uint8))
    picture.putpalette(heat_colours().tobytes())
    return picture


def anchors(values: NDArray[np.uint8]) -> list[Anchor]:
    """Where the names of the classes of an (H, W) label go; small regions, background and 255 get none."""
    found = []
    height, width = values.shape
    for value in (int(value) for value in np.unique(values) if value not in (0, IGNORE)):
        inside = values == value
        if inside.sum() < max(1, _LEAST_SHARE * values.size):
            continue
        regions, _count = ndimage.label(inside)
        largest = regions == 1 + np.bincount(regions.ravel())[1:].argmax()
        depth = ndimage.distance_transform_edt(np.pad(largest, 1))
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        found.append(Anchor(value, (float(column) - 0.5) / width, (float(row) - 0.5) / height))
    return found


def png_uri(picture: Image.Image) -> str:
    """A picture as a `data:` address of a PNG."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True, **_transparency(picture))
    return _uri("png", stream)


def _transparency(picture: Image.Image) -> dict[str, int]:
    return {"transparency": 0} if "transparency" in picture.info else {}


def jpeg_uri(picture: Image.Image) -> str:
    """A picture as a `data:` address of a JPEG, of the quality a thumbnail needs."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=78, optimize=True)
    return _uri("jpeg", stream)


def _uri(kind: str, stream: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def colour_codes(value: int) -> Sequence[str]:
    """The two colours of a label value as rrggbb: fill, hatching."""
    return ["".join(f"{channel:02x}" for channel in colour) for colour in CLASS_COLOURS[value]]
