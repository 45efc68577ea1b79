"""Masks on disk: find the PNGs of class indices under a folder, and read them whoever wrote them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from excel_cam.classes import IGNORE
from excel_cam.errors import DataError
from excel_cam.files.images.image_folder import walk_folders
from excel_cam.files.images.open_image import MASKS, open_image, require_plain_file
from excel_cam.files.images.png_chunks import GREY, read_png_head
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.part import File, open_file

MASK_SUFFIX = ".png"
_COUNTED_AT_ONCE = 1 << 22  # pixels
INDEX_MODES = ("L", "P", "I", "I;16", "I;16B")  # Pillow modes whose raw values can be class indices
# Everything Pillow raises on damaged PNGs; DecompressionBombError is its guard against absurd sizes.
DAMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)

CLASSLESS_REMEDY = (
    "binary masks, with 255 for the object? expected class indices: 0 for background, 1 and up for the classes, 255 "
    "for pixels to ignore"
)


def mask_names(folder: Path) -> list[str]:
    """Sorted names of a folder's masks; see `named_files`."""
    return named_files(folder, MASK_SUFFIX)


def named_files(folder: Path, suffix: str) -> list[str]:
    """Sorted names (path below the folder with `/`, without `suffix`) of its files; hidden files and folders skipped.

    A folder that links lead to more than once counts once; see `walk_folders`.
    Raises DataError where the folder, or one below it, cannot be listed.
    """
    try:
        found = [
            prefix + entry.name.removesuffix(suffix)
            for prefix, files in walk_folders(folder)
            for entry in files
            if entry.name.endswith(suffix)
        ]
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{error.filename}: expected a folder of *{suffix} files, but {reason}; check the path"
        ) from None
    return sorted(found)


def mask_path(folder: Path, name: str, suffix: str = MASK_SUFFIX) -> Path:
    """Where the mask (or other file) of that name lies; DataError for a name that leaves the folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise DataError(f"name {name!r}: expected a path below {folder}, without leading / or ..; mend the list")
    return folder / f"{name}{suffix}"


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an (H, W) mask, some at a time: counting takes 8 bytes a pixel and more, and masks may be large."""
    rows = max(1, _COUNTED_AT_ONCE // max(1, shape[1]))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)


def value_counts(mask: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(256 or more,) pixels of an (H, W) mask by their value."""
    counts = np.zeros(max(256, 1 + int(mask.max(initial=0))), np.int64)
    for rows in row_blocks(mask.shape):
        counts += np.bincount(mask[rows].ravel(), minlength=len(counts))
    return counts


@dataclass(frozen=True)
class DecodedPng:
    """A PNG's pixels as its file holds them, (H, W) or (H, W, channels). mode: Pillow's. bits: of one value."""

    mode: str
    pixels: NDArray[Any]
    bits: int


def decode_png(file: File) -> DecodedPng:
    """Read a PNG that is whole to its last checksum.

    Raises one of `DAMAGE_ERRORS` for one that is not, `MachineError` where that is not the file's fault.
    """
    try:
        require_plain_file(file)
        with open_file(file) as stream:
            head = read_png_head(stream)
        with open_image(file, MASKS) as picture:
            mode, pixels = picture.mode, np.asarray(picture)
    except (OSError, MemoryError) as error:
        raise_if_machine(error, file)
        raise
    if head.colour_type == GREY and head.bits in (2, 4):  # which the decoder stretches to 0..255
        pixels = pixels // (255 // (2**head.bits - 1))
    return DecodedPng(mode, pixels, head.bits)


def read_indices(file: File) -> NDArray[Any]:
    """(H, W) values of a PNG of class indices, whatever they stand for; a palette gives indices, not colours.

    Raises DataError for a damaged file and a coloured or 1-bit picture.
    """
    try:
        picture = decode_png(file)
    except DAMAGE_ERRORS as error:
        raise DataError(f"{file}: expected a PNG of class indices, cannot read it ({error}); make it again") from error
    mode, mask = picture.mode, picture.pixels
    if mode == "1":  # readers disagree whether its white means class 1 or 255
        raise DataError(f"{file}: expected class indices, got a 1-bit picture; save it again as 8-bit L")
    if mode not in INDEX_MODES:
        raise DataError(
            f"{file}: expected class indices (PNG mode L or P), got a coloured picture (mode {mode}); "
            "save it again with one class index per pixel"
        )
    return mask


def read_mask(file: File, greatest: int, class_count: int | None = None) -> np.ndarray:
    """(H, W) integer class indices of a PNG, each in 0..`greatest` or 255; a palette gives indices, not colours.

    class_count: the number of classes, where it is not `greatest`, as without a background class.
    Raises DataError for a damaged file, a coloured or 1-bit picture, and values out of range.
    """
    mask = read_indices(file)
    wrong = (mask > greatest) & (mask != IGNORE)
    if wrong.any():
        row, column = divmod(int(np.argmax(wrong)), wrong.shape[1])
        classes = greatest if class_count is None else class_count
        raise DataError(
            f"{file}: expected values 0..{greatest} ({classes} classes) or 255, got {mask[row, column]} at "
            f"row {row}, column {column} ({np.count_nonzero(wrong)} such pixels); check the class list and the mask"
        )
    return mask


class ClassSearch:
    """Whether a set of masks holds any class; where it does not, nothing said of classes would be true of it.

    Figures would be perfect, tags empty, and remedies beside the point: most likely the masks are binary.
    """

    def __init__(self, has_background: bool = True) -> None:
        self._without = {0, IGNORE} if has_background else {IGNORE}
        self._values: set[int] = set()
        self._masks = 0

    @property
    def found(self) -> bool:
        """Whether one of the masks so far holds a class."""
        return not self._values <= self._without

    def add(self, mask: NDArray[np.integer[Any]]) -> None:
        """Look at one more mask, with values in 0..K or 255; after the first class there is nothing to look for."""
        if not self.found:
            self._values.update(np.flatnonzero(value_counts(np.atleast_2d(mask))).tolist())
            self._masks += 1

    def require(self, folder: Path) -> None:
        """Raise `DataError` where no mask of a folder held a class; without any mask there is nothing to say."""
        if self._values and not self.found:
            raise DataError(
                f"{folder}: {self._masks:,} masks and no class in them, {values_text(self._values)}; {CLASSLESS_REMEDY}"
            )


def values_text(values: Iterable[int]) -> str:
    """What the values of masks without a class look like: "only 0 and 255"."""
    return "only " + " and ".join(map(str, sorted(values)))
