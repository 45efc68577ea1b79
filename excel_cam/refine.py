"""Pixel-adaptive refinement (PAR): let maps follow the photograph's colours (METHOD.md step 6.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12, 24)  # pixels
DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
OFFSETS = tuple((d * y, d * x) for d in DILATIONS for y, x in DIRECTIONS)  # 48 neighbours (down, right), pixels
REACH = max(DILATIONS)  # 24 pixels of replicate padding
ITERATIONS = 20
SHARPNESS = 0.3  # deviations at which a neighbour's weight has fallen to 1/e, for colour and position alike
POSITION_WEIGHT = 0.01
EPSILON = 1e-8


@torch.inference_mode()
def pixel_adaptive_refinement(image: Tensor, maps: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Average maps over each pixel's 48 neighbours, weighted by likeness of colour, again and again.

    image: (3, H, W) float32, normalised colours. maps: (c, H, W) float32, background first.
    Returns (c, H, W) float32. The weights sum to 1.01, so values may pass 1.
    """
    affinities = _affinities(image)
    for _ in range(iterations):
        padded = _pad(maps)
        maps = torch.zeros_like(maps)
        for affinity, offset in zip(affinities, OFFSETS, strict=True):
            maps.addcmul_(_shifted(padded, offset), affinity)
    return maps


def _affinities(image: Tensor) -> Tensor:
    """(48, H, W) float32: each neighbour's weight, softmax(colour) + 0.01 · softmax(position)."""
    padded = _pad(image)
    # Differences to the centre have the neighbours' own deviation, and keep small deviations exact in float32.
    differences = torch.stack([_shifted(padded, offset) - image for offset in OFFSETS])  # (48, 3, H, W)
    deviation = differences.std(dim=0)
    colour = -((differences / (deviation + EPSILON) / SHARPNESS) ** 2).mean(dim=1)
    return torch.softmax(colour, dim=0) + POSITION_WEIGHT * _position_weights().to(image.device).view(-1, 1, 1)


def _position_weights() -> Tensor:
    """(48,) float32, sum 1: nearer neighbours weigh more; the same at every pixel."""
    distances = torch.tensor(OFFSETS, dtype=torch.float32).norm(dim=1)
    return torch.softmax(-((distances / (distances.std() + EPSILON) / SHARPNESS) ** 2), dim=0)


def _pad(planes: Tensor) -> Tensor:
    """(c, H, W) with `REACH` pixels of replicate padding on all sides."""
    return F.pad(planes[None], (REACH,) * 4, mode="replicate")[0]


def _shifted(padded: Tensor, offset: tuple[int, int]) -> Tensor:
    """A view of padded planes in which each pixel shows its neighbour at `offset` (down, right)."""
    down, right = offset
    height, width = padded.shape[-2] - 2 * REACH, padded.shape[-1] - 2 * REACH
    return padded[..., REACH + down : REACH + down + height, REACH + right : REACH + right + width]
