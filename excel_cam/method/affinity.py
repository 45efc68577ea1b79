"""Class-aware affinity: spread each map along the attention, from within its own boxes (step 5)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

SINKHORN_ROUNDS = 3  # how often columns, then rows, are brought to sum 1
EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)
ROUNDS_PER_CHECK = 16  # label propagation: asking a device whether it is done takes longer than a few more rounds


@torch.inference_mode()
def transition_matrix(attention: Tensor) -> Tensor:
    """A, (n, 1 + N, 1 + N), to R, (n, N, N): nearly doubly stochastic, symmetrised, squared (step 5.1)."""
    matrix = attention[:, 1:, 1:]
    for _ in range(SINKHORN_ROUNDS):
        matrix = matrix / matrix.sum(dim=1, keepdim=True)
        matrix = matrix / matrix.sum(dim=2, keepdim=True)
    matrix = (matrix + matrix.transpose(1, 2)) / 2
    return matrix @ matrix


def box_mask(class_map: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.bool_]:
    """The union of the bounding boxes of a map's strong regions (step 5.2).

    class_map: (h, w) in [0, 1]. threshold: share of the map's own maximum.
    Returns (h, w) bool. It can be all False: when nothing rises above the threshold, or only in the last row or column.
    """
    levels = (255 * class_map).astype(np.uint8)
    strong = levels > math.floor(threshold * int(levels.max()))
    components, _ = ndimage.label(strong, structure=EIGHT_CONNECTED)
    mask = np.zeros(class_map.shape, dtype=bool)
    last_row, last_column = class_map.shape[0] - 1, class_map.shape[1] - 1
    for rows, columns in ndimage.find_objects(components):
        # Box ends are exclusive, yet the release clips them to the last index: the last row and column stay outside.
        mask[rows.start : min(rows.stop, last_row), columns.start : min(columns.stop, last_column)] = True
    return mask


def box_masks_on_device(maps: Tensor, threshold: float) -> Tensor:
    """`box_mask` of every map at once, without leaving the device: (p, h, w) floating to (p, h, w) bool."""
    levels = (255 * maps).to(torch.uint8)
    floors = (threshold * levels.amax(dim=(1, 2)).double()).floor()
    regions = _regions(levels > floors[:, None, None])
    return _paint_boxes(regions)


def _regions(strong: Tensor) -> Tensor:
    """8-connected regions: (p, h, w) bool to int64, for each strong pixel the greatest index in its region, else 0.

    Pixels are numbered from 1, row by row. Every pixel takes the greatest number around it until none changes.
    """
    _count, height, width = strong.shape
    numbers = torch.arange(1, height * width + 1, device=strong.device, dtype=torch.float32).view(1, height, width)
    regions = numbers * strong  # float32 holds all numbers up to 2^24 exactly, and pooling wants floats
    while True:
        before = regions
        for _ in range(ROUNDS_PER_CHECK):
            regions = F.max_pool2d(regions[:, None], 3, stride=1, padding=1)[:, 0] * strong
        if torch.equal(before, regions):  # the one moment at which the host waits, once for all maps
            return regions.long()


def _paint_boxes(regions: Tensor) -> Tensor:
    """The union of the regions' bounding boxes, ends clipped as in `box_mask`: (p, h, w) int64 to bool."""
    count, height, width = regions.shape
    flat = regions.flatten(1)
    rows = torch.arange(height, device=regions.device).repeat_interleave(width).expand(count, -1)
    columns = torch.arange(width, device=regions.device).repeat(height).expand(count, -1)

    def bounds(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
        shape = (count, height * width + 1)
        first = positions.new_full(shape, size).scatter_reduce_(1, flat, positions, "amin")
        last = positions.new_full(shape, -1).scatter_reduce_(1, flat, positions, "amax")
        return first[:, 1:], (last[:, 1:] + 1).clamp_max(size - 1)  # without number 0, which is no region

    top, bottom = bounds(rows, height)
    left, right = bounds(columns, width)
    is_region = (bottom > 0) & (top < height)
    # Each box adds 1 to all that lies right of and below its first corner, and takes it back at its ends.
    steps = regions.new_zeros((count, (height + 1) * (width + 1)))
    for row, column, sign in ((top, left, 1), (bottom, left, -1), (top, right, -1), (bottom, right, 1)):
        steps.scatter_add_(1, (row * (width + 1) + column) * is_region, sign * is_region.long())
    cover = steps.view(count, height + 1, width + 1).cumsum(1).cumsum(2)
    return cover[:, :height, :width] > 0


def box_masks(maps: Tensor, threshold: float) -> Tensor:
    """`box_mask` of every map: (..., h, w) floating to (..., h, w) bool on the same device."""
    planes = maps.flatten(0, -3)
    if maps.device.type != "cpu":
        return box_masks_on_device(planes, threshold).view(maps.shape)
    masks = np.stack([box_mask(plane, threshold) for plane in planes.numpy()])
    return torch.from_numpy(masks).view(maps.shape)


@torch.inference_mode()
def spread_maps(maps: Tensor, transition: Tensor, threshold: float = 0.79) -> Tensor:
    """Spread maps along the transitions, each from within its own boxes (step 5.3).

    maps: (..., c, h, w) floating, of the classes present. transition: (..., N, N), N = h·w, of the same dtype.
    Returns (..., c, h, w) of that dtype, 0 or more, of no fixed scale; all 0 for a class without a box.
    """
    sources = (maps * box_masks(maps, threshold)).flatten(-2)
    # R with the columns outside M zeroed, times the map, is R times the map zeroed outside M.
    return (transition @ sources.transpose(-1, -2)).transpose(-1, -2).reshape(maps.shape)
