"""Scores of all classes of many photographs, as `excel-cam tags --predict` keeps them beside its tags file.

A text file of JSON lines. The first says what it is, `{"excel_cam": "tag scores", "made_with": ..., "classes": [...]}`;
then a line per photograph, `{"name": ..., "photograph": ..., "scores": [...]}`, one score, 0..1, per class. Lines are
added as photographs are scored: a run that is killed leaves at most its last one incomplete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError, OutputError
from excel_cam.files.atomic import json_line, write_atomically
from excel_cam.files.lists import check_name, read_text
from excel_cam.wording import quoted

Scores = Mapping[str, NDArray[np.float64]]  # name of an image -> (K,) scores, 0..1
SCORES_SUFFIX = ".scores.jsonl"
_KIND = "tag scores"


@dataclass(frozen=True)
class PhotographScores:
    """One photograph's scores, (K,) float64 in 0..1, and how its file was when they were computed."""

    name: str
    photograph: str
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class TagScores:
    """A file of scores: what they were made with, the K classes, and each photograph's by name."""

    made_with: str
    class_names: tuple[str, ...]
    photographs: dict[str, PhotographScores]


def scores_path(tags_file: Path) -> Path:
    """Where the scores behind a file of predicted tags are: tags.csv → tags.scores.jsonl."""
    return tags_file.with_name(tags_file.stem + SCORES_SUFFIX)


def read_scores(path: Path) -> TagScores:
    """Read a file of scores; a last line that was cut off is passed over.

    Raises `DataError`, naming file and line, where it is missing, damaged or something else.
    """
    *lines, _ = read_text(path, "file of tag scores").split("\n")  # after the last line's end there is nothing
    head = _parse(lines[0], f"{path}:1") if lines else {}
    classes, made_with = head.get("classes"), head.get("made_with")
    if head.get("excel_cam") != _KIND or not isinstance(classes, list) or not isinstance(made_with, str):
        raise DataError(f"{path}: not a file of tag scores; expected the {SCORES_SUFFIX} of `excel-cam tags --predict`")
    photographs = {}
    for number, line in enumerate(lines[1:], start=2):
        found = _photograph(_parse(line, f"{path}:{number}"), len(classes), f"{path}:{number}")
        photographs[found.name] = found
    return TagScores(made_with, tuple(map(str, classes)), photographs)


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a line of tag scores, found {quoted(line)}; make the file again")
    return record


def _photograph(record: dict[str, Any], count: int, where: str) -> PhotographScores:
    name, photograph, scores = (record.get(key) for key in ("name", "photograph", "scores"))
    if not isinstance(name, str) or not isinstance(photograph, str) or not _are_scores(scores, count):
        raise DataError(
            f"{where}: expected a name and {count} scores within 0..1, found {quoted(record)}; make the file again"
        )
    check_name(name, where)
    return PhotographScores(name, photograph, np.array(scores, np.float64))


def _are_scores(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, int | float) and 0 <= value <= 1 for value in values)
    )


class ScoreWriter:
    """Adds photographs to a file of scores; see `writing_scores`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def add(self, found: PhotographScores) -> PhotographScores:
        """One more; returns it as the file has it, its scores in six digits. Raises `OutputError`."""
        scores = [float(f"{value:.6g}") for value in found.scores]
        line = json_line({"name": found.name, "photograph": found.photograph, "scores": scores}).encode()
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OutputError(f"{self._path} cannot be written to its end; free some space and run this again")
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from None
        return PhotographScores(found.name, found.photograph, np.array(scores, np.float64))


@contextmanager
def writing_scores(
    path: Path, made_with: str, class_names: Sequence[str], kept: Iterable[PhotographScores]
) -> Iterator[ScoreWriter]:
    """Begin a file of scores with those that are kept, whole, and add to it while the block runs."""
    head = {"excel_cam": _KIND, "made_with": made_with, "classes": list(class_names)}
    lines = [{"name": one.name, "photograph": one.photograph, "scores": one.scores.tolist()} for one in kept]
    write_atomically(path, "".join(map(json_line, [head, *lines])).encode())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield ScoreWriter(path, descriptor)
    finally:
        os.close(descriptor)
