"""Tags that were predicted, not given: how a file of tags says so, beside each tag's score.

A `.csv` has a third column, `predicted_scores`, with `cat:0.83;dog:0.4`; records of `.json` and `.jsonl` have a key of
that name with `{"cat": 0.83, "dog": 0.4}`. The classes themselves stand where they always do, so that any reader of
tags reads such a file, and people correct it there: a row whose classes are no longer the predicted ones is theirs. A
row with classes and without scores was given.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from excel_cam.errors import DataError
from excel_cam.files.json_stream import read_entries
from excel_cam.files.lists import read_text
from excel_cam.tags.coco_json import is_instances
from excel_cam.tags.lookup import ClassLookup, Tags
from excel_cam.tags.read import csv_name_column, read_tags
from excel_cam.wording import predicted_tags_text, quoted

PREDICTED = "predicted_scores"  # a column that nobody has by chance
_BEGINNING = 1 << 16  # bytes; longer than the header or first record of tags
Predicted = Mapping[str, Mapping[int, float]]  # name of an image -> score by 0-based class index, of each chosen class


@dataclass(frozen=True)
class PredictedNote:
    """How many images of a tags file have predicted tags, and of how many of these a person has changed them."""

    images: int
    corrected: int

    def __str__(self) -> str:
        return predicted_tags_text(self.images, self.corrected)


def predicted_note(path: Path, class_names: Sequence[str]) -> PredictedNote | None:
    """What a tags file says of predictions; None where all its tags were given. Raises `DataError` as `read_tags`."""
    predicted = read_predicted(path, class_names)
    if predicted is None:
        return None
    changed = _changed(predicted, read_tags(path, class_names))
    given = sum(not predicted[name] for name in changed)
    return PredictedNote(len(predicted) - given, len(changed) - given)


def tags_by_hand(path: Path, class_names: Sequence[str]) -> Tags:
    """Those tags in a file of predicted ones that a person gave or corrected; none in any other file."""
    predicted = read_predicted(path, class_names)
    return {} if predicted is None else _changed(predicted, read_tags(path, class_names))


def _changed(predicted: Predicted, tags: Tags) -> Tags:
    """The tags of images whose classes are not those that have scores."""
    return {name: tags[name] for name, scores in predicted.items() if set(tags[name]) != set(scores)}


def read_predicted(path: Path, class_names: Sequence[str]) -> Predicted | None:
    """The predicted classes of each image and their scores; None where the file says nothing of predictions.

    The file is one that `read_tags` reads. Raises `DataError` for scores in any other form than described above.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None or not _may_be_predicted(path):
        return None
    lookup, predicted = ClassLookup(class_names), dict[str, dict[int, float]]()
    for name, scores, where in reader(path):
        row = {lookup.index(word, where): _score(value, where) for word, value in scores.items()}
        predicted.setdefault(name.removeprefix("./"), {}).update(row)
    return predicted or None


def _may_be_predicted(path: Path) -> bool:
    """Whether the beginning of a file, its header or first record, has the word: most files are not read twice."""
    try:
        with path.open("rb") as stream:
            return PREDICTED.encode() in stream.read(_BEGINNING).lower()
    except OSError:
        return True  # said where it is read


def scores_cell(scores: Mapping[int, float], class_names: Sequence[str]) -> str:
    """Scores by class index as a cell of a `.csv`: `cat:0.83;dog:0.4`, the best first."""
    return ";".join(f"{name}:{score:g}" for name, score in scores_by_name(scores, class_names).items())


def scores_by_name(scores: Mapping[int, float], class_names: Sequence[str]) -> dict[str, float]:
    """Scores by class index as scores by name, the best first; four digits tell tags apart."""
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return {class_names[index]: float(f"{score:.4g}") for index, score in ranked}


def _rows_of_csv(path: Path) -> Iterator[tuple[str, Mapping[str, object], str]]:
    rows = csv.reader(io.StringIO(read_text(path, "tags file")), strict=True)
    header = [cell.strip().lower() for cell in next(rows, [])]
    if PREDICTED not in header:
        return
    name_column, column = csv_name_column(header, path), header.index(PREDICTED)
    for row in rows:
        where = f"{path}:{rows.line_num}"
        if any(cell.strip() for cell in row):
            cell = row[column] if column < len(row) else ""
            yield row[name_column].strip(), _scores_of_cell(cell, where), where


def _scores_of_cell(cell: str, where: str) -> dict[str, object]:
    scores: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in cell.split(";"))):
        name, _, value = part.rpartition(":")
        try:
            scores[name.strip()] = float(value)
        except ValueError:
            raise _no_score(part, where) from None
    return scores


def _records_of_json(path: Path) -> Iterator[tuple[str, Mapping[str, object], str]]:
    if is_instances(path):
        return
    for entry in read_entries(path, "tags file"):
        if entry.key or entry.number is None:
            return  # a dictionary by name: it has no place for scores
        found = _of_record(entry.parse(path), entry.where(path))
        if found is None:
            return
        yield found


def _records_of_lines(path: Path) -> Iterator[tuple[str, Mapping[str, object], str]]:
    for number, line in enumerate(read_text(path, "tags file").split("\n"), start=1):
        if line.strip():
            found = _of_record(json.loads(line), f"{path}:{number}")
            if found is None:
                return
            yield found


def _of_record(record: object, where: str) -> tuple[str, Mapping[str, object], str] | None:
    """Name and scores of a record; None where it has no scores: the first one tells what the file is."""
    if not isinstance(record, dict) or PREDICTED not in record:
        return None
    scores, name = record[PREDICTED], record.get("name")
    if not isinstance(scores, dict) or not isinstance(name, str):
        raise DataError(f"{where}: {PREDICTED}: expected an object of scores by class, found {quoted(scores)}")
    return name, scores, where


def _score(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _no_score(value, where)
    return float(value)


def _no_score(found: object, where: str) -> DataError:
    return DataError(
        f"{where}: {PREDICTED}: expected scores such as cat:0.83, found {quoted(found)}; correct classes in their own "
        "column, and leave this one as it is or empty"
    )


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, Mapping[str, object], str]]]] = {
    ".csv": _rows_of_csv,
    ".json": _records_of_json,
    ".jsonl": _records_of_lines,
}
