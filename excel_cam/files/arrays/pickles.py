"""An unpickler for files from outside: names only what its subclass admits, and takes memory in bounds.

Python's own in C sizes its memo by a number from the file, up to 64 GB; the one written in Python does not.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

MAX_OBJECTS = 8_000_000  # containers, calls and memo entries of one file, some 100 bytes each; an array has about ten

_TUPLES = (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
_GROWING = (
    pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_SET, pickle.MARK, pickle.MEMOIZE, pickle.BINPUT,
    pickle.LONG_BINPUT, pickle.PUT, pickle.REDUCE, pickle.NEWOBJ, pickle.BUILD,
)  # fmt: skip
_Opcode = Callable[[Any], None]


class Refused(pickle.UnpicklingError):
    """The file asks for more than what is admitted."""


def _load_shallow(load: _Opcode) -> _Opcode:
    """`load`, an opcode that leaves a tuple on the stack, but no deeper one than arrays need: a shape in a state.

    Python takes a tuple's hash by recursion without bound, so a deep one as a key would end the process.
    """

    def load_tuple(unpickler: Any) -> None:
        load(unpickler)
        inner = (item for item in unpickler.stack[-1] if isinstance(item, tuple))
        if any(isinstance(item, tuple) for items in inner for item in items):
            raise Refused("it holds tuples within tuples within tuples")

    return load_tuple


def _load_counted(load: _Opcode) -> _Opcode:
    """`load`, an opcode of a few bytes that takes a hundred bytes of memory, but not without end."""

    def load_one(unpickler: Any) -> None:
        unpickler.objects += 1
        if unpickler.objects > MAX_OBJECTS:
            raise Refused(f"it holds more than {MAX_OBJECTS:,} objects")
        load(unpickler)

    return load_one


def _refuse_bytearray(_unpickler: Any) -> None:
    raise Refused("it holds a bytearray")  # which would be made as long as the file says before any of it is read


class BoundedUnpickler(pickle._Unpickler):
    """Subclasses say in `find_class` what may be named; by itself nothing may."""

    objects = 0
    dispatch = (
        pickle._Unpickler.dispatch
        | {opcode[0]: _load_shallow(pickle._Unpickler.dispatch[opcode[0]]) for opcode in _TUPLES}
        | {opcode[0]: _load_counted(pickle._Unpickler.dispatch[opcode[0]]) for opcode in _GROWING}
        | {pickle.BYTEARRAY8[0]: _refuse_bytearray}
    )

    def find_class(self, module: str, name: str) -> Any:
        """Refuse whatever the file names."""
        raise Refused(f"it asks for {module}.{name}")
