"""What an export remembers of its files: what each was made from, and a digest of what was written.

Times play no part in it: copies, restored backups and clocks that differ make an old file look newer than its label.
One line of JSON per image, appended once its file is whole, so that a killed export goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files.atomic import hash_file, json_line
from excel_cam.files.json_file import parse_json_line
from excel_cam.files.machine import raise_if_machine


@dataclass(frozen=True)
class Finished:
    """One image's file. made_from: digest of its sources. content: SHA-256 of the file itself."""

    made_from: str
    content: str


def read_finished(path: Path) -> dict[str, Finished]:
    """The finished files of an export by the names of their images; lines that are damaged count as not finished."""
    try:
        lines = path.read_text("utf-8", "replace").split("\n")
    except OSError as error:
        raise_if_machine(error, path)
        return {}
    entries = [entry for entry in map(parse_object, lines) if _is_whole(entry)]
    return {entry["name"]: Finished(entry["made_from"], entry["content"]) for entry in entries}


def _is_whole(entry: dict[str, Any]) -> bool:
    return all(isinstance(entry.get(key), str) and entry[key] for key in ("name", "made_from", "content"))


def finished_line(name: str, finished: Finished) -> str:
    """The line that `read_finished` reads."""
    return json_line({"name": name, "made_from": finished.made_from, "content": finished.content})


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, at once. Raises `OutputError`."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object that a text holds; empty where it holds none."""
    value = parse_json_line(text)
    return value if isinstance(value, dict) else {}


def content_digest(path: Path) -> str:
    """SHA-256 of a file, "" where there is none that can be read. Raises `MachineError`."""
    try:
        return hash_file(path)
    except OSError as error:
        raise_if_machine(error, path)
        return ""
