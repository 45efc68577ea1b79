"""Masks on disk: find the PNGs of class indices under a folder, and read them whoever wrote them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np
from PIL import Image, UnidentifiedImageError

from excel_cam.classes import IGNORE
from excel_cam.errors import DataError
from excel_cam.files.open_image import MASKS, open_image

MASK_SUFFIX = ".png"
INDEX_MODES = ("L", "P", "I", "I;16", "I;16B")  # Pillow modes whose raw values can be class indices
# Everything Pillow raises on damaged PNGs; DecompressionBombError is its guard against absurd sizes.
DAMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def mask_names(folder: Path) -> list[str]:
    """Sorted names of a folder's masks; see `named_files`."""
    return named_files(folder, MASK_SUFFIX)


def named_files(folder: Path, suffix: str) -> list[str]:
    """Sorted names (path below the folder with `/`, without `suffix`) of its files; hidden files and folders skipped.

    Raises DataError where the folder, or one below it, cannot be listed.
    """

    def refuse(error: OSError) -> NoReturn:
        reason = error.strerror or str(error)
        raise DataError(f"{error.filename}: expected a folder of *{suffix} files, but {reason}; check the path")

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        named = [name for name in files if name.endswith(suffix) and not name.startswith(".")]
        found += [(Path(parent) / name).relative_to(folder).as_posix().removesuffix(suffix) for name in named]
    return sorted(found)


def mask_path(folder: Path, name: str, suffix: str = MASK_SUFFIX) -> Path:
    """Where the mask (or other file) of that name lies; DataError for a name that leaves the folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise DataError(f"name {name!r}: expected a path below {folder}, without leading / or ..; mend the list")
    return folder / f"{name}{suffix}"


def read_mask(path: Path, class_count: int) -> np.ndarray:
    """(H, W) integer class indices of a PNG, each in 0..K or 255; a palette gives its indices, not its colours.

    Raises DataError for a damaged file, a coloured or 1-bit picture, and values out of range.
    """
    try:
        with open_image(path, MASKS) as picture:
            mode, mask = picture.mode, np.asarray(picture)
    except DAMAGE_ERRORS as error:
        reason = "empty or not a PNG" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{path}: expected a PNG of class indices, cannot read it ({reason}); make it again") from error
    if mode == "1":  # readers disagree whether its white means class 1 or 255
        raise DataError(f"{path}: expected class indices, got a 1-bit picture; save it again as 8-bit L")
    if mode not in INDEX_MODES:
        raise DataError(
            f"{path}: expected class indices (PNG mode L or P), got a coloured picture (mode {mode}); "
            "save it again with one class index per pixel"
        )
    wrong = (mask > class_count) & (mask != IGNORE)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{path}: expected values 0..{class_count} ({class_count} classes) or 255, got {mask[row, column]} at "
            f"row {row}, column {column} ({np.count_nonzero(wrong)} such pixels); check the class list and the mask"
        )
    return mask
