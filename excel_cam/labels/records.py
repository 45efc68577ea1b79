"""What an output folder says of itself: `run.json` (made with what) and `failed.jsonl` (what could not be made).

Processes that share a folder write one of each per share, such as `run.shard-0-of-3.json`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files.atomic import hash_json, json_bytes, json_line, write_atomically
from excel_cam.labels.shards import WHOLE, Shard

RUN_FILES = ("run", ".json")  # between the two, for a share of the images, which one: ".shard-0-of-3"
FAILED_FILES = ("failed", ".jsonl")
_ABSENT = object()


@dataclass(frozen=True)
class Identity:
    """Everything besides photograph and tags that decides a label's bytes, as JSON can hold it.

    `known` is known from the command and files alone. `resolved` needs the model: weights fingerprint and precision.
    """

    known: dict[str, Any]
    resolved: dict[str, Any]

    def stamp(self, tags: tuple[int, ...]) -> str:
        """32 hexadecimal digits that change when any of it, or the image's tags, change."""
        return hash_json({"known": self.known, "resolved": self.resolved, "tags": list(tags)})[:32]


def run_file(shard: Shard) -> str:
    """The name of a share's run record."""
    return shard.file_part.join(RUN_FILES)


def failed_file(shard: Shard) -> str:
    """The name of a share's list of failures."""
    return shard.file_part.join(FAILED_FILES)


def read_run(out: Path) -> dict[str, Any] | None:
    """A run record of an output folder, or None where there is none; raises `OutputError` when it is damaged.

    All records of a folder tell of the same settings; that of a run over everything comes first.
    """
    return next(iter(read_runs(out).values()), None)


def read_runs(out: Path) -> dict[str, dict[str, Any]]:
    """Every run record of an output folder by file name; raises `OutputError` when one is damaged."""
    found = {path.name: _read_record(path) for path in _parts(out, RUN_FILES)}
    return {name: record for name, record in found.items() if record is not None}


def _parts(out: Path, ends: tuple[str, str]) -> Iterator[Path]:
    """The files of one kind in a folder: that of the whole, then those of shares."""
    name = re.compile(rf"{ends[0]}(\.shard-[0-9]+-of-[0-9]+)?{re.escape(ends[1])}")
    found = [path for path in out.glob(f"{ends[0]}*{ends[1]}") if name.fullmatch(path.name)]
    yield from sorted(found, key=lambda path: (len(path.name), path.name))


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path}: the run record cannot be read ({error}); remove it or choose another --out"
        ) from None
    if not isinstance(record, dict) or not isinstance(record.get("identity"), dict):
        raise OutputError(f"{path}: not a run record of excel-cam; remove it or choose another --out")
    return record


def are_without_background(labels: Path) -> bool:
    """Whether the run record beside labels, if there is a readable one, says that label 0 is a class."""
    try:
        record = read_run(labels)
    except OutputError:
        return False
    knowledge = record.get("knowledge") if record else None
    return isinstance(knowledge, dict) and knowledge.get("background_class") is False


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


def check_writable(out: Path) -> None:
    """Raise `OutputError` early when labels could not be written to `out`."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the output folder cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise OutputError(f"{out}: no permission to write there; choose another --out")


@dataclass
class FailureLog:
    """`failed.jsonl`: one line per image of the last run that has no label, with the reason.

    Lines are written as failures happen, each at once, so that a killed run leaves whole lines. An image that later
    succeeds loses its line; without failures there is no file. Each share of the images has a file of its own.
    """

    out: Path
    shard: Shard = WHOLE
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file of this share."""
        return self.out / failed_file(self.shard)

    def start(self, retried: set[str]) -> None:
        """Keep the earlier lines, less those of the images about to be tried again.

        Those go from the files of other shares too, where the images were divided otherwise before. Shares of one
        division have no image in common, so that no file is rewritten that another process adds to.
        """
        self.reasons = {name: reason for name, reason in _read_failures(self.path).items() if name not in retried}
        _write_failures(self.path, self.reasons)
        self.drop_elsewhere(retried)

    def drop_elsewhere(self, names: set[str]) -> None:
        """Take the lines of these images out of the files of other shares; at a run's end this repeats `start`'s.

        Two processes that begin at one moment may each put back a line that the other took out.
        """
        for path in _parts(self.out, FAILED_FILES):
            reasons = _read_failures(path)
            if path != self.path and reasons.keys() & names:
                _write_failures(path, {name: reason for name, reason in reasons.items() if name not in names})

    def add(self, name: str, reason: str) -> None:
        """Record one failure."""
        self.reasons[name] = reason
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json_line({"name": name, "reason": reason}))
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None


def _read_failures(path: Path) -> dict[str, str]:
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    reasons = {}
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            reasons[entry["name"]] = entry["reason"]
        except (ValueError, KeyError, TypeError):
            continue  # a line we did not write
    return reasons


def _write_failures(path: Path, reasons: dict[str, str]) -> None:
    if reasons:
        lines = (json_line({"name": name, "reason": reason}) for name, reason in reasons.items())
        write_atomically(path, "".join(lines).encode())
    else:
        path.unlink(missing_ok=True)
