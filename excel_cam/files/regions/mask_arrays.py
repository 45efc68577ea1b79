"""Masks in a `.npz` archive, which may overlap: (n, H, W), read one at a time; or (H, W) ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.files.arrays.npz import OpenArray, open_array
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.regions.id_maps import MOST_REGIONS, id_regions
from excel_cam.files.regions.region import Region, cropped, other_size

NAME = "masks"  # of the array, where the archive holds several


def npz_regions(path: Path, size: tuple[int, int]) -> Iterator[Region]:
    """The regions of an archive for a label of that size (H, W), in their order.

    Its only array, or the one called `masks`: (n, H, W) masks of true and false, 0 and 1, or 0 and 255; or (H, W) ids.
    One mask at a time is unpacked. Raises `DataError` for a damaged archive, another size, and other values.
    """
    try:
        with open_array(path, NAME) as array:
            if len(array.shape) == 2 and array.dtype.kind in "biu":
                _require_size(path, array.shape, size)
                (ids,) = array.planes()
                yield from id_regions(ids, size, str(path))
                return
            if len(array.shape) != 3 or array.dtype.kind not in "biuf":
                raise ValueError(
                    f"expected masks as (n, H, W) or ids as (H, W), found {array.dtype} of shape {array.shape}"
                )
            yield from _masks(path, array, size)
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise nearly anything on damaged archives
        raise_if_machine(error, path)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: {reason}; save regions as np.savez_compressed(FILE, masks=masks)") from None


def _masks(path: Path, array: OpenArray, size: tuple[int, int]) -> Iterator[Region]:
    count = array.shape[0]
    if count > MOST_REGIONS:
        raise ValueError(f"{count:,} regions, at most {MOST_REGIONS:,} are read")
    if count:
        _require_size(path, array.shape[1:], size)
    for number, plane in enumerate(array.planes(), start=1):
        region = cropped(_as_mask(plane, number))
        if region is not None:
            yield region


def _require_size(path: Path, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Before anything is unpacked: so much room will be made."""
    if shape != size:
        raise DataError(f"{path}: {other_size(shape, size)}")


def _as_mask(plane: NDArray[Any], number: int) -> NDArray[np.bool_]:
    """A plane as true and false; ValueError where it has other values than 0 and 1, or 0 and 255."""
    if plane.dtype.kind == "b":
        plane = plane.view(np.uint8)  # a damaged file's bytes can be anything
    inside = plane != 0
    values = plane[inside]
    if values.size and not ((values == 1).all() or (values == 255).all()):
        raise ValueError(f"mask {number:,} holds {values[(values != 1).argmax()]:g}, expected 0 and 1 alone")
    return inside
