"""Where a class that an image may show would be, to look at that part again (steps T.4 and T.5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MOST_CANDIDATES = 6  # classes of an image that are looked at again: each is a forward pass
LEAST_SHARE = 0.02  # of the image's greatest local score, below which a class is no candidate
REGION_SHARE = 0.5  # of a class's greatest patch score, from which on a patch belongs to its region
MARGIN = 1  # patches around a region, so that a crop shows the object whole

_EIGHT_NEIGHBOURS = np.ones((3, 3))


def candidate_classes(local: NDArray[np.floating]) -> list[int]:
    """The classes worth a second look, best first: local scores, (K,), to 0-based classes (step T.4)."""
    order = np.argsort(-local, kind="stable")[:MOST_CANDIDATES]
    return [int(index) for index in order if local[index] >= LEAST_SHARE * local[order[0]]]


def region_box(scores: NDArray[np.floating], size: Sequence[int]) -> tuple[int, int, int, int]:
    """The pixels of a photograph where a class would be (step T.5).

    scores: (h, w) of one class on the patch grid, before they are spread. size: (H, W) of the photograph. Returns (top,
    bottom, left, right), ends exclusive, of the box around the 8-connected region of strong patches that holds the
    strongest, with a margin; at least a pixel each way.
    """
    peak = np.unravel_index(int(scores.argmax()), scores.shape)
    regions, _ = ndimage.label(scores >= REGION_SHARE * scores[peak], _EIGHT_NEIGHBOURS)
    rows, columns = np.nonzero(regions == regions[peak])
    top, bottom = _in_pixels(rows, scores.shape[0], size[0])
    left, right = _in_pixels(columns, scores.shape[1], size[1])
    return top, bottom, left, right


def _in_pixels(cells: NDArray[np.intp], patches: int, pixels: int) -> tuple[int, int]:
    """The pixels that a span of patches, and its margin, cover even in part."""
    first = max(0, int(cells.min()) - MARGIN)
    end = min(patches, int(cells.max()) + 1 + MARGIN)
    return first * pixels // patches, -(-end * pixels // patches)
