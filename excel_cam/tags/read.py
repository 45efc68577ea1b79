"""Image-level labels from files: which classes each image shows.

`read_tags` chooses the reader by the file's extension; further formats are further entries of its table.
"""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from excel_cam.errors import DataError
from excel_cam.files.arrays.npy_dictionary import read_npy
from excel_cam.files.lists import check_name, read_text
from excel_cam.tags.lookup import ClassLookup, Tags, name_of_number
from excel_cam.tags.records import read_json_lines, read_json_tags, tags_of_records
from excel_cam.wording import quoted

_NAME_HEADINGS = ("name", "filename", "file_name", "image", "image_name", "file", "path", "image_path")
_CLASS_HEADINGS = ("classes", "class", "labels", "label", "tags", "class_name", "category", "category_name")


def read_tags(path: Path, class_names: Sequence[str]) -> Tags:
    """Read the classes of each image: name -> 0-based indices into `class_names`, ascending, each once.

    Classes stand by name, or by 0-based index where no class has that name.
    `.csv`: header `name,classes`, classes separated by `;`, also by spaces when no class name has one; several rows of
    one image, as of its objects, are taken together.
    `.json`: `{"name": ["cat"]}`, an instances JSON of COCO, or an array of the records of `.jsonl`.
    `.jsonl`: a record a line, `{"name": ..., "classes": [...]}` or `{"image_id": ..., "category_id": ...}`.
    `.npy`: a dictionary from name (or 2007000032 for 2007_000032; with COCO's classes the image id) to a row of
    0 and 1, one per class, or an array of records.
    Raises DataError, naming the file and the line or key, for anything else.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: tags are read from {', '.join(READERS)} files, not {path.suffix or 'this one'}")
    return reader(path, class_names)


def _read_csv(path: Path, class_names: Sequence[str]) -> Tags:
    lookup = ClassLookup(class_names)
    tags: Tags = {}
    for where, name, words in csv_rows(path, _lines_of(read_text(path, "tags file")), class_names):
        found = lookup.indices(words, where)
        tags[name] = found if name not in tags else tuple(sorted({*tags[name], *found}))
    return tags


def _lines_of(text: str) -> Iterator[str]:
    """The lines of a text with their ends, one at a time: a stream over it would hold four bytes a character."""
    start = 0
    while end := text.find("\n", start) + 1:
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def csv_rows(
    path: Path, lines: Iterable[str], class_names: Sequence[str] | None
) -> Iterator[tuple[str, str, list[str]]]:
    """The rows of a .csv of tags, one after the other: where each stands, the image's name, its classes as written.

    class_names: None where they are not known; classes are then parted by `;` alone. Raises DataError.
    """
    spaced = class_names is None or any(len(name.split()) > 1 for name in class_names)
    separator = re.compile(";" if spaced else r"[;\s]")
    rows = csv.reader(lines, strict=True)
    try:
        header = _without_empty_end([cell.strip().lower() for cell in next(rows, [])])
        name_column, classes_column = _csv_columns(header, path)
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(header):
                row = [*row[: len(header)], *_without_empty_end(row[len(header) :])]
            if len(row) != len(header):
                raise DataError(
                    f"{where}: expected {len(header)} columns, found {len(row)}; separate classes with ';', and "
                    f"leave them empty for none{_column_hint(row)}"
                )
            name = row[name_column].strip().removeprefix("./")
            check_name(name, where)
            words = (word.strip() for word in separator.split(row[classes_column]))
            yield where, name, [word for word in words if word]
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: not a line of CSV: {error}") from error


def csv_name_column(header: Sequence[str], path: Path) -> int:
    """Which column of a .csv holds the names, by its header in lower case; raises `DataError` as `read_tags` does."""
    return _csv_columns(header, path)[0]


def _csv_columns(header: Sequence[str], path: Path) -> tuple[int, int]:
    """Which columns hold names and classes, by the first of their usual headings that is there once."""
    columns = []
    for headings in (_NAME_HEADINGS, _CLASS_HEADINGS):
        found = [heading for heading in headings if heading in header]
        if not found or header.count(found[0]) != 1:
            raise DataError(
                f"{path}:1: expected the header 'name,classes', found {quoted(','.join(header))}{_column_hint(header)}"
            )
        columns.append(header.index(found[0]))
    return columns[0], columns[1]


def _column_hint(row: Sequence[str]) -> str:
    """What to add to a message where one cell is a whole line, parted otherwise."""
    sign = next((sign for sign in ";\t|" if len(row) == 1 and sign in row[0]), None)
    if sign is None:
        return ""
    return f"; columns are parted by commas, here by {quoted(sign)}: save the table with commas, as 'CSV (comma)'"


def _without_empty_end(cells: list[str]) -> list[str]:
    """Cells without the empty ones at their end, which spreadsheets write where another row was longer."""
    while cells and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _read_npy(path: Path, class_names: Sequence[str]) -> Tags:
    tags: Tags = {}
    content = read_npy(path)
    if isinstance(content, list):
        return tags_of_records(((f"{path}, record {i:,}", record) for i, record in enumerate(content, 1)), class_names)
    for key, row in content.items():
        where = f"{path}, key {_shown(key)}"
        name = _name_of_key(key, class_names, where)
        check_name(name, where)
        if name in tags:
            raise DataError(f"{where}: the file holds {quoted(name)} twice, as number and as text; keep one of them")
        if not isinstance(row, np.ndarray) or row.shape != (len(class_names),):
            found = f"shape {row.shape}" if isinstance(row, np.ndarray) else type(row).__name__
            raise DataError(f"{where}: expected an array of {len(class_names)} values, one per class, found {found}")
        if row.dtype.kind not in "biuf" or not np.all((row == 0) | (row == 1)):
            raise DataError(f"{where}: expected only 0 and 1, one per class, found {quoted(row.tolist())}")
        tags[name] = tuple(np.flatnonzero(row).tolist())
    return tags


def _shown(key: object) -> str:
    """A dictionary's key in a message; only its type where it could be endlessly long or deep."""
    plain = isinstance(key, str | bytes | float) or (isinstance(key, int) and abs(key) < 10**20)
    return quoted(key) if plain else f"of type {type(key).__name__}"


def _name_of_key(key: object, class_names: Sequence[str], where: str) -> str:
    """The name that a dictionary's key stands for: text, VOC's id without its underscore, or COCO's image id."""
    if isinstance(key, bytes):
        try:
            return key.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: the name is not UTF-8 text") from error
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool) and (name := name_of_number(key, class_names)):
        return name
    raise DataError(f"{where}: expected a name, or a number such as 2007000032 for 2007_000032")


READERS: dict[str, Callable[[Path, Sequence[str]], Tags]] = {
    ".csv": _read_csv,
    ".json": read_json_tags,
    ".jsonl": read_json_lines,
    ".npy": _read_npy,
}


class _PlainTreeBuilder(ElementTree.TreeBuilder):
    """Builds the tree of a document without declarations: entities could grow without bound."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a DOCTYPE, which VOC annotations never do")


def read_voc_annotations(annotation_folder: Path, names: Iterable[str], class_names: Sequence[str]) -> Tags:
    """Read the classes of the images `names` from `annotation_folder`/<name>.xml, difficult objects included.

    Returns name -> 0-based indices, as read_tags. Raises DataError, naming the file, when one is missing, damaged,
    no VOC annotation, or holds an object that is not one of `class_names`.
    """
    lookup = ClassLookup(class_names)
    return {name: _read_annotation(annotation_folder / f"{name}.xml", lookup) for name in names}


def _read_annotation(path: Path, lookup: ClassLookup) -> tuple[int, ...]:
    try:
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_PlainTreeBuilder()))
    except OSError as error:
        raise DataError(f"{path}: this annotation cannot be read: {error.strerror}; give --tags instead") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: not a readable VOC annotation: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"{path}: expected a VOC <annotation>, found {quoted(root.tag)}")
    # Only the objects themselves: the parts inside them (head, hand, foot) have names too.
    return lookup.indices(((item.findtext("name") or "").strip() for item in root.findall("object")), str(path))
