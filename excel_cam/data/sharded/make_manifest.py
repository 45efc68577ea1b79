"""A folder of photographs and its tags as a manifest; both are gone through once, and joined on the disk.

So memory holds the listing of one folder and a group of rows, however many there are.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from excel_cam.data.sharded.manifest import write_rows
from excel_cam.errors import DataError, UsageError
from excel_cam.files.atomic import replacing
from excel_cam.files.images.image_folder import is_image, is_unread, unread_note, walk_files_of_others
from excel_cam.files.lists import IMAGE_SUFFIXES, check_name, drop_image_suffix
from excel_cam.files.parquet import require_pyarrow
from excel_cam.tags.lookup import ClassLookup
from excel_cam.tags.read import csv_rows, read_tags
from excel_cam.tags.records import json_line_records, tags_of_records
from excel_cam.wording import quoted

_TABLES = """
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
    CREATE TABLE image (name TEXT PRIMARY KEY, file TEXT) WITHOUT ROWID;
    CREATE TABLE unread (file TEXT);
    CREATE TABLE tag (name TEXT PRIMARY KEY, classes TEXT) WITHOUT ROWID;
"""
_UNTAGGED = "SELECT name FROM image WHERE name NOT IN (SELECT name FROM tag)"
_UNSEEN = "SELECT name FROM tag WHERE name NOT IN (SELECT name FROM image)"


@dataclass(frozen=True)
class ManifestMade:
    """What was written.

    rows: photographs. unseen: names in the tags that no photograph has, and the first of them. notes: lines worth
    telling of the folder.
    """

    rows: int
    unseen: int
    first_unseen: str | None
    notes: tuple[str, ...]


def make_manifest(
    root: Path, tags: Path | None, class_names: Sequence[str] | None, out: Path,
    counted: Callable[[int], None] = lambda _: None,
) -> ManifestMade:  # fmt: skip
    """Write the photographs below `root`, by name, with their tags.

    tags: None for a manifest without classes, as `excel-cam segment` needs none. class_names: None to take classes as
    they are written. counted: called with how many more photographs were found. Relative uris are relative to the
    folder of `out`, where the photographs lie below it; else they are whole paths.
    Raises `DataError` for two photographs of one name, one without tags, and whatever cannot be read.
    """
    require_pyarrow()
    with (
        tempfile.TemporaryDirectory(prefix="excel-cam-") as folder,
        closing(sqlite3.connect(Path(folder, "names.db"), isolation_level=None)) as base,
    ):
        base.executescript(_TABLES)
        base.execute("BEGIN")
        _fill_images(base, root, counted)
        if tags is not None:
            _fill_tags(base, tags, class_names)
            _require_tags(base, tags)
        with replacing(out) as part, part.open("wb") as stream:
            rows = write_rows(stream, _rows(base, root, out, class_names), with_classes=tags is not None)
        unseen, first = base.execute(f"SELECT count(*), min(name) FROM ({_UNSEEN})").fetchone()
        notes = _notes(base)
        return ManifestMade(rows, unseen, first, notes)


def _fill_images(base: sqlite3.Connection, root: Path, counted: Callable[[int], None]) -> None:
    found = 0
    try:
        for prefix, files in walk_files_of_others(root):
            images = [entry.name for entry in files if is_image(entry)]
            for name in images:
                _add_image(base, prefix + name, root)
            unread = [(str(root / (prefix + entry.name)),) for entry in files if is_unread(entry)]
            base.executemany("INSERT INTO unread VALUES (?)", unread)
            found += len(images)
            counted(len(images))
    except OSError as error:
        raise DataError(f"{error.filename or root}: this folder of images cannot be read: {error.strerror}") from None
    if not found:
        raise DataError(f"{root}: no images in this folder; expected files ending in {', '.join(IMAGE_SUFFIXES)}")


def _notes(base: sqlite3.Connection) -> tuple[str, ...]:
    """What the folder holds that is not read."""
    (found,) = base.execute("SELECT count(*) FROM unread").fetchone()
    return (unread_note(file for (file,) in base.execute("SELECT file FROM unread")),) if found else ()


def _add_image(base: sqlite3.Connection, file: str, root: Path) -> None:
    name = os.path.splitext(file)[0]
    check_name(name, str(root / file))
    try:
        base.execute("INSERT INTO image VALUES (?, ?)", (name, file))
    except sqlite3.IntegrityError:
        (other,) = base.execute("SELECT file FROM image WHERE name = ?", (name,)).fetchone()
        raise DataError(
            f"{root / other} and {root / file} would share the label {quoted(name)}; rename or move one of them"
        ) from None


def _fill_tags(base: sqlite3.Connection, tags: Path, class_names: Sequence[str] | None) -> None:
    """Put the tags of every name into the base; several rows of one name are taken together."""
    merge = (
        "INSERT INTO tag VALUES (?, ?) ON CONFLICT (name) "
        "DO UPDATE SET classes = classes || char(10) || excluded.classes"
    )
    for name, classes in _tags(tags, class_names):
        if not name.rpartition("/")[2].startswith("._"):  # what macOS puts beside files on foreign disks
            base.execute(merge, (drop_image_suffix(name), json.dumps(classes)))


def _tags(path: Path, class_names: Sequence[str] | None) -> Iterator[tuple[str, list[str]]]:
    """Names and classes of a file of tags, read as it goes where its form allows."""
    kind = path.suffix.lower()
    lookup = None if class_names is None else ClassLookup(class_names)

    def named(words: Sequence[object], where: str) -> list[str]:
        if lookup is not None:
            return [lookup.class_names[index] for index in lookup.indices(words, where)]
        if not all(isinstance(word, str) for word in words):
            raise DataError(f"{where}: classes by number need --classes or --dataset, which name them")
        return [str(word) for word in words]

    if kind not in (".csv", ".jsonl"):
        if class_names is None:
            raise UsageError(
                f"{path}: tags of a {kind or 'nameless'} file need --classes or --dataset, to name the classes"
            )
        for name, indices in read_tags(path, class_names).items():
            yield name, [class_names[index] for index in indices]
        return
    try:
        with path.open(encoding="utf-8-sig", newline="" if kind == ".csv" else None) as stream:
            if kind == ".csv":
                for where, name, words in csv_rows(path, stream, class_names):
                    yield name, named(words, where)
            else:
                for where, record in json_line_records(path, stream):
                    yield from _of_record(where, record, class_names, named)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: this tags file is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: this tags file cannot be read: {error.strerror or error}") from None


def _of_record(
    where: str, record: object, class_names: Sequence[str] | None, named: Callable[[Sequence[object], str], list[str]]
) -> Iterator[tuple[str, list[str]]]:  # fmt: skip
    if class_names is not None:
        for name, indices in tags_of_records([(where, record)], class_names).items():
            yield name, [class_names[index] for index in indices]
        return
    found = record if isinstance(record, dict) else {}
    written, classes = found.get("name"), found.get("classes")
    if not isinstance(written, str) or not isinstance(classes, list):
        raise DataError(f"{where}: expected a record with 'name' and 'classes', found {quoted(record)}")
    plain = written.removeprefix("./")
    check_name(plain, where)
    yield plain, named(classes, where)


def _require_tags(base: sqlite3.Connection, tags: Path) -> None:
    """Raise `DataError` where photographs have no tags: one without classes has to be said, not guessed."""
    untagged, first = base.execute(f"SELECT count(*), min(name) FROM ({_UNTAGGED})").fetchone()
    if untagged:
        (images,) = base.execute("SELECT count(*) FROM image").fetchone()
        raise DataError(
            f"{tags}: no tags for {untagged:,} of {images:,} images, first {quoted(first)}; add lines (with empty "
            "classes for none)"
        )


def _rows(
    base: sqlite3.Connection, root: Path, out: Path, class_names: Sequence[str] | None
) -> Iterator[tuple[str, str, list[str]]]:
    """Name, uri and classes of every photograph, sorted by name."""
    folder, whole = os.path.abspath(out.parent), os.path.abspath(root)
    below = os.path.commonpath([folder, whole]) == folder
    prefix = Path(os.path.relpath(whole, folder) if below else whole).as_posix()
    order = None if class_names is None else {name: place for place, name in enumerate(class_names)}
    query = "SELECT image.name, file, classes FROM image LEFT JOIN tag ON tag.name = image.name ORDER BY image.name"
    for name, file, told in base.execute(query):
        classes = list(dict.fromkeys(word for line in (told or "[]").split("\n") for word in json.loads(line)))
        if order is not None:
            classes.sort(key=order.__getitem__)
        yield name, file if prefix == "." else f"{prefix}/{file}", classes
