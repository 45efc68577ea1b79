"""The vote of regions: a label and what a segmenter found in its photograph → a label whose edges follow that.

The idea is that of SAM-enhanced pseudo labels (Chen et al., "Segment Anything Model (SAM) Enhanced Pseudo Labels for
Weakly Supervised Semantic Segmentation", arXiv 2305.05803): a mask takes the class that holds most of it, or of which
it holds most. The exact rules here, with their order and ties, are the steps in this room's README.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from excel_cam.classes import IGNORE
from excel_cam.files.regions.region import Region
from excel_cam.labels.regions.settings import VoteSettings

_ROUNDING = 1e-12  # of shares: 0.07 of 100 pixels is 7.000000000000001, but 7 are enough
_UNDECIDED = np.iinfo(np.int64).max  # pixels of the region that decides: none so far


def vote(
    label: NDArray[np.integer[Any]], regions: Iterable[Region], settings: VoteSettings, has_background: bool = True
) -> NDArray[np.uint8]:
    """The (H, W) uint8 label in which regions have voted; `label` itself, values 0..254 or 255, stays as it is.

    regions: within the label, one at a time; what is kept of them is two numbers per pixel. has_background: whether 0
    is the background, which has a vote as a class has, but no components to join.
    """
    before = np.asarray(label, np.uint8)
    result = before.copy()
    components, sizes = _components(before, has_background)
    smallest = np.full(before.shape, _UNDECIDED)
    for region in regions:
        inside = region.pixels
        area = int(np.count_nonzero(inside))
        if not area:
            continue
        value = _decided(before[region.box][inside], components[region.box][inside], sizes, settings)
        if value is None:
            continue
        # Of regions that overlap the smallest decides, of equally large ones the first: whatever their order is.
        taken = inside & (area < smallest[region.box])
        smallest[region.box][taken] = area
        result[region.box][taken] = value
    if not settings.fill_ignored:
        result[before == IGNORE] = IGNORE
    return result


def _components(label: NDArray[np.uint8], has_background: bool) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(H, W) numbers of the components of classes, 0 outside of them, and the pixels of each by its number."""
    components = np.zeros(label.shape, np.int32)
    for value in np.unique(label).tolist():
        if value == IGNORE or (value == 0 and has_background):
            continue
        parts, _count = ndimage.label(label == value)  # connected by their edges
        parts[parts > 0] += components.max(initial=0)
        components += parts
    return components, np.bincount(components.ravel())


def _decided(
    values: NDArray[np.uint8], components: NDArray[np.int32], sizes: NDArray[np.int64], settings: VoteSettings
) -> int | None:
    """The value that a region takes, by its pixels' values and components; None where it takes none."""
    counts = np.bincount(values, minlength=IGNORE + 1)[:IGNORE]  # pixels to ignore have no vote, but count in its size
    leading = int(np.argmax(counts))  # the least of those that hold equally many
    if counts[leading] > settings.region_share * values.size * (1 + _ROUNDING):
        return leading
    covered = _covered(values, components, sizes, settings.component_share)
    return None if not covered.any() else int(np.argmax(covered))


def _covered(
    values: NDArray[np.uint8], components: NDArray[np.int32], sizes: NDArray[np.int64], share: float
) -> NDArray[np.int64]:
    """(255,) pixels that a region has of components of which it covers enough, by their class."""
    numbers, firsts, pixels = np.unique(components, return_index=True, return_counts=True)
    joined = (numbers > 0) & (pixels >= share * sizes[numbers] * (1 - _ROUNDING))
    found = np.zeros(IGNORE, np.int64)
    np.add.at(found, values[firsts[joined]], pixels[joined])
    return found
