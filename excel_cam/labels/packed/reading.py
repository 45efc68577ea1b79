"""Labels in shards read one by one, by name: what the indices say of all of them, in columns."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.files.atomic import hash_json
from excel_cam.files.images.masks import MASK_SUFFIX
from excel_cam.files.parquet import require_pyarrow
from excel_cam.files.part import Part
from excel_cam.files.storage import Place
from excel_cam.labels.packed.index import ShardIndex, read_index
from excel_cam.labels.packed.listing import index_of, list_shards, tar_of
from excel_cam.labels.packed.tar import Extent, TarReader
from excel_cam.labels.records import record_of_whole, run_file
from excel_cam.labels.shards import WHOLE
from excel_cam.wording import quoted

READ_AT_ONCE = 8  # indices: in an object store each takes its time to come
_NONE = np.zeros(0, np.int64)
_OPEN_TARS = 4  # blocks read ahead are kept of so many


@dataclass(frozen=True, eq=False)
class PackedTable:
    """All labels of an output folder by name.

    names: sorted, of the n images that have a label. shards, offsets, sizes: (n,) where each lies. stamps: (n,) bytes.
    tar_sizes: by shard. reasons: of the images without a label, by name.
    """

    names: list[str]
    shards: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    stamps: NDArray[np.bytes_]
    tar_sizes: dict[int, int]
    reasons: dict[str, str]

    def extent(self, row: int) -> Extent:
        """Where the label of a row lies in its tar."""
        return Extent(int(self.offsets[row]), int(self.sizes[row]))

    def rows(self, names: Iterable[str]) -> list[int]:
        """The rows of those of these names that have a label."""
        return [row for name in names if (row := self.row(name)) is not None]

    def row(self, name: str) -> int | None:
        """The row of a label; None where there is none of that name."""
        row = bisect_left(self.names, name)
        return row if row < len(self.names) and self.names[row] == name else None


def read_indices(out: Place, shards: Sequence[int]) -> Iterator[ShardIndex]:
    """Read the indices of shards, some at once, in their order. Raises `DataError` where one is damaged."""
    require_pyarrow()
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        yield from pool.map(lambda shard: read_index(index_of(out, shard), shard), shards)


def read_table(out: Place) -> PackedTable:
    """Read the indices of all committed shards.

    Raises `DataError` where one is damaged, of another run than the others, or names an image that another has too.
    """
    record = record_of_whole(out)
    identity, first = (None, None) if record is None else (hash_json(record["identity"]), run_file(WHOLE))
    names: list[str] = []
    columns: list[tuple[NDArray[Any], ...]] = [_columns(-1, [], _NONE, _NONE)]
    tar_sizes: dict[int, int] = {}
    reasons: dict[str, str] = {}
    for index in read_indices(out, list_shards(out).committed):
        shard = index.head.shard
        if identity not in (None, index.head.identity):
            raise DataError(
                f"{index_of(out, shard)}: its labels were made with other settings, weights or sentences than those "
                f"of {first}; keep the shards of one run in one folder"
            )
        identity, first = index.head.identity, first or index_of(out, shard).name
        names += index.names
        columns.append(_columns(shard, index.stamps, index.offsets, index.sizes))
        tar_sizes[shard] = index.head.tar_size
        reasons |= index.reasons
    order = sorted(range(len(names)), key=names.__getitem__)
    shards, offsets, sizes, stamps = (np.concatenate(parts)[order] for parts in zip(*columns, strict=True))
    names = [names[row] for row in order]
    for row, (name, following) in enumerate(itertools.pairwise(names)):
        if name == following:
            files = " and ".join(index_of(out, int(shard)).name for shard in shards[row : row + 2])
            raise DataError(f"{out}: image {quoted(name)} is in {files}; keep the shards of one run in one folder")
    labelled = offsets >= 0
    names = list(itertools.compress(names, labelled.tolist()))
    return PackedTable(
        names, shards[labelled], offsets[labelled], sizes[labelled], stamps[labelled], tar_sizes, reasons
    )


def _columns(
    shard: int, stamps: Sequence[str | None], offsets: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[Any], ...]:
    """One index's part of the table's columns."""
    return np.full(len(offsets), shard, np.int32), offsets, sizes, np.array([stamp or "" for stamp in stamps], "S32")


class PackedFiles:
    """Labels, or by suffix the class maps behind them, in shards; see `LabelFiles`. Not for several threads at once."""

    folder = None

    def __init__(self, place: Path | Place, suffix: str = MASK_SUFFIX) -> None:
        self.place, self.suffix = place, suffix
        self.out = place if isinstance(place, Place) else Place(str(place))
        self.table = read_table(self.out)
        self._tars: dict[int, TarReader] = {}
        self._sound: set[int] = set()  # shards whose tar has the size that its index says

    def __str__(self) -> str:
        return str(self.place)

    def names(self) -> list[str]:
        """The images that have a label."""
        return self.table.names

    def file(self, name: str) -> Part:
        """The member of a tar; its bytes are read when it is opened."""
        return self.member(name, self.suffix)

    def member(self, name: str, suffix: str) -> Part:
        """An image's label, or by its suffix the file that lies behind it; raises as `file`."""
        row = self.table.row(name)
        if row is None:
            raise self._missing([name], 1)
        extent, shard = self.table.extent(row), int(self.table.shards[row])
        tar = tar_of(self.out, shard)
        if suffix != MASK_SUFFIX:
            behind = self._tar(shard).find_behind(extent, name + suffix)
            if behind is None:
                raise DataError(
                    f"{tar}: no class maps {quoted(name + suffix)} behind the label; make the labels with --save-cams"
                )
            extent = behind
        return Part(f"{tar}: {name}{suffix}", extent.size, lambda: self._tar(shard).read(extent))

    def require(self, names: Sequence[str]) -> None:
        """Look for each in the indices; of class maps, only whether there are any behind the first label."""
        missing = [name for name in names if self.table.row(name) is None]
        if missing:
            raise self._missing(missing, len(names))
        if self.suffix != MASK_SUFFIX and names:
            self.file(names[0])

    def _missing(self, missing: Sequence[str], asked: int) -> DataError:
        reason = self.table.reasons.get(missing[0])
        why = "" if reason is None else f", which failed: {reason}"
        return DataError(
            f"{self}: no label of {quoted(missing[0])}{why} ({len(missing):,} of {asked:,} missing); "
            f"`excel-cam status {self}` counts what is there; narrow with --list"
        )

    def _tar(self, shard: int) -> TarReader:
        """The reader of a shard's tar; raises `DataError` where the tar is not of the size that its index says."""
        if shard not in self._tars:
            while len(self._tars) >= _OPEN_TARS:
                del self._tars[next(iter(self._tars))]
            reader = TarReader(tar_of(self.out, shard), self.table.tar_sizes[shard])
            if shard not in self._sound:
                reader.require_size()
                self._sound.add(shard)
            self._tars[shard] = reader
        return self._tars[shard]
