"""How far a run over shards is, by its record, one listing, and the indices of the shards that are done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from excel_cam.errors import DataError
from excel_cam.files.parquet import require_pyarrow
from excel_cam.files.storage import Place
from excel_cam.labels.packed.index import read_index
from excel_cam.labels.packed.listing import Listing, index_of, list_shards, running_of
from excel_cam.labels.packed.reading import READ_AT_ONCE
from excel_cam.labels.packed.running import Running, read_running
from excel_cam.labels.records import SHARDS_LAYOUT, record_of_whole
from excel_cam.labels.status.standing import (
    ABANDONED,
    DAMAGED,
    DONE,
    DONE_WITH_FAILURES,
    NOT_BEGUN,
    RUNNING,
    SHOWN,
    ShareStanding,
    Standing,
)
from excel_cam.wording import duration


def packed_standing(labels: Path | Place) -> Standing:
    """An output folder of shards, each of which is told.

    Raises `DataError` where it cannot be listed, `UsageError` without pyarrow.
    """
    require_pyarrow()
    out = labels if isinstance(labels, Place) else Place(str(labels))
    total, images = size_of_run(labels)
    listing = list_shards(out)
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        looks = dict(zip(listing.committed, pool.map(lambda shard: _look(out, shard), listing.committed), strict=True))
    shares = {shard: look.standing(shard) for shard, look in looks.items()} | dict(_at_work(out, listing))
    for shard in range(total or 0):
        shares.setdefault(shard, ShareStanding(_name(shard), NOT_BEGUN, None, None, None))
    labelled, failed = (sum(getattr(look, part) for look in looks.values()) for part in ("labelled", "failed"))
    if images is None and all(look.fault == "" for look in looks.values()) and len(looks) == len(shares) == total:
        images = labelled + failed  # a run over tars finds out as it goes
    reasons = tuple(islice((reason for look in looks.values() for reason in look.reasons), SHOWN + 1))
    missing = None if images is None else max(0, images - labelled - failed)
    told = tuple(shares[shard] for shard in sorted(shares))
    return Standing(str(labels), SHARDS_LAYOUT, images, labelled, failed, missing, told, reasons)


def size_of_run(labels: Path | Place) -> tuple[int | None, int | None]:
    """How many shards and photographs a run has, where its record says it."""
    labelled = (record_of_whole(labels) or {}).get("labelled")
    counts = [labelled.get(key) if isinstance(labelled, dict) else None for key in ("shards", "images")]
    shards, images = (count if type(count) is int and count >= 0 else None for count in counts)
    return shards, images


@dataclass(frozen=True)
class _Look:
    """What one index says. reasons: the first, "name: reason". fault: why it cannot be read."""

    labelled: int = 0
    failed: int = 0
    reasons: tuple[str, ...] = ()
    fault: str = ""

    def standing(self, shard: int) -> ShareStanding:
        """The same of a shard that is committed."""
        if self.fault:
            return ShareStanding(_name(shard), DAMAGED, None, None, None, self.fault)
        state = DONE_WITH_FAILURES if self.failed else DONE
        return ShareStanding(_name(shard), state, self.labelled + self.failed, self.labelled, self.failed)


def _name(shard: int) -> str:
    return f"shard {shard}"


def _look(out: Place, shard: int) -> _Look:
    try:
        index = read_index(index_of(out, shard), shard)
    except DataError as error:
        return _Look(fault=str(error))
    reasons = islice((f"{name}: {reason}" for name, reason in index.reasons.items()), SHOWN + 1)
    return _Look(index.labelled, len(index.reasons), tuple(reasons))


def _at_work(out: Place, listing: Listing) -> Iterator[tuple[int, ShareStanding]]:
    """The shards that are begun and not committed, each with who is at work on it, or was."""
    for shard in listing.begun:
        found = read_running(running_of(out, shard))
        state = ABANDONED if found is None or found.is_abandoned() else RUNNING
        yield shard, ShareStanding(_name(shard), state, None, None, None, "" if found is None else _who(found))
    for shard in listing.left:
        yield shard, ShareStanding(_name(shard), ABANDONED, None, None, None)


def _who(running: Running) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(running.since))
    ago = duration(max(0.0, time.time() - running.renewed))
    return f"process {running.process} on {running.host}, since {since}, heard of {ago} ago"
