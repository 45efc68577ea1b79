"""Drawings of nearly the same shape: what is held out of training is held out with its likes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GRID = 24  # side of the thumbnails that are compared
ALIKE = 0.85  # correlation of two outlines from which they count as one shape


def outlines(opacities: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(n, GRID * GRID) thumbnails of opacities (h, w), as they fill a square, centred and of unit length."""
    rows = np.empty((len(opacities), GRID * GRID), np.float32)
    for row, opacity in zip(rows, opacities, strict=True):
        side = max(opacity.shape)
        square = np.zeros((side, side), np.uint8)
        top, left = ((side - length) // 2 for length in opacity.shape)
        square[top : top + opacity.shape[0], left : left + opacity.shape[1]] = opacity
        small = Image.fromarray(square).resize((GRID, GRID), Image.Resampling.BOX)
        row[:] = np.asarray(small, np.float32).ravel()
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, m) correlations of outlines, the greater of as they are and mirrored."""
    mirrored = second.reshape(-1, GRID, GRID)[:, :, ::-1].reshape(len(second), -1)
    return np.maximum(first @ second.T, first @ mirrored.T)


def split_by_shape(named: Sequence[tuple[str, NDArray[np.uint8]]], chosen: Sequence[bool]) -> list[str]:
    """What each drawing is for: `seen`, `drawing` or `margin`.

    named: class and opacity of each drawing. The chosen ones are held out of training with all of their class that are
    alike, `ALIKE` or more. Of these, `drawing` are those that no drawing left in training is like; the others are
    neither learnt from nor scored.
    """
    rows = outlines([opacity for _name, opacity in named])
    names = np.array([name for name, _opacity in named])
    out = np.array(chosen, bool)
    worlds = np.full(len(named), "seen", "U7")
    for name in np.unique(names[out]):
        own = np.flatnonzero(names == name)
        alike = likeness(rows[own], rows[own]) >= ALIKE
        held = alike[:, out[own]].any(axis=1) | out[own]
        near = alike[:, ~held].any(axis=1)
        worlds[own[held & near]] = "margin"
        worlds[own[held & ~near]] = "drawing"
    return [str(world) for world in worlds]
