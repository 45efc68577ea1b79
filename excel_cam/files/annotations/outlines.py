"""Regions of a label as outlines, and back: polygons whose corners are the centres of a region's outermost pixels.

Pillow's `ImageDraw.polygon` with an outline, and OpenCV's `fillPoly`, both count the pixels that an outline passes over
as inside; so outlines through pixel centres give back the pixels that they were made of.

Borders are followed as in Moore's neighbour tracing: from a pixel of the border, the eight around it are looked at
clockwise, from the last one that lies outside on. So a border steps diagonally, and what lies outside is connected by
edges; regions are connected by edges too, so that each lies within another's outline or without, as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Point = tuple[int, int]  # x, y: column and row
Outline = tuple[Point, ...]  # closed: from the last point a line goes to the first
Box = tuple[float, float, float, float]  # least x and y, greatest x and y

_CLOCKWISE = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))  # (rows, columns), from the east
_NORTH, _SOUTH = 6, 2
_LEAST_CORNERS = 3  # of a polygon that readers take; single pixels repeat theirs


@dataclass(frozen=True)
class Region:
    """The pixels of one value that are connected by their edges.

    pixels: (h + 2, w + 2), within its own box and a border of False. origin: (row, column) of its pixel (0, 0).
    """

    value: int
    pixels: NDArray[np.bool_]
    origin: tuple[int, int]

    @cached_property
    def _outside(self) -> tuple[NDArray[np.int32], int]:
        """What is not of the region, in parts connected by edges, 1 being around it; and their number."""
        parts, count = ndimage.label(~self.pixels)
        return parts, int(count)

    @property
    def has_holes(self) -> bool:
        """Whether other regions lie within it."""
        return self._outside[1] > 1

    @property
    def filled(self) -> int:
        """Pixels within its outline, those of its holes included."""
        return int(np.count_nonzero(self._outside[0] != 1))

    @property
    def outline(self) -> Outline:
        """The outline around it; holes count as inside."""
        return self._polygon(self._border(self._first_pixel, _NORTH))

    @property
    def cut_outline(self) -> Outline:
        """The outline with its holes cut open: to each leads a line there and back, so that one polygon holds all."""
        border = self._border(self._first_pixel, _NORTH)
        _holes, firsts = np.unique(np.maximum(self._outside[0], 1), return_index=True)
        for first in firsts[1:].tolist():
            row, column = divmod(first, self.pixels.shape[1])
            start = (row - 1, column)
            # Straight up there is a pixel on the outline, or on the border of a hole that begins further up.
            above = self.pixels[start[0] :: -1, column]
            joint = (start[0] - int(np.argmin(above)) + 1, column)
            place = border.index(joint)
            around = self._border(start, _SOUTH)
            border[place:place] = [joint, *around, start]
        return self._polygon(border)

    @property
    def _first_pixel(self) -> tuple[int, int]:
        return divmod(int(np.argmax(self.pixels)), self.pixels.shape[1])

    def _border(self, start: tuple[int, int], look: int) -> list[tuple[int, int]]:
        """The border's pixels, clockwise around the region. look: direction of a pixel beside `start` that is none."""
        rows = self._rows
        border, (row, column), first = [start], start, None
        while True:
            for turn in range(1, 8):
                step = (look + turn) % 8
                down, right = _CLOCKWISE[step]
                if rows[row + down][column + right]:
                    break
            else:
                return border
            if first == (row, column, step):
                return border[:-1]
            first = first or (row, column, step)
            row, column = row + down, column + right
            border.append((row, column))
            look = (step + (5 if step % 2 else 6)) % 8  # of the last pixel that was found to lie outside

    @cached_property
    def _rows(self) -> list[bytes]:
        return [row.tobytes() for row in self.pixels]

    def _polygon(self, border: Sequence[tuple[int, int]]) -> Outline:
        """The corners of a closed border."""
        count = len(border)
        corners = [
            here
            for index, here in enumerate(border)
            if count < _LEAST_CORNERS
            or _direction(border[index - 1], here) != _direction(here, border[(index + 1) % count])
        ]
        corners += corners[-1:] * (_LEAST_CORNERS - len(corners))
        top, left = self.origin
        return tuple((left + column, top + row) for row, column in corners)


def _direction(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Where a border goes from one pixel to another; all its lines are straight or diagonal."""
    down, right = other[0] - one[0], other[1] - one[1]
    return (down > 0) - (down < 0), (right > 0) - (right < 0)


def regions(label: NDArray[np.integer], values: Sequence[int] | None = None) -> Iterator[Region]:
    """The regions of an (H, W) label, value by value. values: only those; by default all that are there."""
    for value in (int(value) for value in np.unique(label)):
        if values is not None and value not in values:
            continue
        parts, _count = ndimage.label(label == value)
        for number, place in enumerate(ndimage.find_objects(parts), start=1):
            rows, columns = place
            pixels = np.pad(parts[place] == number, 1)
            yield Region(value, pixels, (rows.start - 1, columns.start - 1))


def fill_polygon(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The (H, W) pixels within a closed outline of (x, y), those under the outline included, as Pillow draws it."""
    canvas = Image.new("1", size[::-1])
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in points], fill=1, outline=1)
    return np.asarray(canvas)


def fill_rectangle(box: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The (H, W) pixels of a rectangle, its edges included, as Pillow draws it."""
    canvas = Image.new("1", size[::-1])
    ImageDraw.Draw(canvas).rectangle(box, fill=1, outline=1)
    return np.asarray(canvas)


def fill_ellipse(box: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The (H, W) pixels of the ellipse that a box holds, its edge included, as Pillow draws it."""
    canvas = Image.new("1", size[::-1])
    ImageDraw.Draw(canvas).ellipse(box, fill=1, outline=1)
    return np.asarray(canvas)
