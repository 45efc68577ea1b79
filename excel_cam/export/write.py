"""`excel-cam export` as a function: finished labels and class maps → the files another trainer reads.

One image at a time: whatever the format, nothing but names is held of the whole data set. Files appear whole, one per
image, then the lists that name them all; so an interrupted export goes on, and no list names a file that is not there.
A file is kept where it holds what was written, and its label and maps hold what it was made from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.export.finished import (
    Finished,
    append_line,
    content_digest,
    finished_line,
    parse_object,
    read_finished,
)
from excel_cam.export.formats import LabelledImage
from excel_cam.export.source import (
    Export,
    check_names,
    labelled_images,
    made_from,
    photograph_suffixes,
    refuse_sources,
)
from excel_cam.files.atomic import (
    check_writable,
    free_space,
    hash_json,
    json_bytes,
    remove_stale_parts,
    write_atomically,
)
from excel_cam.files.machine import raise_if_machine
from excel_cam.labels.claims import Work, claimed
from excel_cam.wording import Report, readable_size


@dataclass(frozen=True)
class _Plan:
    """What there is to do. suffixes: of photographs that are no .jpg. earlier: the record of an export before, or {}.

    kept: the images whose files stay. pending: those still to be written, with the digest of their sources. complete:
    whether nothing is to be written at all.
    """

    export: Export
    names: Sequence[str]
    suffixes: dict[str, str]
    earlier: dict[str, Any]
    kept: dict[str, Finished] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    complete: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """What the export's record says, whatever its state."""
        names = hash_json([list(self.names), self.suffixes])
        return {"identity": self.export.identity(), "images": len(self.names), "names": names}

    @property
    def starting_content(self) -> bytes:
        """What the file to start from holds when it is new."""
        return self.export.format.starting_content(self.export.out, self.suffixes.get(self.names[0], ".jpg"))

    def images(self, names: Sequence[str] | None = None) -> Iterator[LabelledImage]:
        """The images of these names, by default all."""
        return labelled_images(self.export, self.names if names is None else names, self.suffixes)


def run_export(
    export: Export, report: Report, on_image: Callable[[], None] = lambda: None,
    on_total: Callable[[int], None] = lambda _: None,
) -> dict[str, int]:  # fmt: skip
    """Write the export; returns how many images were written now and kept from an earlier one.

    `on_total` is told how many images there are before any is written, `on_image` is called once for each. Raises
    `DataError` for missing, damaged or ill-fitting labels, maps and photographs, `OutputError` where other files are in
    the way, where the disk is too small, or cannot be written.
    """
    plan = _plan(export)
    if plan.complete:
        _remove_parts(export)
        for note in _link(plan) if export.images else ():
            report(note)
        report(f"{export.out}: complete already")
        return {"written": 0, "kept": len(plan.kept)}
    needed = sum(export.format.bytes_of(image) for image in plan.images(list(plan.pending)))
    _announce(export, len(plan.names), len(plan.pending), needed, report)
    check_writable(export.out)
    with claimed({export.out: Work()}):
        plan = _plan(export)  # what another export did before the folder was this one's
        _begin(plan)
        on_total(len(plan.names))
        for _name in plan.kept:
            on_image()
        for image in plan.images(list(plan.pending)):
            _write_image(plan, image)
            on_image()
        for note in _finish(plan):
            report(note)
    return {"written": len(plan.pending), "kept": len(plan.kept)}


def _plan(export: Export) -> _Plan:
    """Look at all that is there; raises `OutputError` where it is in the way."""
    names = check_names(export)
    suffixes = photograph_suffixes(export, names)
    refuse_sources(export, names, _wanted(export, names))
    record = _read_record(export)
    earlier = record if _is_ours(export, record) else {}
    if not earlier and not export.overwrite:
        _refuse_existing(export, names, is_damaged=not record and os.path.lexists(export.record_path))
    finished = read_finished(export.finished_path) if earlier and not export.overwrite else {}
    plan = _Plan(export, names, suffixes, earlier)
    complete = _is_complete(plan)
    joined = complete and bool(export.format.parts_folder)
    if export.format.edited_in_place and not export.overwrite:
        _refuse_edited(export, finished)
    pending = _pending(plan, finished, joined)
    if joined and pending:  # the others' parts are gone
        pending = _pending(plan, finished, False)
    kept = {name: finished[name] for name in names if name not in pending}
    return replace(plan, kept=kept, pending=pending, complete=complete and not pending)


def _refuse_edited(export: Export, finished: dict[str, Finished]) -> None:
    """Raise `OutputError` where people have changed files that were exported: to make them anew would lose their work.

    A file that is cut off or empty is nobody's work.
    """
    paths = [export.out / export.format.image_file(name) for name, entry in finished.items() if
             _content(export, name) not in ("", entry.content)]  # fmt: skip
    edited = [path for path in paths if parse_object(path.read_text("utf-8", "replace"))]
    if edited:
        raise OutputError(
            f"{len(edited):,} files were changed since they were exported, first {edited[0]}; bring them back with "
            f"`excel-cam import {export.out} --from {export.format.name} --out {export.labels}`, or add --overwrite to "
            "make them anew"
        )


def _read_record(export: Export) -> dict[str, Any]:
    """What an earlier export to this folder says of itself; empty where there is none, or it is damaged."""
    try:
        record = parse_object(export.record_path.read_text("utf-8", "replace"))
    except OSError as error:
        raise_if_machine(error, export.record_path)
        return {}
    return record if isinstance(record.get("identity"), dict) else {}


def _is_ours(export: Export, record: dict[str, Any]) -> bool:
    """Whether a record is of an export of the same labels; what another version wrote of them is to be made again."""
    now = export.identity()
    return record.get("identity", {}) | {"version": now["version"]} == now


def _pending(plan: _Plan, finished: dict[str, Finished], joined: bool) -> dict[str, str]:
    """The images whose file is not there as it should be, with the digest of their sources. joined: all files are."""
    export, pending = plan.export, {}
    for name in plan.names:
        before, sources = finished.get(name), made_from(export, name, plan.suffixes.get(name, ".jpg"))
        if before is None or before.made_from != sources or not (joined or _content(export, name) == before.content):
            pending[name] = sources
    return pending


def _content(export: Export, name: str) -> str:
    """What is in an image's files now, as `Finished.content` says it; "" where one of them cannot be read."""
    own = content_digest(export.out / export.format.image_file(name))
    if not (beside := export.format.file_beside(name)):
        return own
    other = content_digest(export.out / beside)
    return hash_json([own, other]) if own and other else ""


def _is_complete(plan: _Plan) -> bool:
    """Whether the files that name all images are there, and hold what was written."""
    digests = _final_digests(plan.export)
    complete = plan.record | {"state": "complete", "files": digests}
    if (
        plan.export.overwrite
        or not all(digests.values())
        or any(plan.earlier.get(key) != complete[key] for key in complete)
    ):
        return False
    return not _starting_file_is_due(plan)


def _final_digests(export: Export) -> dict[str, str]:
    return {file: content_digest(export.out / file) for file in export.format.final_files}


def _starting_file_is_due(plan: _Plan) -> bool:
    """Whether the file to start from is to be written: it is not there, cut off, or as an earlier export wrote it."""
    if not plan.export.format.starting_file:
        return False
    path = plan.export.out / plan.export.format.starting_file
    found = content_digest(path)
    if not found or plan.starting_content.startswith(path.read_bytes()):
        return found != hashlib.sha256(plan.starting_content).hexdigest()
    return found == plan.earlier.get("starting_file")  # else the user has changed it


def _begin(plan: _Plan) -> None:
    """Make the folder ready; from here on it is this export's."""
    export = plan.export
    if export.overwrite:
        _remove_existing(export, plan.names)
    lines = "".join(finished_line(name, finished) for name, finished in plan.kept.items())
    write_atomically(export.finished_path, lines.encode())
    record = {**plan.record, "state": "running"}
    if isinstance(starting := plan.earlier.get("starting_file"), str):
        record["starting_file"] = starting
    write_atomically(export.record_path, json_bytes(record))
    for folder in {path.parent for path in (export.record_path, *_wanted(export, plan.names))}:
        remove_stale_parts(folder)


def _write_image(plan: _Plan, image: LabelledImage) -> None:
    """Write an image's own file, and the one beside it, then that it is finished."""
    export = plan.export
    content = export.format.encode(image)
    digest = hashlib.sha256(content).hexdigest()
    if beside := export.format.file_beside(image.name):
        other = export.format.encode_beside(image)
        write_atomically(export.out / beside, other)
        digest = hash_json([digest, hashlib.sha256(other).hexdigest()])
    write_atomically(export.out / export.format.image_file(image.name), content)
    append_line(export.finished_path, finished_line(image.name, Finished(plan.pending[image.name], digest)))


def _finish(plan: _Plan) -> list[str]:
    """Write the files that name all images, and that all is done; returns notes for the user."""
    export = plan.export
    notes = export.format.finish(export.out, plan.images)
    notes += _link(plan)
    record = {**plan.record, "files": _final_digests(export)}
    if export.format.starting_file:
        path, content = export.out / export.format.starting_file, plan.starting_content
        if _starting_file_is_due(plan):
            write_atomically(path, content)
        elif path.read_bytes() != content:
            notes.append(f"{path} has been changed and stays as it is; remove it to have it written anew")
        record["starting_file"] = hashlib.sha256(content).hexdigest()
    write_atomically(export.record_path, json_bytes({**record, "state": "complete"}))
    _remove_parts(export)
    return notes


def _link(plan: _Plan) -> list[str]:
    return plan.export.format.link_photographs(plan.export.out, plan.export.images, plan.images)


def _remove_parts(export: Export) -> None:
    """Remove images' files that are joined now; what cannot be removed hinders nobody."""
    if export.format.parts_folder:
        shutil.rmtree(export.out / export.format.parts_folder, ignore_errors=True)


def _wanted(export: Export, names: Sequence[str]) -> list[Path]:
    of_images = (file(name) for name in names for file in (export.format.image_file, export.format.file_beside))
    files = (*export.format.final_files, export.format.starting_file, *of_images)
    return [export.out / file for file in files if file]


def _remove_existing(export: Export, names: Sequence[str]) -> None:
    """Remove what is to be replaced: were it still there after an interruption, it would pass for this export's."""
    for path in _wanted(export, names):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be replaced: {error.strerror}") from error


def _refuse_existing(export: Export, names: Sequence[str], is_damaged: bool) -> None:
    """Raise `OutputError` where files are in the way. is_damaged: whether the record of what made them is."""
    wanted = _wanted(export, names)
    existing = [path for path in wanted if os.path.lexists(path)]
    if not existing:
        return
    there = f"({len(existing):,} of {len(wanted):,} files)"
    if is_damaged:
        raise OutputError(
            f"{export.record_path}: the record of this export is damaged, and the export is there already {there}; "
            "add --overwrite to make it anew, or choose another --out"
        )
    raise OutputError(
        f"{existing[0]}: there already {there} and not from this export, or from labels made otherwise; "
        "add --overwrite to replace, or choose another --out"
    )


def _announce(export: Export, count: int, pending: int, needed: int, report: Report) -> None:
    """Say what will be written and what it needs; OutputError where the disk is too small for it."""
    free = free_space(export.out)
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
