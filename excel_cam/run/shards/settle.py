"""What a run over shards is asked for, and all of it that can be settled without the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from excel_cam.data.sharded.photograph import Shards
from excel_cam.data.sharded.source import ShardedInput, open_shards
from excel_cam.errors import OutputError, UsageError
from excel_cam.files.atomic import check_writable
from excel_cam.files.inputs import lies_in
from excel_cam.files.parquet import require_pyarrow
from excel_cam.files.storage import Place
from excel_cam.labels.packed.listing import is_shard_file
from excel_cam.labels.records import SHARDS_LAYOUT, differences, read_record_of_whole
from excel_cam.run.settle import (
    Request,
    Settled,
    report_sentences,
    require_parts,
    with_knowledge,
    with_learnt_classes,
)
from excel_cam.run.worker import Recipe
from excel_cam.wording import Report, first_lines


@dataclass(frozen=True, kw_only=True)
class ShardsRequest:
    """A run over shards as asked for.

    run: settings, model, classes and tags, as of a run over a folder; its destination says how labels are written, and
    with a folder for class maps that those are kept. out: where the shards go. numbers: of the shards to make, None for
    this process's share of all. retry_failed: make only the shards again in which photographs have failed. engine: who
    makes the shards. ray_address: as of `ray_engine`.
    """

    run: Request
    input: ShardedInput
    out: Place
    numbers: tuple[range, ...] | None = None
    retry_failed: bool = False
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None


@dataclass(frozen=True)
class SettledShards:
    """A run over shards of which everything is settled that needs no model; picklable.

    settled: as of a run over a folder, its data set without samples. shards: what is to be labelled. chosen: the
    numbers of those to make, ascending.
    """

    request: ShardsRequest
    settled: Settled
    shards: Shards
    chosen: Sequence[int]

    @property
    def out(self) -> Place:
        """Where the shards go."""
        return self.request.out

    @property
    def recipe(self) -> Recipe:
        """What a worker needs to make the labels."""
        return replace(self.settled.recipe, with_shares=True)

    @property
    def labelled(self) -> dict[str, Any]:
        """What is labelled, and which files are made of it: all that has to be the same in one output folder."""
        return {
            "shards": self.shards.count, "images": self.shards.images, **self.shards.record(),
            "class_maps": self.recipe.with_maps,
        }  # fmt: skip


def settle_shards(request: ShardsRequest, report: Report) -> SettledShards:
    """Open the shards, choose their sentences and this share; `report` is told what was found.

    Raises `ExcelCamError` for whatever the user has to mend.
    """
    require_pyarrow()
    run, out = request.run, request.out
    if run.settings.bands is not None:
        raise UsageError("--bands: bands of TIFFs are chosen in runs over a folder; photographs in shards have colours")
    if out.is_remote:
        out.check_writable()
    else:
        check_writable(out.path)
    require_parts(run)
    shards, data = open_shards(request.input, run.source, tagless=run.segmentation is not None)
    _refuse_inputs(shards.inputs(), out)
    count = shards.count
    if run.segmentation is not None:
        data, knowledge = with_learnt_classes(run, data), None
    else:
        run, knowledge = with_knowledge(run, data)
    for note in data.notes:
        report(note)
    if knowledge is not None and run.settings.attributes != "none":
        report_sentences(knowledge, run.source.has_own_knowledge, report)
    chosen = _chosen(request, count)
    if not run.work.shard.is_whole and request.numbers is None:
        report(f"share {run.work.shard} ({run.work.shard.source}): {len(chosen):,} of {count:,} shards")
    settled = Settled(request=run, data=data, root_found="", knowledge=knowledge, images_in_all=shards.images)
    return SettledShards(replace(request, run=run), settled, shards, chosen)


def _chosen(request: ShardsRequest, count: int) -> Sequence[int]:
    """The numbers of the shards to make; raises `UsageError` for one that is not there."""
    if request.numbers is None:
        shard = request.run.work.shard
        return range(shard.index, count, shard.count)
    for numbers in request.numbers:
        if numbers.stop > count:
            raise UsageError(f"--shards: there is no shard {numbers.stop - 1:,}: there are {count:,}, from 0 on")
    return sorted({number for numbers in request.numbers for number in numbers})


def _refuse_inputs(inputs: Iterable[Place], out: Place) -> None:
    """Raise `OutputError` where what is read lies where shards are written, and has a shard's name."""
    for place in inputs:
        if is_shard_file(place.name) and _are_in(place, out):
            raise OutputError(f"{place} is read by this command, and would be replaced; choose another --out")


def _are_in(place: Place, folder: Place) -> bool:
    if place.is_remote or folder.is_remote:
        return place.parent.address.rstrip("/") == folder.address.rstrip("/")
    return lies_in(place.path, folder.path)


def read_shards_record(out: Place) -> dict[str, Any] | None:
    """The record of the runs into an output folder, None where there is none yet.

    Raises `OutputError` where it is damaged, or of labels in single files.
    """
    record = read_record_of_whole(out)
    if record is None:
        return None
    if record.get("layout") != SHARDS_LAYOUT or not isinstance(record.get("labelled"), dict):
        raise OutputError(f"{out} holds labels as single files, not in shards; choose another --out")
    return record


def refuse_other_shards(settled: SettledShards, record: dict[str, Any], resolved: dict[str, Any] | None) -> None:
    """Raise `OutputError` where the labels of an output folder are made otherwise, or of other photographs.

    resolved: what decides labels and needs the model; None where that is not known yet.
    """
    found = differences(record["identity"].get("known", {}), settled.settled.known)
    if resolved is not None:
        found += differences(record["identity"].get("resolved", {}), resolved)
    if found:
        raise OutputError(f"{settled.out} holds labels made otherwise: {first_lines(found)}; choose another --out")
    if found := differences(record["labelled"], settled.labelled):
        raise OutputError(f"{settled.out} holds labels of other shards: {first_lines(found)}; choose another --out")
