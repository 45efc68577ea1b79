"""The one place through which text leaves a command: results to standard output, messages to standard error.

What a terminal would obey (escapes, control characters, marks that turn the direction of writing) is shown as `\\u001b`
wherever a person reads. Where the next program reads, which is standard output that is no terminal, text stays as it
is, paths byte for byte. No encoding, full disk or closed stream ends a command's work.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from excel_cam.wording import shown

_ESCAPED = "excel_cam.escaped"
_failure: OSError | None = None  # the first one of standard output; nothing is written to it from then on


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an encoding lacks, as `\\u2026`, which is JSON's own escape too; undecodable bytes of paths as they were."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    units = character.encode("utf-16-be", "surrogatepass")
    escapes = (f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    return "".join(escapes), error.start + 1


codecs.register_error(_ESCAPED, _escape)


def show(result: str | Path) -> None:
    """Write a result, and a line's end, to standard output. Raises `BrokenPipeError` where nobody reads on.

    Other failures wait for `output_failure`: labels are worth more than lines that tell of them.
    """
    global _failure
    if _failure is not None:
        return
    try:
        stream = sys.stdout
        encoding = stream.encoding or "utf-8"
        if stream.isatty():
            content = f"{shown(str(result))}\n".encode(encoding, _ESCAPED)
        elif isinstance(result, Path):
            content = os.fsencode(result) + b"\n"
        else:
            content = f"{result}\n".encode(encoding, _ESCAPED)
        _write(stream, content, encoding)
    except BrokenPipeError:
        raise
    except OSError as error:
        _failure = error


def show_each(lines: Iterable[str]) -> None:
    """Write lines of a result to standard output."""
    for line in lines:
        show(line)


def show_record(record: Any) -> None:
    """Write a JSON value on one line of standard output."""
    from excel_cam.files.atomic import json_line

    show(json_line(record).removesuffix("\n"))


def tell(message: str) -> None:
    """Write a message, and a line's end, to standard error; where that cannot be, there is nowhere to say so."""
    with contextlib.suppress(OSError):
        encoding = sys.stderr.encoding or "utf-8"
        _write(sys.stderr, f"{shown(message)}\n".encode(encoding, _ESCAPED), encoding)


def _write(stream: Any, content: bytes, encoding: str) -> None:
    stream.flush()
    if (buffer := getattr(stream, "buffer", None)) is None:  # a stream of text alone, as notebooks put in place
        stream.write(content.decode(encoding, "backslashreplace"))
    else:
        buffer.write(content)
    stream.flush()


def open_missing_streams() -> None:
    """Give a process that was started with closed standard streams ones that do nothing, or fail when written to.

    Else the first file opened would get the stream's number, and a library that prints would write into it.
    """
    global _failure
    _failure = None
    for number, (name, mode, flags) in enumerate(
        (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
    ):
        if getattr(sys, name) is None:
            # Standard output opened for reading: writing to it fails, as it does where the stream is closed.
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def output_failure() -> str | None:
    """Why standard output could not be written, None where all is written; what it still holds is dropped then."""
    global _failure
    if _failure is None:
        try:
            sys.stdout.flush()
        except OSError as error:
            _failure = error
    if _failure is None:
        return None
    drop_output()
    return os.strerror(_failure.errno) if _failure.errno else str(_failure)


def drop_output() -> None:
    """Let what standard output still holds go nowhere, so that its flush at the process's end does not fail too."""
    with contextlib.suppress(OSError, ValueError):  # no file behind it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
