"""Where the regions of a set of labels are: a folder with a file per image, or one JSON file for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from excel_cam.errors import DataError, UsageError
from excel_cam.files.atomic import hash_file
from excel_cam.files.images.image_folder import walk_folders
from excel_cam.files.images.products import is_stamped
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.regions.id_maps import png_regions
from excel_cam.files.regions.json_masks import DataSetJson, json_regions
from excel_cam.files.regions.mask_arrays import npz_regions
from excel_cam.files.regions.region import ImageRegions, Region
from excel_cam.wording import quoted

_READERS: dict[str, Callable[[Path, tuple[int, int]], Iterator[Region]]] = {
    ".png": png_regions, ".npz": npz_regions, ".json": json_regions,
}  # fmt: skip
ENDINGS = ", ".join(_READERS)


class Regions(Protocol):
    """The regions of images, by the names of their labels."""

    def of(self, name: str) -> ImageRegions | None:
        """Those of one image; None where there are none."""


@dataclass(frozen=True)
class RegionFile:
    """The regions of one image in a file of its own."""

    path: Path

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the file, as it was when it was first asked for. Raises `DataError`."""
        try:
            return hash_file(self.path)
        except OSError as error:
            raise_if_machine(error, self.path)
            raise DataError(f"{self.path}: these regions cannot be read: {error.strerror or error}") from None

    def read(self, size: tuple[int, int]) -> Iterator[Region]:
        """The regions for a label of that size (H, W), as `png_regions`, `npz_regions` and `json_regions` read them."""
        return _READERS[self.path.suffix.lower()](self.path, size)


class RegionFolder:
    """A folder in which the regions of image `a/b` are in `a/b.png`, `a/b.npz` or `a/b.json`."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def of(self, name: str) -> RegionFile | None:
        """Those of one image; None where it has no file."""
        path = self._files.get(name)
        return None if path is None else RegionFile(path)


def open_regions(path: Path, names: Collection[str]) -> Regions:
    """The regions in a folder or a file, for labels of these names.

    One JSON file is of all images where it is given itself, or is alone in its folder and of none of the names. Raises
    `UsageError` where nothing is there, `DataError` where an image has two files, or one is of no kind that is read.
    """
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise UsageError(f"{path}: expected a folder with a file per image ({ENDINGS}), or one JSON file for all")
        return DataSetJson(path, names)
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder or file of regions")
    files = _files_of(path, set(names))
    (only, *others) = files.items() if files else [(None, path)]
    if only[0] is not None and not others and only[0] not in names and only[1].suffix.lower() == ".json":
        return DataSetJson(only[1], names)
    return RegionFolder(files)


def require_regions(regions: Regions, names: Collection[str], path: Path) -> None:
    """Raise `DataError` where one of the names has no regions. path: where they are, for the message."""
    missing = [name for name in names if regions.of(name) is None]
    if missing:
        raise DataError(
            f"{path}: no regions for {len(missing):,} of {len(names):,} labels, first {quoted(missing[0])} "
            f"({ENDINGS}); --allow-missing-regions leaves those labels as they are"
        )


def _files_of(folder: Path, names: Collection[str]) -> dict[str, Path]:
    """The region files of a folder by the name of their image; DataError for two of an image that has a label."""
    found: dict[str, Path] = {}
    try:
        for prefix, files in walk_folders(folder):
            for entry in files:
                stem, suffix = os.path.splitext(entry.name)
                if suffix.lower() not in _READERS:
                    continue
                name = prefix + stem
                if name in found and name in names:
                    raise DataError(f"{found[name]} and {entry.path}: two files of regions for one image; remove one")
                found[name] = Path(entry.path)
    except OSError as error:
        raise_if_machine(error, folder)
        raise DataError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from None
    picture = next((path for path in found.values() if path.suffix.lower() == ".png"), None)
    if picture is not None and is_stamped(picture):  # said once, and not of each
        raise DataError(f"{folder} holds labels of this program, such as {picture.name}, not regions; check --regions")
    if not found:
        raise DataError(f"{folder}: no files of regions in it; expected a file per image ({ENDINGS})")
    return found
