"""`failed.jsonl`: the images of a run that have no label, each with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from excel_cam.errors import OutputError
from excel_cam.files.atomic import json_line, write_atomically
from excel_cam.files.json_file import parse_json_line
from excel_cam.labels.records import FAILED_FILES, failed_file, files_of_shares
from excel_cam.labels.shards import WHOLE, Shard

_LONGEST_LINE = 1 << 20  # bytes; a name has at most some thousands, a reason some hundreds


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


def merge_failures(out: Path, into: Shard, parts: Sequence[Shard]) -> None:
    """Make the lists of `parts` one with that of the share they are parts of, which is written before theirs go."""
    whole = FailureLog(out, into)
    reasons: dict[str, str] = {}
    for part in (into, *parts):
        reasons |= _read_failures(FailureLog(out, part).path)
    _write_failures(whole.path, reasons)
    for part in parts:
        if part.file_part != into.file_part:
            _write_failures(FailureLog(out, part).path, {})


def failures_of(out: Path) -> Iterator[tuple[str, str]]:
    """Names and reasons of all the images that the lists of a folder have, of every share."""
    for path in files_of_shares(out, FAILED_FILES):
        yield from _read_failures(path).items()


def _read_failures(path: Path) -> dict[str, str]:
    """Reasons by name; lines that we did not write are left out. OutputError for what cannot be read, as a folder."""
    reasons = {}
    try:
        with path.open("rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                entry = parse_json_line(line)
                if isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("name", "reason")):
                    reasons[entry["name"]] = entry["reason"]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _in_the_way(path, error) from None
    return reasons


def _in_the_way(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: the list of failures cannot be kept: {error.strerror}; move away what is there")


def _write_failures(path: Path, reasons: dict[str, str]) -> None:
    if reasons:
        lines = (json_line({"name": name, "reason": reason}) for name, reason in reasons.items())
        write_atomically(path, "".join(lines).encode())
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _in_the_way(path, error) from None
