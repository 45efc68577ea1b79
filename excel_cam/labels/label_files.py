"""Finished labels, or the class maps behind them, wherever they are: files of a folder, or members of shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from excel_cam.errors import DataError
from excel_cam.files.images.masks import MASK_SUFFIX, mask_path, named_files
from excel_cam.files.part import File
from excel_cam.files.storage import Place
from excel_cam.labels.folder import require_files
from excel_cam.labels.records import is_packed

MAPS_SUFFIX = ".npz"
_KINDS = {MASK_SUFFIX: "label", MAPS_SUFFIX: "class maps"}  # as `require_files` calls them


class LabelFiles(Protocol):
    """Files of one kind by the names of their images. As text it is what the user gave."""

    @property
    def place(self) -> Path | Place:
        """The folder of labels or of shards, with the record of their run."""

    @property
    def folder(self) -> Path | None:
        """The folder in which each image has a file of its own; None for shards."""

    def names(self) -> list[str]:
        """The images that have one, sorted; raises `DataError` where they cannot be listed."""

    def file(self, name: str) -> File:
        """The file of an image; raises `DataError` for a name that leaves the folder, or that shards do not hold."""

    def require(self, names: Sequence[str]) -> None:
        """Raise `DataError` where one of these images has no file."""


@dataclass(frozen=True)
class LabelFolder:
    """A folder of label PNGs, or of class maps, by suffix; see `LabelFiles`."""

    folder: Path
    suffix: str = MASK_SUFFIX

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def place(self) -> Path:
        """The folder."""
        return self.folder

    def names(self) -> list[str]:
        """What `named_files` finds."""
        return named_files(self.folder, self.suffix)

    def file(self, name: str) -> Path:
        """The path that the name stands for, whether or not there is a file."""
        return mask_path(self.folder, name, self.suffix)

    def require(self, names: Sequence[str]) -> None:
        """Look for each."""
        require_files(self.folder, names, _KINDS[self.suffix])


def address_of(labels: LabelFiles) -> str:
    """Where labels are, whatever links lead there and wherever this runs."""
    return os.path.realpath(labels.place) if isinstance(labels.place, Path) else str(labels.place)


def open_labels(labels: Path | Place | LabelFiles, suffix: str = MASK_SUFFIX) -> LabelFiles:
    """The labels of a folder or of shards, or their class maps; what is open already is given back.

    Raises `DataError` where shards cannot be read, or a storage holds none, and `UsageError` without the libraries.
    """
    if not isinstance(labels, Path | Place):
        return labels
    if is_packed(labels):
        from excel_cam.labels.packed.reading import PackedFiles

        return PackedFiles(labels, suffix)
    if isinstance(labels, Place):
        raise DataError(
            f"{labels}: expected labels in shards, as `excel-cam generate` makes them of tars and manifests, found no "
            "run.json of theirs; folders of single files are read on this machine's disks alone"
        )
    return LabelFolder(labels, suffix)


def open_maps(cams: Path | Place | LabelFiles) -> LabelFiles:
    """Class maps, of a folder or of shards; see `open_labels`."""
    return open_labels(cams, MAPS_SUFFIX)
