"""Tags from JSON: a dictionary by name, records in an array or one a line, or an instances JSON of COCO."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from excel_cam.classes import COCO_CATEGORY_IDS, COCO_CLASSES
from excel_cam.errors import DataError
from excel_cam.files.json_stream import Entry, read_entries
from excel_cam.files.lists import check_name, read_text
from excel_cam.tags.coco_json import instances_tags, is_instances, read_instances
from excel_cam.tags.lookup import ClassLookup, Tags, name_of_number
from excel_cam.wording import quoted

_COCO_INDICES = {category: index for index, category in enumerate(COCO_CATEGORY_IDS)}


def read_json_tags(path: Path, class_names: Sequence[str]) -> Tags:
    """Tags of a `.json` file: `{"name": ["cat"]}`, an array of records, or an instances JSON of COCO."""
    if is_instances(path):
        return instances_tags(read_instances(path), class_names)
    entries = read_entries(path, "tags file")
    first = next(entries, None)
    if first is None:
        return {}
    if not first.key and first.number is not None:
        return tags_of_records(
            ((entry.where(path), entry.parse(path)) for entry in chain([first], entries)), class_names
        )
    return _tags_by_name(path, chain([first], entries), ClassLookup(class_names))


def _tags_by_name(path: Path, entries: Iterable[Entry], lookup: ClassLookup) -> Tags:
    tags: Tags = {}
    lines: dict[str, int] = {}
    for entry in entries:
        where = entry.where(path)
        if entry.number is not None:
            raise DataError(f"{where}: expected a class name or a 0-based index, found an object")
        name = entry.key.removeprefix("./")
        check_name(name, where)
        if name in lines:
            raise DataError(f"{where}: {quoted(name)} is already on line {lines[name]}; keep one of them")
        lines[name] = entry.line
        tags[name] = classes_of_list(entry.parse(path), lookup, where)
    return tags


def read_json_lines(path: Path, class_names: Sequence[str]) -> Tags:
    """Tags of a `.jsonl` file: one record a line; empty lines are skipped."""

    return tags_of_records(json_line_records(path, read_text(path, "tags file").split("\n")), class_names)


def json_line_records(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, object]]:
    """The records of a `.jsonl` file, one after the other, each with where it stands. Raises DataError."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", None) or str(error)
                raise DataError(f"{path}:{number}: not a line of JSON: {reason}") from None


def tags_of_records(records: Iterable[tuple[str, object]], class_names: Sequence[str]) -> Tags:
    """Tags from (where it stands, record) pairs; DataError, beginning with where, for any other record.

    A record is `{"name": ..., "classes": [...]}`, one per image or per object, or one per object as
    `{"image_id": ..., "category_id": ...}`, with COCO's own category ids (which only COCO's classes have).
    """
    lookup = ClassLookup(class_names)
    tags: Tags = {}
    for where, record in records:
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected a record with 'name' and 'classes', found {quoted(record)}")
        if {"name", "classes"} <= record.keys():
            name = _checked_name(record["name"], where)
            found = classes_of_list(record["classes"], lookup, where)
            tags[name] = tuple(sorted({*tags.get(name, ()), *found}))  # one record an object, as in .csv
        elif {"image_id", "category_id"} <= record.keys():
            name = _image_of_record(record["image_id"], class_names, where)
            index = _class_of_category(record["category_id"], class_names, where)
            tags[name] = tuple(sorted({*tags.get(name, ()), index}))
        else:
            raise DataError(
                f"{where}: expected a record with 'name' and 'classes', or 'image_id' and 'category_id', found the "
                f"keys {quoted(sorted(map(str, record)))}"
            )
    return tags


def classes_of_list(value: object, lookup: ClassLookup, where: str) -> tuple[int, ...]:
    """The 0-based indices of a list of classes, ascending, each once; DataError, which begins with `where`."""
    if not isinstance(value, list):
        raise DataError(
            f'{where}: expected a list of classes such as ["{lookup.class_names[0]}"], found {quoted(value)}'
        )
    # Read as indices, a row of 0 and 1 would quietly become the first two classes.
    numbers = [item for item in value if isinstance(item, int | float) and item in (0, 1)]
    if len(value) == len(numbers) == len(lookup.class_names) > 2:
        raise DataError(
            f"{where}: a row of 0 and 1, one per class; list the classes themselves, by name or 0-based index"
        )
    return lookup.indices(value, where)


def _checked_name(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a text as 'name', found {quoted(value)}")
    name = value.removeprefix("./")
    check_name(name, where)
    return name


def _image_of_record(value: object, class_names: Sequence[str], where: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and (name := name_of_number(value, class_names)):
        return name
    return _checked_name(value, where)


def _class_of_category(value: object, class_names: Sequence[str], where: str) -> int:
    if tuple(class_names) != COCO_CLASSES:
        raise DataError(
            f"{where}: 'category_id' is read with COCO's classes only; give an instances JSON, which names its "
            "categories, or records with 'name' and 'classes'"
        )
    if not isinstance(value, int) or isinstance(value, bool) or value not in _COCO_INDICES:
        raise DataError(f"{where}: {quoted(value)} is not one of COCO's 80 category ids, which are 1..90 with gaps")
    return _COCO_INDICES[value]
