"""How many processors this process may really use: fewer than the machine has, in a container or a batch job."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def processors() -> int:
    """Processors that this process may run on, at the same time and for all of the time; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas())]))


def default_workers() -> int:
    """Threads that decode photographs: one per processor this process may use, 8 at most."""
    return min(8, processors())


def _quotas() -> list[float]:
    """What a container's limit on processor time comes to, in processors; empty where there is none."""
    found = []
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (_CGROUP / quota_file).read_text("ascii").split()
            if period_file is not None:
                words += (_CGROUP / period_file).read_text("ascii").split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):
            continue  # another version of control groups, or `max`: no limit
        if quota > 0 and period > 0:
            found.append(quota / period)
    return found
