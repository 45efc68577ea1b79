"""The vote of regions: a label and what a segmenter found in its photograph → a label whose edges follow that.

The idea is that of SAM-enhanced pseudo labels (Chen et al., "Segment Anything Model (SAM) Enhanced Pseudo Labels for
Weakly Supervised Semantic Segmentation", arXiv 2305.05803): a mask takes the class that holds most of it, or of which
it holds most. The exact rules here, with their order and ties, are the steps in this room's README.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from excel_cam.classes import IGNORE
from excel_cam.files.images.masks import value_counts
from excel_cam.files.regions.region import Region
from excel_cam.labels.regions.settings import VoteSettings

_ROUNDING = 1e-12  # of shares: 0.07 of 100 pixels is 7.000000000000001, but 7 are enough
_UNDECIDED = np.uint32(np.iinfo(np.uint32).max)  # pixels of the region that decides: none so far


def vote(
    label: NDArray[np.integer[Any]], regions: Iterable[Region], settings: VoteSettings, has_background: bool = True
) -> NDArray[np.uint8]:
    """The (H, W) uint8 label in which regions have voted; `label` itself, values 0..254 or 255, stays as it is.

    regions: within the label, one at a time; what is kept of them is two numbers per pixel. has_background: whether 0
    is the background, which has a vote as a class has, but no components to join.
    """
    before = np.asarray(label, np.uint8)
    ballot, result = _Ballot(before, settings, has_background), before.copy()
    smallest = np.full(before.shape, _UNDECIDED)
    for region in regions:
        value = ballot.value_of(region)
        if value is None:
            continue
        # Of regions that overlap the smallest decides, of equally large ones the first: whatever their order is.
        area = np.count_nonzero(region.pixels)
        taken = region.pixels & (area < smallest[region.box])
        smallest[region.box][taken] = area
        result[region.box][taken] = value
    if not settings.fill_ignored:
        result[before == IGNORE] = IGNORE
    return result


class _Ballot:
    """What regions decide of one (H, W) label, each for itself."""

    def __init__(self, label: NDArray[np.uint8], settings: VoteSettings, has_background: bool) -> None:
        self._label, self._settings, self._has_background = label, settings, has_background

    @cached_property
    def _components(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(H, W) numbers of the components of classes, 0 outside of them, and the pixels of each by its number."""
        components, count = np.zeros(self._label.shape, np.int32), 0
        # The boxes of the values from 1 on; where 0 is a class, its box is everything.
        boxes = [(slice(None), slice(None)), *ndimage.find_objects(self._label, IGNORE - 1)]
        for value in range(int(self._has_background), IGNORE):
            if (box := boxes[value]) is None:
                continue
            parts, more = ndimage.label(self._label[box] == value)  # connected by their edges
            np.add(components[box], parts + count, out=components[box], where=parts > 0)
            count += more
        return components, value_counts(components)

    def value_of(self, region: Region) -> int | None:
        """The value that a region takes; None where it takes none."""
        values = self._label[region.box][region.pixels]
        counts = np.bincount(values, minlength=IGNORE + 1)[:IGNORE]  # 255 has no vote, but counts in the region's size
        leading = int(np.argmax(counts))  # the least of those that hold equally many
        if counts[leading] > self._settings.region_share * values.size * (1 + _ROUNDING):
            return leading
        covered = self._covered(region, values)
        return None if not covered.any() else int(np.argmax(covered))

    def _covered(self, region: Region, values: NDArray[np.uint8]) -> NDArray[np.int64]:
        """(255,) pixels that a region has of components of which it covers enough, by their class."""
        components, sizes = self._components
        numbers, firsts, pixels = np.unique(
            components[region.box][region.pixels], return_index=True, return_counts=True
        )
        enough = self._settings.component_share * sizes[numbers] * (1 - _ROUNDING)
        joined = (numbers > 0) & (pixels >= enough)
        found = np.zeros(IGNORE, np.int64)
        np.add.at(found, values[firsts[joined]], pixels[joined])
        return found
