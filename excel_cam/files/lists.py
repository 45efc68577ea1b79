"""Small text files: lists of image names (`--list`, split files) and class lists (`--classes`).

Also the rule for a name: it is the path of an image under its root, with `/`, without extension, and stays inside.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from excel_cam.classes import MAX_CLASSES
from excel_cam.errors import DataError
from excel_cam.files.class_forms import EXPECTED, ClassLine, plain_lines
from excel_cam.wording import Report, quoted

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
STANDARD_INPUT = "-"

# VOC's per-class lists add -1, 0 or 1 after the id; other names may hold spaces and digits of their own.
_DEVKIT_LINE = re.compile(r"(\d{4}_\d{6})\s+-?[01]")
_COLUMNS = re.compile(r"[\s,;]+")
_NUMBER = re.compile(r"-?\d+")
_LAYOUT_FOLDER = re.compile(r"\A/?(?:JPEGImages|SegmentationClass(?:Aug)?)/")
_JSON_NAMES = ("name", "file_name", "filename", "image", "path")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# What markup and code hold, and names of classes do not; and what stands for no name at all.
_NO_CLASS = re.compile(r"[{}]|\A[<\[:=]|:\s*:")
_NUMBERS = re.compile(r"[\d\s,.]+")
_NUMBER_BESIDE = re.compile(r"\A\d+\s*[,|=]|[,|=]\s*\d+\Z")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:")
# Everything check_name refuses, in one pass, because it sees every name of a data set.
_SUSPECT = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]|\A[A-Za-z]:|(?:\A|/)\.{0,2}(?:/|\Z)")


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file, with or without byte order mark, its line ends made `\\n`.

    Raises DataError, which calls the file `what`, when it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: this {what} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: this {what} cannot be read: {reason}") from error


def check_name(name: str, where: str) -> None:
    """Refuse a name that leaves the folder of images or could be written in two ways.

    Raises DataError, which begins with `where` (file and line, or entry), for an empty or absolute name, a drive
    letter, a `..`, `.` or empty part, a backslash, and control or undecodable characters.
    """
    if not _SUSPECT.search(name):
        return
    if not name:
        raise DataError(f"{where}: the name is empty; give the path of an image under the root, such as 'sub/cat'")
    if _CONTROL.search(name):
        reason = "holds a control or undecodable character"
    elif "\\" in name:
        reason = "holds a backslash"
    elif _ABSOLUTE.match(name):
        reason = "is absolute or has a drive letter"
    elif ".." in name.split("/"):
        reason = "leaves the root"
    else:
        reason = "has an empty or '.' part"
    raise DataError(f"{where}: name {quoted(name)} {reason}; give a path under the root with '/', such as 'sub/cat'")


def drop_image_suffix(name: str) -> str:
    """`name` without the extension of an image, if it has one: 'a/cat.JPG' -> 'a/cat', 'v1.5' -> 'v1.5'."""
    stem, dot, suffix = name.rpartition(".")
    named = stem and not stem.endswith("/")  # 'a/.jpg' is a hidden file, not an extension
    return stem if named and (dot + suffix).lower() in IMAGE_SUFFIXES else name


def read_names(source: str | IO[str]) -> list[str]:
    """Names of images, one per line, each once and in order, as `plain_name` reads them; see `read_entries`.

    Raises DataError when the source cannot be read, holds no name, or check_name refuses one.
    """
    names: dict[str, None] = {}
    for entry, where in read_entries(source).items():
        name = plain_name(entry)
        check_name(name, where)
        names[name] = None
    return list(names)


def read_entries(source: str | IO[str]) -> dict[str, str]:
    """The entries of a list of names as they are written, each once and in order -> where it stands.

    `source` is the path of a file, `-` for standard input, or an open text stream. Blank lines, lines that begin with
    `#`, and the hidden `._` files of macOS are skipped; JSON, one text or object a line or in arrays, gives its texts
    and the names of its objects. Raises DataError when the source cannot be read or holds no entry.
    """
    where, text = _text_of_list(source)
    entries: dict[str, str] = {}
    for place, entry in _json_entries(text, where) or _line_entries(text, where):
        if not entry.replace("\\", "/").rpartition("/")[2].startswith("._"):
            entries.setdefault(entry, place)
    if not entries:
        raise DataError(f"{where}: no names in this list; expected one per line")
    return entries


def _text_of_list(source: str | IO[str]) -> tuple[str, str]:
    """The name and the text of a list of names."""
    if source != STANDARD_INPUT and isinstance(source, str):
        return source, read_text(Path(source), "list of names")
    stream = sys.stdin if isinstance(source, str) else source
    where = getattr(stream, "name", "list of names")
    try:
        # Names are UTF-8 whatever the locale says: the bytes are taken where there are any.
        raw = getattr(stream, "buffer", None)
        text = stream.read() if raw is None else raw.read().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: the list of names cannot be read as text: {error}; save it as UTF-8") from error
    return where, text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _line_entries(text: str, where: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if (entry := line.strip()) and not entry.startswith("#"):
            yield f"{where}:{number}", entry


def _json_entries(text: str, where: str) -> list[tuple[str, str]] | None:
    """The entries of JSON values one after the other; None where the text is not all JSON objects and arrays."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    decoder, at, found = json.JSONDecoder(), 0, list[tuple[str, Any]]()
    try:
        while match := re.compile(r"\s*(?=\S)").match(text, at):
            value, at = decoder.raw_decode(text, match.end())
            place = f"{where}:{text.count(chr(10), 0, match.end()) + 1}"
            found += [(place, item) for item in (value if isinstance(value, list) else [value])]
    except (ValueError, RecursionError):
        return None  # names may begin with a bracket too
    return [(place, _name_of_json(item, place)) for place, item in found]


def _name_of_json(value: Any, where: str) -> str:
    if isinstance(value, dict):
        value = next((value[key] for key in _JSON_NAMES if key in value), None)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: expected a name, or an object with one under {', '.join(_JSON_NAMES)}")
    return value


def plain_name(entry: str) -> str:
    """The name that an entry of a list most likely means, where it is not known which names there are.

    Quotes, a leading `./`, an image's extension, the folders of VOC's layout, and further columns are dropped: of
    `/JPEGImages/x.jpg /SegmentationClassAug/x.png`, of `x.jpg 3 7`, and of VOC's lists per class.
    """
    entry = unquoted(entry)
    if devkit := _DEVKIT_LINE.fullmatch(entry):
        return devkit[1]
    first, *others = _COLUMNS.split(entry)
    if others and _is_file(first) and all(_NUMBER.fullmatch(cell) or _is_file(cell) for cell in others):
        entry = first
    entry = _LAYOUT_FOLDER.sub("", entry)
    return drop_image_suffix(entry.removeprefix("./"))


def _is_file(text: str) -> bool:
    return drop_image_suffix(text) != text


def unquoted(entry: str) -> str:
    """An entry without the quotes of JSON or a shell around it."""
    if len(entry) < 2 or entry[0] != entry[-1] or entry[0] not in "\"'":
        return entry
    try:
        value = json.loads(entry)
    except ValueError:
        return entry[1:-1]
    return value if isinstance(value, str) else entry


def read_class_list(
    path: Path, limit: int = MAX_CLASSES, report: Report = lambda _: None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and prompt names in label order, from a list in any of the forms of `class_forms`.

    Blank lines and lines that begin with `#` are skipped; without a prompt name, the name itself is the prompt's.
    limit: most classes the labels hold; MAX_CLASSES_ALONE where label 0 is a class, so that no line is dropped as the
    background's. report is told what was dropped.
    Raises DataError with the line for any other form, an empty or repeated name, and more than `limit` classes.
    """
    lines, note = plain_lines(str(path), read_text(path, "class list"), has_background=limit <= MAX_CLASSES)
    if note is not None:
        report(note)
    names = check_classes(lines, limit)
    if not names:
        raise DataError(f"{path}: no classes in this list; expected one per line")
    return tuple(names), tuple(names.values())


def check_classes(lines: Sequence[ClassLine], limit: int = MAX_CLASSES) -> dict[str, str]:
    """Class name -> prompt name of the lines of a list; raises DataError as `read_class_list`."""
    prompt_names: dict[str, str] = {}
    first_lines: dict[str, str] = {}
    for line in lines:
        where, text = line.where, line.text
        name, colon, prompt = (part.strip() for part in text.partition(":"))
        if not name or (colon and not prompt) or _NO_CLASS.search(text) or (len(lines) == 1 and "," in name):
            raise DataError(f"{where}: {EXPECTED}, found {quoted(text)}")
        if (colon and (_NUMBERS.fullmatch(name) or _NUMBERS.fullmatch(prompt))) or _NUMBER_BESIDE.search(name):
            raise DataError(f"{where}: a number beside a name in {quoted(text)}, unlike the other lines; {EXPECTED}")
        if ";" in name or _CONTROL.search(text):
            raise DataError(
                f"{where}: class name {quoted(name)} holds ';' or a control character; tags could not name it"
            )
        if name in first_lines:
            raise DataError(f"{where}: class {quoted(name)} is already at {first_lines[name]}; keep one of them")
        if len(first_lines) == limit:
            raise DataError(f"{where}: more than {limit} classes; 8-bit labels hold no more, shorten the list")
        first_lines[name] = where
        prompt_names[name] = prompt or name
    return prompt_names
