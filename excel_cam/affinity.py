"""Class-aware affinity: spread each map along the attention, from within its own boxes (METHOD.md step 5)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

SINKHORN_ROUNDS = 3  # how often columns, then rows, are brought to sum 1
EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


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


@torch.inference_mode()
def refine_maps(maps: Tensor, transition: Tensor, threshold: float = 0.79) -> Tensor:
    """Spread maps along the transitions, each from within its own boxes (step 5.3).

    maps: (c, h, w) floating, of one image's present classes. transition: (N, N), N = h·w, of the same dtype.
    Returns (c, h, w) of that dtype, 0 or more, of no fixed scale; all 0 for a class without a box.
    """
    on_host = maps.cpu().numpy()
    masks = np.stack([box_mask(class_map, threshold) for class_map in on_host])
    sources = maps * torch.from_numpy(masks).to(maps.device)
    # R with the columns outside M zeroed, times the map, is R times the map zeroed outside M.
    return (transition @ sources.flatten(1).T).T.reshape(maps.shape)
