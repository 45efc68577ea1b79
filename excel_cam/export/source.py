"""What an export is made from: which labels, their class maps and photographs, one image at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excel_cam.errors import DataError, UsageError
from excel_cam.export.formats import Format, LabelledImage
from excel_cam.files.atomic import hash_file, hash_json
from excel_cam.files.images.masks import DAMAGE_ERRORS, mask_path
from excel_cam.files.images.open_image import MASKS, open_image
from excel_cam.files.images.photographs import stored_orientation, upright_size
from excel_cam.files.inputs import lies_in
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.part import File
from excel_cam.labels.class_maps import read_maps
from excel_cam.labels.folder import photographs_of, require_photographs, run_identity
from excel_cam.labels.label_files import MAPS_SUFFIX, LabelFiles, address_of
from excel_cam.wording import size_text

FORMAT_VERSION = 2  # raised when exported files change: all are then made again


@dataclass(frozen=True, kw_only=True)
class Export:
    """What is to be exported, and where to; see `run_export`."""

    format: Format
    labels: LabelFiles
    out: Path
    cams: LabelFiles | None = None
    images: Path | None = None
    names: tuple[str, ...] | None = None
    overwrite: bool = False

    @property
    def record_path(self) -> Path:
        """The file that says what an export was made from."""
        return self.out / f"export-{self.format.name}.json"

    @property
    def finished_path(self) -> Path:
        """The list of the images' files that are finished."""
        return self.out / f"export-{self.format.name}.jsonl"

    def identity(self) -> dict[str, Any]:
        """What decides the exported files, besides the labels' and maps' own content."""
        alone = {} if self.format.has_background else {"background_class": False}
        return {
            "version": FORMAT_VERSION, "to": self.format.name, "classes": list(self.format.class_names),
            "labels": address_of(self.labels), "cams": None if self.cams is None else address_of(self.cams),
            "images": None if self.images is None else os.path.realpath(self.images),
            "made_with": run_identity(self.labels.place), **alone, **self.format.options(),
        }  # fmt: skip


def check_names(export: Export) -> list[str]:
    """The names to export, sorted.

    Raises `DataError` where there are none, or a label or its maps are not there.
    """
    names = export.labels.names() if export.names is None else sorted(set(export.names))
    if not names:
        raise DataError(f"{export.labels}: no label PNGs in this folder; run `excel-cam generate` first")
    for name in names:
        export.format.check_name(name)
    export.labels.require(names)
    if export.cams is not None:
        export.cams.require(names)
    return names


def refuse_sources(export: Export, names: Sequence[str], wanted: Sequence[Path]) -> None:
    """Raise `UsageError` where a file to write would lie among the labels, or replace class maps or a photograph.

    wanted: the files to write, which `--overwrite` removes first. Their folders count as what links lead to: labels in
    `exports/SegmentationClassAug` are in the way of an export to `exports`.
    """
    folders = {path.parent: path for path in wanted} | {export.out: export.record_path}
    for folder, path in folders.items():
        if isinstance(export.labels.place, Path) and lies_in(path, export.labels.place):
            raise UsageError(
                f"{folder} lies in {export.labels}: exported files would pass for labels, or replace them; "
                "choose another --out"
            )
    sources: set[str] = set()
    cams = None if export.cams is None else export.cams.place
    if isinstance(cams, Path) and any(lies_in(path, cams) for path in folders.values()):
        sources |= {os.path.realpath(mask_path(cams, name, MAPS_SUFFIX)) for name in names}
    if export.images is not None and any(lies_in(path, export.images) for path in folders.values()):
        photographs = photographs_of(export.images, export.labels.folder, names)
        sources |= {os.path.realpath(photographs[name]) for name in names}
    for path in wanted if sources else ():
        if os.path.realpath(path) in sources:
            raise UsageError(f"{path}: the export would replace what it is made from; choose another --out")


def photograph_suffixes(export: Export, names: Sequence[str]) -> dict[str, str]:
    """The extension of each photograph that is not a .jpg; DataError where --images lacks one."""
    if export.images is None:
        return {}
    photographs = photographs_of(export.images, export.labels.folder, names)
    require_photographs(photographs, names, export.images, "labels")
    suffixes = {name: photographs[name].suffix for name in names}
    export.format.check_suffixes(set(suffixes.values()))
    return {name: suffix for name, suffix in suffixes.items() if suffix != ".jpg"}


def sources_of(export: Export, name: str) -> list[File]:
    """The files an image's own file is made from."""
    maps = [] if export.cams is None else [export.cams.file(name)]
    return [export.labels.file(name), *maps]


def made_from(export: Export, name: str, suffix: str) -> str:
    """32 hexadecimal digits that change with the content of an image's sources, and with what is made of it.

    suffix: of the photograph, which turns its label with it. Raises `DataError` where one cannot be read.
    """
    digests = []
    for file in sources_of(export, name):
        try:
            digests.append(hash_file(file))
        except OSError as error:
            raise_if_machine(error, file)
            raise DataError(f"{file}: cannot be read ({error.strerror or error}); make it again") from None
    orientation = _orientation(export, name, suffix)
    turned = [] if orientation == 1 else [orientation]  # labels that lie as they did are not made anew
    return hash_json([FORMAT_VERSION, *digests, *turned])[:32]


def labelled_images(export: Export, names: Sequence[str], suffixes: dict[str, str]) -> Iterator[LabelledImage]:
    """The images to export, one after the other; DataError where a label and its class maps do not fit."""
    for name in names:
        label = export.labels.file(name)
        size, suffix = _label_size(label), suffixes.get(name, ".jpg")
        maps_file: File | None = None
        keys: tuple[int, ...] = ()
        if export.cams is not None:
            maps_file = export.cams.file(name)
            class_maps = read_maps(maps_file, len(export.format.class_names))
            keys = class_maps.keys
            if class_maps.size != size:
                raise DataError(
                    f"{maps_file}: class maps of an image of {size_text(class_maps.size)} (H x W), but its label "
                    f"{label} has {size_text(size)}; make both in one run"
                )
        orientation = _orientation(export, name, suffix)
        yield LabelledImage(name, label, upright_size(size, orientation), suffix, maps_file, keys, orientation)


def _orientation(export: Export, name: str, suffix: str) -> int:
    """EXIF's orientation of a photograph, where the format shows photographs upright; else 1."""
    if not export.format.upright or export.images is None:
        return 1
    return stored_orientation(export.images / f"{name}{suffix}")


def _label_size(label: File) -> tuple[int, int]:
    try:
        with open_image(label, MASKS) as picture:
            return picture.height, picture.width
    except DAMAGE_ERRORS as error:
        raise DataError(f"{label}: expected a label PNG, cannot read it ({error}); make it again") from error
