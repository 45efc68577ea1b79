"""Photographs named by a manifest, a Parquet file of columns `name`, `uri` and `classes`: a shard is a range of rows.

Rows are read a shard at a time, out of the row groups they lie in, so that a manifest may be of any length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from excel_cam.data.sharded.photograph import Names, ShardPhotograph
from excel_cam.data.sharded.tag_rule import TagRule
from excel_cam.errors import DataError, ExcelCamError
from excel_cam.files.parquet import require_pyarrow
from excel_cam.files.storage import Place
from excel_cam.settings import ROWS_PER_SHARD
from excel_cam.wording import first_lines, quoted

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

ROWS_PER_GROUP = 10_000  # of a manifest that is written here: whole shards of the usual size, a megabyte or so
MAX_URI = 4000
_READ_AT_ONCE = 1000


@dataclass(frozen=True)
class ManifestShards:
    """The rows of a manifest, so many a shard. root: what relative uris are relative to."""

    place: Place
    root: Place
    rule: TagRule
    rows_per_shard: int = ROWS_PER_SHARD

    def __getstate__(self) -> dict[str, Any]:  # another process opens the manifest itself
        return {name: self.__dict__[name] for name in ("place", "root", "rule", "rows_per_shard")}

    @property
    def count(self) -> int:
        """How many shards the rows fill."""
        return -(-self.images // self.rows_per_shard)

    @property
    def images(self) -> int:
        """How many rows there are."""
        return int(self._metadata.num_rows)

    def where(self, shard: int) -> str:
        """The rows of a shard, counted from 1."""
        first, end = self._range(shard)
        return f"rows {first + 1:,} to {end:,} of {self.place}"

    def inputs(self) -> tuple[Place, ...]:
        """The manifest."""
        return (self.place,)

    def record(self) -> dict[str, Any]:
        """How many rows there are, how they are divided, and what the footer tells of their names."""
        return {
            "kind": "manifest", "shards": self.count, "images": self.images, "rows_per_shard": self.rows_per_shard,
            "names": self._names_digest(),
        }  # fmt: skip

    def photographs(self, shard: int) -> Iterator[ShardPhotograph]:
        """The photographs of a shard, a row each. Raises `DataError` where the manifest cannot be read."""
        names, first = Names(shard), self._range(shard)[0]
        for number, row in enumerate(self._rows(shard), start=1):
            where = f"row {first + number:,} of {self.place}"
            name, fault = names.admit(row["name"], where, number)
            tags: tuple[int, ...] = ()
            place = self.root
            if fault is None:
                try:
                    place = self._place(row["uri"], where)
                    tags = self.rule.tags(name, row.get("classes"), where)
                except DataError as error:
                    fault = str(error)
            yield ShardPhotograph(name, tags, place, str(place), fault)

    def _place(self, uri: object, where: str) -> Place:
        """Where a photograph lies; raises `DataError`."""
        if not isinstance(uri, str) or not uri or "\0" in uri or len(uri) > MAX_URI:
            found = str(Place(uri)) if isinstance(uri, str) else uri  # without a password that may be in it
            raise DataError(f"{where}: expected the path or address of a photograph as uri, found {quoted(found)}")
        place = Place(uri)
        return place if place.is_remote or Path(uri).is_absolute() else self.root.child(uri)

    def _range(self, shard: int) -> tuple[int, int]:
        first = shard * self.rows_per_shard
        return first, min(first + self.rows_per_shard, self.images)

    def _rows(self, shard: int) -> list[dict[str, Any]]:
        """The rows of a shard as they stand in the manifest."""
        first, end = self._range(shard)
        groups: list[int] = []
        before = passed = 0
        for group in range(self._metadata.num_row_groups):
            rows = self._metadata.row_group(group).num_rows
            if passed + rows > first and passed < end:
                before = before if groups else passed
                groups.append(group)
            passed += rows
        with self._opened(self._metadata) as file:
            batches = file.iter_batches(_READ_AT_ONCE, groups, self._columns, use_threads=False)
            return list(_cut(batches, first - before, end - before))

    @property
    def _columns(self) -> list[str]:
        return ["name", "uri", "classes"] if self.rule.kind == "own" else ["name", "uri"]

    @cached_property
    def _metadata(self) -> pyarrow.parquet.FileMetaData:
        """The footer, its columns found to be as they should; raises `DataError`."""
        with self._opened(None) as file:
            _check_columns(file.schema_arrow, self._columns, self.place)
            if not file.metadata.num_rows:
                raise DataError(f"{self.place}: this manifest has no rows")
            return file.metadata

    @contextmanager
    def _opened(self, metadata: pyarrow.parquet.FileMetaData | None) -> Iterator[pyarrow.parquet.ParquetFile]:
        arrow = require_pyarrow()
        with self.place.reading() as stream:
            try:
                with arrow.parquet.ParquetFile(stream, metadata=metadata) as file:
                    yield file
            except ExcelCamError:
                raise
            except Exception as error:  # pyarrow raises nearly anything on damaged files
                reason = " ".join(str(error).split()) or type(error).__name__
                raise DataError(
                    f"{self.place}: this manifest cannot be read as Parquet ({reason[:300]}); `excel-cam manifest` "
                    "writes one"
                ) from None

    def _names_digest(self) -> str:
        """A hash of what the footer tells of the names: another manifest has another, one mended elsewhere the same."""
        digest = hashlib.sha256()
        for number in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(number)
            parts: list[object] = [group.num_rows]
            for place in range(group.num_columns):
                column = group.column(place)
                if column.path_in_schema == "name" and column.statistics is not None and column.statistics.has_min_max:
                    parts += [column.statistics.min, column.statistics.max]
            digest.update(repr(parts).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def _cut(batches: Iterable[pyarrow.RecordBatch], first: int, end: int) -> Iterator[dict[str, Any]]:
    """The rows from `first` to `end` of batches one after the other."""
    passed = 0
    for batch in batches:
        start, stop = max(first - passed, 0), min(end - passed, batch.num_rows)
        if start < stop:
            yield from batch.slice(start, stop - start).to_pylist()
        passed += batch.num_rows
        if passed >= end:
            return


def _check_columns(schema: pyarrow.Schema, wanted: Sequence[str], place: Place) -> None:
    """Raise `DataError` where columns are missing or of other types."""
    types = require_pyarrow().types

    def is_text(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(kind) or types.is_large_string(kind))

    def fits(name: str, kind: Any) -> bool:
        if name != "classes":
            return is_text(kind)
        is_list = types.is_list(kind) or types.is_large_list(kind)
        # A column of empty lists alone has no type of its own.
        return bool(is_list and (is_text(kind.value_type) or types.is_integer(kind.value_type)
                                 or types.is_null(kind.value_type)))  # fmt: skip

    if missing := [name for name in wanted if schema.names.count(name) != 1]:
        raise DataError(
            f"{place}: a manifest has the columns {', '.join(wanted)}, each once; {', '.join(missing)} is not so among "
            f"{first_lines(schema.names, 10) or 'none'}"
        )
    expected = {"name": "texts", "uri": "texts", "classes": "lists of class names or 0-based indices"}
    for name in wanted:
        if not fits(name, schema.field(name).type):
            raise DataError(f"{place}: column {name} holds {schema.field(name).type}; expected {expected[name]}")


def write_rows(stream: BinaryIO, rows: Iterable[tuple[str, str, Sequence[str]]], with_classes: bool) -> int:
    """Write rows of name, uri and classes as a manifest, a row group at a time; returns how many there were."""
    arrow = require_pyarrow()
    text = arrow.string()
    fields = [("name", text), ("uri", text), ("classes", arrow.list_(text))]
    schema = arrow.schema(fields if with_classes else fields[:2])
    count = 0
    with arrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        held: list[tuple[str, str, Sequence[str]]] = []

        def flush() -> None:
            columns = [list(column) for column in zip(*held, strict=True)]
            arrays = [arrow.array(values, field.type) for values, field in zip(columns, schema, strict=False)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema), row_group_size=ROWS_PER_GROUP)
            held.clear()

        for row in rows:
            held.append(row)
            count += 1
            if len(held) == ROWS_PER_GROUP:
                flush()
        if held:
            flush()
    return count
