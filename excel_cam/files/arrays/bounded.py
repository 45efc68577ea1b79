"""Read a whole file, but no more of it than fits: sizes that a file system tells are none for pipes and devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from excel_cam.wording import readable_size

if TYPE_CHECKING:
    from excel_cam.files.storage import Place  # which a command that only shows its help has no need of

_BLOCK = 1 << 20


def read_bounded(path: Path | Place, most_bytes: int) -> bytes:
    """The bytes of a file; ValueError where it has more than `most_bytes`, OSError where it cannot be read.

    A place that cannot be read raises `DataError`.
    """
    content = bytearray()
    with path.open("rb") if isinstance(path, Path) else path.reading() as stream:
        # Block by block: Python makes room for as many bytes as are asked for before it reads any.
        while block := stream.read(_BLOCK):
            content += block
            if len(content) > most_bytes:
                raise ValueError(f"it is longer than {readable_size(most_bytes)}")
    return bytes(content)
