"""What an output folder says of itself: `run.json` (made with what) and `failed.jsonl` (what could not be made).

Processes that share a folder write one of each per share, such as `run.shard-0-of-3.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from excel_cam.errors import DataError, OutputError
from excel_cam.files.atomic import json_bytes, write_atomically
from excel_cam.files.json_file import read_json
from excel_cam.files.storage import Place
from excel_cam.labels.hand_made import read_hand_made
from excel_cam.labels.shards import WHOLE, Shard
from excel_cam.wording import predicted_tags_text

RUN_FILES = ("run", ".json")  # between the two, for a share of the images, which one: ".shard-0-of-3"
FAILED_FILES = ("failed", ".jsonl")
SHARDS_LAYOUT = "shards"  # what a record's "layout" says of labels in shards; a record of single files has none
_INDEX = re.compile(r"labels-[0-9]+\.parquet")
_ABSENT = object()


def run_file(shard: Shard) -> str:
    """The name of a share's run record."""
    return shard.file_part.join(RUN_FILES)


def shard_of_run_file(name: str) -> Shard:
    """The share whose run record has that name."""
    found = re.search(r"\.shard-([0-9]+)-of-([0-9]+)\.", name)
    return WHOLE if found is None else Shard(int(found[1]), int(found[2]))


def failed_file(shard: Shard) -> str:
    """The name of a share's list of failures."""
    return shard.file_part.join(FAILED_FILES)


def read_run(out: Path | Place) -> dict[str, Any] | None:
    """A run record of an output folder, or None where there is none; raises `OutputError` when it is damaged.

    All records of a folder tell of the same settings; that of a run over everything comes first.
    """
    return next(iter(read_runs(out).values()), None)


def read_runs(out: Path | Place) -> dict[str, dict[str, Any]]:
    """Every run record of an output folder by file name; raises `OutputError` when one is damaged.

    In a storage there is one at most; `DataError` where it does not answer.
    """
    if isinstance(out, Place):
        files: list[Path | Place] = [out.child(run_file(WHOLE))]
        files = [file for file in files if file.exists()]
    else:
        files = [*files_of_shares(out, RUN_FILES)]
    found = {path.name: _read_record(path) for path in files}
    return {name: record for name, record in found.items() if record is not None}


def files_of_shares(out: Path, ends: tuple[str, str]) -> Iterator[Path]:
    """The files of one kind in a folder: that of the whole, then those of shares."""
    name = re.compile(rf"{ends[0]}(\.shard-[0-9]+-of-[0-9]+)?{re.escape(ends[1])}")
    found = [path for path in out.glob(f"{ends[0]}*{ends[1]}") if name.fullmatch(path.name)]
    yield from sorted(found, key=lambda path: (len(path.name), path.name))


def read_record_of_whole(out: Path | Place) -> dict[str, Any] | None:
    """The record of a run over a whole output folder, None where it is not there.

    Raises `OutputError` where it is damaged, `DataError` where a storage does not answer.
    """
    file = out.child(run_file(WHOLE)) if isinstance(out, Place) else out / run_file(WHOLE)
    return _read_record(file) if file.exists() else None


def record_of_whole(out: Path | Place) -> dict[str, Any] | None:
    """The same; None also where it cannot be read."""
    try:
        return read_record_of_whole(out)
    except (OutputError, DataError):
        return None


def is_packed(out: Path | Place) -> bool:
    """Whether the labels of an output folder lie in shards: its record says so, or, where that is lost, its files."""
    record = record_of_whole(out)
    if record is not None:
        return record.get("layout") == SHARDS_LAYOUT
    names = out.names(".parquet") if isinstance(out, Place) else (path.name for path in out.glob("labels-*.parquet"))
    return any(_INDEX.fullmatch(name) for name in names)


def refuse_shards(out: Path) -> None:
    """Raise `OutputError` where the labels of a folder lie in shards: single files would not become part of them."""
    if is_packed(out):
        raise OutputError(
            f"{out} holds labels in shards, which stay as they are; choose another folder, or unpack them first: "
            f"`excel-cam unpack {out} --to labels/`"
        )


def _read_record(path: Path | Place) -> dict[str, Any] | None:
    remedy = "remove it or choose another --out"
    record: dict[str, Any] | None = read_json(path, "run record", remedy=remedy, error=OutputError, optional=True)
    if record is not None and not isinstance(record.get("identity"), dict):
        raise OutputError(f"{path}: not a run record of excel-cam; remove it or choose another --out")
    return record


def has_readable_run(folder: Path | Place) -> bool:
    """Whether there is a readable record in a folder, of a run or an import: its PNGs are labels of this program."""
    try:
        return read_run(folder) is not None or read_hand_made(folder) is not None
    except (OutputError, DataError):
        return False


def are_without_background(labels: Path | Place) -> bool:
    """Whether the record beside labels, if there is a readable one, says that label 0 is a class."""
    if not has_readable_run(labels):
        return False
    record = read_run(labels)
    if record is None:
        hand_made = read_hand_made(labels)
        return hand_made is not None and not hand_made.has_background
    knowledge = record.get("knowledge")
    return isinstance(knowledge, dict) and knowledge.get("background_class") is False


def predicted_tags_note(labels: Path | Place) -> str | None:
    """What the record beside labels says of tags that were predicted; None where they were given, or it is unreadable.

    "predicted, not given (48 images, 3 corrected by hand)".
    """
    try:
        dataset = (read_run(labels) or {}).get("dataset")
    except OutputError:
        return None
    note = dataset.get("predicted_tags") if isinstance(dataset, dict) else None
    images, corrected = (note.get("images"), note.get("corrected")) if isinstance(note, dict) else (None, None)
    if not isinstance(images, int) or not isinstance(corrected, int):
        return None
    return predicted_tags_text(images, corrected)


def write_run(out: Path, record: dict[str, Any], shard: Shard = WHOLE) -> None:
    """Write a share's run record, whole; raises `OutputError`."""
    write_atomically(out / run_file(shard), json_bytes(record))


def retire_runs(out: Path, identity: dict[str, Any]) -> None:
    """Remove the records of runs that made their labels otherwise: those labels are about to be replaced."""
    for name, record in read_runs(out).items():
        if record["identity"] != identity:
            (out / name).unlink(missing_ok=True)


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two records, one readable phrase each: "refine was par, now none"."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key, _ABSENT), now.get(key, _ABSENT)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new)
        elif old != new:
            found.append(f"{prefix}{key} was {_short(old)}, now {_short(new)}")
    return found


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:12]}…"
