"""COCO's instances JSON: which images there are and which categories each shows. Polygons are passed over, not read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excel_cam.classes import COCO_CATEGORY_IDS, COCO_CLASSES
from excel_cam.errors import DataError
from excel_cam.files.json_stream import Entry, read_entries
from excel_cam.files.lists import check_name, drop_image_suffix
from excel_cam.tags.lookup import ClassLookup, Tags
from excel_cam.wording import quoted

SECTIONS = ("images", "annotations", "categories")

_WHAT = "COCO annotation file"
_IMAGE_ID = re.compile(rb'"image_id"\s*:\s*(\d{1,18})\s*[,}]')
_CATEGORY_ID = re.compile(rb'"category_id"\s*:\s*(\d{1,18})\s*[,}]')


@dataclass
class Instances:
    """What an instances JSON says of its images."""

    path: Path
    file_names: dict[int, str] = field(default_factory=dict)  # image id -> file name, in the file's order
    categories: dict[int, str] = field(default_factory=dict)  # category id -> name
    present: dict[int, set[int]] = field(default_factory=dict)  # image id -> category ids, crowds included

    @property
    def names(self) -> dict[str, int]:
        """Name of an image (its file name without extension) -> image id; DataError when two share one."""
        ids: dict[str, int] = {}
        for image, file_name in self.file_names.items():
            name = drop_image_suffix(file_name)
            if name in ids:
                raise DataError(f"{self.path}: images {ids[name]} and {image} share the name {quoted(name)}; keep one")
            ids[name] = image
        return ids

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the categories by ascending id, each once: two categories of one name are one class."""
        return tuple(dict.fromkeys(self.categories[category] for category in sorted(self.categories)))

    @property
    def stray_images(self) -> int:
        """Images that have annotations but are not listed."""
        return len(self.present.keys() - self.file_names.keys())


def is_instances(path: Path) -> bool:
    """Whether a JSON file is an instances JSON, by the first of its sections; DataError when it is damaged."""
    for entry in read_entries(path, "tags file"):
        if entry.number is not None:
            return entry.key in SECTIONS
    return False


def read_instances(path: Path) -> Instances:
    """Read images, categories and what each image shows; DataError, naming file and entry, for anything unexpected."""
    instances = Instances(path)
    readers = {"images": _add_image, "annotations": _add_annotation, "categories": _add_category}
    seen = set()
    for entry in read_entries(path, _WHAT):
        seen.add(entry.key)
        if entry.number is not None and entry.key in readers:
            readers[entry.key](instances, entry)
        elif entry.key in readers and entry.parse(path) != []:
            raise DataError(f"{entry.where(path)}: expected an array of objects; is this an instances JSON of COCO?")
    if absent := [section for section in SECTIONS if section not in seen]:
        raise DataError(f"{path}: no {quoted(absent[0])} in it; expected an instances JSON of COCO")
    if not instances.file_names:
        raise DataError(f"{path}: it lists no images; expected an instances JSON of COCO")
    used = set().union(*instances.present.values())
    if unknown := sorted(used - instances.categories.keys()):
        raise DataError(f"{path}: annotations have category_id {unknown[0]}, which its categories do not list")
    return instances


def read_image_list(path: Path) -> Instances:
    """Read the images alone, without passing over the annotations that usually follow them; raises DataError."""
    instances = Instances(path)
    for entry in read_entries(path, _WHAT):
        if entry.key == "images" and entry.number is not None:
            _add_image(instances, entry)
        elif instances.file_names:
            break
    if not instances.file_names:
        raise DataError(f"{path}: it lists no images; expected an instances JSON of COCO")
    return instances


def instances_tags(instances: Instances, class_names: Sequence[str]) -> Tags:
    """Name of each listed image -> 0-based indices of the classes its annotations name, none without annotations.

    With COCO's own classes the categories must be COCO's, by id and name; others are matched by name.
    Raises DataError for categories that are no class.
    """
    indices = _class_indices(instances, class_names)
    return {
        name: tuple(sorted({indices[category] for category in instances.present.get(image, ())}))
        for name, image in instances.names.items()
    }


def _class_indices(instances: Instances, class_names: Sequence[str]) -> dict[int, int]:
    """Category id -> 0-based class index, for the categories in use."""
    if tuple(class_names) == COCO_CLASSES:
        official = dict(zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True))
        for category, name in instances.categories.items():
            if official.get(category) != name:
                what = f"which is {quoted(official[category])} in COCO" if category in official else "not one of COCO's"
                raise DataError(
                    f"{instances.path}: category {category} is {quoted(name)}, {what}; label other categories with "
                    "--dataset folder and a class list"
                )
        return {category: index for index, category in enumerate(COCO_CATEGORY_IDS)}
    lookup = ClassLookup(class_names)
    used = set().union(*instances.present.values())
    return {category: lookup.index(instances.categories[category], str(instances.path)) for category in sorted(used)}


def _add_image(instances: Instances, entry: Entry) -> None:
    where, record = entry.where(instances.path), _parse_object(instances.path, entry)
    image, file_name = _whole_number(record, "id", where), _text(record, "file_name", where)
    check_name(file_name, where)
    if image in instances.file_names:
        raise DataError(f"{where}: image id {image} is listed twice; keep one of them")
    instances.file_names[image] = file_name


def _add_category(instances: Instances, entry: Entry) -> None:
    where, record = entry.where(instances.path), _parse_object(instances.path, entry)
    category, name = _whole_number(record, "id", where), _text(record, "name", where)
    if category in instances.categories:
        raise DataError(f"{where}: category id {category} is listed twice; keep one of them")
    instances.categories[category] = name


def _add_annotation(instances: Instances, entry: Entry) -> None:
    ids = _ids_of_flat_annotation(entry.text)
    if ids is None:
        where, record = entry.where(instances.path), _parse_object(instances.path, entry)
        ids = _whole_number(record, "image_id", where), _whole_number(record, "category_id", where)
    image, category = ids
    if image in instances.present:
        instances.present[image].add(category)
    else:
        instances.present[image] = {category}


def _ids_of_flat_annotation(text: bytes) -> tuple[int, int] | None:
    """(image_id, category_id) of an annotation without inner objects; None when it has to be parsed.

    A name between bare quotes and before a colon is a key (quotes within a text have a backslash), and without inner
    objects it stands at the top; so nothing else needs a look.
    """
    if text.count(b"{") != 1 or text.count(b"[") != text.count(b"]"):
        return None
    found = []
    for key, pattern in ((b'"image_id"', _IMAGE_ID), (b'"category_id"', _CATEGORY_ID)):
        at = text.find(key)
        match = pattern.match(text, at) if at >= 0 else None
        if match is None or text.find(key, match.end()) >= 0:
            return None
        found.append(int(match[1]))
    return found[0], found[1]


def _parse_object(path: Path, entry: Entry) -> dict[str, Any]:
    record = entry.parse(path)
    if not isinstance(record, dict):
        raise DataError(f"{entry.where(path)}: expected an object, found {quoted(record)}")
    return record


def _whole_number(record: dict[str, Any], key: str, where: str) -> int:
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DataError(f"{where}: expected a whole number as {quoted(key)}, found {quoted(value)}")
    return value


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: expected a text as {quoted(key)}, found {quoted(value)}")
    return value
