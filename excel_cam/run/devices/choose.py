"""Which devices `--devices` means, and how processors are divided among their processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Sequence

from excel_cam.errors import ModelError, UsageError
from excel_cam.files.processors import processors

ALL = "all"
MOST_DEVICES = 64  # processes at once
_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
_ENTRY = re.compile("cpu|(?:cuda:)?(0|[1-9][0-9]{0,3})")


def chosen_devices(text: str) -> tuple[str, ...]:
    """The devices of `all`, `0,1,3` or `cpu,cpu`, by the names that `--device` knows; one process each.

    A device may stand there twice. Raises `UsageError` for other text, `ModelError` where `all` finds no GPU.
    """
    if text.strip() == ALL:
        count = count_gpus()
        if not count:
            raise ModelError(
                "--devices all: this machine offers no CUDA device; leave --devices out to label on the CPU, or give "
                "--devices cpu,cpu for two processes there"
            )
        return tuple(f"cuda:{index}" for index in range(min(count, MOST_DEVICES)))
    entries = [entry.strip() for entry in text.split(",")]
    found = [_ENTRY.fullmatch(entry) for entry in entries]
    if not all(found) or len(entries) > MOST_DEVICES:
        raise UsageError(
            f"--devices: '{text}' is not all, nor numbers of GPUs with commas between, such as 0,1,3; cpu,cpu makes "
            f"two processes on the CPU, {MOST_DEVICES} are the most"
        )
    return tuple(f"cuda:{match[1]}" if match and match[1] else "cpu" for match in found)


def count_gpus() -> int:
    """CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES leaves them; 0 where there is none."""
    for driver in _DRIVERS:
        with contextlib.suppress(OSError, AttributeError):
            return _count_by_driver(ctypes.CDLL(driver))
    from torch import cuda  # AMD's GPUs answer by this name too, and have another driver; loading torch takes seconds

    return int(cuda.device_count()) if cuda.is_available() else 0


def _count_by_driver(driver: ctypes.CDLL) -> int:
    """Ask NVIDIA's driver, https://docs.nvidia.com/cuda/cuda-driver-api/, without a context on any device."""
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0  # the driver is installed, but there is nothing for it to drive
    return count.value


def threads_each(devices: Sequence[str], asked: int | None) -> int | None:
    """Threads of torch in each process: as asked, else they share the processors, whose GPUs need the host too.

    None leaves it to torch, where OMP_NUM_THREADS says it.
    """
    if asked is not None or "OMP_NUM_THREADS" in os.environ:
        return asked
    return max(1, processors() // len(devices))
