"""How alike patches are by the learnt features: relation scores, attention, and an affinity with them (9, 11.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS = 3.0  # factor on similarities less their mean
NORM_EPSILON = 1e-12
KEPT_EPSILON = 1e-5  # added to the number of attention maps that are kept


def relation_scores(features: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """R: how alike each two patches are, less the mean (step 9.1).

    features: Z, (..., N, C). mean: from (..., N, N) cosines to their mean, over whatever it is to be taken over, in a
    shape that broadcasts; gradients flow through it. Returns (..., N, N) in -6..6.
    """
    unit = F.normalize(features, dim=-1, eps=NORM_EPSILON)
    cosines = unit @ unit.transpose(-1, -2)
    return SHARPNESS * (cosines - mean(cosines))


def mean_of_image(cosines: Tensor) -> Tensor:
    """Each image's own mean, the diagonal included: (..., N, N) to (..., 1, 1)."""
    return cosines.mean(dim=(-2, -1), keepdim=True)


def mean_of_views(cosines: Tensor) -> Tensor:
    """One mean over the views of each image: (..., views, N, N) to (..., 1, 1, 1)."""
    return cosines.mean(dim=(-3, -2, -1), keepdim=True)


def relation_attention(scores: Tensor) -> Tensor:
    """R̃: the softmax over each row's scores that are not negative, (..., N, N) in 0..1; rows sum to 1 (step 9.2)."""
    # A patch is always like itself. Said here as well, so that no row is empty where all features are one, or nought.
    itself = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    return torch.softmax(scores.masked_fill((scores < 0) & ~itself, -torch.inf), dim=-1)


def mix_attention(attention: Tensor, sigma: Tensor) -> Tensor:
    """A′ of step 11.2: the attention maps that attend enough to patches, their mean weighted by σ.

    attention: (blocks, n, N, N), each block's map. sigma: (n, N, N) in 0..1. Returns (n, N, N) of their dtype.
    """
    kept = kept_maps(attention)
    weights = kept.to(attention.dtype)[..., None, None]
    count = kept.sum(dim=0)[:, None, None]
    return (attention * weights).sum(dim=0) / (count + KEPT_EPSILON) * sigma


def kept_maps(attention: Tensor) -> Tensor:
    """Which maps take part: (blocks, n, N, N) to (blocks, n) bool.

    The release keeps the maps whose sum of σ - A_l is at most the mean of these sums. Σσ is the same in all, so σ plays
    no part: those are kept whose own sum is at least the mean. Heads are summed in the calibrated blocks alone, so of
    six maps the first mostly falls out.
    """
    sums = attention.sum(dim=(-2, -1), dtype=torch.float64)
    return (sums >= sums.mean(dim=0)) | (sums == sums.amax(dim=0))  # the greatest, whatever rounding does to the mean
