"""Id maps: one number per pixel, 0 for no region. As PNGs of 8 or 16 bits, or in colours as panoptic COCO has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from excel_cam.errors import DataError
from excel_cam.files.images.masks import DAMAGE_ERRORS, decode_png
from excel_cam.files.images.products import is_stamped
from excel_cam.files.regions.region import Region, other_size

MOST_REGIONS = (1 << 16) - 1  # in one image; photographs have some hundreds
MOST_ID = (1 << 24) - 1  # that three channels of 8 bits hold
_GREY_MODES = ("1", "L", "P", "I", "I;16", "I;16B")


def png_regions(path: Path, size: tuple[int, int]) -> Iterator[Region]:
    """The regions of a PNG of ids for a label of that size (H, W), by ascending id.

    Grey or palette: the values are the ids. Colours: the id is R + 256 G + 65536 B, as in panoptic COCO. Raises
    `DataError` for a damaged file, another size, a label of this program, and what holds no ids.
    """
    if is_stamped(path):
        raise DataError(f"{path}: a label of this program, expected an id map; check --regions")
    try:
        picture = decode_png(path)
    except DAMAGE_ERRORS as error:
        raise DataError(f"{path}: expected a PNG of region ids, cannot read it ({error}); make it again") from None
    pixels = picture.pixels
    if picture.mode == "RGBA" and (pixels[..., 3] == 255).all():
        pixels = pixels[..., :3]
    if picture.mode in _GREY_MODES:
        ids = pixels.astype(np.int32)
    elif pixels.ndim == 3 and pixels.shape[2] == 3 and picture.bits == 8:
        ids = pixels.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)
    else:
        raise DataError(
            f"{path}: mode {picture.mode} of {picture.bits} bits a channel holds no ids; expected 8 or 16 bits of "
            "grey, or RGB of 8 bits (R + 256 G + 65536 B)"
        )
    return id_regions(ids, size, str(path))


def id_regions(ids: NDArray[np.integer[Any]], size: tuple[int, int], where: str) -> Iterator[Region]:
    """The regions of (H', W') ids by ascending id: all pixels of one id, connected or not; 0 is none.

    where: the file, for messages. Raises `DataError` where H' and W' are not `size`, for ids out of range, and for too
    many regions.
    """
    if ids.shape != size:
        raise DataError(f"{where}: {other_size(ids.shape, size)}")
    least, greatest = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
    if least < 0 or greatest > MOST_ID:
        raise DataError(f"{where}: ids from {least:,} to {greatest:,}; expected 0 (no region) to {MOST_ID:,}")
    if greatest <= MOST_REGIONS:
        numbers = ids.astype(np.int32)
    else:  # a box for each number up to the greatest is looked for
        found, inverse = np.unique(ids, return_inverse=True)
        count = len(found) - int(found[0] == 0)
        if count > MOST_REGIONS:
            raise DataError(
                f"{where}: {count:,} regions, at most {MOST_REGIONS:,} are read; are these ids, and not a picture?"
            )
        numbers = inverse.reshape(size).astype(np.int32) + int(found[0] != 0)
    return _regions(numbers)


def _regions(numbers: NDArray[np.int32]) -> Iterator[Region]:
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        if box is not None:
            rows, columns = box
            yield Region(numbers[box] == number, (rows.start, columns.start))
