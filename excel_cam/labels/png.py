"""Label PNGs: written whole, each stamped with what it was made with, and read back."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from excel_cam.classes import voc_palette
from excel_cam.files.atomic import write_atomically

STAMP_KEY = "excel-cam"  # keyword of the PNG text chunk that holds the stamp
_STAMP_MARK = b"tEXt" + STAMP_KEY.encode() + b"\0"
_STAMP_LENGTH = 32
_HEAD_LENGTH = 1200  # bytes within which the stamp lies: before the pixels, after a palette at most

PALETTE = voc_palette()


def write_label(path: Path, label: NDArray[np.uint8], png_mode: str, stamp: str) -> None:
    """Write an (H, W) uint8 label as an 8-bit PNG, mode `L` (values) or `P` (values with VOC's palette).

    stamp: 32 hexadecimal digits that say what the label was made with; they go into a text chunk, which readers of
    masks ignore. The file appears whole or not at all. Raises `OutputError`.
    """
    image = Image.fromarray(label)
    if png_mode == "P":
        image.putpalette(PALETTE)
    text = PngImagePlugin.PngInfo()
    text.add_text(STAMP_KEY, stamp)
    stream = io.BytesIO()
    # Labels are runs of equal values: run lengths compress them nearly as well, in a fraction of the time.
    image.save(stream, "PNG", pnginfo=text, compress_level=1, compress_type=zlib.Z_RLE)
    write_atomically(path, stream.getvalue())


def read_stamp(path: Path) -> str | None:
    """The stamp of a label file: None when there is no such file, "" when it is not one of ours."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_LENGTH)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    at = head.find(_STAMP_MARK)
    if at < 0:
        return ""
    start = at + len(_STAMP_MARK)
    return head[start : start + _STAMP_LENGTH].decode("ascii", "replace")


def class_shares(label: NDArray[np.integer[Any]]) -> dict[int, float]:
    """The share of an (H, W) label's pixels that each value in it has, by value, 0..1."""
    counts = np.bincount(label.ravel())
    return {int(value): float(counts[value] / label.size) for value in np.flatnonzero(counts)}
