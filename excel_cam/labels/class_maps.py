"""Class maps on disk (`--save-cams`): written whole, stamped like the labels they belong to, and read back.

One `.npz` per image. `keys` (c,) int64: the 0-based classes present, ascending. `maps` (c, h, w) float16 in 0..1: the
maps of step 5 on the patch grid, each stretched from its least value, `low` (c,) float64, to its greatest,
`high` (c,) float64: the map itself is low + (high - low) * maps. `size` (2,) int64: height and width of the label. The
maps lie as the label does, in the file's own orientation. Only where the photograph was looked at in windows: `input`
(2,) int64, the height and width at which the windows were cut from it.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.files.arrays.npz import read_npz
from excel_cam.files.atomic import write_atomically
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.part import File, open_file

MAX_BYTES = 144 << 20  # of one image's maps unpacked; 255 classes on the largest grid, 2^18 patches, have 134 MB
_PARTS = ("high", "keys", "low", "maps", "size")
_INPUT = "input"
MAX_INPUT_PIXELS = 2**31  # --working-pixels is 2^26 at most, and windows enlarge what they show
_STAMP_LENGTH = 32
_ARCHIVE_START = b"PK\3\4"


@dataclass(frozen=True)
class ClassMaps:
    """The class maps of one image.

    keys: 0-based classes, ascending. maps: (c, h, w) float64 of no fixed scale. size: (H, W) of its label. input_size:
    (h · P, w · P), at which its windows were cut; None where it was looked at as a whole.
    """

    keys: tuple[int, ...]
    maps: NDArray[np.float64]
    size: tuple[int, int]
    input_size: tuple[int, int] | None = None


def write_maps(
    path: Path, maps: NDArray[np.float64], keys: Sequence[int], size: tuple[int, int], stamp: str,
    input_size: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Write maps as `maps_bytes` has them; the file appears whole or not at all. Raises `OutputError`."""
    write_atomically(path, maps_bytes(maps, keys, size, stamp, input_size))


def maps_bytes(
    maps: NDArray[np.float64], keys: Sequence[int], size: tuple[int, ...], stamp: str,
    input_size: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """(c, h, w) float64 maps of the classes `keys`, of a label of `size`, (H, W), as a file holds them.

    stamp: 32 hexadecimal digits that say what the maps were made with; they are the archive's comment. input_size: as
    `ClassMaps` has it.
    """
    low, high = maps.min(axis=(1, 2), initial=np.inf), maps.max(axis=(1, 2), initial=-np.inf)
    spread = (high - low)[:, None, None]
    # A map's values can differ by a thousandth, which step 6.1 magnifies: only the stretched map bears half precision.
    stretched = np.divide(maps - low[:, None, None], spread, out=np.zeros_like(maps), where=spread > 0)
    stream = io.BytesIO()
    windowed: dict[str, Any] = {} if input_size is None else {_INPUT: np.array(input_size, np.int64)}
    np.savez_compressed(
        stream, keys=np.array(keys, np.int64), maps=stretched.astype(np.float16), low=low,
        high=high, size=np.array(size, np.int64), **windowed,
    )  # fmt: skip
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = stamp.encode("ascii")
    return stream.getvalue()


def read_maps(file: File, class_count: int) -> ClassMaps:
    """Read the maps of one image, of `class_count` classes in all: every value is finite, every class there once.

    Raises `DataError` when the file is missing, damaged, something else, or of classes that are not in the list.
    """
    try:
        with open_file(file) as stream:
            parts = read_npz(stream, _PARTS, MAX_BYTES, optional=[_INPUT])
        input_size = _input_size(parts.pop(_INPUT, None))
        _check_parts(**parts)
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise nearly anything on damaged archives
        raise_if_machine(error, file)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{file}: expected class maps as --save-cams writes them ({reason}); make them again") from None
    keys, size = tuple(int(key) for key in parts["keys"]), parts["size"]
    if keys and keys[-1] >= class_count:  # they ascend
        raise DataError(
            f"{file}: maps of class {keys[-1] + 1}, but there are {class_count} classes; check --dataset or --classes"
        )
    low, spread = parts["low"][:, None, None], (parts["high"] - parts["low"])[:, None, None]
    maps = low + spread * parts["maps"].astype(np.float64)
    return ClassMaps(keys, maps, (int(size[0]), int(size[1])), input_size)


def _input_size(values: NDArray[Any] | None) -> tuple[int, int] | None:
    """`input` of a file of maps, where it has one; raises `ValueError` where it is no size of an image."""
    if values is None:
        return None
    if values.dtype.kind != "i" or values.shape != (2,) or (values < 1).any() or values.prod() > MAX_INPUT_PIXELS:
        raise ValueError("an input that is no size of an image")
    return int(values[0]), int(values[1])


def _check_parts(
    keys: NDArray[Any], maps: NDArray[Any], low: NDArray[Any], high: NDArray[Any], size: NDArray[Any]
) -> None:
    """Raise `ValueError` where the arrays of a file are not such as `write_maps` writes."""
    if keys.dtype.kind != "i" or size.dtype.kind != "i" or {a.dtype.kind for a in (maps, low, high)} != {"f"}:
        raise ValueError("values of another kind")
    if maps.ndim != 3 or not keys.shape == low.shape == high.shape == maps.shape[:1] or size.shape != (2,):
        raise ValueError("shapes that do not belong together")
    if 0 in maps.shape[1:] or (size < 1).any():
        raise ValueError("maps or a label without a value")
    if (keys < 0).any() or (np.diff(keys) <= 0).any():
        raise ValueError("classes that are negative, repeated or out of order")
    with np.errstate(over="ignore"):
        finite = all(np.isfinite(array).all() for array in (maps, low, high, high - low))
    if not finite:
        raise ValueError("values that are not finite")
    if ((maps < 0) | (maps > 1)).any() or (low > high).any():
        raise ValueError("maps that are not within 0..1")


def read_maps_stamp(path: Path) -> str | None:
    """The stamp of a file of maps, every checksum in it tested; None where it has to be made (again).

    That is where there is no such file, and where it is empty, cut off or damaged. "" for a file of another kind:
    it is somebody else's. Raises `MachineError`.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            damaged, stamp = archive.testzip() is not None, archive.comment
            # A size that no reader takes is damage too: it stands where no checksum covers it.
            damaged = damaged or sum(member.file_size for member in archive.infolist()) > MAX_BYTES
            members = sorted(name for name in archive.namelist() if name != f"{_INPUT}.npy")
            ours = members == [f"{part}.npy" for part in _PARTS]
            stream.seek(-2 - len(stamp), io.SEEK_END)
            announced = int.from_bytes(stream.read(2), "little")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise_if_machine(error, path)
        return ""
    except Exception:  # zipfile and zlib raise nearly anything on damaged archives
        return None if _was_an_archive(path) else ""
    # Names and comment have no checksum of their own, and a comment is read where it is cut off.
    stamped = re.fullmatch(rb"[0-9a-f]{32}", stamp) is not None
    damaged = damaged or (stamped and not ours) or (ours and announced == _STAMP_LENGTH and not stamped)
    return None if damaged else stamp.decode("ascii", "replace")


def _was_an_archive(path: Path) -> bool:
    """Whether a file that cannot be read as an archive can have been one: it begins as one, or was never written."""
    content = path.read_bytes()
    return content[:4] == _ARCHIVE_START[: len(content)] or not content.strip(b"\0")
