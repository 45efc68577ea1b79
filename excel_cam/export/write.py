"""`excel-cam export` as a function: finished labels and class maps → the files another trainer reads.

One image at a time: whatever the format, nothing but names is held of the whole data set. Files appear whole, one per
image, then the lists that name them all; so an interrupted export goes on, and no list names a file that is not there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.export.source import Export, check_names, labelled_images, photograph_suffixes, sources_of
from excel_cam.files.atomic import hash_json, json_bytes, remove_stale_parts, write_atomically
from excel_cam.labels.records import check_writable
from excel_cam.wording import Report, readable_size


def run_export(export: Export, report: Report, on_image: Callable[[], None] = lambda: None) -> dict[str, int]:
    """Write the export; returns how many images were written now and kept from an earlier, interrupted one.

    `on_image` is called once per image. Raises `DataError` for missing, damaged or ill-fitting labels, maps and
    photographs, `OutputError` where other files are in the way, where the disk is too small, or cannot be written.
    """
    names = check_names(export)
    suffixes = photograph_suffixes(export, names)
    earlier = _read_record(export)
    ours = earlier.get("identity") == export.identity()
    if not ours and not export.overwrite:
        _refuse_existing(export, names)
    record = {"identity": export.identity(), "images": len(names), "names": hash_json(names)}
    if earlier == {**record, "state": "complete"} and not export.overwrite and _is_current(export, names):
        report(f"{export.out}: complete already")
        return {"written": 0, "kept": len(names)}
    pending, needed = _measure(export, names, suffixes, ours and not export.overwrite)
    _announce(export, len(names), len(pending), needed, report)
    check_writable(export.out)
    if export.overwrite:
        _remove_existing(export, names)
    write_atomically(export.record_path, json_bytes({**record, "state": "running"}))
    for folder in {(export.out / export.format.image_file(name)).parent for name in names}:
        remove_stale_parts(folder)
    for image in labelled_images(export, names, suffixes):
        if image.name in pending:
            write_atomically(export.out / export.format.image_file(image.name), export.format.encode(image))
        on_image()
    for note in export.format.finish(export.out, lambda: labelled_images(export, names, suffixes), export.images):
        report(note)
    write_atomically(export.record_path, json_bytes({**record, "state": "complete"}))
    return {"written": len(pending), "kept": len(names) - len(pending)}


def _read_record(export: Export) -> dict[str, Any]:
    """What an earlier export to this folder says of itself; empty where there is none, or it is damaged."""
    try:
        record = json.loads(export.record_path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_current(export: Export, names: Sequence[str]) -> bool:
    """Whether every file of a complete export is there and newer than what it was made from."""
    finals = [export.out / file for file in export.format.final_files]
    for name in names:
        own = [export.out / export.format.image_file(name)] if export.format.keeps_image_files else []
        if not all(_newer_than(path, sources_of(export, name)) for path in own + finals):
            return False
    return True


def _wanted(export: Export, names: Sequence[str]) -> list[Path]:
    files = [*export.format.final_files, *(export.format.image_file(name) for name in names)]
    return [export.out / file for file in files]


def _remove_existing(export: Export, names: Sequence[str]) -> None:
    """Remove what is to be replaced: were it still there after an interruption, it would pass for this export's."""
    for path in _wanted(export, names):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be replaced: {error.strerror}") from error


def _refuse_existing(export: Export, names: Sequence[str]) -> None:
    wanted = _wanted(export, names)
    existing = [path for path in wanted if path.exists()]
    if existing:
        raise OutputError(
            f"{existing[0]}: there already ({len(existing):,} of {len(wanted):,} files) and not from this export, or "
            "from labels made otherwise; add --overwrite to replace, or choose another --out"
        )


def _measure(
    export: Export, names: Sequence[str], suffixes: dict[str, str], resume: bool
) -> tuple[frozenset[str], int]:
    """The names whose file is still to be written, and the bytes these files need."""
    pending, needed = set(), 0
    for image in labelled_images(export, names, suffixes):
        own = export.out / export.format.image_file(image.name)
        if not (resume and _newer_than(own, sources_of(export, image.name))):
            pending.add(image.name)
            needed += export.format.bytes_of(image)
    return frozenset(pending), needed


def _newer_than(path: Path, sources: Sequence[Path]) -> bool:
    try:
        written = path.stat().st_mtime_ns
    except OSError:
        return False
    return all(source.stat().st_mtime_ns <= written for source in sources)


def _announce(export: Export, count: int, pending: int, needed: int, report: Report) -> None:
    """Say what will be written and what it needs; OutputError where the disk is too small for it."""
    folder = export.out.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    kept = f", {count - pending:,} there already" if pending < count else ""
    report(
        f"{export.format.name}: {count:,} images{kept}; about {readable_size(needed)} to write to {export.out}, "
        f"{readable_size(free)} free there"
    )
    if needed > free:
        raise OutputError(
            f"{export.out}: the export needs about {readable_size(needed)}, {readable_size(free)} are free there; "
            "choose another --out, or fewer images with --list"
        )
