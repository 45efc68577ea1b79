"""What this program wrote itself, told from photographs that lie beside it: labels by their stamp, overlays by name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

STAMP_KEY = "excel-cam"  # keyword of the PNG text chunk that holds a label's stamp
STAMP_MARK = b"tEXt" + STAMP_KEY.encode() + b"\0"
HEAD_LENGTH = 1200  # bytes of a label within which the stamp lies: before the pixels, after a palette at most
OVERLAY_SUFFIX = ".overlay.jpg"  # of the picture that is written beside a label, to look at


def holds_record(names: Iterable[str]) -> bool:
    """Whether the record of a run is among the files of a folder: it and all folders in it hold labels, then."""
    return any(name.startswith("run.") and name.endswith(".json") for name in names)


def products_among(names: Iterable[str], folder: str, holds_labels: bool) -> set[str]:
    """The names, of those of the files of one folder, that are labels or overlays of this program.

    A PNG is opened only where something says that there are labels: a run's record, an overlay beside it, or another
    image of its name. Photographs in PNG alone so cost nothing. holds_labels: whether there is such a record.
    """
    files = set(names)
    overlays = {name for name in files if name.endswith(OVERLAY_SUFFIX)}
    pngs = {name for name in files if name.lower().endswith(".png")}
    if not overlays and not holds_labels:
        stems: dict[str, int] = {}
        for name in files:
            stem = os.path.splitext(name)[0]
            stems[stem] = stems.get(stem, 0) + 1
        pngs = {name for name in pngs if stems[os.path.splitext(name)[0]] > 1}
    return overlays | {name for name in pngs if is_stamped(Path(folder, name))}


def is_stamped(path: Path) -> bool:
    """Whether a PNG is a label of this program; False where it cannot be read, which is told elsewhere."""
    try:
        with path.open("rb") as stream:
            return STAMP_MARK in stream.read(HEAD_LENGTH)
    except OSError:
        return False
