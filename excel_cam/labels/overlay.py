"""A label laid over its photograph, as a picture to look at: never read as a label."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from excel_cam.files.atomic import write_atomically
from excel_cam.files.images.products import OVERLAY_SUFFIX
from excel_cam.labels.colours import CLASS_COLOURS, WHITE, hatching, outline

_LONGEST_NAME = 255  # bytes
MAX_SIDE = 2000  # pixels; larger pictures are reduced, they are for eyes alone
OPACITY = 0.55  # of the colours on the photograph
_FONT_SIZE = 14
_LINE_HEIGHT = 22


def overlay_name(stem: str) -> str:
    """The file name of a photograph's overlay; where it would be longer than file systems take, a cut one."""
    encoded, most = os.fsencode(stem), _LONGEST_NAME - len(OVERLAY_SUFFIX)
    if len(encoded) > most:
        digest = hashlib.sha256(encoded).hexdigest()[:12]  # two long names may begin alike
        stem = f"{encoded[: most - 1 - len(digest)].decode('utf-8', 'ignore')}-{digest}"
    return stem + OVERLAY_SUFFIX


def overlay_picture(
    photograph: NDArray[np.uint8], label: NDArray[np.integer[Any]], names: Mapping[int, str]
) -> Image.Image:
    """The photograph with each class in its colour and hatching, a white line around it, and a legend below.

    photograph: uint8 RGB, (H, W, 3) or reduced. label: (H, W), 0 background, which stays as it is. names: what the
    other values stand for; each that occurs is in the legend. Returns an RGB picture, at most MAX_SIDE wide and high,
    then legend.
    """
    picture = Image.fromarray(photograph)
    mask = Image.fromarray(label.astype(np.uint8))
    scale = MAX_SIDE / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    mask = mask.resize(picture.size, Image.Resampling.NEAREST)
    values, pixels = np.asarray(mask), np.array(picture, np.float32)
    colours = _painted(values)
    covered = values > 0
    pixels[covered] += OPACITY * (colours[covered] - pixels[covered])
    pixels[outline(values)] = WHITE
    return _with_legend(Image.fromarray(pixels.astype(np.uint8)), [v for v in names if (values == v).any()], names)


def _painted(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) the colours and hatchings of (H, W) label values, as the report's page has them."""
    colours = np.zeros((*values.shape, 3), np.float32)
    for value in np.unique(values):
        inside = values == value
        fill, ink = CLASS_COLOURS[value]
        colours[inside] = fill
        colours[inside & hatching(values.shape, int(value))] = ink
    return colours


def _with_legend(picture: Image.Image, present: list[int], names: Mapping[int, str]) -> Image.Image:
    """The picture with one line below it per value: its colour, itself and its name."""
    if not present:
        return picture
    canvas = Image.new("RGB", (picture.width, picture.height + _LINE_HEIGHT * len(present) + 4), "white")
    canvas.paste(picture)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_SIZE)
    for line, value in enumerate(present):
        top = picture.height + 4 + _LINE_HEIGHT * line
        swatch = _painted(np.full((15, 15), value, np.uint8)).astype(np.uint8)
        draw.rectangle((4, top, 20, top + 16), outline="black")
        canvas.paste(Image.fromarray(swatch), (5, top + 1))
        draw.text((28, top), f"{value} {names[value]}", fill="black", font=font)
    return canvas


def write_overlay(path: Path, picture: Image.Image) -> None:
    """Write an overlay as JPEG, whole or not at all; raises `OutputError`."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    write_atomically(path, stream.getvalue())
