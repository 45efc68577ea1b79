"""Slow reference of `--windows` in float64: loops over windows, patches and pairs; a G x G matrix, masked afterwards.

Letters as in reference.py; G = h * w patches of the whole photograph, s patches a side of a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from reference import (
    Array,
    Weights,
    bilinear_resize,
    box_mask,
    cam_maps,
    image_tower,
    normalise_pixels,
    preprocess,
    refine_map,
    transition_matrix,
)


@dataclass(frozen=True)
class Layout:
    """Patches of the photograph, and the first row and column of every window."""

    height: int
    width: int
    side: int
    corners: list[tuple[int, int]]


def layout(height: int, width: int, pixels: float, side: int) -> Layout:
    """Windows of `pixels` pixels, s patches, over H x W pixels, half a window apart at most, as few as that takes."""
    lengths = [max(side, round(length * side / pixels)) for length in (height, width)]
    starts = []
    for length in lengths:
        gaps = 0
        while gaps * max(1, side // 2) < length - side:
            gaps += 1
        starts.append([round((length - side) * place / gaps) for place in range(gaps + 1)] if gaps else [0])
    return Layout(*lengths, side, [(top, left) for top in starts[0] for left in starts[1]])


def holders(windows: Layout, y: int, x: int) -> list[int]:
    """The windows that the patch at (y, x) lies in."""
    inside = []
    for place, (top, left) in enumerate(windows.corners):
        if top <= y < top + windows.side and left <= x < left + windows.side:
            inside.append(place)
    return inside


def number(windows: Layout, window: int, y: int, x: int) -> int:
    """Which of a window's own patches the one at (y, x) is."""
    top, left = windows.corners[window]
    return (y - top) * windows.side + x - left


def join_tokens(windows: Layout, tokens: list[Array], whole: Array, weight: float) -> Array:
    """Per window (s * s, D), of the whole (1 + s * s, D) -> (1 + G, D)."""
    side = windows.side
    planes = whole[1:].reshape(side, side, -1).transpose(2, 0, 1)
    resized = bilinear_resize(planes, windows.height, windows.width)
    joined = [whole[0]]
    for y in range(windows.height):
        for x in range(windows.width):
            own = [tokens[window][number(windows, window, y, x)] for window in holders(windows, y, x)]
            joined.append((1 - weight) * np.mean(own, axis=0) + weight * resized[:, y, x])
    return np.stack(joined)


def join_attention(windows: Layout, attention: list[Array], reach: int) -> Array:
    """Per window (s * s, s * s) -> (G, G), 0 for patches further apart than `reach` or in no window together."""
    places = [(y, x) for y in range(windows.height) for x in range(windows.width)]
    joined = np.zeros((len(places), len(places)))
    for row, one in enumerate(places):
        for column, other in enumerate(places):
            if max(abs(one[0] - other[0]), abs(one[1] - other[1])) > reach:
                continue
            both = set(holders(windows, *one)) & set(holders(windows, *other))
            values = [attention[w][number(windows, w, *one), number(windows, w, *other)] for w in sorted(both)]
            joined[row, column] = np.mean(values) if values else 0.0
    return joined


def spread(attention: Array, maps: Array, threshold: float) -> Array:
    """(G, G) and (c, h, w) -> (c, h, w), by the matrix R in full."""
    transition = transition_matrix(np.pad(attention, ((1, 0), (1, 0))))
    return np.stack([refine_map(transition, box_mask(plane, threshold), plane) for plane in maps])


def refined_maps(
    image: NDArray, weights: Weights, text: NDArray, tags: list[int], *, size: int, patch: int, pixels: float,
    head_width: int, weight: float = 0.3, threshold: float = 0.79,
) -> Array:  # fmt: skip
    """Steps 2 to 5 of a photograph in windows: uint8 (H, W, 3), enriched rows (T, D) -> (c, h, w)."""
    side = size // patch
    windows = layout(*image.shape[:2], pixels, side)
    canvas = bilinear_resize(normalise_pixels(image), windows.height * patch, windows.width * patch)
    found = []
    for top, left in windows.corners:
        cut = canvas[:, top * patch : top * patch + size, left * patch : left * patch + size]
        found.append(image_tower(weights, cut, head_width=head_width))
    whole = image_tower(weights, preprocess(image, size), head_width=head_width)[0]
    tokens = join_tokens(windows, [tokens[1:] for tokens, _ in found], whole, weight)
    maps = cam_maps(tokens, text)[:, tags].T.reshape(-1, windows.height, windows.width)
    attention = join_attention(windows, [attention[1:, 1:] for _, attention in found], max(1, side // 8))
    return spread(attention, maps, threshold)
