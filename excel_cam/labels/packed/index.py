"""The index of one shard, in Parquet: a row a photograph, labelled or not. Written last: it commits its shard.

name: string · offset, size: int64, of the PNG's bytes in the tar · stamp: string · values: list of uint8, shares: list
of float32, the pixel values in the label, ascending, and their shares of it, 0..1 · reason: string, of a photograph
without a label; of this and all but `name` one side is null. The file's metadata holds, under "excel_cam", a JSON
object: {"format": 1, "shard": number, "identity": what decides the labels as a hash, "tar_size": bytes}.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.files.json_file import parse_json
from excel_cam.files.parquet import require_pyarrow
from excel_cam.files.storage import Place
from excel_cam.labels.packed.tar import REMEDY, Extent, name_fault
from excel_cam.wording import quoted, readable_size

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
MOST_BYTES = 1 << 30  # of an index, as it lies there and unpacked; a million rows have some 100 MB
_KEY = b"excel_cam"


@dataclass(frozen=True)
class Row:
    """A photograph of a shard, in the order of the input.

    extent: of its label's PNG in the tar. stamp: of the label. shares: of the label's pixels by value, 0..1. reason:
    why there is no label; "" where there is one, and extent is None where there is none.
    """

    name: str
    extent: Extent | None = None
    stamp: str = ""
    shares: tuple[tuple[int, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class IndexHead:
    """What an index says of its shard. identity: hash of what decides the labels. tar_size: bytes."""

    shard: int
    identity: str
    tar_size: int


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """A whole index that has been read, and found to be as it should be.

    names: of all its photographs, in the order of the input. offsets, sizes: (n,) int64, -1 and 0 where there is no
    label. reasons: by name, of the photographs without one.
    """

    head: IndexHead
    names: list[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    stamps: list[str | None]
    reasons: dict[str, str]

    @property
    def labelled(self) -> int:
        """How many photographs have a label."""
        return len(self.names) - len(self.reasons)


def _schema() -> pyarrow.Schema:
    arrow = require_pyarrow()
    return arrow.schema([
        ("name", arrow.string()), ("offset", arrow.int64()), ("size", arrow.int64()), ("stamp", arrow.string()),
        ("values", arrow.list_(arrow.uint8())), ("shares", arrow.list_(arrow.float32())), ("reason", arrow.string()),
    ])  # fmt: skip


def index_bytes(head: IndexHead, rows: Sequence[Row]) -> bytes:
    """The content of a shard's index. Raises `UsageError` without pyarrow."""
    arrow = require_pyarrow()
    columns = [
        [row.name for row in rows],
        [None if row.extent is None else row.extent.offset for row in rows],
        [None if row.extent is None else row.extent.size for row in rows],
        [None if row.extent is None else row.stamp for row in rows],
        [None if row.extent is None else [value for value, _share in row.shares] for row in rows],
        [None if row.extent is None else [share for _value, share in row.shares] for row in rows],
        [row.reason if row.extent is None else None for row in rows],
    ]
    metadata = {_KEY: json.dumps({"format": FORMAT, **asdict(head)}, separators=(",", ":"))}
    schema = _schema()
    arrays = [arrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    stream = io.BytesIO()
    arrow.parquet.write_table(
        arrow.Table.from_arrays(arrays, schema=schema.with_metadata(metadata)), stream, compression="zstd"
    )
    return stream.getvalue()


def read_index(place: Place, shard: int) -> ShardIndex:
    """Read the index of a shard whole, and check all that later reading relies on.

    Raises `DataError` for one that is damaged, of another shard or a newer version, or whose rows do not fit its tar;
    `UsageError` without pyarrow.
    """
    require_pyarrow()
    try:
        if place.size() > MOST_BYTES:
            raise ValueError(f"it is larger than {readable_size(MOST_BYTES)}")
        head, table = _read_table(place.read())
        index = _checked(head, table)
        if head.shard != shard:
            raise ValueError(f"it is the index of shard {head.shard}")
    except DataError:
        raise
    except Exception as error:  # pyarrow raises nearly anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{place}: not the index of labels in a shard ({reason}); {REMEDY}") from None
    return index


def read_labelled(place: Place, shard: int) -> tuple[IndexHead, dict[str, Row]]:
    """The rows of a shard's labels by name, with all that an index keeps of them; raises as `read_index`."""
    index = read_index(place, shard)
    _head, table = _read_table(place.read())
    rows = {}
    for row in table.to_pylist():
        if row["reason"] is None:
            shares = tuple(zip(row["values"], row["shares"], strict=True))
            rows[row["name"]] = Row(row["name"], Extent(row["offset"], row["size"]), row["stamp"], shares)
    return index.head, rows


def _read_table(content: bytes) -> tuple[IndexHead, pyarrow.Table]:
    """The head and columns of an index; raises ValueError and whatever pyarrow raises."""
    with require_pyarrow().parquet.ParquetFile(io.BytesIO(content)) as file:
        told = file.metadata
        unpacked = sum(told.row_group(group).total_byte_size for group in range(told.num_row_groups))
        if max(unpacked, told.num_rows) > MOST_BYTES:
            raise ValueError(f"unpacked it is larger than {readable_size(MOST_BYTES)}")
        head = _read_head((file.schema_arrow.metadata or {}).get(_KEY))
        if not file.schema_arrow.remove_metadata().equals(_schema()):
            raise ValueError("its columns are others, or of other types")
        return head, file.read()


def _read_head(text: bytes | None) -> IndexHead:
    if text is None:
        raise ValueError('it has no metadata "excel_cam"')
    record = parse_json(text)
    if not isinstance(record, dict) or type(record.get("format")) is not int:
        raise ValueError('its metadata "excel_cam" says no format')
    if record["format"] > FORMAT:
        raise ValueError(f"it has format {record['format']}, of a newer excel-cam")
    shard, identity, tar_size = (record.get(key) for key in ("shard", "identity", "tar_size"))
    if type(shard) is not int or type(tar_size) is not int or not isinstance(identity, str) or min(shard, tar_size) < 0:
        raise ValueError('its metadata "excel_cam" is not as it should be')
    return IndexHead(shard, identity, tar_size)


def _checked(head: IndexHead, table: pyarrow.Table) -> ShardIndex:
    """The columns of an index; raises ValueError where they contradict one another, or the tar's size."""
    names = table["name"].to_pylist()
    for name in names:
        if name is None or (fault := name_fault(name)) is not None:
            raise ValueError(f"a photograph's name is {quoted(name)}: {'it is none' if name is None else fault}")
    if len(set(names)) < len(names):
        raise ValueError("a name stands in it twice")
    failed = np.asarray(table["reason"].is_valid())
    for column in ("offset", "size", "stamp", "values", "shares"):
        if (np.asarray(table[column].is_valid()) == failed).any():
            raise ValueError(f"a row has both a reason and a label's {column}, or neither")
    offsets, sizes = (np.asarray(table[column].fill_null(0)) for column in ("offset", "size"))
    _check_extents(offsets[~failed], sizes[~failed], head.tar_size)
    reasons = {names[row]: table["reason"][row].as_py() for row in np.flatnonzero(failed).tolist()}
    return ShardIndex(head, names, np.where(failed, -1, offsets), sizes, table["stamp"].to_pylist(), reasons)


def _check_extents(offsets: NDArray[np.int64], sizes: NDArray[np.int64], tar_size: int) -> None:
    """Raise ValueError where labels lie beyond the tar, or over one another."""
    if (offsets < 0).any() or (sizes < 1).any() or (sizes > tar_size).any() or (offsets > tar_size - sizes).any():
        raise ValueError("a label would lie beyond the end of its tar")
    order = np.argsort(offsets, kind="stable")
    if (np.diff(offsets[order]) < sizes[order][:-1]).any():
        raise ValueError("two labels would lie over one another")
