"""What people are told while a command works: lines on standard error, and how far it is.

On a terminal that is a bar, drawn once the first thing is done, so that no message breaks it. Elsewhere, in a log or a
batch system, it is a line every half minute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from excel_cam.cli.terminal import tell
from excel_cam.wording import Report, duration

SAID_EVERY = 30.0  # seconds between lines where standard error is no terminal
_drawn: list[Progress] = []  # the bar that is on the screen: a message has to clear it first


def reporter(quiet: bool) -> Report:
    """What takes lines worth telling: it prints them, or not where quiet is asked for."""

    def report(message: str) -> None:
        if not quiet:
            for progress in _drawn:
                progress.clear()
            tell(message)

    return report


class Progress:
    """How many of `total` things (None: not known) are done; see the module."""

    def __init__(self, total: int | None, unit: str, quiet: bool) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self.begin(total, unit)

    def begin(self, total: int | None, unit: str) -> None:
        """Count anew: other things, or now that it is known how many there are."""
        self.close()
        self.total, self.unit, self.done, self.note = total, unit, 0, ""
        self._skipped = 0
        self._said, self._worked_before = time.monotonic(), 0

    def skip(self, count: int = 1) -> None:
        """So many were done before, and say nothing of how fast it goes."""
        self._skipped += count
        self._count(count)

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self._count(count)

    def _count(self, count: int) -> None:
        self.done += count
        if self.quiet:
            return
        if sys.stderr.isatty():
            self._draw(count)
        elif time.monotonic() - self._said >= SAID_EVERY:
            tell(self._line())

    def _draw(self, count: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, unit=f" {self.unit}", file=sys.stderr)
            _drawn.append(self)
        self._bar.initial = self._skipped
        if self.note:
            self._bar.set_postfix_str(self.note, refresh=False)
        self._bar.update(count)

    def _line(self) -> str:
        """How far it is, for a log: what is done, how fast since the line before, and what is left at that speed."""
        worked, now = self.done - self._skipped, time.monotonic()
        rate = (worked - self._worked_before) / (now - self._said)
        self._said, self._worked_before = now, worked
        text = f"{self.done:,}"
        if self.total is not None:
            text += f" of {self.total:,}"
        text += f" {self.unit}s"
        if rate > 0:
            text += f", {rate:,.1f} a second" if rate >= 1 else f", {1 / rate:,.1f} s each"
            if self.total is not None:
                text += f", about {duration((self.total - self.done) / rate)} left"
        return text + (f"; {self.note}" if self.note else "")

    def clear(self) -> None:
        """Take the bar off the screen until the next update."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Leave the bar as it is, on a line of its own."""
        if self._bar is not None:
            _drawn.remove(self)
            self._bar.close()
            self._bar = None


@contextmanager
def progress_bar(total: int | None, unit: str, quiet: bool = False) -> Iterator[Progress]:
    """Progress through `total` things (None: not known)."""
    progress = Progress(total, unit, quiet)
    try:
        yield progress
    finally:
        progress.close()
