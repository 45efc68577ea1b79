"""A file that lies within another one, such as a member of a tar: opened, sized and named like a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Part:
    """Bytes within a file. shown: what messages call it. size: bytes. content: reads them; may raise `DataError`."""

    shown: str
    size: int
    content: Callable[[], bytes]

    def __str__(self) -> str:
        return self.shown


File = Path | Part


def open_file(file: File) -> BinaryIO:
    """A file's bytes as a stream that can be sought in; raises OSError, and for a part `DataError`."""
    return BytesIO(file.content()) if isinstance(file, Part) else file.open("rb")


def file_size(file: File) -> int:
    """Bytes of a file; raises OSError."""
    return file.size if isinstance(file, Part) else file.stat().st_size
