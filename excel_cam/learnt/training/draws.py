"""Chance, drawn per sample from (seed, epoch, index): the same whatever the number of workers, GPUs or restarts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALES = (0.5, 2.0)  # least and greatest enlargement of a photograph (step 12.1)
_ORDER, _CROP, _CHANNELS = range(3)  # one stream of random numbers for each purpose


@dataclass(frozen=True, kw_only=True)
class CropDraw:
    """How a crop is taken.

    ratio: enlargement. pad, corner: (down, right) in pixels, where the photograph and where the crop begin in the plane
    that is padded with black.
    """

    ratio: float
    mirrored: bool
    pad: tuple[int, int]
    corner: tuple[int, int]


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order in which the data set's samples come in an epoch, another one in each."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(count)


def draw_crop(seed: int, epoch: int, index: int, height: int, width: int, side: int) -> CropDraw:
    """Draw the crop that a photograph of (height, width) gives in an epoch (step 12.1).

    The release draws up to ten times on VOC, until the true mask has enough of two classes in the crop. That reads
    pixel labels, which a method that learns from tags has not got: the first draw is taken, as on COCO.
    """
    random = np.random.default_rng([seed, _CROP, epoch, index])
    ratio = float(random.uniform(*SCALES))
    mirrored = bool(random.random() < 0.5)
    scaled = scaled_size(height, width, ratio)
    pad = tuple(int(random.integers(0, max(side - length, 0), endpoint=True)) for length in scaled)
    corner = tuple(int(random.integers(0, max(length - side, 0), endpoint=True)) for length in scaled)
    return CropDraw(ratio=ratio, mirrored=mirrored, pad=(pad[0], pad[1]), corner=(corner[0], corner[1]))


def scaled_size(height: int, width: int, ratio: float) -> tuple[int, int]:
    """(H, W) of a photograph enlarged by `ratio`, cut to whole pixels, at least 1."""
    return max(1, int(height * ratio)), max(1, int(width * ratio))


def channel_factors(seed: int, step: int, index: int, channels: int, dropped: float) -> NDArray[np.float32]:
    """(C,): 0 for the channels that sample `index` loses in a step, 1 / (1 - dropped) for the others (step 8.3)."""
    random = np.random.default_rng([seed, _CHANNELS, step, index])
    kept = random.random(channels) >= dropped
    return (kept / (1 - dropped)).astype(np.float32)
