"""Read arrays of numbers from `.npz` archives in bounded memory: what is declared is checked before it is unpacked.

A zip archive of 98 kB can unpack to gigabytes, and an array's header can announce any shape.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.wording import first_lines

_KINDS = "biufU"  # numbers and text; objects would be pickled
_MOST_HEADER = 10_000  # bytes, as numpy admits


def read_npz(
    source: Path | IO[bytes], names: Sequence[str], most_bytes: int, optional: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """The arrays `names` of an archive, and those of `optional` that it has, each whole by its checksum.

    Raises ValueError or zipfile.BadZipFile for a damaged archive, an array of objects or of another size than its
    header says, and arrays that come to more than `most_bytes` together; KeyError for one that is not there; OSError.
    """
    with zipfile.ZipFile(source) as archive:
        held = set(archive.namelist())
        names = [*names, *(name for name in optional if f"{name}.npy" in held)]
        members = [archive.getinfo(f"{name}.npy") for name in names]
        total = sum(member.file_size for member in members)
        if total > most_bytes:
            raise ValueError(f"its arrays have {total:,} bytes unpacked, at most {most_bytes:,} are read")
        # A member gives no more than the size it declares, and reading it to its end checks its checksum.
        return {name: _read_member(archive, member) for name, member in zip(names, members, strict=True)}


@dataclass(frozen=True)
class OpenArray:
    """An array of an archive of which the header alone is read. shape: as it says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _stream: IO[bytes]

    def planes(self) -> Iterator[NDArray[Any]]:
        """The array's (H, W) planes one after the other, of two dimensions itself; each is read when it is asked for.

        How large one is has to be checked before. Raises ValueError or zipfile.BadZipFile for a damaged archive.
        """
        length = _product(self.shape[-2:]) * self.dtype.itemsize
        for _ in range(_product(self.shape[:-2])):
            content = self._stream.read(length)
            if len(content) != length:
                raise ValueError(f"it ends before an array of shape {self.shape} does")
            yield np.frombuffer(content, self.dtype).reshape(self.shape[-2:])
        if self._stream.read(1):  # at the end the checksum is compared
            raise ValueError(f"it goes on after an array of shape {self.shape}")


@contextmanager
def open_array(path: Path, preferred: str) -> Iterator[OpenArray]:
    """The only array of an archive, or the one called `preferred`, to read by planes while the block runs.

    Raises ValueError or zipfile.BadZipFile for a damaged archive, one without such an array, an array that does not lie
    row by row, and elements that are no numbers; OSError.
    """
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        name = preferred if preferred in names or len(names) != 1 else names.pop()
        if f"{name}.npy" not in archive.namelist():
            found = first_lines(sorted(names)) or "none"
            raise ValueError(f"expected one array, or one called {preferred}, found {found}")
        with archive.open(f"{name}.npy") as stream:
            shape, is_column_major, element_type = _read_header(stream, name)
            if is_column_major and len(shape) > 1:
                raise ValueError("its array lies column by column; save np.ascontiguousarray of it")
            yield OpenArray(shape, element_type, stream)


def _read_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it lies column by column, and type of an array; ValueError for elements that are no numbers."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
    shape, is_column_major, element_type = read(stream, max_header_size=_MOST_HEADER)
    if element_type.kind not in _KINDS or not element_type.itemsize or element_type.names:
        raise ValueError(f"{name} holds elements of type {element_type}, expected numbers or text")
    if any(side < 0 for side in shape):
        raise ValueError(f"{name} has the shape {shape}")
    return shape, is_column_major, element_type


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        shape, is_column_major, element_type = _read_header(stream, member.filename)
        content = stream.read()
    if _product(shape) * element_type.itemsize != len(content):
        raise ValueError(f"{member.filename} has {len(content):,} bytes, another number than its shape {shape} takes")
    array = np.frombuffer(bytearray(content), element_type).reshape(shape, order="F" if is_column_major else "C")
    check_characters(array)
    return array


def check_characters(array: NDArray[Any]) -> None:
    """ValueError for an array of text with numbers that are no character's: a Python text of them ends in a crash."""
    if array.dtype.kind == "U" and array.size:
        numbers = np.frombuffer(array.tobytes(), np.dtype(f"{array.dtype.byteorder}u4"))
        if numbers.size and int(numbers.max()) > sys.maxunicode:
            raise ValueError("it holds numbers that are no character's")


def _product(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side  # Python's whole numbers: numpy's would overflow
    return product
