"""Label PNGs: written whole, each stamped with what it was made with, and read back."""

from __future__ import annotations

import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from excel_cam.classes import voc_palette
from excel_cam.errors import OutputError
from excel_cam.files.atomic import write_atomically
from excel_cam.files.images.masks import value_counts
from excel_cam.files.images.png_chunks import GREY, PALETTE_INDICES, NotPngError, PngDamageError, read_png_head
from excel_cam.files.images.products import HEAD_LENGTH, STAMP_KEY, STAMP_MARK
from excel_cam.files.machine import raise_if_machine
from excel_cam.labels.hand_made import HAND_MADE

_OTHER_PICTURES = (b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")  # how their files begin

PALETTE = voc_palette()


def write_label(path: Path, label: NDArray[np.uint8], png_mode: str, stamp: str | None) -> None:
    """Write a label as `label_bytes` has it; the file appears whole or not at all. Raises `OutputError`."""
    write_atomically(path, label_bytes(label, png_mode, stamp))


def label_bytes(label: NDArray[np.uint8], png_mode: str, stamp: str | None) -> bytes:
    """An (H, W) uint8 label as an 8-bit PNG, mode `L` (values) or `P` (values with VOC's palette).

    stamp: 32 hexadecimal digits that say what the label was made with, or that it is hand-made; it goes into a text
    chunk, which readers of masks ignore. None: no command takes the label for its own.
    """
    image = Image.fromarray(label)
    if png_mode == "P":
        image.putpalette(PALETTE)
    text = PngImagePlugin.PngInfo()
    if stamp is not None:
        text.add_text(STAMP_KEY, stamp)
    stream = io.BytesIO()
    # Labels are runs of equal values: run lengths compress them nearly as well, in a fraction of the time.
    image.save(stream, "PNG", pnginfo=text, compress_level=1, compress_type=zlib.Z_RLE)
    return stream.getvalue()


@dataclass(frozen=True)
class FoundLabel:
    """A label file that is whole. stamp: "" where it is not one of ours. size: (H, W). written: its time, ns.

    is_picture: whether it cannot be a label, as a PNG in colours, or a photograph of another format, cannot.
    """

    stamp: str
    size: tuple[int, int]
    written: int
    is_picture: bool = False

    @property
    def is_hand_made(self) -> bool:
        """Whether a person made or corrected it: no run replaces it unasked."""
        return self.stamp.startswith(HAND_MADE)


def find_label(path: Path) -> FoundLabel | None:
    """What a label file is, every checksum in it tested, nothing decoded; None where it has to be made (again).

    That is where there is no such file, and where a PNG is empty, cut off or damaged, unless it is hand-made: no run
    can make it again. A file of another kind is found, without a stamp: it is somebody else's. Raises `MachineError`.
    """
    try:
        with path.open("rb") as stream:
            try:
                head = read_png_head(stream)
            except (NotPngError, PngDamageError) as error:
                stream.seek(0)
                return _damaged_label(stream.read(HEAD_LENGTH), is_png=isinstance(error, PngDamageError))
            written = os.fstat(stream.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    except OSError as error:
        raise_if_machine(error, path)
        return FoundLabel("", (0, 0), 0)  # a folder, or not ours to read
    stamp = head.texts.get(STAMP_KEY.encode(), b"").decode("ascii", "replace")
    return FoundLabel(stamp, head.size, written, is_picture=head.colour_type not in (GREY, PALETTE_INDICES))


def _damaged_label(start: bytes, is_png: bool) -> FoundLabel | None:
    """What a file is that is no whole PNG, by its first bytes; None for a label that can be made again."""
    if STAMP_MARK + HAND_MADE.encode() in start:
        return FoundLabel(HAND_MADE, (0, 0), 0)
    if is_png or STAMP_MARK in start:  # ours, where its first bytes alone have changed
        return None
    return FoundLabel("", (0, 0), 0, is_picture=start.startswith(_OTHER_PICTURES))


def refuse_picture(path: Path, found: FoundLabel | None) -> None:
    """Raise `OutputError` where a label would replace a picture, which `--overwrite` is not meant for."""
    if found is not None and found.is_picture:
        raise OutputError(
            f"{path}: a label would replace this picture, which is none; it stays as it is, also with --overwrite: "
            "choose another --out, or move it"
        )


def class_shares(label: NDArray[np.integer[Any]]) -> dict[int, float]:
    """The share of an (H, W) label's pixels that each value in it has, by value, 0..1."""
    counts = value_counts(label)
    return {int(value): float(counts[value] / label.size) for value in np.flatnonzero(counts)}
