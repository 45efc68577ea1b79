"""Rasters by rasterio (extra `geo`): chosen bands of a TIFF as 8-bit RGB, where it has no data, where on Earth it lies.

8-bit bands are taken as they are. Bands of other numbers are stretched, each by itself, from the 2nd to the 98th
percentile of its pixels with data, at the size at which the raster is read; what lies beyond is 0 or 255. Pixels
without data (the file's nodata value, mask or transparency in all the bands chosen; numbers that are not finite) are
black. Above the size asked for a raster is read reduced, from its overviews where it has them, never decoded as a whole
into memory.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import ImageError
from excel_cam.files.images.open_image import MAX_PIXELS, require_plain_file
from excel_cam.files.machine import raise_if_machine

TIFF_SUFFIXES = (".tif", ".tiff")
STRETCH = (2, 98)  # percentiles that become 0 and 255
_opening = threading.Lock()  # warnings are silenced for the whole process


@dataclass(frozen=True)
class Raster:
    """Bands of a raster, perhaps reduced.

    pixels: (H', W', 3) uint8 RGB. size: (H, W) of the file. has_data: (H', W') bool; None where all pixels have.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    has_data: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies: wkt, its coordinate system, "" where the file names none; transform, in GDAL's order.

    A pixel's corner at (column, row) lies at x = t0 + t1 column + t2 row, y = t3 + t4 column + t5 row.
    """

    wkt: str
    transform: tuple[float, ...]


def is_tiff(path: Path) -> bool:
    """Whether a file is called as TIFFs are."""
    return path.suffix.lower() in TIFF_SUFFIXES


def has_rasterio() -> bool:
    """Whether rasters can be read here."""
    return importlib.util.find_spec("rasterio") is not None


def read_raster(
    path: Path, bands: Sequence[int], reduced: Callable[[tuple[int, int]], tuple[int, int] | None]
) -> Raster:
    """Read one or three bands, counted from 1, of a TIFF; one band becomes grey.

    reduced: from a (width, height) to the one that is read instead; None for as it is. Raises `ImageError` where the
    file is none that is read or has no such band; `MachineError` where not the file is at fault.
    """
    from rasterio.enums import Resampling

    with _opened(path) as source:
        if max(bands) > source.count:
            raise ImageError(f"{path}: has {_bands(source.count)}, --bands asks for band {max(bands)}; choose others")
        if "complex" in "".join(source.dtypes):
            raise ImageError(f"{path}: bands of complex numbers are not read; save their magnitudes")
        if source.width * source.height > MAX_PIXELS:
            raise ImageError(
                f"{path}: too large: {source.width:,} x {source.height:,} pixels, at most {MAX_PIXELS // 10**6} "
                "megapixels are labelled; cut it into tiles"
            )
        target = reduced((source.width, source.height))
        width, height = target or (source.width, source.height)
        shape = (len(bands), height, width)
        resampling = Resampling.nearest if target is None else Resampling.average
        values = source.read(list(bands), out_shape=shape, resampling=resampling)
        has_data = (source.read_masks(list(bands), out_shape=shape, resampling=Resampling.nearest) > 0).any(axis=0)
        if values.dtype.kind == "f":
            has_data &= np.isfinite(values).all(axis=0)
        planes = [_as_bytes(plane, has_data) for plane in values]
        size = source.height, source.width
    pixels = np.stack(planes * (3 // len(planes)), axis=-1)
    return Raster(pixels, size, None if has_data.all() else has_data)


def _as_bytes(plane: NDArray[Any], has_data: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One band, stretched to 0..255 unless it has 8 bits; 0 where there is no data, and where all values are equal."""
    if plane.dtype != np.uint8:
        known = plane[has_data].astype(np.float64)
        low, high = np.percentile(known, STRETCH) if known.size else (0.0, 0.0)
        if not high > low:
            return np.zeros(plane.shape, np.uint8)
        with np.errstate(invalid="ignore"):
            plane = ((plane.astype(np.float64) - low) / (high - low)).clip(0, 1) * 255
        plane = np.where(has_data, plane, 0).round().astype(np.uint8)
    return np.where(has_data, plane, 0).astype(np.uint8)


def raster_size(path: Path) -> tuple[int, int] | None:
    """The (H, W) of a TIFF by rasterio, from its header; None where it is not installed, or the file cannot be read."""
    if not is_tiff(path) or not has_rasterio():
        return None
    try:
        with _opened(path) as source:
            return source.height, source.width
    except ImageError:
        return None


def read_georeference(path: Path) -> Georeference | None:
    """Where a TIFF lies; None where it does not say, is no TIFF, cannot be read, or rasterio is not installed."""
    if not is_tiff(path) or not has_rasterio():
        return None
    from rasterio.errors import CRSError

    try:
        with _opened(path) as source:
            if source.transform.is_identity:
                return None
            try:
                wkt = "" if source.crs is None else str(source.crs.to_wkt())
            except CRSError:
                wkt = ""
            return Georeference(wkt, tuple(source.transform.to_gdal()))
    except ImageError:
        return None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A TIFF as a rasterio data set; whatever goes wrong in the block is an `ImageError`, or a `MachineError`."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    try:
        require_plain_file(path)
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # An absolute path, and no other driver: names are no addresses, and other formats lead to other files.
            source = rasterio.open(os.path.abspath(path), driver="GTiff")
        with source:
            yield source
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such image") from None
    except Exception as error:  # on damaged files rasterio raises nearly anything
        raise_if_machine(error, path)
        reason = " ".join(str(error).replace(os.path.abspath(path), "it").split()) or type(error).__name__
        raise ImageError(f"{path}: cannot be read as a TIFF with bands: {reason}") from None


def _bands(count: int) -> str:
    return "one band" if count == 1 else f"{count:,} bands"
