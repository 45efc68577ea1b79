"""Write tags in the forms that `read_tags` and the trainers of the field read."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from excel_cam.errors import DataError, OutputError, UsageError
from excel_cam.files.arrays.npy_write import npy_bytes
from excel_cam.files.atomic import json_line, write_atomically
from excel_cam.files.lists import read_class_list
from excel_cam.tags.lookup import Tags, number_of_name
from excel_cam.tags.predicted import PREDICTED, Predicted, scores_by_name, scores_cell
from excel_cam.wording import first_lines, quoted

NUMBERED_FILE = "cls_labels.npy"  # by IRN's custom with whole numbers as keys; cls_labels_onehot.npy has names


def write_tags(
    path: Path, tags: Tags, class_names: Sequence[str], keys: str | None = None, predicted: Predicted | None = None
) -> None:
    """Write tags whole, in the form that the extension of `path` names: .csv, .json, .jsonl or .npy.

    keys: `int` or `str`, the keys of a .npy dictionary; by default `int` for cls_labels.npy, else `str`.
    predicted: the scores of tags that were predicted, by image and class; a .npy has no place for them.
    Raises UsageError for another extension or keys without .npy, OutputError when it cannot be written or a name or
    class cannot be told in that form.
    """
    check_tags_path(path, keys)
    if path.suffix.lower() == ".npy":
        content = _npy_bytes(path, tags, class_names, keys or ("int" if path.name == NUMBERED_FILE else "str"))
    else:
        content = _TEXT_WRITERS[path.suffix.lower()](path, tags, class_names, predicted).encode()
    write_atomically(path, content)


def write_class_list(path: Path, class_names: Sequence[str], overwrite: bool = False) -> None:
    """Write a class list, a name a line, that `read_class_list` reads as these names; one that says the same stays.

    Raises `DataError` where a name cannot stand in a list, `OutputError` where other classes are in the way.
    """
    content = "".join(f"{name}\n" for name in class_names).encode()
    with tempfile.TemporaryDirectory() as folder:
        (trial := Path(folder, path.name)).write_bytes(content)
        if read_class_list(trial)[0] != tuple(class_names):
            raise DataError(
                f"{path}: a list would not tell these classes: {first_lines(map(quoted, class_names))}; rename what "
                "they are named by, without colons, commas and numbers of their own"
            )
    if path.exists() and path.read_bytes() != content and not overwrite:
        raise OutputError(f"{path} is there already, with other classes; add --overwrite, or choose another --out")
    write_atomically(path, content)


def formula_cells(path: Path, tags: Tags, class_names: Sequence[str]) -> list[str]:
    """The names and classes in a .csv that a spreadsheet would compute or call, as it does what begins with `=`.

    They are written as they are all the same: any sign in front would be a part of the name for whoever reads tags.
    """
    if path.suffix.lower() != ".csv":
        return []
    used = {class_names[indices[0]] for indices in tags.values() if indices}
    return [text for text in (*tags, *sorted(used)) if text.startswith(("=", "+", "-", "@", "\t", "\r"))]


def check_tags_path(path: Path, keys: str | None, predicted: bool = False) -> None:
    """Raise UsageError when tags cannot be written to a file of this name, or not with such keys.

    predicted: whether the file has to say that the tags were predicted, which a .npy cannot.
    """
    if path.suffix.lower() not in (*_TEXT_WRITERS, ".npy"):
        raise UsageError(f"{path}: tags are written to {', '.join(_TEXT_WRITERS)} and .npy files; name --out so")
    if predicted and path.suffix.lower() == ".npy":
        raise UsageError(
            f"{path}: a .npy has no place for scores; write .csv, .json or .jsonl, and make the .npy of that with "
            "`excel-cam tags --from`"
        )
    if keys is not None and path.suffix.lower() != ".npy":
        raise UsageError(f"--keys {keys}: only .npy files have keys of a kind; leave it out for {path}")


def _csv_text(path: Path, tags: Tags, class_names: Sequence[str], predicted: Predicted | None) -> str:
    for class_name in class_names:
        if ";" in class_name or class_name != class_name.strip():
            raise OutputError(f"{path}: CSV cannot tell the class {quoted(class_name)}; write .json instead")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("name", "classes") if predicted is None else ("name", "classes", PREDICTED))
    for name, indices in tags.items():
        if name != name.strip():
            raise OutputError(f"{path}: CSV cannot tell the name {quoted(name)}; write .json instead")
        scores = () if predicted is None else (scores_cell(predicted.get(name, {}), class_names),)
        writer.writerow((name, ";".join(class_names[index] for index in indices), *scores))
    return stream.getvalue()


def _json_text(_path: Path, tags: Tags, class_names: Sequence[str], predicted: Predicted | None) -> str:
    if predicted is not None:  # records, which have a place for scores
        return "[\n" + ",\n".join(_json_lines(tags, class_names, predicted)) + "\n]\n"
    lines = (
        f"{json.dumps(name, ensure_ascii=False)}: "
        f"{json.dumps([class_names[index] for index in indices], ensure_ascii=False)}"
        for name, indices in tags.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _jsonl_text(_path: Path, tags: Tags, class_names: Sequence[str], predicted: Predicted | None) -> str:
    return "".join(f"{line}\n" for line in _json_lines(tags, class_names, predicted))


def _json_lines(tags: Tags, class_names: Sequence[str], predicted: Predicted | None) -> Iterator[str]:
    for name, indices in tags.items():
        record: dict[str, object] = {"name": name, "classes": [class_names[index] for index in indices]}
        if predicted is not None:
            record[PREDICTED] = scores_by_name(predicted.get(name, {}), class_names)
        yield json_line(record).removesuffix("\n")


_TEXT_WRITERS: dict[str, Callable[[Path, Tags, Sequence[str], Predicted | None], str]] = {
    ".csv": _csv_text,
    ".json": _json_text,
    ".jsonl": _jsonl_text,
}


def _npy_bytes(path: Path, tags: Tags, class_names: Sequence[str], keys: str) -> bytes:
    """A .npy file of one dictionary, name or number -> float32 row of 0 and 1, for `numpy.load(...).item()`."""
    rows: dict[str | int, np.ndarray] = {}
    for name, indices in tags.items():
        key = name if keys == "str" else _number(path, name, class_names)
        if key in rows:
            raise OutputError(f"{path}: two images have the number {key}, the second is {quoted(name)}; use --keys str")
        rows[key] = np.zeros(len(class_names), np.float32)
        rows[key][list(indices)] = 1
    return npy_bytes(rows)


def _number(path: Path, name: str, class_names: Sequence[str]) -> int:
    number = number_of_name(name, class_names)
    if number is None:
        raise OutputError(
            f"{path}: no whole number stands for {quoted(name)}, as 2007000032 does for VOC's 2007_000032 and 9 for "
            "COCO's 000000000009; use --keys str"
        )
    return number
