"""The run records of a folder, each of a share of the images: which are closed, and which others stand in for.

A share is left open by a run that was ended: its record says `running` where that was killed, `stopped` where it could
still close it. It stays so until the same share is finished, or others that have all its images.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from excel_cam.labels.records import read_runs, shard_of_run_file
from excel_cam.labels.shards import Shard

COMPLETE = ("complete", "complete with failures")


def is_open(record: Mapping[str, Any]) -> bool:
    """Whether a run record is of work that has not been finished."""
    return record.get("state") not in COMPLETE


def is_left_open(records: Mapping[str, Mapping[str, Any]], shard: Shard) -> bool:
    """Whether there is an open record that finishing `shard` closes or replaces. records: by file name."""
    return any(
        is_open(record)
        and (other := shard_of_run_file(name)).count % shard.count == 0
        and other.index % shard.count == shard.index
        for name, record in records.items()
    )


def covered(out: Path, records: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """File names of the open records whose images other shares of one division have finished since.

    Those were made as it was, of the same data set, and closed after the open one was written.
    """
    written = {}
    for name in records:
        with contextlib.suppress(OSError):  # gone meanwhile
            written[name] = (out / name).stat().st_mtime_ns
    closed: dict[int, list[str]] = {}  # by the number of shares in the division
    for name in written:
        if not is_open(records[name]):
            closed.setdefault(shard_of_run_file(name).count, []).append(name)
    found = set()
    for name in written:
        if not is_open(records[name]):
            continue
        shard = shard_of_run_file(name)
        for count, others in closed.items():
            if count == shard.count:
                continue  # of its own division, only itself has its images
            # Shares I of N and J of M have images in common where I and J are equal modulo what N and M both divide by.
            both = math.gcd(shard.count, count)
            standing_in = [
                other for other in others
                if shard_of_run_file(other).index % both == shard.index % both
                and written[other] >= written[name]
                and all(records[other].get(part) == records[name].get(part) for part in ("identity", "dataset"))
            ]  # fmt: skip
            if len(standing_in) == count // both:
                found.add(name)
    return found


def retire_covered(out: Path) -> None:
    """Remove the records that ended runs left open, where others have finished their images since.

    Called by a run that holds its claim: nobody can be at work on those shares then.
    """
    for name in covered(out, read_runs(out)):
        (out / name).unlink(missing_ok=True)
