"""A process of `--devices` that labels nothing and loads no model: it does what files in the data set's root say."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from excel_cam.errors import OutputError
from excel_cam.run.devices.child import Finished, Made, Note, Stopped
from excel_cam.run.settle import Settled


def pretend(settled: Settled, parent: Connection) -> None:
    """Tell of every image as done, but die at NAME as often as `die-NAME` says, and stop at one with `stop-NAME`."""
    parent.send(Note("what every process says"))
    for sample in settled.data.samples:
        _die_where_told(settled.data.root / f"die-{sample.name}")
        if (settled.data.root / f"stop-{sample.name}").exists():
            parent.send(Stopped(OutputError(f"stopped at {sample.name}"), "Traceback: there"))
            return
        with (settled.data.root / "seen").open("a") as seen:
            seen.write(f"{sample.name} {settled.request.model.device} {settled.request.work.shard}\n")
        parent.send(Made(kept=False, reason=None, shows_class=True))
    parent.send(Finished())


def _die_where_told(file: Path) -> None:
    times = int(file.read_text()) if file.exists() else 0
    if times:
        file.write_text(str(times - 1))
        os.kill(os.getpid(), signal.SIGKILL)
