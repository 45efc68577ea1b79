"""Class maps on disk (`--save-cams`): written whole, stamped like the labels they belong to, and read back.

One `.npz` per image. `keys` (c,) int64: the 0-based classes present, ascending. `maps` (c, h, w) float16 in 0..1: the
maps of step 5 on the patch grid, each stretched from its least value, `low` (c,) float64, to its greatest,
`high` (c,) float64: the map itself is low + (high - low) * maps. `size` (2,) int64: height and width of the label. The
maps lie as the label does, in the file's own orientation.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.files.atomic import write_atomically
from excel_cam.files.npz import read_npz

MAX_BYTES = 64 << 20  # of one image's maps unpacked; 255 classes on a grid of 256 x 256 have 32 MB
_STAMP_LENGTH = 32


@dataclass(frozen=True)
class SoftMaps:
    """The class maps of one image.

    keys: 0-based classes, ascending. maps: (c, h, w) float64 of no fixed scale. size: (H, W) of its label.
    """

    keys: tuple[int, ...]
    maps: NDArray[np.float64]
    size: tuple[int, int]


def write_maps(path: Path, maps: NDArray[np.float64], keys: Sequence[int], size: tuple[int, int], stamp: str) -> None:
    """Write (c, h, w) float64 maps of the classes `keys`; the file appears whole or not at all. Raises `OutputError`.

    stamp: 32 hexadecimal digits that say what the maps were made with; they are the archive's comment.
    """
    low, high = maps.min(axis=(1, 2), initial=np.inf), maps.max(axis=(1, 2), initial=-np.inf)
    spread = (high - low)[:, None, None]
    # A map's values can differ by a thousandth, which step 6.1 magnifies: only the stretched map bears half precision.
    stretched = np.divide(maps - low[:, None, None], spread, out=np.zeros_like(maps), where=spread > 0)
    stream = io.BytesIO()
    np.savez_compressed(
        stream, keys=np.array(keys, np.int64), maps=stretched.astype(np.float16), low=low,
        high=high, size=np.array(size, np.int64),
    )  # fmt: skip
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = stamp.encode("ascii")
    write_atomically(path, stream.getvalue())


def read_maps(path: Path) -> SoftMaps:
    """Read the maps of one image; raises `DataError` when the file is missing, damaged or something else."""
    try:
        keys, maps, low, high, size = read_npz(path, ("keys", "maps", "low", "high", "size"), MAX_BYTES).values()
        values = low[:, None, None] + (high - low)[:, None, None] * maps.astype(np.float64)
        if values.ndim != 3 or len(keys) != len(values) or size.shape != (2,):
            raise ValueError("shapes that do not belong together")
    except Exception as error:  # numpy and zipfile raise nearly anything on damaged archives
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path}: expected class maps as --save-cams writes them ({reason}); make them again") from None
    return SoftMaps(tuple(int(key) for key in keys), values, (int(size[0]), int(size[1])))


def read_maps_stamp(path: Path) -> str | None:
    """The stamp of a file of maps: None when there is no such file, else its last 32 characters."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, io.SEEK_END)
            stream.seek(max(0, stream.tell() - _STAMP_LENGTH))
            return stream.read().decode("ascii", "replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""
