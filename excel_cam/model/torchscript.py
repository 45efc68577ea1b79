"""Read the tensors of a TorchScript archive, such as OpenAI's `.pt` files, without running its code.

`torch.jit.load` runs what the archive's classes do on loading, which can write files. Here the pickle inside is read
with an unpickler that knows tensors and plain containers, and nothing else. What is read never comes to more bytes than
the file has: torch stores tensors unpacked, and a tensor has no more elements than what is stored of it.
"""

from __future__ import annotations

import ast
import collections
import io
import math
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from excel_cam.files.arrays.pickles import BoundedUnpickler

MAX_MODULES = 100_000  # CLIP's largest have some thousands
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
        names = archive.namelist()
        data = next((name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if data is None:
            raise ValueError("the archive has no data.pkl")
        members = _Members(archive, data.removesuffix("data.pkl"), path.stat().st_size)
        module = _Unpickler(members).load()
        if not isinstance(module, _Module):
            raise ValueError("the archive holds no module")
        return dict(_Tensors(members).named(module))


def refuse_packed(path: Path) -> None:
    """Raise ValueError for a zip archive whose members have more bytes unpacked than the file itself: torch packs none.

    For the archives that torch reads, which unpacks whatever it is given.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            declared = sum(member.file_size for member in archive.infolist())
        if declared > path.stat().st_size:
            raise ValueError(
                f"its members have {declared:,} bytes unpacked, more than the file; save it with torch.save"
            )


class _Members:
    """The members of an archive: each read once, all together no more bytes than the file has."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, most_bytes: int) -> None:
        self._archive, self._prefix, self._left = archive, prefix, most_bytes

    def read(self, name: str) -> bytes:
        member = self._archive.getinfo(self._prefix + name)
        self._left -= member.file_size
        if self._left < 0:
            raise ValueError("its members have more bytes unpacked than the file")
        return self._archive.read(member)


class _Module:
    """A module of the archive: its attributes, and none of its code."""

    qualified_name = ""
    attributes: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"{self.qualified_name} restores itself by code of its own")
        self.attributes = {str(key): value for key, value in state.items()}


class _Unpickler(BoundedUnpickler):
    def __init__(self, members: _Members) -> None:
        super().__init__(io.BytesIO(members.read("data.pkl")))
        self._members = members
        self._storages: dict[str, Tensor] = {}
        self._classes: dict[str, type[_Module]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            qualified = f"{module}.{name}"
            return self._classes.setdefault(qualified, type(name, (_Module,), {"qualified_name": qualified}))
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
            content = bytearray(self._members.read(f"data/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if math.prod(size) > storage.numel():  # a stride of 0 would make any number of elements out of one
        raise ValueError("a tensor has more elements than are stored of it")
    return torch.as_strided(storage, size, stride, offset)


class _Tensors:
    """The parameters and buffers of modules."""

    def __init__(self, members: _Members) -> None:
        self._members = members
        self._sources: dict[str, str] = {}
        self._stored: dict[str, set[str]] = {}
        self._visits = 0

    def named(self, module: _Module, path: str = "") -> Iterator[tuple[str, Tensor]]:
        """Those of a module and all below it, by dotted name."""
        self._visits += 1
        if self._visits > MAX_MODULES:  # few that name one another again and again could be visited without end
            raise ValueError(f"it has more than {MAX_MODULES:,} modules")
        stored = self._stored_names(module.qualified_name)
        for name, value in module.attributes.items():
            if isinstance(value, _Module):
                yield from self.named(value, f"{path}{name}.")
            elif isinstance(value, Tensor) and name in stored:
                yield f"{path}{name}", value

    def _stored_names(self, qualified_name: str) -> set[str]:
        """The names of a module's parameters and buffers, which its class lists in the archive's source text."""
        if qualified_name not in self._stored:
            file, _, name = qualified_name.rpartition(".")
            if file not in self._sources:
                self._sources[file] = self._members.read(f"code/{file.replace('.', '/')}.py").decode()
            _, found, body = self._sources[file].partition(f"class {name}(Module):\n")
            if not found:
                raise ValueError(f"the archive lacks the class {qualified_name}")
            lists = _LISTS.findall(body.partition("\nclass ")[0])
            self._stored[qualified_name] = {str(entry) for text in lists for entry in ast.literal_eval(text)}
        return self._stored[qualified_name]
