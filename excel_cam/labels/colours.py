"""How classes are told apart in pictures, on the page and in overlays alike: colour, hatching, outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE, voc_palette

Colour = tuple[int, int, int]

WHITE = (255, 255, 255)
_PERIOD = 8  # pixels from one line of a hatching to the next


def inks(fill: Colour) -> Colour:
    """The colour of the hatching on a fill: lighter on dark ones, darker on light ones."""
    light = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] > 110
    target, weight = (0, 0.5) if light else (255, 0.5)
    red, green, blue = (round(channel + weight * (target - channel)) for channel in fill)
    return red, green, blue


def _distinct_colours() -> tuple[tuple[Colour, Colour], ...]:
    """(fill, hatching) for each label value: VOC's colours, no colour twice, so that a pixel tells its class."""
    table = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    fills: list[Colour] = [(int(red), int(green), int(blue)) for red, green, blue in table]
    used = {*fills, WHITE}
    pairs = []
    for fill in fills:
        ink = inks(fill)
        while ink in used:
            ink = (ink[0], ink[1], (ink[2] + 1) % 256)
        used.add(ink)
        pairs.append((fill, ink))
    return tuple(pairs)


CLASS_COLOURS = _distinct_colours()


def hatching(shape: tuple[int, int], value: int) -> NDArray[np.bool_]:
    """(H, W) bool: where the hatching of a label value has its lines; neighbours in the palette differ, 0 has none.

    Values 8 and 16 apart have like colours in VOC's palette, so they never share a hatching.
    """
    rows, columns = np.indices(shape)
    if value == IGNORE:
        return np.asarray(((rows + columns) % _PERIOD < 1) | ((rows - columns) % _PERIOD < 1))
    kind = value % 6
    lines = {
        1: rows + columns, 2: rows - columns, 3: rows, 4: columns,
        5: np.where(rows % _PERIOD < 2, columns, 2),  # dots
    }  # fmt: skip
    return np.asarray(lines[kind] % _PERIOD < 2) if kind else np.zeros(shape, np.bool_)


def outline(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels whose right or lower neighbour has another value."""
    edge = np.zeros(values.shape, np.bool_)
    edge[:, :-1] |= values[:, 1:] != values[:, :-1]
    edge[:-1] |= values[1:] != values[:-1]
    return edge
