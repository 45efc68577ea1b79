"""One shard, from its photographs to its commit: what every engine calls, wherever it runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excel_cam.data.sharded.photograph import ShardPhotograph
from excel_cam.data.sharded.tars import MAX_FILE_BYTES
from excel_cam.errors import DataError, ImageError, MachineError, OutputError
from excel_cam.files.atomic import hash_json
from excel_cam.files.images.photographs import Photograph, read_photograph
from excel_cam.files.storage import Place
from excel_cam.labels.packed.index import IndexHead, Row, index_bytes, read_labelled
from excel_cam.labels.packed.listing import index_of, running_of, tar_of
from excel_cam.labels.packed.tar import TarReader, TarWriter
from excel_cam.labels.records import SHARDS_LAYOUT
from excel_cam.run.execute import Stages, overlapped, pace_on
from excel_cam.run.record import run_record
from excel_cam.run.shards.marker import at_work
from excel_cam.run.shards.settle import SettledShards, read_shards_record, refuse_other_shards
from excel_cam.run.worker import Made, Worker
from excel_cam.wording import Report, readable_size

if TYPE_CHECKING:
    from excel_cam.run.labeller import LabelledPhotograph


@dataclass(frozen=True)
class Commit:
    """What became of one shard.

    labelled: photographs that have a label, `kept` of them from an earlier run. failed: names and reasons of those that
    have none. was_there: whether it was committed before, and nothing of it was looked at. fault: why it could not be
    read, and is not committed.
    """

    shard: int
    labelled: int = 0
    kept: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    was_there: bool = False
    fault: str | None = None


@dataclass(frozen=True)
class _Earlier:
    """The labels of a shard that an earlier run has made."""

    tar: TarReader
    rows: dict[str, Row]

    def made(self, name: str, with_maps: bool) -> Made | None:
        """The files of a label; None where its class maps are wanted and not there."""
        row = self.rows[name]
        assert row.extent is not None
        maps = None
        if with_maps:
            extent = self.tar.find_behind(row.extent, f"{name}.npz")
            if extent is None:
                return None
            maps = self.tar.read(extent)
        return Made(label=self.tar.read(row.extent), maps=maps, stamp=row.stamp, shares=dict(row.shares))


@dataclass(frozen=True)
class ShardMaker:
    """Makes the shards of a settled run; picklable by plain values, the model is loaded on first use."""

    settled: SettledShards

    def __reduce__(self) -> tuple[type[ShardMaker], tuple[SettledShards]]:
        return ShardMaker, (self.settled,)

    @cached_property
    def worker(self) -> Worker:
        """The one worker of this process."""
        return Worker(self.settled.recipe)

    def record(self, report: Report = lambda _: None) -> dict[str, Any]:
        """The run record, as it is written before the first shard; loads the model."""
        worker, settled = self.worker, self.settled
        model = worker.load(report).model
        record = run_record(settled.settled, worker.identity, model, worker.batch_size(report))
        given = settled.request.input
        found = "--root" if given.manifest is None else "--manifest"
        record["dataset"] |= {"root": str(Place(given.manifest or given.root or "")), "found": found}
        return {**record, "layout": SHARDS_LAYOUT, "labelled": settled.labelled}

    def make(self, shard: int, told: Callable[[int], None] = lambda _: None) -> Commit:
        """Label a shard and commit it; `told` is called with how many more photographs are done.

        A shard that cannot be read is told of in the commit, and stops nothing. However this ends, the shard is
        committed whole or not at all. Raises `DataError` where none of its photographs can be labelled for what is said
        of them, and `OutputError`, `MachineError` and `ModelError` as a run over a folder does.
        """
        out, index = self.settled.out, index_of(self.settled.out, shard)
        retried = self.settled.request.retry_failed
        if not retried and index.exists():  # another worker was faster
            return Commit(shard, was_there=True)
        with at_work(running_of(out, shard)), tempfile.TemporaryDirectory(prefix="excel-cam-") as folder:
            spool = Path(folder, tar_of(out, shard).name)
            try:
                rows, kept, tar_size = self._spool(shard, spool, told)
            except _UnreadableShardError as error:
                return Commit(shard, fault=str(error))
            self._commit(shard, spool, index_bytes(self._head(shard, tar_size), rows))
        failed = tuple((row.name, row.reason) for row in rows if row.extent is None)
        return Commit(shard, labelled=len(rows) - len(failed), kept=kept, failed=failed)

    def _head(self, shard: int, tar_size: int) -> IndexHead:
        identity = self.worker.identity
        return IndexHead(shard, hash_json({"known": identity.known, "resolved": identity.resolved}), tar_size)

    def _spool(self, shard: int, path: Path, told: Callable[[int], None]) -> tuple[list[Row], int, int]:
        """Label a shard into a tar of this machine; its rows, how many labels were kept, and the tar's size."""
        rows: list[Row] = []
        faulty = kept = 0
        with TarWriter(path) as tar:
            for photograph, made, was_kept in self._labelled(shard):
                if made.reason is not None:
                    rows.append(Row(photograph.name, reason=made.reason))
                    faulty += photograph.fault is not None
                else:
                    extent = tar.add(f"{photograph.name}.png", made.label)
                    if made.maps is not None:
                        tar.add(f"{photograph.name}.npz", made.maps)
                    rows.append(Row(photograph.name, extent, made.stamp, tuple(made.shares.items())))
                    kept += was_kept
                told(1)
            if rows and faulty == len(rows):
                raise DataError(
                    f"{self.settled.shards.where(shard)}: none of its {len(rows):,} photographs can be labelled; the "
                    f"first: {rows[0].reason}"
                )
            return rows, kept, tar.close()

    def _labelled(self, shard: int) -> Iterator[tuple[ShardPhotograph, Made, bool]]:
        """The photographs of a shard with what becomes of them, and whether that was kept from an earlier run."""
        worker, earlier = self.worker, self._earlier(shard)
        recipe, identity = worker.recipe, worker.identity

        def read(photograph: ShardPhotograph) -> Photograph:
            return _read(photograph, worker)

        def write(photograph: ShardPhotograph, decoded: Photograph, result: LabelledPhotograph) -> Made:
            return worker.encode(decoded, result, photograph.tags)

        found: dict[str, Made] = {}

        def is_done(photograph: ShardPhotograph) -> bool:
            if earlier is None or photograph.fault is not None or photograph.name not in earlier.rows:
                return False
            if earlier.rows[photograph.name].stamp != identity.stamp(photograph.tags):
                return False
            made = earlier.made(photograph.name, recipe.with_maps)
            if made is not None:
                found[photograph.name] = made
            return made is not None

        stages = Stages(read=read, label=worker.compute, write=write)
        pace = pace_on(worker.load().model.device.type, self.settled.request.run.work.workers)
        photographs = _readable(self.settled.shards.photographs(shard))
        for photograph, made in overlapped(
            photographs, stages, is_done=is_done, batch_size=worker.batch_size(), pace=pace
        ):
            if made is None:
                yield photograph, found.pop(photograph.name), True
            else:
                yield photograph, Made(reason=made) if isinstance(made, str) else made, False

    def _earlier(self, shard: int) -> _Earlier | None:
        """The labels to keep, where failed photographs alone are to be made again."""
        out = self.settled.out
        if not self.settled.request.retry_failed or not index_of(out, shard).exists():
            return None
        try:
            head, rows = read_labelled(index_of(out, shard), shard)
            tar = TarReader(tar_of(out, shard), head.tar_size)
            tar.require_size()
        except DataError:  # damaged: there is nothing that could be kept
            return None
        return _Earlier(tar, rows) if head.identity == self._head(shard, 0).identity else None

    def _commit(self, shard: int, spool: Path, index: bytes) -> None:
        """Put the tar, and after it the index, in their places. Raises `OutputError`."""
        out = self.settled.out
        record = read_shards_record(out)
        if record is None:
            raise OutputError(f"{out.child('run.json')} was removed while labels were made; run the same command again")
        refuse_other_shards(self.settled, record, self.worker.identity.resolved)
        if self.settled.request.retry_failed:
            index_of(out, shard).remove()  # an index and a tar that do not belong together are never there at once
        elif index_of(out, shard).exists():  # another worker has committed it meanwhile
            return
        tar_of(out, shard).write(spool)
        index_of(out, shard).write(index)


class _UnreadableShardError(Exception):
    """A shard's own file cannot be read to its end; other shards may be as they should."""


def _readable(photographs: Iterator[ShardPhotograph]) -> Iterator[ShardPhotograph]:
    """The same, with what is wrong with their shard told from what is wrong with the run."""
    try:
        yield from photographs
    except MachineError:
        raise
    except DataError as error:
        raise _UnreadableShardError(str(error)) from None


def _read(photograph: ShardPhotograph, worker: Worker) -> Photograph:
    """Decode a photograph; raises `ImageError` with the reason why it cannot be labelled."""
    if photograph.fault is not None:
        raise ImageError(photograph.fault)
    file = photograph.file
    if isinstance(file, Place) and not file.is_remote:  # from its file, as a run over a folder does
        return read_photograph(file.path, worker.recipe.settings.working_pixels)
    if isinstance(file, Place):
        try:
            content = file.read(0, MAX_FILE_BYTES + 1)
        except DataError as error:
            raise ImageError(str(error)) from None
        if len(content) > MAX_FILE_BYTES:
            raise ImageError(f"{photograph.where}: larger than {readable_size(MAX_FILE_BYTES)}; reduce it")
        return worker.decode(content, photograph.where)
    return worker.decode(file, photograph.where)
