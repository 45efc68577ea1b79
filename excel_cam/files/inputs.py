"""What a command reads is never what it replaces, whatever `--overwrite` says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from excel_cam.errors import OutputError


def refuse_inputs(path: Path, inputs: Iterable[Path | None], option: str = "--out") -> None:
    """Raise `OutputError` where `path` is there and is one of `inputs`, or lies in one that is a folder.

    Links count as what they lead to: an input may be a link to the file that would be replaced. A file that is not
    there replaces nothing. option: what the user chose the path with.
    """
    if not os.path.lexists(path):
        return
    for given in inputs:
        if given is not None and (_are_same(path, given) or lies_in(path, given)):
            what = "it is read by this command" if _are_same(path, given) else f"it lies in {given}, which is read"
            raise OutputError(f"{path}: {what} and stays as it is, also with --overwrite; choose another {option}")


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a file, there or not, has its place somewhere in a folder, by whatever links and spellings."""
    try:
        wanted = folder.stat()
    except OSError:
        return False
    if not os.path.isdir(folder):
        return False
    place = Path(os.path.realpath(path.parent))
    for parent in (place, *place.parents):
        try:
            if os.path.samestat(parent.stat(), wanted):
                return True
        except OSError:
            continue  # not there yet
    return False


def _are_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
