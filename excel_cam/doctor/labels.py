"""What is wrong with one label file itself, and the class indices it was meant to hold."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from excel_cam.classes import IGNORE, voc_palette
from excel_cam.errors import OutputError
from excel_cam.files.atomic import write_atomically
from excel_cam.files.images.masks import DAMAGE_ERRORS, decode_png
from excel_cam.files.part import File

BACKUP_SUFFIX = ".bak"
_OPAQUE = 255
# Pillow modes whose raw values are class indices -> what is wrong with them.
_INDEX_FAULTS = {"L": None, "P": "palette", "I": "sixteen-bit", "I;16": "sixteen-bit", "I;16B": "sixteen-bit"}


@dataclass(frozen=True)
class Look:
    """What one label file is.

    fault: the kind of finding its format is, None where it is as it should be. mask: (H, W) class indices where they
    are certain, though perhaps out of range. size: (H, W), None for a file that cannot be read.
    """

    fault: str | None
    mask: NDArray[np.integer[Any]] | None
    size: tuple[int, int] | None
    out_of_range: bool = False

    @property
    def can_be_fixed(self) -> bool:
        """Whether writing `mask` as 8-bit `L` mends it and loses nothing."""
        return self.fault is not None and self.mask is not None and not self.out_of_range


def look_at_label(file: File, class_count: int) -> Look:
    """Read a label as leniently as can be without guessing."""
    try:
        picture = decode_png(file)
    except DAMAGE_ERRORS:
        return Look("damaged-label", None, None)
    mode, pixels = picture.mode, picture.pixels
    size = (int(pixels.shape[0]), int(pixels.shape[1]))
    if mode in _INDEX_FAULTS:
        wrong = bool(((pixels > class_count) & (pixels != IGNORE)).any())
        few_bits = mode == "L" and picture.bits < 8
        return Look("few-bits" if few_bits else _INDEX_FAULTS[mode], pixels, size, wrong)
    if mode == "1":
        return Look("one-bit", None, size)
    if mode in ("LA", "RGBA"):
        opaque = bool((pixels[..., -1] == _OPAQUE).all())
        mask = _recover(pixels[..., :-1], class_count)[0] if opaque else None
        return Look("transparent" if mask is None else "four-channels", mask, size)
    mask, fault = _recover(pixels, class_count)
    return Look(fault, mask, size)


def _recover(pixels: NDArray[np.uint8], class_count: int) -> tuple[NDArray[np.uint8] | None, str]:
    """The class indices behind (H, W, 1 or 3) channels, None where they are in doubt, and what the channels are."""
    as_values = _equal_channels(pixels, class_count)
    as_colours = _palette_indices(pixels, class_count)
    if as_values is None:
        return as_colours, "unknown-colours" if as_colours is None else "colour-coded"
    # Some greys are a value and a colour of the palette. A channel alone was never meant as a colour.
    in_doubt = pixels.shape[2] == 3 and as_colours is not None and not np.array_equal(as_values, as_colours)
    return (None, "unknown-colours") if in_doubt else (as_values, "equal-channels")


def _equal_channels(pixels: NDArray[np.uint8], class_count: int) -> NDArray[np.uint8] | None:
    """The one value of one or three equal channels, where all are in range."""
    values = pixels[..., 0]
    as_they_should = (values <= class_count) | (values == IGNORE)
    for channel in range(1, pixels.shape[2]):
        as_they_should &= pixels[..., channel] == values
    return values if bool(as_they_should.all()) else None


def _palette_indices(pixels: NDArray[np.uint8], class_count: int) -> NDArray[np.uint8] | None:
    """The label values whose VOC colours these are, where all are such; row by row, as a colour takes 8 bytes here."""
    values = np.array([*range(class_count + 1), IGNORE])
    palette = _packed(np.frombuffer(voc_palette(), np.uint8).reshape(256, 3))[values]
    order = np.argsort(palette)
    indices = np.empty(pixels.shape[:2], np.uint8)
    for row, colours in enumerate(pixels):
        packed = _packed(colours)
        found = order[np.searchsorted(palette[order], packed).clip(max=len(order) - 1)]
        if not bool((palette[found] == packed).all()):
            return None
        indices[row] = values[found]
    return indices


def _packed(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(n, 1 or 3) channels as one number each; one channel stands for three."""
    red, green, blue = (colours[..., channel % colours.shape[-1]].astype(np.int64) for channel in range(3))
    return red << 16 | green << 8 | blue


def fix_label(path: Path, mask: NDArray[np.integer[Any]]) -> None:
    """Write the mask as 8-bit `L` in place of the label, which stays beside it as <name>.png.bak.

    A backup that holds the label as it is was made by an earlier call that was killed before it wrote the label.
    Raises `OutputError` where such a file holds anything else, or nothing can be written.
    """
    backup, original = path.with_name(path.name + BACKUP_SUFFIX), path.read_bytes()
    if not os.path.lexists(backup):
        write_atomically(backup, original)
    elif not backup.is_file() or backup.read_bytes() != original:
        raise OutputError(f"{backup} is there already; move it away, the original of {path} would be lost")
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(stream, "PNG")
    write_atomically(path, stream.getvalue())
