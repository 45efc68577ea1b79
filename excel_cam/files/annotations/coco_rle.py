"""COCO's run lengths of a mask, compressed or as numbers, without pycocotools.

By the format of the COCO API (`maskApi.c`): runs go down the columns, one column after the other, and alternate between
outside and inside, beginning with outside. Compressed, each number is written in groups of 5 bits, the lowest first, as
characters from `0` on; the sixth bit of a character says that another group follows, and the fifth bit of the last one
is the sign. From the fourth number on, the one two places before is taken off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.files.regions.region import Region, cropped, other_size
from excel_cam.wording import quoted

_FIRST = ord("0")
_GROUP, _MORE, _SIGN = 0x1F, 0x20, 0x10
_MOST_GROUPS = 8  # of one number: 40 bits, more than any mask has pixels
_PLAIN = 3  # numbers at the beginning that stand as they are


def rle_region(rle: Any, size: tuple[int, int]) -> Region | None:
    """The region of `{"size": [H, W], "counts": ...}` in an image of that size (H, W); None where it is empty.

    counts: a text, or a list of numbers. Raises ValueError, with a reason for people, for anything else.
    """
    if not (isinstance(rle, dict) and {"size", "counts"} <= rle.keys()):
        raise ValueError(_other_form(rle))
    found = rle["size"]
    if not (isinstance(found, list) and len(found) == 2 and all(type(side) is int for side in found)):
        raise ValueError(f"expected [height, width] as the size of a mask, found {quoted(found)}")
    if tuple(found) != size:
        raise ValueError(other_size(found, size))
    return _between(_run_ends(rle["counts"], size), size)


def _other_form(segmentation: Any) -> str:
    if isinstance(segmentation, list):
        return (
            "outlines are not read, expected run lengths (an object of size and counts); pycocotools' annToRLE makes "
            "them"
        )
    return f"expected run lengths (an object of size and counts), found {quoted(segmentation)}"


def _run_ends(counts: Any, size: tuple[int, int]) -> NDArray[np.int64]:
    """Where each run ends, in pixels from the first; ValueError unless the last one ends with the mask."""
    total = size[0] * size[1]
    if isinstance(counts, str | list) and len(counts) > _MOST_GROUPS * (total + 2):
        raise ValueError("damaged run lengths: there are more of them than pixels")
    runs = _decompressed(counts) if isinstance(counts, str) else _numbers(counts)
    if runs.size and (runs.min() < 0 or runs.max() > total):
        raise ValueError("damaged run lengths: one is negative, or longer than the mask")
    ends = runs.cumsum()
    if (int(ends[-1]) if ends.size else 0) != total:
        raise ValueError(
            f"damaged run lengths: they are of {int(ends[-1]) if ends.size else 0:,} pixels, not {total:,}"
        )
    return ends


def _numbers(counts: Any) -> NDArray[np.int64]:
    if not (isinstance(counts, list) and all(type(count) is int and abs(count) < 1 << 40 for count in counts)):
        raise ValueError(f"expected run lengths as a text or a list of whole numbers, found {quoted(counts)}")
    return np.array(counts, np.int64)


def _decompressed(text: str) -> NDArray[np.int64]:
    """The numbers of a compressed text."""
    characters = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - _FIRST
    if characters.size and (characters.min() < 0 or characters.max() > _MORE + _GROUP or characters[-1] & _MORE):
        raise ValueError("damaged run lengths: a character is none of theirs, or the last number is cut off")
    last = np.flatnonzero(characters & _MORE == 0)
    first = np.concatenate([[0], last[:-1] + 1]) if last.size else last
    lengths = last - first + 1
    if lengths.size and lengths.max() > _MOST_GROUPS:
        raise ValueError("damaged run lengths: a number has too many digits")
    places = np.arange(characters.size) - np.repeat(first, lengths)
    numbers = np.add.reduceat((characters & _GROUP) << (5 * places), first) if last.size else last
    numbers = np.where(characters[last] & _SIGN != 0, numbers - (1 << (5 * lengths)), numbers)
    for begin in (1, 2):  # the first number is of no sequence: the fourth one's begins with the second
        numbers[begin::2] = numbers[begin::2].cumsum()
    return numbers


def _between(ends: NDArray[np.int64], size: tuple[int, int]) -> Region | None:
    """The region of runs that alternate, outside first; only columns with a pixel of it are laid out."""
    height = size[0]
    starts, stops = ends[:-1:2], ends[1::2]
    filled = stops > starts
    if not filled.any():
        return None
    first = int(starts[filled][0]) // height
    last = (int(stops[filled][-1]) - 1) // height
    changes = np.clip(ends, first * height, (last + 1) * height)
    runs = np.diff(changes, prepend=first * height, append=(last + 1) * height)
    inside = np.arange(runs.size) % 2 == 1
    pixels = np.repeat(inside, runs).reshape(last - first + 1, height).T
    return cropped(pixels, (0, first))
