"""What an output folder says of itself: `run.json` (made with what) and `failed.jsonl` (what could not be made)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files import hash_json, json_bytes, json_line, write_atomically

RUN_FILE = "run.json"
FAILED_FILE = "failed.jsonl"
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


def read_run(out: Path) -> dict[str, Any] | None:
    """The run record of an output folder, or None where there is none; raises `OutputError` when it is damaged."""
    path = out / RUN_FILE
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


def write_run(out: Path, record: dict[str, Any]) -> None:
    """Write the run record, whole; raises `OutputError`."""
    write_atomically(out / RUN_FILE, json_bytes(record))


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
    succeeds loses its line; without failures there is no file.
    """

    out: Path
    reasons: dict[str, str] = field(default_factory=dict)

    def start(self, retried: set[str]) -> None:
        """Keep the earlier lines, less those of the images about to be tried again."""
        path = self.out / FAILED_FILE
        if path.exists():
            for line in path.read_text("utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["name"] not in retried:
                        self.reasons[entry["name"]] = entry["reason"]
                except (ValueError, KeyError, TypeError):
                    continue  # a line we did not write
        self._rewrite()

    def add(self, name: str, reason: str) -> None:
        """Record one failure."""
        self.reasons[name] = reason
        path = self.out / FAILED_FILE
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json_line({"name": name, "reason": reason}))
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None

    def _rewrite(self) -> None:
        path = self.out / FAILED_FILE
        if self.reasons:
            lines = (json_line({"name": name, "reason": reason}) for name, reason in self.reasons.items())
            write_atomically(path, "".join(lines).encode())
        else:
            path.unlink(missing_ok=True)
