"""How values, lists, sizes and shares are said in messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

Report = Callable[[str], None]  # takes a line worth telling the user

_QUOTED_LENGTH = 100  # characters of an input's own text that a message repeats


def quoted(value: object) -> str:
    """`value` as it stands in its file, on one line and cut short, for a message."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or a whole number of thousands of digits
        return f"{type(value).__name__} too long to show"
    return text if len(text) <= _QUOTED_LENGTH else text[:_QUOTED_LENGTH] + "…"


def first_lines(items: Iterable[str], limit: int = 3) -> str:
    """The first few of `items`, comma-separated, with a count of the rest: for error messages."""
    items = list(items)
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def readable_size(count: int) -> str:
    """Bytes as people read them: 1234567 → "1.2 MB"."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def percent(score: float) -> str:
    """A fraction in percent, with one decimal; a dash where it is undefined."""
    return "-" if math.isnan(score) else f"{100 * score:.1f}"


def size_text(shape: Sequence[int]) -> str:
    """A size as messages give it, height first: (375, 500) → "375 x 500"."""
    return f"{shape[0]} x {shape[1]}"
