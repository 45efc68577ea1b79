"""What every export format says of itself, and the lines its lists are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.files.atomic import write_atomically
from excel_cam.files.images.masks import read_mask
from excel_cam.files.images.photographs import turn_upright
from excel_cam.files.part import File, file_size


@dataclass(frozen=True)
class LabelledImage:
    """One image of an export.

    size: (H, W) of what the format shows: of the label, or of it turned upright. suffix: of the photograph's file.
    maps: the file of its class maps, where they are used. keys: the 0-based classes these are of, ascending.
    orientation: EXIF's of the photograph, where the format shows photographs upright; else 1.
    """

    name: str
    label: File
    size: tuple[int, int]
    suffix: str
    maps: File | None
    keys: tuple[int, ...]
    orientation: int = 1

    @property
    def label_bytes(self) -> int:
        """The size of the label's file."""
        return file_size(self.label)


Images = Callable[[], Iterator[LabelledImage]]  # can be gone through several times


@dataclass(frozen=True)
class Format(ABC):
    """What one trainer reads.

    class_names: the K classes in label order. has_background: whether label 0 is background; else it is the first one.
    """

    class_names: tuple[str, ...]
    has_background: bool = True
    name: ClassVar[str]
    needs_maps: ClassVar[bool] = False
    needs_background: ClassVar[bool] = True  # whether it can make nothing of labels without a background class
    one_suffix: ClassVar[bool] = False  # whether all photographs have to end alike
    upright: ClassVar[bool] = False  # whether its tool turns photographs upright, by EXIF; labels have to be, then
    edited_in_place: ClassVar[bool] = False  # whether people correct the images' files where they were written
    parts_folder: ClassVar[str] = ""  # of images' files that are joined, and removed, at the end; "" where they stay
    final_files: ClassVar[tuple[str, ...]] = ()  # written once all images are
    reserved: ClassVar[tuple[str, ...]] = ()  # names of labels that are no classes
    starting_file: ClassVar[str] = ""  # one to start from, which the user may change; "" where there is none

    @property
    def greatest(self) -> int:
        """The greatest label value of a class."""
        return len(self.class_names) - (not self.has_background)

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the label values 0, 1, ... stand for."""
        return ("background", *self.class_names) if self.has_background else self.class_names

    @property
    def names_of_values(self) -> dict[int, str]:
        """The classes by label value, without the background."""
        return dict(enumerate(self.class_names, start=int(self.has_background)))

    def mask_of(self, image: LabelledImage) -> NDArray[np.uint8]:
        """The (H, W) values of a label, as the format shows it; raises `DataError` for a damaged one."""
        mask = read_mask(image.label, self.greatest, len(self.class_names)).astype(np.uint8, copy=False)
        return turn_upright(mask, image.orientation)

    @abstractmethod
    def image_file(self, name: str) -> str:
        """The path, below the export's folder, of an image's own file."""

    @abstractmethod
    def encode(self, image: LabelledImage) -> bytes:
        """The content of an image's own file; raises `DataError` for a damaged label."""

    def file_beside(self, name: str) -> str:
        """The path of a second file of an image, written before its own; "" where there is none."""
        return ""

    def encode_beside(self, image: LabelledImage) -> bytes:
        """The content of an image's second file; raises `DataError` for a damaged label."""
        return b""

    def options(self) -> dict[str, Any]:
        """What decides the files besides the class names, as JSON can hold it."""
        return {}

    @abstractmethod
    def bytes_of(self, image: LabelledImage) -> int:
        """About how many bytes that will be, without reading pixels."""

    @abstractmethod
    def finish(self, out: Path, images: Images) -> list[str]:
        """Write the files that name all images; returns notes for the user. Raises `OutputError`."""

    def link_photographs(self, out: Path, photographs: Path | None, images: Images) -> list[str]:
        """Make the photographs part of the export, where it needs them; returns notes. Raises `OutputError`."""
        return []

    def check_classes(self) -> None:
        """Raise `DataError` for class names that this format cannot hold, or gives another meaning."""
        if taken := {*self.class_names} & {*self.reserved}:
            raise DataError(
                f"class '{min(taken)}' has a name that --to {self.name} gives to pixels of no class; rename it in the "
                "class list"
            )

    def starting_content(self, out: Path, suffix: str) -> bytes:
        """The content of `starting_file`. suffix: that of the photographs, where they have to end alike."""
        return b""

    def check_name(self, name: str) -> None:
        """Raise `DataError` for a name that this format's lists cannot hold."""
        if "\n" in name or "\r" in name:
            raise DataError(f"name {name!r} holds a line break, lists of names cannot hold it; rename the file")

    def check_suffixes(self, suffixes: set[str]) -> None:
        """Raise `DataError` for photographs that this format cannot name."""
        if self.one_suffix and len(suffixes) > 1:
            raise DataError(
                f"--images: the photographs end in {', '.join(sorted(suffixes))}; {self.name} reads one ending per "
                "data set: export each with its own --list and --out"
            )


def check_columns(name: str, trainer: str) -> None:
    """Raise `DataError` for a name that a list of columns, which spaces part, cannot hold."""
    if any(character.isspace() for character in name):
        raise DataError(f"name '{name}' holds a space, which parts the columns of {trainer}'s list; rename the file")


def two_columns(image: LabelledImage) -> str:
    """A line of VOC's augmented lists: photograph and label, each from the root."""
    return f"/JPEGImages/{image.name}{image.suffix} /SegmentationClassAug/{image.name}.png"


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a list, whole or not at all; raises `OutputError`."""
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())
