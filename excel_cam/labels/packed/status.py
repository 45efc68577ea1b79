"""How far a run over shards is, by its record, one listing, and the indices of the shards that are done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from excel_cam.errors import DataError
from excel_cam.files.storage import Place
from excel_cam.labels.packed.index import read_index, require_pyarrow
from excel_cam.labels.packed.listing import Listing, index_of, list_shards, running_of
from excel_cam.labels.packed.reading import READ_AT_ONCE
from excel_cam.labels.packed.running import Running, read_running
from excel_cam.labels.records import record_of_whole
from excel_cam.wording import duration, first_lines


@dataclass(frozen=True, kw_only=True)
class ShardsStatus:
    """How far it is. Shards are told by their numbers.

    total, images: of the run, None where its record does not say. done: shards that are committed, with `labelled`
    photographs, and `failed` that have no label, in `failed_shards`. running: who is at work on which; abandoned: who
    was, and was not heard of for too long. missing: those neither done nor running, where it is known how many there
    are. damaged: why the indices of some cannot be read.
    """

    total: int | None
    images: int | None
    done: int
    labelled: int
    failed: int
    failed_shards: tuple[int, ...]
    running: Mapping[int, Running]
    abandoned: Mapping[int, Running | None]
    missing: tuple[int, ...]
    damaged: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every photograph of the run has a label."""
        unknown = self.total is None and not self.done
        return not (self.failed or self.running or self.abandoned or self.missing or self.damaged or unknown)

    def to_json_dict(self) -> dict[str, Any]:
        """The same in JSON's types."""
        return {
            "layout": "shards", "complete": self.is_complete, "shards": self.total, "images": self.images,
            "done": self.done, "labelled": self.labelled, "failed": self.failed,
            "failed_shards": list(self.failed_shards),
            "running": [{"shard": shard, **asdict(running)} for shard, running in self.running.items()],
            "abandoned": list(self.abandoned), "missing": list(self.missing), "damaged": list(self.damaged),
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """The same for a terminal."""
        of_all = "" if self.total is None else f" of {self.total:,}"
        of_images = "" if self.images is None else f" of {self.images:,}"
        yield f"done       {self.done:,}{of_all} shards: {self.labelled:,}{of_images} photographs labelled"
        if self.failed:
            shards = first_lines(map(str, self.failed_shards))
            yield f"failed     {self.failed:,} photographs, in shards {shards}; --retry-failed makes these again"
        for shard, running in self.running.items():
            yield f"running    shard {shard}: {_who(running)}"
        for shard, gone in self.abandoned.items():
            yield f"abandoned  shard {shard}: {'nobody is known' if gone is None else _who(gone)}"
        if self.missing:
            yield f"missing    {len(self.missing):,} shards: {first_lines(map(str, self.missing))}"
        for reason in self.damaged:
            yield f"damaged    {reason}"
        if self.abandoned or self.missing:
            yield "the same `excel-cam generate` makes what is missing"


def _who(running: Running) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(running.since))
    ago = duration(max(0.0, time.time() - running.renewed))
    return f"process {running.process} on {running.host}, since {since}, heard of {ago} ago"


def shards_status(labels: Path | Place) -> ShardsStatus:
    """Look at an output folder of shards. Raises `DataError` where it cannot be listed."""
    require_pyarrow()
    out = labels if isinstance(labels, Place) else Place(str(labels))
    total, images = size_of_run(labels)
    listing = list_shards(out)
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        looks = list(pool.map(lambda shard: _look(out, shard), listing.committed))
    running, abandoned = _at_work(out, listing)
    taken = {*listing.committed, *running, *abandoned}
    return ShardsStatus(
        total=total, images=images, done=len(looks),
        labelled=sum(look.labelled for look in looks), failed=sum(look.failed for look in looks),
        failed_shards=tuple(
            shard for shard, look in zip(listing.committed, looks, strict=True) if look.failed
        ),
        running=running, abandoned=abandoned,
        missing=tuple(shard for shard in range(total or 0) if shard not in taken),
        damaged=tuple(look.fault for look in looks if look.fault),
    )  # fmt: skip


def size_of_run(labels: Path | Place) -> tuple[int | None, int | None]:
    """How many shards and photographs a run has, where its record says it."""
    labelled = (record_of_whole(labels) or {}).get("labelled")
    counts = [labelled.get(key) if isinstance(labelled, dict) else None for key in ("shards", "images")]
    shards, images = (count if type(count) is int and count >= 0 else None for count in counts)
    return shards, images


@dataclass(frozen=True)
class _Look:
    """What one index says."""

    labelled: int = 0
    failed: int = 0
    fault: str = ""


def _look(out: Place, shard: int) -> _Look:
    try:
        index = read_index(index_of(out, shard), shard)
    except DataError as error:
        return _Look(fault=str(error))
    return _Look(index.labelled, len(index.reasons))


def _at_work(out: Place, listing: Listing) -> tuple[dict[int, Running], dict[int, Running | None]]:
    """Who is at work on the shards that are begun, and which of them are abandoned."""
    running, abandoned = {}, dict[int, Running | None].fromkeys(listing.left)
    for shard in listing.begun:
        found = read_running(running_of(out, shard))
        if found is None or found.is_abandoned():
            abandoned[shard] = found
        else:
            running[shard] = found
    return running, dict(sorted(abandoned.items()))
