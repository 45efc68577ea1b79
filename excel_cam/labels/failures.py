"""`failed.jsonl`: the images of a run that have no label, each with the reason."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from excel_cam.errors import OutputError
from excel_cam.files.atomic import json_line, write_atomically
from excel_cam.labels.records import (
    FAILED_FILES,
    failed_file,
    files_of_shares,
)
from excel_cam.labels.shards import WHOLE, Shard


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
        for path in files_of_shares(self.out, FAILED_FILES):
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
