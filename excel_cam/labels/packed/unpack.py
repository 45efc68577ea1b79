"""`excel-cam unpack` as a function: labels in shards → the folder that a plain run would have left.

The same bytes, stamps and failures, and the record of the run, so that whatever reads or goes on with a folder takes
it for one. What is there already stays, so that an interrupted call goes on.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from excel_cam.errors import DataError, OutputError, UsageError
from excel_cam.files.atomic import check_writable, free_space, remove_stale_parts, write_atomically
from excel_cam.files.images.masks import mask_path
from excel_cam.files.images.png_chunks import NotPngError, PngDamageError, read_png_head
from excel_cam.files.images.products import STAMP_KEY
from excel_cam.labels.claims import Work, claimed
from excel_cam.labels.class_maps import read_maps_stamp
from excel_cam.labels.failures import FailureLog
from excel_cam.labels.folder import class_names_of, has_background_class
from excel_cam.labels.hand_made import require_same_classes
from excel_cam.labels.label_files import MAPS_SUFFIX
from excel_cam.labels.packed.reading import PackedFiles
from excel_cam.labels.packed.status import size_of_run
from excel_cam.labels.png import find_label, refuse_picture
from excel_cam.labels.records import differences, read_run, read_runs, refuse_shards, retire_runs, write_run
from excel_cam.wording import Report, first_lines, readable_size

OF_SHARDS = ("layout", "labelled")  # what a record says of shards alone


@dataclass(frozen=True, kw_only=True)
class Unpacking:
    """What is unpacked, and where to.

    labels: opened shards. cams: a folder for the class maps, None to leave them. names: those images alone, None for
    all. overwrite: replace files that are there, but never hand-made labels.
    """

    labels: PackedFiles
    to: Path
    cams: Path | None = None
    names: Sequence[str] | None = None
    overwrite: bool = False

    @cached_property
    def chosen(self) -> list[str]:
        """The images that have a label, in the order in which they lie in the shards."""
        table = self.labels.table
        rows = range(len(table.names)) if self.names is None else table.rows(self.names)
        return [table.names[row] for row in sorted(rows, key=lambda row: (table.shards[row], table.offsets[row]))]

    @property
    def failed(self) -> dict[str, str]:
        """Reasons of the images that have none."""
        reasons = self.labels.table.reasons
        return reasons if self.names is None else {name: reasons[name] for name in self.names if name in reasons}


@dataclass(frozen=True)
class Unpacked:
    """What became of it: numbers of labels. missing: of shards that are not there yet, as far as is known."""

    written: int
    kept: int
    hand_made: int
    failed: int
    missing: int


def unpack(
    request: Unpacking, report: Report, on_label: Callable[[], None] = lambda: None,
    on_total: Callable[[int], None] = lambda _: None,
) -> Unpacked:  # fmt: skip
    """Write the labels into a folder, one after the other.

    Raises `DataError` where shards are damaged or a name is not in them, `OutputError` where other files are in the
    way, the disk is too small, or nothing can be written, `UsageError` where the folder cannot be right.
    """
    record = _record(request)
    _check(request, record)
    if request.names is not None:
        request.labels.require([name for name in request.names if name not in request.failed])
    folders = [request.to, *([] if request.cams is None else [request.cams])]
    with claimed(dict.fromkeys(folders, Work())) as claims:
        pending, hand_made = _plan(request)
        _announce(request, pending, report)
        on_total(len(request.chosen))
        for _ in range(len(request.chosen) - len(pending)):
            on_label()
        if request.overwrite:
            retire_runs(request.to, record["identity"])
        write_run(request.to, {**record, "state": "running"})
        for folder in {path.parent for name in pending for path in _paths(request, name)}:
            remove_stale_parts(folder)
        for name in pending:
            claims.require()
            _write(request, name)
            on_label()
        _write_failures(request)
        counts = {"images": len(request.chosen) + len(request.failed), "labelled": len(pending),
                  "kept": len(request.chosen) - len(pending), "failed": len(request.failed)}  # fmt: skip
        state = "complete with failures" if request.failed else "complete"
        write_run(request.to, {**record, "state": state, "counts": counts})
    total, _ = size_of_run(request.labels.place)
    missing = max(0, (total or 0) - len(request.labels.table.tar_sizes))
    return Unpacked(len(pending), counts["kept"] - hand_made, hand_made, len(request.failed), missing)


def _record(request: Unpacking) -> dict[str, Any]:
    """The record of a plain run of the same labels; raises `DataError` where the shards have none."""
    record = read_run(request.labels.place)
    if record is None:
        raise DataError(
            f"{request.labels}: no run.json beside the shards, without which nothing could go on with the labels; "
            "restore it"
        )
    return {key: value for key, value in record.items() if key not in OF_SHARDS}


def _check(request: Unpacking, record: dict[str, Any]) -> None:
    """Raise where the folder holds labels made otherwise, shards, or hand-made labels of other classes."""
    labels, to = request.labels, request.to
    if isinstance(labels.place, Path) and to.exists() and to.samefile(labels.place):
        raise UsageError(f"--to: {to} holds the shards themselves; choose another folder")
    refuse_shards(to)
    names = class_names_of(labels.place, None, None)
    if names is not None:
        require_same_classes(to, names, has_background_class(labels.place))
    for other in {} if request.overwrite else read_runs(to).values():
        if found := differences(other["identity"], record["identity"]):
            raise OutputError(
                f"{to} holds labels made otherwise: {first_lines(found)}; add --overwrite to replace them, or choose "
                "another --to"
            )
    check_writable(to)


def _paths(request: Unpacking, name: str) -> list[Path]:
    """The files of an image; raises `DataError` for a name that leaves the folder."""
    maps = [] if request.cams is None else [mask_path(request.cams, name, MAPS_SUFFIX)]
    return [mask_path(request.to, name), *maps]


def _plan(request: Unpacking) -> tuple[list[str], int]:
    """The images whose files are to be written, and how many hand-made labels stay.

    Raises `OutputError` where other files are in the way.
    """
    table, pending, foreign, hand_made = request.labels.table, [], [], 0
    for name in request.chosen:
        row = table.row(name)
        assert row is not None
        stamp = table.stamps[row].decode("ascii", "replace")
        label, *maps = _paths(request, name)
        found = find_label(label)
        refuse_picture(label, found)
        stamps = [read_maps_stamp(path) for path in maps]
        if found is not None and found.is_hand_made:
            hand_made += 1
        elif found is not None and found.stamp != stamp:
            foreign.append(label)
            pending.append(name)
        elif any(there not in (None, stamp) for there in stamps):
            foreign.append(maps[0])
            pending.append(name)
        elif request.overwrite or found is None or None in stamps:
            pending.append(name)
    if foreign and not request.overwrite:
        raise OutputError(
            f"{foreign[0]}: there already, and not of these labels ({len(foreign):,} such files); add --overwrite to "
            "replace them, or choose another --to"
        )
    return pending, hand_made


def _announce(request: Unpacking, pending: Sequence[str], report: Report) -> None:
    """Say what will be written and what it needs; `OutputError` where the disk is too small for it."""
    table, total, free = request.labels.table, len(request.chosen), free_space(request.to)
    needed = int(table.sizes[table.rows(pending)].sum())
    kept = f", {total - len(pending):,} there already" if len(pending) < total else ""
    report(
        f"{total:,} labels{kept}; {readable_size(needed)} to write to {request.to}, {readable_size(free)} free there"
    )
    if needed > free:
        raise OutputError(
            f"{request.to}: the labels need {readable_size(needed)}, {readable_size(free)} are free there; choose "
            "another --to, or fewer images with --list"
        )


def _write(request: Unpacking, name: str) -> None:
    """Write an image's label, and its class maps; raises `DataError` where the shard holds something else."""
    row = request.labels.table.row(name)
    label, *maps = _paths(request, name)
    part = request.labels.file(name)
    content = part.content()
    try:
        stamp = read_png_head(io.BytesIO(content)).texts.get(STAMP_KEY.encode(), b"")
    except (NotPngError, PngDamageError) as error:
        raise DataError(f"{part}: not a whole label ({error}); make its shard again") from None
    if stamp != request.labels.table.stamps[row]:
        raise DataError(f"{part}: its stamp is another than its index says: tar and index do not belong together")
    for path in maps:  # before its label, as a run writes them
        write_atomically(path, request.labels.member(name, MAPS_SUFFIX).content())
    write_atomically(label, content)


def _write_failures(request: Unpacking) -> None:
    """Keep the reasons of images without a label, but of those that have one by now: of a person's hand, say."""
    failures = FailureLog(request.to)
    failures.start({*request.chosen, *request.failed})
    for name, reason in request.failed.items():
        if find_label(mask_path(request.to, name)) is None:
            failures.add(name, reason)
