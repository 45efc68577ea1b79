"""A PNG's chunks, without decoding: whether the file is whole, what its header says, and its texts.

A chunk is its length, its kind, its data, and a checksum (CRC-32) of kind and data. A file that is whole ends in IEND.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE_INDICES = 0, 3  # colour types
_BLOCK = 1 << 20  # bytes read at a time, however long a chunk says it is
_MOST_TEXT = 1 << 16  # bytes of a text chunk that is kept


class PngDamageError(ValueError):
    """A PNG that is empty, cut off or changed, or whose place on the disk was never written."""


class NotPngError(ValueError):
    """Some other file."""


@dataclass(frozen=True)
class PngHead:
    """What a whole PNG says of itself. size: (H, W). bits: per channel. texts: of its tEXt chunks, by keyword."""

    size: tuple[int, int]
    bits: int
    colour_type: int
    texts: Mapping[bytes, bytes] = field(default_factory=dict)


def read_png_head(stream: BinaryIO) -> PngHead:
    """Go through all chunks of a PNG, from its first byte to its end, and check every checksum.

    Raises `PngDamageError` where one is wrong or missing, `NotPngError` for another kind of file, `OSError`.
    """
    start = stream.read(len(SIGNATURE))
    if start != SIGNATURE:
        raise _other_kind(start, stream)
    head: PngHead | None = None
    texts: dict[bytes, bytes] = {}
    has_pixels = False
    while True:
        kind, data = _read_chunk(stream)
        if head is None:
            if kind != b"IHDR" or len(data) != 13:
                raise PngDamageError("damaged from its beginning")
            width, height, bits, colour_type = struct.unpack(">IIBB", data[:10])
            head = PngHead((height, width), bits, colour_type, texts)
        elif kind == b"tEXt":
            keyword, _, text = data.partition(b"\0")
            texts[keyword] = text
        elif kind == b"IDAT":
            has_pixels = True
        elif kind == b"IEND":
            if not has_pixels:
                raise PngDamageError("it has no pixels")
            return head


def _read_chunk(stream: BinaryIO) -> tuple[bytes, bytes]:
    """Kind and data of the next chunk; of long ones and those of pixels no data. Raises `PngDamageError`."""
    header = stream.read(8)
    if len(header) < 8:
        raise PngDamageError("cut off")
    length, kind = struct.unpack(">I4s", header)
    checksum, data = zlib.crc32(kind), b""
    for begin in range(0, length, _BLOCK):
        block = stream.read(min(_BLOCK, length - begin))
        if len(block) < min(_BLOCK, length - begin):
            raise PngDamageError("cut off")
        checksum = zlib.crc32(block, checksum)
        if kind != b"IDAT" and length <= _MOST_TEXT:
            data = block
    stored = stream.read(4)
    if len(stored) < 4:
        raise PngDamageError("cut off")
    if int.from_bytes(stored, "big") != checksum:
        raise PngDamageError(f"damaged: the checksum of its {kind.decode('ascii', 'replace')} is wrong")
    return kind, data


def _other_kind(start: bytes, stream: BinaryIO) -> ValueError:
    if SIGNATURE.startswith(start):
        return PngDamageError("cut off" if start else "empty")
    if not start.strip(b"\0"):
        while block := stream.read(_BLOCK):
            if block.strip(b"\0"):
                return NotPngError("not a PNG")
        return PngDamageError("nothing but zeros, as a power failure leaves")
    return NotPngError("not a PNG")
