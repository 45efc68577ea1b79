"""How values, lists, sizes and shares are said in messages."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

Report = Callable[[str], None]  # takes a line worth telling the user

OVERWRITE_HAND_MADE = "--overwrite-hand-made"  # the one option that lets a command replace hand-made labels

_QUOTED_LENGTH = 100  # characters of an input's own text that a message repeats
# What a terminal obeys: control characters of both sets but the line's end, separators of lines, marks and overrides of
# the direction of writing. Half characters, which no encoding has, stand for bytes of file names that are not text.
_OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """`text` for a terminal or message: what a terminal would obey is spelt `\\u001b`, as JSON does."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def quoted(value: object) -> str:
    """`value` as it stands in its file, on one line and cut short, for a message.

    Takes no longer for values nested deeply, or within themselves, than for short ones.
    """
    text = ""
    for part in _parts(value):
        text += part
        if len(text) > _QUOTED_LENGTH:
            return text[:_QUOTED_LENGTH] + "…"
    return text


def _parts(value: object) -> Iterator[str]:
    """The text of `repr(value)` piece by piece; every level of nesting gives a piece before the next is entered."""
    if isinstance(value, str | bytes | bytearray):
        yield repr(value[: _QUOTED_LENGTH + 1])
    elif isinstance(value, Mapping):
        yield "{"
        for index, (key, inner) in enumerate(value.items()):
            yield ", " if index else ""
            yield from _parts(key)
            yield ": "
            yield from _parts(inner)
        yield "}"
    elif isinstance(value, list | tuple | Set):
        opening, closing = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
        yield opening
        for index, inner in enumerate(value):
            yield ", " if index else ""
            yield from _parts(inner)
        yield "," + closing if isinstance(value, tuple) and len(value) == 1 else closing
    else:
        yield _scalar(value)


def _scalar(value: object) -> str:
    if value is None or isinstance(value, bool | int | float | complex):
        try:
            return repr(value)
        except ValueError:  # a whole number of thousands of digits
            return f"{type(value).__name__} too long to show"
    return f"<{type(value).__name__}>"


def first_lines(items: Iterable[str], limit: int = 3) -> str:
    """The first few of `items`, comma-separated, with a count of the rest: for error messages."""
    items = list(items)
    first = ", ".join(items[:limit])
    return first if len(items) <= limit else f"{first} and {len(items) - limit:,} more"


def predicted_tags_text(images: int, corrected: int) -> str:
    """That tags were predicted, wherever that is said: "predicted, not given (48 images, 3 corrected by hand)"."""
    by_hand = f", {corrected:,} corrected by hand" if corrected else ""
    return f"predicted, not given ({images:,} {'image' if images == 1 else 'images'}{by_hand})"


def install_hint(extra: str) -> str:
    """The command that installs an extra: from a clone, which needs no release on a package index."""
    return f"pip install '.[{extra}]' in a clone of excel-cam"


def readable_size(count: int) -> str:
    """Bytes as people read them: 1234567 → "1.2 MB"."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """A time as people say it: "40 s", "12 min", "3 h 20 min", "2 days 4 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def percent(score: float) -> str:
    """A fraction in percent, with one decimal; a dash where it is undefined."""
    return "-" if math.isnan(score) else f"{100 * score:.1f}"


def size_text(shape: Sequence[int]) -> str:
    """A size as messages give it, height first: (375, 500) → "375 x 500"."""
    return f"{shape[0]} x {shape[1]}"
