"""Read a JSON file, or one JSON text, of bounded size and depth, in one way for whatever kind of file it is.

Files without bound, such as COCO's instances, are read by `json_stream`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excel_cam.errors import DataError, ExcelCamError
from excel_cam.files.arrays.bounded import read_bounded
from excel_cam.wording import quoted, readable_size

if TYPE_CHECKING:
    from excel_cam.files.storage import Place

MAX_BYTES = 64_000_000  # of one file; a knowledge base of 255 classes with 200 sentences has 5 MB
MAX_DEPTH = 100  # of nesting; no file that is read here has more than 6
_KINDS = {
    dict: "an object", list: "an array", str: "a text", bool: "true or false", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip


def parse_json(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """The value of a JSON text. Raises ValueError, with a reason for people, for anything else.

    That includes bytes that are not UTF-8, values nested deeper than MAX_DEPTH, whole numbers of thousands of digits,
    NaN and infinities, which JSON has not, and, with `unique_keys`, a key that stands twice in one object.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is longer than {readable_size(MAX_BYTES)}")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(
            text.removeprefix("\ufeff"), object_pairs_hook=_object if unique_keys else None, parse_constant=_constant
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start:,})") from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} (line {error.lineno:,}, column {error.colno:,})") from None
    _check_depth(value)
    return value


def parse_json_line(line: str | bytes) -> Any:
    """The value of one line of a file that grows line by line, None for one that is damaged: a killed run's cut one."""
    try:
        return parse_json(line)
    except ValueError:
        return None


def read_json(
    path: Path | Place, what: str, *, remedy: str, error: type[ExcelCamError] = DataError, unique_keys: bool = False,
    expected: type | None = dict, optional: bool = False,
) -> Any:  # fmt: skip
    """The value in a JSON file, of type `expected` (None: any); None where there is no such file, if `optional`.

    what: what the file is, and remedy: what to do where it holds something else, for the message of the `error` raised.
    A place that cannot be read raises `DataError`.
    """
    try:
        value = parse_json(read_bounded(path, MAX_BYTES), unique_keys=unique_keys)
    except (FileNotFoundError, NotADirectoryError) as missing:
        if optional:
            return None
        raise error(f"{path}: the {what} cannot be read: {missing.strerror}") from None
    except OSError as trouble:
        raise error(f"{path}: the {what} cannot be read: {trouble.strerror or trouble}") from None
    except ValueError as trouble:
        raise error(f"{path}: the {what} cannot be read: {trouble}; {remedy}") from None
    if expected is not None and type(value) is not expected:
        raise error(
            f"{path}: expected {_KINDS[expected]} as {what}, found {_KINDS[type(value)]} ({quoted(value)}); {remedy}"
        )
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key given twice only the last value would be left, unnoticed."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f"the key {quoted(key)} stands twice in one object")
        record[key] = value
    return record


def _constant(name: str) -> Any:
    raise ValueError(f"it is not JSON: {name} is no number")


def _check_depth(value: Any) -> None:
    """ValueError for what is nested too deeply to be written, compared or shown by recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                inner += [child for child in container.values() if isinstance(child, dict | list)]
            elif isinstance(container, list):
                inner += [child for child in container if isinstance(child, dict | list)]
        level = inner
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
