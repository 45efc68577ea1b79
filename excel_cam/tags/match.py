"""Names in tags → names of images: extensions, and the numbers of COCO, dropped or completed."""

from __future__ import annotations

from collections.abc import Container, Iterable

from excel_cam.errors import DataError
from excel_cam.files.lists import drop_image_suffix
from excel_cam.tags.lookup import Tags, coco_number
from excel_cam.wording import quoted


def match_names(tags: Tags, known: Container[str], source: str) -> Tags:
    """`tags` by the names of images: where a name is not `known` as it stands, an image's extension is dropped."""
    matched: Tags = {}
    for written, classes in tags.items():
        name = written if written in known else drop_image_suffix(written)
        if name in matched:
            raise DataError(f"{source}: {quoted(name)} has two lines, with and without extension; keep one of them")
        matched[name] = classes
    return matched


def match_coco_names(tags: Tags, known: Iterable[str], source: str) -> Tags:
    """`tags` by the names of images: a name that is not `known` stands for the known one of the same COCO number."""
    resolve = CocoNames(known)
    matched: Tags = {}
    for written, classes in tags.items():
        name = resolve.name(written)
        if name in matched:
            raise DataError(f"{source}: {quoted(name)} is there twice, in two spellings; keep one of them")
        matched[name] = classes
    return matched


class CocoNames:
    """Finds the image that a name, with or without extension, prefix and leading zeros, stands for."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)
        self._by_number = {number: name for name in self._known if (number := coco_number(name)) is not None}

    def name(self, written: str) -> str:
        """The image's name; the written one, without an extension, where no image has it."""
        if written in self._known:
            return written
        name = drop_image_suffix(written)
        number = coco_number(name)
        return name if name in self._known or number is None else self._by_number.get(number, name)
