"""Where the regions of a set of labels are: a folder with a file per image, or one JSON file for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from excel_cam.errors import DataError, UsageError
from excel_cam.files.atomic import hash_file
from excel_cam.files.images.image_folder import walk_folders
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.regions.id_maps import png_regions
from excel_cam.files.regions.json_masks import DataSetJson, json_regions
from excel_cam.files.regions.mask_arrays import npz_regions
from excel_cam.files.regions.region import Region
from excel_cam.wording import quoted

_READERS: dict[str, Callable[[Path, tuple[int, int]], Iterator[Region]]] = {
    ".png": png_regions, ".npz": npz_regions, ".json": json_regions,
}  # fmt: skip
ENDINGS = ", ".join(_READERS)


class Regions(Protocol):
    """The regions of images, by the names of their labels."""

    @property
    def path(self) -> Path:
        """The folder or file that was given."""

    def __contains__(self, name: object) -> bool: ...

    def fingerprint(self, name: str) -> str:
        """SHA-256 of what an image's regions are read from. Raises `DataError`."""

    def read(self, name: str, size: tuple[int, int]) -> Iterator[Region]:
        """The regions of an image for a label of that size (H, W), one at a time. Raises `DataError`."""


class RegionFolder:
    """A folder in which the regions of image `a/b` are in `a/b.png`, `a/b.npz` or `a/b.json`."""

    def __init__(self, path: Path, files: dict[str, Path]) -> None:
        self.path, self._files = path, files

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def fingerprint(self, name: str) -> str:
        """SHA-256 of the image's file."""
        path = self._files[name]
        try:
            return hash_file(path)
        except OSError as error:
            raise_if_machine(error, path)
            raise DataError(f"{path}: these regions cannot be read: {error.strerror or error}") from None

    def read(self, name: str, size: tuple[int, int]) -> Iterator[Region]:
        """The regions of the image's file."""
        path = self._files[name]
        return _READERS[path.suffix.lower()](path, size)


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
    return RegionFolder(path, files)


def missing_regions(regions: Regions, names: Iterable[str]) -> list[str]:
    """Those of the names that have no regions."""
    return [name for name in names if name not in regions]


def require_regions(regions: Regions, names: Collection[str]) -> None:
    """Raise `DataError` where one of the names has no regions."""
    if missing := missing_regions(regions, names):
        raise DataError(
            f"{regions.path}: no regions for {len(missing):,} of {len(names):,} labels, first {quoted(missing[0])} "
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
    if not found:
        raise DataError(f"{folder}: no files of regions in it; expected a file per image ({ENDINGS})")
    return found
