"""A strip for papers: rows of photograph, truth, label and class maps, as one picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from excel_cam.classes import IGNORE
from excel_cam.errors import ImageError
from excel_cam.files.atomic import write_atomically
from excel_cam.labels.colours import Colour
from excel_cam.report.card import ClassTitles
from excel_cam.report.marks import heat_picture, region_picture
from excel_cam.report.source import ViewSource
from excel_cam.report.thumbnails import Thumbnails, make_thumbnails

CELL_WIDTH = 400  # pixels: 3.4 cm at 300 dots per inch
_TALLEST = 420  # pixels; taller photographs are reduced in width as well
_GAP = 14
_HEAD_SIZE, _CAPTION_SIZE = 24, 19  # of the letters, in pixels
_LINE = 27  # pixels from one caption line to the next
_SWATCH = 17  # pixels
MOST_ROWS = 100  # what is read and printed in one piece
_MOST_MAPS = 3  # in a row: those of the classes that cover most
_SOFT: Colour = (90, 90, 90)
_OPACITY = 0.68


@dataclass(frozen=True)
class _Caption:
    """What stands below a picture: a class's name, and its label value where a swatch goes before it."""

    text: str
    value: int | None = None

    @property
    def width(self) -> int:
        """Pixels, the gap to the next caption included."""
        text = ImageFont.load_default(_CAPTION_SIZE).getlength(self.text)
        return round(text) + _GAP + (0 if self.value is None else _SWATCH + 7)


@dataclass(frozen=True, eq=False)
class _Cell:
    """One picture, and the lines of captions below it."""

    picture: Image.Image
    lines: tuple[tuple[_Caption, ...], ...] = ()

    @property
    def height(self) -> int:
        """Pixels, captions included."""
        return self.picture.height + _LINE * len(self.lines)


def _fitting(text: str) -> str:
    """Text that is no wider than a cell leaves beside a swatch; what is too long ends in dots."""
    width = CELL_WIDTH - _SWATCH - 7
    if ImageFont.load_default(_CAPTION_SIZE).getlength(text) <= width:
        return text
    while text and ImageFont.load_default(_CAPTION_SIZE).getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _lines(captions: Sequence[_Caption]) -> tuple[tuple[_Caption, ...], ...]:
    """Captions side by side, as many to a line as a cell is wide."""
    lines: list[list[_Caption]] = []
    room = 0
    for caption in captions:
        if not lines or caption.width > room:
            lines.append([])
            room = CELL_WIDTH + _GAP
        lines[-1].append(caption)
        room -= caption.width
    return tuple(tuple(line) for line in lines)


def write_strip(
    path: Path, source: ViewSource, names: Sequence[str], on_image: Callable[[], None], on_unread: Callable[[str], None]
) -> int:
    """Write the strip of these images as PNG, whole or not at all; returns its number of rows.

    on_unread: told why, of each photograph that cannot be read and has no row. Raises `DataError` where masks cannot be
    read, `ImageError` where no photograph can, `OutputError` where nothing can be written.
    """
    titles = ClassTitles(source.class_names, source.has_background)
    rows = []
    for name in names:
        try:
            rows.append(_row(make_thumbnails(source, name, 2 * CELL_WIDTH), titles))
        except ImageError as error:
            if name == names[-1] and not rows:
                raise
            on_unread(str(error))
        on_image()
    heads = ["photograph", *(["truth"] if source.truth_names else []), "label"]
    stream = io.BytesIO()
    _draw(rows, heads).save(stream, "PNG", optimize=True)
    write_atomically(path, stream.getvalue())
    return len(rows)


def _row(small: Thumbnails, titles: ClassTitles) -> list[_Cell | None]:
    """The cells of one image; None where another image's truth would be."""
    scale = min(CELL_WIDTH / small.photograph.width, _TALLEST / small.photograph.height)
    size = (max(1, round(small.photograph.width * scale)), max(1, round(small.photograph.height * scale)))
    photograph = small.photograph.resize(size, Image.Resampling.LANCZOS)
    cells: list[_Cell | None] = [_Cell(photograph)]
    cells.append(None if small.truth is None else _region_cell(photograph, small.truth, titles))
    cells.append(_region_cell(photograph, small.label, titles))
    shares = {part.value: part.share for part in small.parts}
    for value in sorted(small.maps, key=lambda value: -shares.get(value, 0.0))[:_MOST_MAPS]:
        heat = heat_picture(small.maps[value]).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        cells.append(_Cell(Image.blend(photograph, heat, _OPACITY), _lines([_Caption(_fitting(titles[value]))])))
    return cells


def _region_cell(photograph: Image.Image, values: NDArray[np.uint8], titles: ClassTitles) -> _Cell:
    """Regions over the photograph without its colours, so that only classes have any."""
    mask = np.array(Image.fromarray(values).resize(photograph.size, Image.Resampling.NEAREST))
    regions = region_picture(mask).convert("RGBA")
    regions.putalpha(regions.getchannel("A").point(lambda alpha: round(alpha * _OPACITY)))
    ground = photograph.convert("L").convert("RGBA")
    present = [int(value) for value in np.unique(mask) if value not in (0, IGNORE)]
    captions = [_Caption(_fitting(titles[value]), value) for value in present] or [_Caption(titles[0])]
    return _Cell(Image.alpha_composite(ground, regions).convert("RGB"), _lines(captions))


def _draw(rows: Sequence[Sequence[_Cell | None]], heads: Sequence[str]) -> Image.Image:
    if "truth" not in heads:
        rows = [[row[0], *row[2:]] for row in rows]
    columns = max(len(row) for row in rows)
    if columns > len(heads):
        heads = [*heads, "class maps"]
    tops, bottom = [], _HEAD_SIZE + 2 * _GAP
    for row in rows:
        tops.append(bottom)
        bottom += max(cell.height for cell in row if cell) + _GAP
    canvas = Image.new("RGB", (columns * (CELL_WIDTH + _GAP) + _GAP, bottom + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for column, head in enumerate(heads):
        draw.text((_left(column), _GAP), head, fill="black", font=ImageFont.load_default(_HEAD_SIZE))
    for top, row in zip(tops, rows, strict=True):
        for column, cell in enumerate(row):
            if cell is not None:
                canvas.paste(cell.picture, (_left(column), top))
                _write_captions(canvas, cell, _left(column), top + cell.picture.height + 4)
    return canvas


def _left(column: int) -> int:
    return _GAP + column * (CELL_WIDTH + _GAP)


def _write_captions(canvas: Image.Image, cell: _Cell, left: int, top: int) -> None:
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_CAPTION_SIZE)
    for number, line in enumerate(cell.lines):
        at, height = left, top + number * _LINE
        for caption in line:
            start = at
            if caption.value is not None:
                canvas.paste(_swatch(caption.value), (at, height + 4))
                start += _SWATCH + 7
            draw.text((start, height), caption.text, fill=_SOFT, font=font)
            at += caption.width


def _swatch(value: int) -> Image.Image:
    """The colour and hatching of a label value."""
    return region_picture(np.full((_SWATCH, _SWATCH), value, np.uint8), outlined=False).convert("RGB")
