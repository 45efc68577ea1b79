"""Which files weights lie in: one, or the shards that an index names; their fingerprint; what else a file may be.

Nothing here needs torch: a finished run compares fingerprints alone.
"""

from __future__ import annotations

from pathlib import Path

from excel_cam.errors import ModelError
from excel_cam.files.arrays.bounded import read_bounded
from excel_cam.files.atomic import hash_file, hash_json
from excel_cam.files.json_file import MAX_BYTES, parse_json

INDEX_SUFFIX = ".index.json"

# How files begin that people take for weights, and what to do with them.
_FOREIGN = (
    (b"version https://git-lfs", "a git-lfs pointer, not the weights themselves; fetch them with `git lfs pull`"),
    (b"\x89HDF\r\n", "an HDF5 file, as TensorFlow writes; get the PyTorch weights (model.safetensors)"),
    (b"GGUF", "a GGUF file; get the PyTorch weights (model.safetensors)"),
    (b"\x1f\x8b", "packed with gzip; unpack it first"),
    (b"7z\xbc\xaf", "packed with 7-Zip; unpack it first"),
    (b"<!doctype html", "a web page, not weights; download the file itself"),
    (b"<html", "a web page, not weights; download the file itself"),
    (b"<?xml", "an XML document, not weights; download the file itself"),
)


def weight_files(path: Path) -> list[Path]:
    """The files of weights, sorted: `path` itself, or the shards beside an index of safetensors or torch.

    Raises `ModelError` where an index is damaged, or names files that are not beside it.
    """
    if not path.name.endswith(INDEX_SUFFIX):
        return [path]
    try:
        places = parse_json(read_bounded(path, MAX_BYTES))["weight_map"].values()
        names = sorted({str(name) for name in places})
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path}: not an index of weights: expected an object with 'weight_map'") from None
    if not names or any(Path(name).name != name for name in names):
        raise ModelError(f"{path}: its 'weight_map' names no files, or files that are not beside it")
    if missing := [name for name in names if not (path.parent / name).is_file()]:
        raise ModelError(
            f"{path}: {len(missing)} of its {len(names)} files are not beside it, first {missing[0]}; fetch them too"
        )
    return [path.parent / name for name in names]


def hash_weights(path: Path) -> str:
    """SHA-256 of weights: of the file, or of an index and its shards, as 64 hexadecimal digits."""
    files = weight_files(path)
    return hash_file(path) if files == [path] else hash_json([hash_file(file) for file in (path, *files)])


def foreign_file(path: Path) -> str | None:
    """What a file is and what to do, where it is one of those people take for weights; None for all others."""
    with path.open("rb") as stream:
        start = stream.read(64).lstrip().lower()
    return next((what for magic, what in _FOREIGN if start.startswith(magic.lower())), None)


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors, by its content: a length, then a JSON object of that length."""
    with path.open("rb") as stream:
        length, brace = int.from_bytes(stream.read(8), "little"), stream.read(1)
    return brace == b"{" and 2 <= length <= path.stat().st_size - 8


def shard_advice(path: Path) -> str:
    """What to add to a message on tensors that are missing, where the file is one of several shards; else nothing."""
    stem, found, count = path.stem.rpartition("-of-")
    if not found or not count.isdecimal() or not stem.rpartition("-")[2].isdecimal():
        return ""
    name = f"{stem.rpartition('-')[0]}{path.suffix}{INDEX_SUFFIX}"
    return f"; it is one of {int(count)} shards: pass their index, {name}"
