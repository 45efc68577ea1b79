"""Photographs named on the command line, files and folders of them → where each one's label and overlay go."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from excel_cam.errors import UsageError
from excel_cam.files.images.image_folder import scan_images
from excel_cam.files.images.products import OVERLAY_SUFFIX, is_stamped
from excel_cam.labels.overlay import overlay_name
from excel_cam.wording import Report, quoted


@dataclass(frozen=True)
class Place:
    """A photograph and where its label and its overlay go."""

    photograph: Path
    label: Path
    overlay: Path


def choose_places(given: Sequence[Path], out: Path | None, report: Report) -> list[Place]:
    """Where each photograph's label and overlay go: into `out`, else beside it.

    given: files, and folders, whose photographs keep their place below them. What this program wrote itself is no
    photograph. Raises `UsageError` where there is none at all, two photographs would share a label, a label would
    replace a photograph, or nothing is left.
    """
    _require_some(given)
    wanted = _photographs(given, out, report)
    if not wanted:
        raise UsageError("no photographs to label; name at least one image file")
    originals = {_identity(path): path for path in wanted}
    places: dict[Path, Place] = {}
    for path, name in wanted.items():
        folder = out / name.parent if out is not None else path.parent
        place = Place(path, folder / f"{name.name}.png", folder / overlay_name(name.name))
        if place.label in places:
            other = places[place.label].photograph
            raise UsageError(f"{other} and {path} would share the label {place.label}; label them into two --out")
        if (original := originals.get(_identity(place.label))) is not None:
            raise UsageError(f"{place.label}: the label would replace the photograph {original}; choose an --out")
        places[place.label] = place
    return list(places.values())


def _require_some(given: Sequence[Path]) -> None:
    """Raise `UsageError` where nothing that was named is there; of several, those that are not are told one by one."""
    if not given or any(os.path.lexists(path) for path in given):
        return
    first = given[0]
    try:
        near = difflib.get_close_matches(first.name, os.listdir(first.parent), n=1)
        hint = f"; did you mean {quoted(str(first.parent / near[0]))}?" if near else ""
    except OSError:
        hint = f"; there is no folder {quoted(str(first.parent))} either"
    raise UsageError(f"{first}: no such file or folder{hint}")


def _photographs(given: Sequence[Path], out: Path | None, report: Report) -> dict[Path, Path]:
    """Every photograph once, and its name: a path without extension, below the folder that was given."""
    wanted: dict[Path, Path] = {}
    overlays = labels = 0
    for path in dict.fromkeys(given):
        if path.is_dir():
            excluded = None if out is None or out.resolve() == path.resolve() else out
            scan = scan_images(path, excluded)
            scan.check_names(scan.images)
            for note in scan.notes:
                report(note)
            wanted |= {file: Path(name) for name, file in sorted(scan.images.items())}
        elif path.name.endswith(OVERLAY_SUFFIX):
            overlays += 1
        elif path.suffix.lower() == ".png" and is_stamped(path):
            labels += 1
        else:
            wanted.setdefault(path, Path(path.stem))
    for count, what in ((overlays, f"overlays (*{OVERLAY_SUFFIX})"), (labels, "labels of this program")):
        if count:
            report(f"{count} {what} among the photographs are not labelled")
    return wanted


def _identity(path: Path) -> tuple[int, int] | str:
    """The same for two paths of one file, whether or not it is there."""
    try:
        status = path.stat()
    except OSError:
        return os.path.abspath(path)
    return status.st_dev, status.st_ino
