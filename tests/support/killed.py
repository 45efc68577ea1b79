"""A process of `--devices` killed in the middle of its work."""

from __future__ import annotations

import os
import signal

import pytest

from excel_cam.run.devices import parent


def kill_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first process that tells of a label killed."""
    receive, killed = parent._Device.receive, []

    def receive_and_kill(device: parent._Device) -> object:
        message = receive(device)
        if isinstance(message, parent.Made) and not killed:
            assert device.process is not None
            killed.append(device.process.pid)
            os.kill(device.process.pid or 0, signal.SIGKILL)
        return message

    monkeypatch.setattr(parent._Device, "receive", receive_and_kill)
