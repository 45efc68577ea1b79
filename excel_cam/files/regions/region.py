"""One region of an image: the pixels that somebody's segmenter says belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from excel_cam.wording import size_text


@dataclass(frozen=True, eq=False)  # eq: arrays compared with == give no single truth value
class Region:
    """Pixels that belong together, connected or not.

    pixels: (h, w) bool within a box around them. origin: (row, column) of the box's first pixel in the image.
    """

    pixels: NDArray[np.bool_]
    origin: tuple[int, int] = (0, 0)

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the box in the image."""
        (top, left), (height, width) = self.origin, self.pixels.shape
        return slice(top, top + height), slice(left, left + width)


def cropped(pixels: NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> Region | None:
    """The region of an (h, w) mask that begins at `origin`, in the least box around it; None where it is empty."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not rows.size:
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    # A copy: a view would keep all of the mask in memory.
    return Region(pixels[box].copy(), (origin[0] + int(rows[0]), origin[1] + int(columns[0])))


def other_size(found: Sequence[int], size: tuple[int, int]) -> str:
    """What to say of regions of another size (H, W) than their label's."""
    turned = "; they have to lie as the photograph's file does, not turned by its EXIF" * (tuple(found) == size[::-1])
    return f"regions of {size_text(found)} (H x W), but their label has {size_text(size)}{turned}"


class ImageRegions(Protocol):
    """The regions of one image; plain values that another process can be sent."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what they are read from. Raises `DataError`."""

    def read(self, size: tuple[int, int]) -> Iterator[Region]:
        """The regions for a label of that size (H, W), one at a time. Raises `DataError`."""
