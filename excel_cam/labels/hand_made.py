"""Labels that people made or corrected: how they are known, and the record of where they came from.

Each bears a stamp of its own, so that it is known wherever it is copied; `hand-made.json` beside them names every
import, and the classes, for folders that no run has written to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files.atomic import json_bytes, write_atomically
from excel_cam.files.json_file import read_json
from excel_cam.files.storage import Place

HAND_MADE = "hand-made"  # what the stamps of such labels begin with
HAND_MADE_FILE = "hand-made.json"
_REMEDY = "it names the classes of the hand-made labels: restore it, or remove it and give --classes or --dataset"


@dataclass(frozen=True)
class HandMade:
    """The record of hand-made labels: their classes, whether label 0 is background, and the imports so far."""

    classes: tuple[str, ...]
    has_background: bool
    imports: tuple[Any, ...] = ()


def hand_made_stamp(source: str) -> str:
    """The stamp of a label that came from a tool, such as `hand-made cvat`."""
    return f"{HAND_MADE} {source}"


def read_hand_made(folder: Path | Place) -> HandMade | None:
    """The record of hand-made labels in a folder, None without one; raises `OutputError` where it is damaged."""
    if isinstance(folder, Place):
        return None  # people's labels are files of this machine
    path = folder / HAND_MADE_FILE
    record: dict[str, Any] | None = read_json(
        path, "record of hand-made labels", remedy=_REMEDY, error=OutputError, optional=True
    )
    if record is None:
        return None
    names, imports = record.get("classes"), record.get("imports")
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise OutputError(f"{path}: no class names in this record; {_REMEDY}")
    has_background = record.get("background_class") is not False
    return HandMade(tuple(names), has_background, tuple(imports) if isinstance(imports, list) else ())


def record_import(
    folder: Path, classes: tuple[str, ...], has_background: bool, entry: dict[str, Any] | None = None
) -> None:
    """Write down the classes and, once it is done, an import. Raises `OutputError`."""
    before = read_hand_made(folder)
    imports = [*(() if before is None else before.imports), *(() if entry is None else (entry,))]
    record = {"classes": list(classes), "background_class": has_background, "imports": imports}
    write_atomically(folder / HAND_MADE_FILE, json_bytes(record))


def require_same_classes(folder: Path, classes: tuple[str, ...], has_background: bool) -> None:
    """Raise `OutputError` where the hand-made labels in a folder are of other classes, or numbered otherwise."""
    recorded = read_hand_made(folder)
    if recorded is None or (recorded.classes, recorded.has_background) == (classes, has_background):
        return
    theirs = ", ".join(recorded.classes[:3]) + (", …" if len(recorded.classes) > 3 else "")
    kind = "with" if recorded.has_background else "without"
    raise OutputError(
        f"{folder} holds hand-made labels of other classes ({len(recorded.classes)} {kind} a background class: "
        f"{theirs}; see {folder / HAND_MADE_FILE}); choose another --out"
    )
