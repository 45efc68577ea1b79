"""Write the dictionaries that trainers of the field `numpy.load` from .npy files, so that every numpy reads them.

`numpy.save` pickles an array by the names of the numpy that runs. Those of numpy 2 (`numpy._core`) are unknown to
numpy before 1.26, and many trainers need an older one still. Here an array is named by `numpy.ndarray` and
`numpy.dtype` alone, and a tensor by `torch.from_numpy`: these names are as old as the packages, and stay.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

_PROTOCOL = 3  # what numpy 1 itself writes: any Python 3 reads it
_FROM_NUMPY = b"ctorch\nfrom_numpy\n"  # the opcode GLOBAL with its module and name


@dataclass(frozen=True)
class AsTensor:
    """An array that readers get as a torch tensor; neither this writer nor the array needs torch."""

    values: NDArray[Any]


def npy_bytes(dictionary: dict[Any, Any]) -> bytes:
    """The .npy file of one dictionary, for `numpy.load(path, allow_pickle=True).item()`.

    Keys and values are plain numbers and strings, values also arrays of numbers and `AsTensor`; TypeError for others.
    """
    content = np.empty((), object)
    content[()] = dictionary
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(content))
    _Pickler(stream, _PROTOCOL).dump(content)
    return stream.getvalue()


def _save_array(pickler: Any, array: NDArray[Any]) -> None:
    """An empty array of bytes that then takes on shape, type and content, as numpy's own pickles do it."""
    state = array.__reduce__()[2]
    pickler.save_reduce(np.ndarray, ((0,), np.dtype(np.int8)), state, obj=array)


def _save_tensor(pickler: Any, tensor: AsTensor) -> None:
    pickler.write(_FROM_NUMPY)
    pickler.save((tensor.values,))
    pickler.write(pickle.REDUCE)
    pickler.memoize(tensor)


def _save_name(pickler: Any, named: Any, name: str | None = None) -> None:
    """Refuse every name but the two: others may not be there where the file is read."""
    if named is not np.ndarray and named is not np.dtype:
        raise TypeError(f"a .npy dictionary holds numbers, strings and arrays, not {named!r}")
    pickle._Pickler.save_global(pickler, named, name)  # type: ignore[attr-defined]


# The pickler written in Python: the one in C does not let the names be chosen.
class _Pickler(pickle._Pickler):
    dispatch: ClassVar[Any] = pickle._Pickler.dispatch | {
        np.ndarray: _save_array,
        AsTensor: _save_tensor,
        FunctionType: _save_name,
    }
    save_global = _save_name
