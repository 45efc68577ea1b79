"""Label Studio's run-length code of brush strokes, bit for bit as its own encoder writes it.

The code (by the documentation of rle-pack in thi.ng/umbrella, which Label Studio uses) is a stream of bits, the highest
of each byte first:

    32 bits   number of values: 4 per pixel (red, green, blue, alpha), row after row
     5 bits   bits of a value, less 1: here 8
    4 x 4     bits of the four sizes that a count can have, less 1: here 3, 4, 8, 16
    then      a bit, 1 for one value repeated and 0 for as many values as counted; 2 bits, which size the count has; the
              count less 1; the value, or the values

and 0 bits up to the end of a byte, 8 where it had ended. Only alpha says which pixels belong to a region.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHANNELS = 4
OPAQUE = 255
_WORD_BITS = 8
_SIZES = (3, 4, 8, 16)
_LONGEST = 1 << _SIZES[-1]  # values in one run
_HEAD_BITS = 32 + 5 + 4 * len(_SIZES)
_HALF = 128  # alpha from here on belongs to the region: strokes have soft edges


def encode_brush(region: NDArray[np.bool_]) -> list[int]:
    """The code of an (H, W) region, a list of bytes; all four channels are 255 inside and 0 outside."""
    flat = region.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    counts = np.diff(ends, prepend=0) * CHANNELS
    parts = [f"{flat.size * CHANNELS:032b}{_WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    value = bool(flat[0])
    for count in counts.tolist():
        parts.append(_run(count, f"{OPAQUE if value else 0:08b}"))
        value = not value
    bits = "".join(parts)
    bits += "0" * (8 - len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def _run(count: int, value: str) -> str:
    """The bits of one value, itself in bits, repeated: full runs, then the rest in the least size that holds it."""
    full, rest = divmod(count - 1, _LONGEST)
    text = f"111{_LONGEST - 1:016b}{value}" * full
    which = next(index for index, size in enumerate(_SIZES) if rest < 1 << size)
    return f"{text}1{which:02b}{rest:0{_SIZES[which]}b}{value}"


def decode_brush(code: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The (H, W) region of a code, whoever wrote it. Raises ValueError, with a reason for people, for a damaged one."""
    height, width = size
    try:
        if not isinstance(code, Sequence):
            raise TypeError  # of a number `bytes` would make so many zeros
        content = bytes(code)
    except (TypeError, ValueError):
        raise ValueError("its run lengths are not bytes") from None
    bits = _Bits(content)
    count = bits.take(32)
    if count != height * width * CHANNELS:
        raise ValueError(f"its run lengths are of {count:,} values, not of {height} x {width} pixels of {CHANNELS}")
    if bits.take(5) + 1 != _WORD_BITS:
        raise ValueError(f"its run lengths are not of values of {_WORD_BITS} bits")
    sizes = [bits.take(4) + 1 for _ in _SIZES]
    values = np.empty(count, np.uint8)
    at = 0
    while at < count:
        repeated = bits.take(1)
        end = at + 1 + bits.take(sizes[bits.take(2)])
        if end > count:
            raise ValueError("its run lengths go beyond its last pixel")
        values[at:end] = bits.take(_WORD_BITS) if repeated else bits.take_bytes(end - at)
        at = end
    return values.reshape(height, width, CHANNELS)[..., -1] >= _HALF


class _Bits:
    """A stream of bits out of bytes, the highest first."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, count: int) -> int:
        """The next bits as a number; raises ValueError at the end."""
        end = self._at + count
        if end > 8 * len(self._content):
            raise ValueError("its run lengths are cut off")
        window = int.from_bytes(self._content[self._at // 8 : (end + 7) // 8], "big")
        self._at = end
        return window >> (-end % 8) & ((1 << count) - 1)

    def take_bytes(self, count: int) -> NDArray[np.uint8]:
        """The next values of 8 bits; raises ValueError at the end."""
        return np.frombuffer(self.take(_WORD_BITS * count).to_bytes(count, "big"), np.uint8)
