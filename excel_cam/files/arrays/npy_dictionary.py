"""Read the dictionary, or array of records, that `numpy.save` pickled into a .npy file, running nothing from it.

A pickle is a program that may call whatever it can name. Here it can name only the few functions with which numpy
writes arrays, and even those are stand-ins defined in this file: numpy's own would take memory layouts from the file
unchecked. Files of numpy 1 and 2, and of Python 2, are read alike.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from excel_cam.errors import DataError
from excel_cam.files.arrays.bounded import read_bounded
from excel_cam.files.arrays.npz import check_characters
from excel_cam.files.arrays.pickles import BoundedUnpickler, Refused
from excel_cam.wording import quoted

MAX_BYTES = 512_000_000  # of a file; 100,000 images of 80 classes have some 60 MB with numpy's overhead
MAX_ROWS = 2_000_000  # of an array of records
_ELEMENT_CODE = re.compile(r"[biuf][1248]|f16|O[48]|[US][1-9]\d{0,4}")


class _ElementType:
    """What the file says a `numpy.dtype` is: a code such as 'f4', then its byte order."""

    def __init__(self, code: str, *_alignment: object) -> None:
        if not isinstance(code, str) or not _ELEMENT_CODE.fullmatch(code):
            raise Refused(f"it holds array elements of type {quoted(code)}")
        self.code = code
        self.byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise Refused(f"it holds the byte order {quoted(state[1])}")
        self.byte_order = state[1]

    def read(self, data: bytes | str) -> np.ndarray[Any, Any]:
        """The elements in `data`, in one dimension; read-only."""
        if self.code.startswith("O"):
            raise Refused("it holds objects where numbers are expected")
        content = data.encode("latin-1") if isinstance(data, str) else data
        values = np.frombuffer(content, np.dtype(self.byte_order + self.code))
        check_characters(values)
        return values


class _Array:
    """What the file says an array is: numbers in `values`, or Python objects in `objects`."""

    def __init__(self, *_empty_array: object) -> None:
        self.values: np.ndarray[Any, Any] | None = None
        self.objects: list[object] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, element_type, column_major, data = state
        if isinstance(data, list):
            self.objects = data
        else:
            self.values = element_type.read(data).reshape(shape, order="F" if column_major else "C")


def _scalar(element_type: _ElementType, data: bytes | str) -> object:
    return element_type.read(data).reshape(()).item()


def _encode(text: str, _codec: str) -> bytes:
    # Protocol 2 has no bytes: Python 3 writes them as text, always in latin1.
    return text.encode("latin-1")


class _Admitted:
    """A name that a file may use: it can be called, and a file can change nothing about it."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., object]) -> None:
        self._build = build

    def __call__(self, *arguments: object) -> object:
        return self._build(*arguments)

    def __setstate__(self, _state: object) -> None:
        raise Refused("it changes a function")


_ADMITTED = {
    "numpy.dtype": _Admitted(_ElementType),
    "numpy.ndarray": _Admitted(_Array),
    "_codecs.encode": _Admitted(_encode),
} | {
    f"numpy.{core}.multiarray.{name}": _Admitted(build)
    for core in ("core", "_core")
    for name, build in (("_reconstruct", _Array), ("scalar", _scalar))
}


class _ArrayUnpickler(BoundedUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        """One of the stand-ins."""
        try:
            return _ADMITTED[f"{module}.{name}"]
        except KeyError:
            raise Refused(f"it asks for {quoted(f'{module}.{name}')}") from None


def read_npy(path: Path) -> dict[object, object] | list[object]:
    """The dictionary in a .npy file, or its array of records as a list of dictionaries.

    Keys and values are plain numbers, strings, bytes, lists, or (values of a dictionary) numpy arrays.
    Raises DataError, naming the file, when it cannot be read, holds something else, or asks for anything but
    numbers, strings, dictionaries and numpy arrays. Nothing from the file is ever run.
    """
    try:
        stream = io.BytesIO(read_bounded(path, MAX_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: this tags file cannot be read: {reason}") from error
    shape, element_type = _read_header(stream, path)
    if element_type.names and len(shape) == 1:
        return _structured_records(stream, element_type, shape[0], path)
    if element_type.kind != "O" or len(shape) > 1:
        raise _no_dictionary(path, f"an array of shape {shape} and type {element_type}")
    content = _load(stream, path)
    if shape:
        listed = content.objects if isinstance(content, _Array) else None
        records = [record for record in listed or () if isinstance(record, dict)]
        if not records or len(records) != len(listed or ()):
            raise _no_dictionary(path, f"an array of shape {shape} and type {element_type}")
        return _plain_records(records, path, len(stream.getvalue()))
    inner = content.objects[0] if isinstance(content, _Array) and content.objects else content
    if not isinstance(inner, dict):
        raise _no_dictionary(path, _kind(inner))
    return {key: value.values if isinstance(value, _Array) else value for key, value in inner.items()}


def _load(stream: IO[bytes], path: Path) -> object:
    """What is pickled in the rest of the stream."""
    try:
        return _ArrayUnpickler(stream, encoding="latin1").load()
    except Refused as error:
        raise DataError(
            f"{path}: refused, {error}; only numbers, strings, dictionaries and numpy arrays are read from a pickle, "
            "and nothing in it was run"
        ) from error
    # Damaged bytes can make an unpickler raise almost anything, MemoryError and RecursionError included.
    except Exception as error:
        raise DataError(f"{path}: damaged or truncated pickle ({type(error).__name__}); make the file anew") from error


def _structured_records(stream: IO[bytes], element_type: np.dtype[Any], count: int, path: Path) -> list[object]:
    """The rows of an array with named columns, which holds no pickle."""
    if count > MAX_ROWS:
        raise DataError(f"{path}: {count:,} records, at most {MAX_ROWS:,} are read; check the file")
    try:
        table = np.frombuffer(stream.read(), element_type, count)
        for name in element_type.names or ():
            if table[name].dtype.kind not in "biufSU":
                raise ValueError(f"column {quoted(name)} holds neither numbers nor text")
            check_characters(table[name])
        rows = table.tolist()
    except ValueError as error:  # too few bytes, columns of objects, which would be pickled, or what is no character
        raise DataError(f"{path}: damaged or truncated array ({error}); make the file anew") from error
    return [dict(zip(element_type.names or (), row, strict=True)) for row in rows]


def _no_dictionary(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: expected a dictionary from name to 0/1 row, found {found}; save it as "
        "numpy.save(path, {name: row, …})"
    )


def _read_header(stream: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Move `stream` past its .npy header; the shape and element type it announces. DataError for any other file."""
    try:
        version = np.lib.format.read_magic(stream)
        # Version 3 differs from 2 only in the header's encoding, and names of object arrays are ASCII.
        read_header = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
        shape, _column_major, element_type = read_header(stream)
    except Exception as error:  # the header is text that numpy parses: damage can raise almost anything
        raise DataError(f"{path}: not a .npy file, or its header is damaged; make the file anew") from error
    return shape, element_type


def _plain_records(records: list[dict[object, object]], path: Path, file_bytes: int) -> list[object]:
    """Records with their arrays as lists; DataError for characters that are none, and for more than the file can hold.

    An element takes at least a byte of the file, unless one array is named again and again.
    """
    arrays = [value for record in records for value in record.values() if isinstance(value, _Array)]
    if sum(array.values.size for array in arrays if array.values is not None) > file_bytes:
        raise DataError(f"{path}: repeats one array more often than the file is long; make the file anew")
    try:
        return [{key: _plain(value) for key, value in record.items()} for record in records]
    except ValueError as error:
        raise DataError(f"{path}: damaged array ({error}); make the file anew") from error


def _plain(value: object) -> object:
    """A record's value, an array as a list."""
    if not isinstance(value, _Array):
        return value
    return value.objects if value.values is None else value.values.tolist()


def _kind(value: object) -> str:
    return "an array" if isinstance(value, _Array) else type(value).__name__
