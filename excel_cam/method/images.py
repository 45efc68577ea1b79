"""Normalise and resize photographs: from pixels to the network's input."""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Mean and standard deviation of R, G, B on 0..255. The release feeds CLIP with ImageNet's (step 2.1).
NORMALISATIONS = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)),
}


def normalise(image: NDArray[np.uint8] | Tensor, normalisation: str) -> Tensor:
    """(H, W, 3) uint8 RGB to (3, H, W) float32 of zero mean and unit deviation (step 2.1).

    The result is on the image's own device; an array's is on the CPU.
    """
    pixels = image if isinstance(image, Tensor) else torch.from_numpy(image.copy())
    mean, deviation = _constants(normalisation, pixels.device)
    return (pixels.permute(2, 0, 1).to(torch.float32) - mean) / deviation


@functools.cache
def _constants(normalisation: str, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, deviation = (torch.tensor(values).view(3, 1, 1).to(device) for values in NORMALISATIONS[normalisation])
    return mean, deviation


def resize_to_input(normalised: Tensor, size: int | tuple[int, int]) -> Tensor:
    """(3, H, W) float32 to (3, S, S), bilinear, half-pixel centres, no antialias, aspect ratio not kept.

    size: S, or the height and width of what windows are cut from.
    """
    sides = (size, size) if isinstance(size, int) else size
    return F.interpolate(normalised[None], size=sides, mode="bilinear", align_corners=False)[0]
