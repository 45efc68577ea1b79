"""Read the tensors of a TorchScript archive, such as OpenAI's `.pt` files, without running its code.

`torch.jit.load` runs what the archive's classes do on loading, which can write files. Here the pickle inside is read
with an unpickler that knows tensors and plain containers, and nothing else.
"""

from __future__ import annotations

import ast
import collections
import io
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_LISTS = re.compile(r"^  __(?:parameters|buffers)__ = (\[.*\])", re.MULTILINE)
_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of an archive's module by dotted name, as its `state_dict()` would give them.

    Raises `pickle.UnpicklingError` for anything but modules, tensors and plain containers, and many other errors when
    the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        data = next((name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if data is None:
            raise ValueError("the archive has no data.pkl")
        prefix = data.removesuffix("data.pkl")
        module = _Unpickler(archive, prefix).load()
        if not isinstance(module, _Module):
            raise ValueError("the archive holds no module")
        return dict(_named_tensors(module, archive, prefix))


class _Module:
    """A module of the archive: its attributes, and none of its code."""

    qualified_name = ""
    attributes: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"{self.qualified_name} restores itself by code of its own")
        self.attributes = {str(key): value for key, value in state.items()}


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{prefix}data.pkl")))
        self._archive, self._prefix = archive, prefix
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return type(name, (_Module,), {"qualified_name": f"{module}.{name}"})
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch.jit._pickle" and name in ("build_intlist", "build_doublelist", "build_boollist"):
            return list
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")

    def persistent_load(self, reference: Any) -> Tensor:
        kind, dtype, key, *_ = reference
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("it refers to something that is not a tensor's storage")
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._prefix}data/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _named_tensors(
    module: _Module, archive: zipfile.ZipFile, prefix: str, path: str = ""
) -> Iterator[tuple[str, Tensor]]:
    stored = _stored_names(module, archive, prefix)
    for name, value in module.attributes.items():
        if isinstance(value, _Module):
            yield from _named_tensors(value, archive, prefix, f"{path}{name}.")
        elif isinstance(value, Tensor) and name in stored:
            yield f"{path}{name}", value


def _stored_names(module: _Module, archive: zipfile.ZipFile, prefix: str) -> set[str]:
    """The names of a module's parameters and buffers, which its class lists in the archive's source text."""
    file, _, name = module.qualified_name.rpartition(".")
    source = archive.read(f"{prefix}code/{file.replace('.', '/')}.py").decode()
    _, found, body = source.partition(f"class {name}(Module):\n")
    if not found:
        raise ValueError(f"the archive lacks the class {module.qualified_name}")
    lists = _LISTS.findall(body.partition("\nclass ")[0])
    return {str(entry) for text in lists for entry in ast.literal_eval(text)}
