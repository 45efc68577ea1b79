"""Labels that people made or corrected: how they are known, and the record of where they came from.

Each bears a stamp of its own, so that it is known wherever it is copied; `hand-made.json` beside them names every
import, and the classes, for folders that no run has written to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files.atomic import json_bytes, write_atomically
from excel_cam.files.json_file import read_json
from excel_cam.labels.png import HAND_MADE

HAND_MADE_FILE = "hand-made.json"


def hand_made_stamp(source: str) -> str:
    """The stamp of a label that came from a tool, such as `hand-made cvat`."""
    return f"{HAND_MADE} {source}"


def hand_made_classes(folder: Path) -> tuple[str, ...] | None:
    """The classes of the hand-made labels in a folder; None without a record. Raises `OutputError`."""
    record = _read(folder)
    return None if record is None else tuple(record["classes"])


def record_import(folder: Path, classes: tuple[str, ...], entry: dict[str, Any] | None = None) -> None:
    """Write down the classes and, once it is done, an import. Raises `OutputError`."""
    record = _read(folder) or {"imports": []}
    imports = [*record["imports"], *([] if entry is None else [entry])]
    write_atomically(folder / HAND_MADE_FILE, json_bytes({"classes": list(classes), "imports": imports}))


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / HAND_MADE_FILE
    remedy = "it names the classes of the hand-made labels: restore it, or remove it and give --classes or --dataset"
    record: dict[str, Any] | None = read_json(
        path, "record of hand-made labels", remedy=remedy, error=OutputError, optional=True
    )
    if record is None:
        return None
    names, imports = record.get("classes"), record.get("imports")
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise OutputError(f"{path}: no class names in this record; {remedy}")
    return {"classes": names, "imports": imports if isinstance(imports, list) else []}


def require_same_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """Raise `OutputError` where the hand-made labels in a folder are of other classes, or in another order."""
    recorded = hand_made_classes(folder)
    if recorded is not None and recorded != classes:
        differing = next((one for one, other in zip(recorded, classes, strict=False) if one != other), None)
        what = f"{len(recorded)} classes, not {len(classes)}" if differing is None else f"'{differing}' among theirs"
        raise OutputError(
            f"{folder} holds hand-made labels of other classes ({what}, see {folder / HAND_MADE_FILE}); "
            "choose another --out"
        )
