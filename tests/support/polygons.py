"""Filling outlines once more, pixel by pixel: what labelme and Ultralytics make of the polygons that are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def filled(corners: Sequence[tuple[int, int]], height: int, width: int) -> np.ndarray:
    """The (height, width) pixels whose centre lies on a closed outline, or within it by the even-odd rule."""
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    return np.array([[_holds(edges, x, y) for x in range(width)] for y in range(height)])


def _holds(edges: list[tuple[tuple[int, int], tuple[int, int]]], x: int, y: int) -> bool:
    inside = False
    for (ax, ay), (bx, by) in edges:
        cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if cross == 0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
            return True
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            inside = not inside
    return inside
