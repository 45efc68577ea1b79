"""What people are told while a command works: lines on standard error, and a bar where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from excel_cam.cli.terminal import tell
from excel_cam.wording import Report


def reporter(quiet: bool) -> Report:
    """What takes lines worth telling: it prints them, or not where quiet is asked for."""

    def report(message: str) -> None:
        if not quiet:
            tell(message)

    return report


@contextmanager
def progress_bar(total: int | None, unit: str, quiet: bool = False) -> Iterator[Any]:
    """tqdm's bar for `total` things (None: not known)."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, disable=True if quiet else None, file=sys.stderr) as bar:
        yield bar
