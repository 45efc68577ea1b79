"""How far a folder of labels is, told from file names, run records and claims alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from excel_cam.errors import DataError
from excel_cam.labels.claims import AtWork, runs_at_work
from excel_cam.labels.failures import failures_of
from excel_cam.labels.records import SHARDS_LAYOUT, read_runs, shard_of_run_file
from excel_cam.labels.shards import Shard
from excel_cam.labels.status.shares import COMPLETE, covered, is_open
from excel_cam.wording import first_lines

PLAIN = "labels"  # a folder of single files
SHOWN = 10  # shares that are told of on lines of their own; JSON has all
DONE, DONE_WITH_FAILURES = COMPLETE
RUNNING, STOPPED, ABANDONED, NOT_BEGUN, DAMAGED = "running", "stopped", "abandoned", "not begun", "damaged"


@dataclass(frozen=True)
class ShareStanding:
    """One share of the images, such as "1/4"; "all" for the whole; "shard 17" of labels in shards.

    state: `complete`, `complete with failures`, `running`, `stopped` (it could still say so), `abandoned` (killed),
    `not begun`, or `damaged`. images: None where that is not known. labelled, failed: as its record has them, None
    before it is closed. who: the process that is at work on it, or was, "" where none is known; or what is damaged.
    """

    share: str
    state: str
    images: int | None
    labelled: int | None
    failed: int | None
    who: str = ""


@dataclass(frozen=True)
class Standing:
    """How far a folder is.

    kind: of folder, `labels` or `shards`. images: how many there are to label, None where no record says it. labelled:
    images that have their label. failed: images that have none, or an old one, and whose reason is on a list. missing:
    the rest.
    shares: those that count, see `plain_standing`.
    """

    folder: str
    kind: str
    images: int | None
    labelled: int
    failed: int
    missing: int | None
    shares: tuple[ShareStanding, ...]
    reasons: tuple[str, ...]  # of the first that failed: "name: reason"

    @property
    def is_complete(self) -> bool:
        """Whether every image has its label, and no share is left open."""
        return not self.failed and not self.missing and all(share.state in COMPLETE for share in self.shares)

    def to_json_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self) | {"complete": self.is_complete}

    def lines(self) -> Iterator[str]:
        """The same for people."""
        of = f" of {self.images:,}" if self.images is not None else ""
        parts = [f"{self.labelled:,}{of} images labelled"]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{self.missing:,} missing"] if self.missing else []
        yield f"{self.folder}: {', '.join(parts)}"
        counts: dict[str, int] = {}
        for share in self.shares:
            counts[share.state] = counts.get(share.state, 0) + 1
        if len(self.shares) > 1:
            states = ", ".join(f"{count:,} {state}" for state, count in counts.items())
            yield f"{len(self.shares):,} {'shares' if self.kind == PLAIN else self.kind}: {states}"
        told = [share for share in self.shares if share.state not in COMPLETE]
        for share in told[:SHOWN]:
            yield f"  {_share_text(share)}"
        if len(told) > SHOWN:
            yield f"  and {len(told) - SHOWN:,} more; --json has all"
        if self.reasons:
            yield f"failed: {first_lines(self.reasons)}"
        if self.failed and self.kind == SHARDS_LAYOUT:
            yield "--retry-failed makes the shards again in which photographs failed"
        if any(share.state in (STOPPED, ABANDONED, NOT_BEGUN) for share in self.shares):
            yield "what is left is made by the same command, divided as before, otherwise, or not at all"


def _share_text(share: ShareStanding) -> str:
    who = f"{': ' if share.state == DAMAGED else ' by '}{share.who}" if share.who else ""
    images = f", {share.images:,} images" if share.images is not None else ""
    return f"{share.share}: {share.state}{who}{images}"


def plain_standing(folder: Path) -> Standing | None:
    """A folder of label PNGs, one per image; None where no run of such labels has written.

    Shares that are told: those whose record is there, but for the open ones whose images others have finished since;
    those that a run is at work on; and of a division that is not finished, those that nobody has begun.
    """
    records, at_work = read_runs(folder), runs_at_work(folder)
    if not records and not at_work:
        return None
    images = max((count for record in records.values() if (count := _images(record)) is not None), default=None)
    failed, with_label, reasons = set[str](), 0, list[str]()
    for name, reason in failures_of(folder):
        if name not in failed:
            failed.add(name)
            if len(reasons) <= SHOWN:
                reasons.append(f"{name}: {reason}")
            with_label += os.path.exists(folder / f"{name}.png")
    labelled = _count_labels(folder) - with_label
    missing = None if images is None else max(0, images - labelled - len(failed))
    shares = tuple(_shares(folder, records, at_work, images))
    return Standing(str(folder), PLAIN, images, labelled, len(failed), missing, shares, tuple(reasons))


def _images(record: dict[str, Any]) -> int | None:
    """Images in all, as a record says of its data set."""
    data_set = record.get("dataset")
    count = data_set.get("images") if isinstance(data_set, dict) else None
    return count if isinstance(count, int) else None


def _count_labels(folder: Path) -> int:
    """PNG files in a folder and those under it, hidden ones aside; raises `DataError`."""
    count, left = 0, [str(folder)]
    try:
        while left:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    elif entry.name.endswith(".png"):
                        count += 1
    except OSError as error:
        raise DataError(f"{error.filename or folder}: this folder cannot be listed: {error.strerror}") from error
    return count


def _shares(
    folder: Path, records: dict[str, dict[str, Any]], at_work: list[AtWork], images: int | None
) -> Iterator[ShareStanding]:
    """The shares, the whole first, then by division."""
    replaced = covered(folder, records)
    owners = {run.work.shard: run.who or "another process" for run in at_work if run.work.names is None}
    told = {shard_of_run_file(name): records[name] for name in records if name not in replaced}
    for text in owners:
        place, _, of = text.partition("/")
        told.setdefault(Shard(int(place), int(of)), {})
    for shard in sorted(told, key=lambda shard: (shard.count, shard.index)):
        yield _standing_of_share(shard, told[shard], owners.get(str(shard), ""), images)
    if images is None or _is_any_division_finished(told):
        return
    for count in sorted({shard.count for shard in told}):
        begun = {shard.index for shard in told if shard.count == count}
        for index in range(min(count, images)):
            if index not in begun:
                yield ShareStanding(f"{index}/{count}", NOT_BEGUN, _size(Shard(index, count), images), None, None)


def _is_any_division_finished(told: dict[Shard, dict[str, Any]]) -> bool:
    """Whether all shares of some division, the whole being one, are finished: others need not be."""
    finished: dict[int, int] = {}
    for shard, record in told.items():
        finished[shard.count] = finished.get(shard.count, 0) + (not is_open(record))
    return any(count == done for count, done in finished.items())


def _standing_of_share(shard: Shard, record: dict[str, Any], who: str, images: int | None) -> ShareStanding:
    name, size = "all" if shard.is_whole else str(shard), _size(shard, images)
    if who:
        return ShareStanding(name, RUNNING, size, None, None, who)
    counts = record.get("counts")
    if not isinstance(counts, dict):
        return ShareStanding(name, ABANDONED, size, None, None)
    state = str(record.get("state"))
    labelled = counts.get("labelled", 0) + counts.get("kept", 0)
    return ShareStanding(name, state, size, labelled, counts.get("failed"))


def _size(shard: Shard, images: int | None) -> int | None:
    return None if images is None else len(range(shard.index, images, shard.count))
