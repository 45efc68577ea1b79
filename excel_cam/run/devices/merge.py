"""What the processes of one run wrote of themselves, made one: `run.json` and `failed.jsonl` as of one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.labels.claims import claimed, work_of
from excel_cam.labels.failures import merge_failures
from excel_cam.labels.records import read_runs, run_file, write_run
from excel_cam.labels.shards import Shard
from excel_cam.labels.status.shares import retire_covered
from excel_cam.run.execute import Tally
from excel_cam.run.settle import Settled
from excel_cam.wording import Report


def merge_records(
    settled: Settled, parts: Sequence[Shard], devices: Sequence[str], tally: Tally, seconds: float, report: Report
) -> None:
    """Write one record and one list of failures in place of those of `parts`, which are finished.

    Where another run is at work in the folder, such as other shares of a cluster's, they stay as they are.
    """
    out, shard = settled.request.destination.out, settled.request.work.shard
    try:
        with claimed({out: work_of(shard, {})}):
            records = read_runs(out)
            found = {run_file(part): records[run_file(part)] for part in parts if run_file(part) in records}
            if not found:
                return  # everything was there, nobody wrote anything
            newest = max(found, key=lambda name: (out / name).stat().st_mtime_ns)
            merge_failures(out, shard, parts)
            write_run(out, _merged(found, newest, settled, devices, tally, seconds), shard)
            for part in parts:
                if part != shard:
                    (out / run_file(part)).unlink(missing_ok=True)
            retire_covered(out)
    except OutputError as error:
        report(f"the records of the processes stay apart: {error}")


def _merged(
    found: dict[str, dict[str, Any]], newest: str, settled: Settled, devices: Sequence[str], tally: Tally,
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """One record of the parts'; what differs between them is what the parent knows of the whole."""
    shard, record = settled.request.work.shard, found[newest]
    work = record["work"] | {
        "shard": None if shard.is_whole else f"{shard} ({shard.source})",
        "devices": list(devices),
    }
    merged = record | {
        "work": work,
        "state": "complete with failures" if tally.failed else "complete",
        "counts": tally.counts(),
        "seconds": round(seconds, 1),
    }
    if hand_made := sum(part.get("hand_made", 0) for part in found.values()):
        merged["hand_made"] = hand_made
    return merged
