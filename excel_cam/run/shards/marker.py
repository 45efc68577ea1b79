"""The file that says that a worker is at a shard: there while the block runs, renewed, gone at its end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from time import time

from excel_cam.errors import ExcelCamError
from excel_cam.files.storage import Place
from excel_cam.labels.packed.running import BEAT, Running, read_running


@contextlib.contextmanager
def at_work(place: Place) -> Iterator[None]:
    """Say at `place` that this process is at work, while the block runs. Raises `OutputError`."""
    running, ended = Running(), threading.Event()
    running.write(place)

    def beat() -> None:
        while not ended.wait(BEAT):
            with contextlib.suppress(ExcelCamError):  # a network that stalls may come back; the labels do not need it
                replace(running, renewed=time()).write(place)

    heart = threading.Thread(target=beat, name="running", daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        with contextlib.suppress(ExcelCamError):
            place.remove()


def is_at_work(place: Place) -> bool:
    """Whether a worker says there that it is at work, and has not been silent for too long."""
    running = read_running(place)
    return running is not None and not running.is_abandoned()
