"""A run over shards: what is committed is left, the record is written, an engine makes the rest."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from excel_cam.errors import DataError
from excel_cam.files.atomic import json_bytes, remove_stale_parts
from excel_cam.labels.packed.index import read_index
from excel_cam.labels.packed.listing import index_of, list_shards, running_of
from excel_cam.labels.records import run_file
from excel_cam.labels.shards import WHOLE
from excel_cam.run.shards.engine import Engine
from excel_cam.run.shards.make import Commit
from excel_cam.run.shards.marker import is_at_work
from excel_cam.run.shards.settle import SettledShards, read_shards_record, refuse_other_shards
from excel_cam.wording import Report, first_lines


def run_shards(settled: SettledShards, engine: Engine, report: Report) -> Generator[Commit, None, None]:
    """Make the shards that are left to make; yields what became of each, those committed before first.

    Raises `ExcelCamError` for whatever the user has to mend. However the iteration ends, whole shards alone are
    committed, and the same run goes on from there.
    """
    out = settled.out
    if not out.is_remote and out.path.is_dir():
        remove_stale_parts(out.path)
    record = read_shards_record(out)
    if record is not None:
        refuse_other_shards(settled, record, None)
    listing = list_shards(out)
    committed = set(listing.committed)
    pending = dict.fromkeys(_pending(settled, committed, report))
    yield from (
        Commit(shard, was_there=True) for shard in settled.chosen if shard in committed and shard not in pending
    )
    if not pending:
        return
    _open_record(settled, record, engine.record(report))
    # Last those that another process is at: by then it may have committed them.
    taken = dict.fromkeys(n for n in listing.begun if n in pending and is_at_work(running_of(out, n)))
    yield from engine.run([*(n for n in pending if n not in taken), *taken])


def _pending(settled: SettledShards, committed: set[int], report: Report) -> list[int]:
    """The numbers of the shards to make, of those chosen."""
    if not settled.request.retry_failed:
        return [shard for shard in settled.chosen if shard not in committed]
    left = [shard for shard in settled.chosen if shard not in committed]
    if left:
        report(f"{len(left):,} shards are not made yet, and stay so with --retry-failed: {first_lines(map(str, left))}")
    return [shard for shard in settled.chosen if shard in committed and _has_failed(settled, shard)]


def _has_failed(settled: SettledShards, shard: int) -> bool:
    """Whether a committed shard has photographs without a label, or cannot be read."""
    try:
        return bool(read_index(index_of(settled.out, shard), shard).reasons)
    except DataError:
        return True


def _open_record(settled: SettledShards, before: dict[str, Any] | None, record: dict[str, Any]) -> None:
    """Write the run's record where there is none; raises `OutputError` where there is one that differs.

    Of two processes that begin at one moment with other settings the later record stands; each shard is compared with
    it before it is committed.
    """
    resolved = record["identity"]["resolved"]
    if before is not None:
        refuse_other_shards(settled, before, resolved)
        return
    settled.out.child(run_file(WHOLE)).write(json_bytes(record))
