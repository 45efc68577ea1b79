"""Who is at work on a shard: a small file, renewed while its worker lives, by which others tell an abandoned one.

Nothing that is right depends on it: two workers of one shard write the same bytes. It saves the second one's work.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass, field

from excel_cam.errors import DataError
from excel_cam.files.atomic import json_bytes
from excel_cam.files.json_file import parse_json
from excel_cam.files.storage import Place
from excel_cam.labels.claims import LIFETIME

BEAT = 30.0  # seconds after which it is renewed; rarer than a claim, for each is a request to a storage
_MOST_BYTES = 10_000


@dataclass(frozen=True)
class Running:
    """A worker at its shard. since, renewed: seconds since 1970, by that worker's clock."""

    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    since: float = field(default_factory=time.time)
    renewed: float = field(default_factory=time.time)

    def write(self, place: Place) -> None:
        """Write it down; raises `OutputError`."""
        place.write(json_bytes(asdict(self)))

    def is_abandoned(self, now: float | None = None) -> bool:
        """Whether it was not renewed for too long."""
        return (time.time() if now is None else now) - self.renewed > LIFETIME


def read_running(place: Place) -> Running | None:
    """Who is at work; None where the file is gone, or says nothing: nobody is."""
    try:
        record = parse_json(place.read(0, _MOST_BYTES))
        return Running(str(record["host"]), int(record["process"]), float(record["since"]), float(record["renewed"]))
    except (DataError, ValueError, KeyError, TypeError):
        return None
