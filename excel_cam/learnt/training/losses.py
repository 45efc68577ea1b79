"""What is learnt from a label: classes of pixels, and which patches are alike (steps 10, 11.5 and 12.3)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from excel_cam.classes import IGNORE

PIXEL_EPSILON = 1e-6  # added to the counts of pixels
PAIR_EPSILON = 1.0  # added to the counts of pairs
DIVERSITY_WEIGHT = 0.1

Sum = Callable[[Tensor], Tensor]  # over all processes


@functools.cache
def enlargement(source: int, target: int, device: torch.device) -> Tensor:
    """(target, source) float32: bilinear enlargement of one axis, half-pixel centres, as a matrix.

    Two such products enlarge a map. Their gradient is a product too, and so the same on every run, which that of
    CUDA's own interpolation is not.
    """
    centres = ((torch.arange(target) + 0.5) * (source / target) - 0.5).clamp(0, source - 1)
    lower = centres.long()
    upper = (lower + 1).clamp_max(source - 1)
    share = (centres - lower)[:, None]
    identity = torch.eye(source)
    return (identity[lower] * (1 - share) + identity[upper] * share).to(device)


def enlarge(scores: Tensor, size: int) -> Tensor:
    """(n, c, h, w) float32 to (n, c, size, size), bilinear, half-pixel centres."""
    rows, columns = (enlargement(source, size, scores.device) for source in scores.shape[-2:])
    return rows @ scores @ columns.T


def pair_targets(label: Tensor, patch: int, radius: int) -> Tensor:
    """Which pairs of patches show the same class (step 11.5).

    label: (n, S, S) uint8; a patch has the label of its top left pixel. Returns (n, N, N) uint8: 1 the same, 0 not,
    255 where they are more than `radius` rows or columns apart, or one of the two is ignored.
    """
    corners = label[:, ::patch, ::patch]
    near = near_pairs(corners.shape[1], corners.shape[2], radius, label.device)
    classes = corners.flatten(1)
    alike = (classes[:, :, None] == classes[:, None, :]).to(torch.uint8)
    known = classes != IGNORE
    return torch.where(near & known[:, :, None] & known[:, None, :], alike, IGNORE).to(torch.uint8)


@functools.cache
def near_pairs(height: int, width: int, radius: int, device: torch.device) -> Tensor:
    """(N, N) bool: patches of an h × w grid at most `radius` rows and columns apart, a square; itself included."""
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    apart = [(axis[:, None] - axis[None]).abs() for axis in (rows, columns)]
    return ((apart[0] <= radius) & (apart[1] <= radius)).to(device)


def segmentation_loss(scores: Tensor, label: Tensor, pooled: Sum) -> Tensor:
    """Cross-entropy, background and all else weighing half each (step 12.3): a scalar of 0 or more.

    scores: (n, 1 + K, S, S) float32. label: (n, S, S) uint8, 255 ignored. pooled: sums over processes.
    """
    values = label.long()
    chosen = torch.where(label == IGNORE, 0, values)
    surprise = -torch.log_softmax(scores, dim=1).gather(1, chosen[:, None])[:, 0]
    background = (label == 0).to(scores.dtype)
    foreground = ((label != 0) & (label != IGNORE)).to(scores.dtype)
    parts = [(surprise * background).sum(), background.sum(), (surprise * foreground).sum(), foreground.sum()]
    back_sum, back_count, fore_sum, fore_count = pooled(torch.stack(parts)).unbind()
    return (back_sum / (back_count + PIXEL_EPSILON) + fore_sum / (fore_count + PIXEL_EPSILON)) / 2


def diversity_loss(sigma: Tensor, target: Tensor, pooled: Sum) -> Tensor:
    """How far σ is from 1 in pairs of one class and from 0 in others (step 12.3): a scalar within 0..1.

    sigma: (n, N, N) float32 in 0..1. target: (n, N, N) uint8 as `pair_targets` gives it. pooled: sums over processes.
    """
    same, different = ((target == value).to(sigma.dtype) for value in (1, 0))
    parts = [((1 - sigma) * same).sum(), same.sum(), (sigma * different).sum(), different.sum()]
    same_sum, same_count, different_sum, different_count = pooled(torch.stack(parts)).unbind()
    return (same_sum / (same_count + PAIR_EPSILON) + different_sum / (different_count + PAIR_EPSILON)) / 2
