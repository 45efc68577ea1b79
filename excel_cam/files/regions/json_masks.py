"""Masks in JSON as COCO's run lengths: of one image, as SAM's generator gives them, or of a whole data set."""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from excel_cam.errors import DataError
from excel_cam.files.annotations.coco_rle import rle_region
from excel_cam.files.json_file import parse_json, read_json
from excel_cam.files.json_stream import Entry, read_entries
from excel_cam.files.lists import plain_name
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.regions.id_maps import MOST_REGIONS
from excel_cam.files.regions.region import Region
from excel_cam.wording import quoted

_ANNOTATIONS, _IMAGES, _MASK = "annotations", "images", "segmentation"
_WHAT = "JSON of regions"
_REMEDY = "expected a list of masks, or an object with `annotations`"
_LAST_NUMBER = re.compile(r"[0-9]+\Z")


def json_regions(path: Path, size: tuple[int, int]) -> Iterator[Region]:
    """The regions of one image's file for a label of that size (H, W), in their order.

    A list of masks, or an object with a list `annotations` of them; each run lengths, or an object with these as its
    `segmentation`. Raises `DataError` for anything else, another size, and masks of several images.
    """
    content = read_json(path, _WHAT, remedy=_REMEDY, expected=None)
    masks = content.get(_ANNOTATIONS) if isinstance(content, dict) else content
    if not isinstance(masks, list):
        raise DataError(f"{path}: found {quoted(content)}; {_REMEDY}")
    images = {str(mask["image_id"]) for mask in masks if isinstance(mask, dict) and "image_id" in mask}
    if len(images) > 1:
        raise DataError(
            f"{path}: masks of {len(images):,} images in one image's file; give this file itself to --regions if it is "
            "of all images"
        )
    if len(masks) > MOST_REGIONS:
        raise DataError(f"{path}: {len(masks):,} regions, at most {MOST_REGIONS:,} are read")
    return _regions(((f"{path}: mask {number:,}", mask) for number, mask in enumerate(masks, start=1)), size)


def _regions(masks: Iterator[tuple[str, Any]], size: tuple[int, int]) -> Iterator[Region]:
    for where, mask in masks:
        try:
            region = rle_region(mask.get(_MASK, mask) if isinstance(mask, dict) else mask, size)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        if region is not None:
            yield region


@dataclass
class _Places:
    """Where the masks of one image lie in a file. bounds: first byte and length of each."""

    bounds: array[int] = field(default_factory=lambda: array("q"))
    digest: Any = field(default_factory=sha256)

    def add(self, entry: Entry) -> None:
        self.bounds.extend((entry.offset, len(entry.text)))
        self.digest.update(str(len(entry.text)).encode() + b":" + entry.text)


class DataSetJson:
    """One JSON file with the masks of all images: of each only its place is kept.

    Its masks name their image by `file_name`, or by `image_id`: through the file's `images`, as a name, or as the
    number that a name ends in.
    """

    def __init__(self, path: Path, names: Collection[str]) -> None:
        """names: of the labels; masks of other images are left out. Raises `DataError` for another kind of file."""
        self.path = path
        by_id, files = self._scan()
        for image in files:
            by_id.setdefault(image, _Places())  # in which nothing was found
        known = set(names)
        numbers: dict[int, list[str]] = {}
        for name in known if not files else ():
            if found := _LAST_NUMBER.search(name):
                numbers.setdefault(int(found[0]), []).append(name)
        self._places: dict[str, _Places] = {}
        for image, places in by_id.items():
            name = files.get(image, plain_name(image) if isinstance(image, str) else "")
            named = [name] if name in known else numbers.get(image, []) if isinstance(image, int) else []
            if len(named) == 1:
                self._places[named[0]] = places

    def _scan(self) -> tuple[dict[int | str, _Places], dict[int | str, str]]:
        """The masks' places by what they say of their image, and the names of `images` by their ids."""
        by_id: dict[int | str, _Places] = {}
        files: dict[int | str, str] = {}
        for entry in read_entries(self.path, _WHAT):
            if entry.number is None or entry.key not in ("", _ANNOTATIONS, _IMAGES):
                continue
            record = entry.parse(self.path)
            if not isinstance(record, dict):
                raise DataError(f"{entry.where(self.path)}: expected an object, found {quoted(record)}")
            if entry.key == _IMAGES:
                if isinstance(record.get("id"), int | str) and isinstance(record.get("file_name"), str):
                    files[record["id"]] = plain_name(record["file_name"])
                continue
            image = record.get("file_name", record.get("image_id"))
            if not isinstance(image, int | str):
                raise DataError(
                    f"{entry.where(self.path)}: a mask without `image_id` or `file_name`; put the masks of one image "
                    "into a file of its name, and give their folder"
                )
            if _MASK not in record:
                hint = "; of a panoptic data set give the folder of PNGs" if "segments_info" in record else ""
                raise DataError(f"{entry.where(self.path)}: no `{_MASK}` in it{hint}")
            by_id.setdefault(image, _Places()).add(entry)
        return by_id, files

    def of(self, name: str) -> MasksInFile | None:
        """Those of one image; None where the file does not know it."""
        places = self._places.get(name)
        return None if places is None else MasksInFile(self.path, name, places.bounds, str(places.digest.hexdigest()))


@dataclass(frozen=True)
class MasksInFile:
    """The masks of one image in a file of all. bounds: first byte and length of each, one after the other.

    fingerprint: SHA-256 of these masks alone.
    """

    path: Path
    name: str
    bounds: array[int]
    fingerprint: str

    def read(self, size: tuple[int, int]) -> Iterator[Region]:
        """The regions for a label of that size (H, W), in their order. Raises `DataError`."""
        return _regions(self._masks(), size)

    def _masks(self) -> Iterator[tuple[str, Any]]:
        try:
            with self.path.open("rb") as stream:
                for begin, length in zip(self.bounds[::2], self.bounds[1::2], strict=True):
                    stream.seek(begin)
                    where = f"{self.path} (byte {begin:,}, image {quoted(self.name)})"
                    yield where, parse_json(stream.read(length))
        except (OSError, ValueError) as error:
            raise_if_machine(error, self.path)
            raise DataError(f"{self.path}: cannot be read again: {error}") from None
