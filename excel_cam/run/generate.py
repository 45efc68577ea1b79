"""`excel-cam generate` as a function: `run` what `settle` settled.

A finished run costs nothing: torch is only imported when there is something to compute.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excel_cam.classes import IGNORE
from excel_cam.data.dataset import Sample
from excel_cam.errors import OutputError
from excel_cam.files.atomic import hash_json, remove_stale_parts
from excel_cam.files.images.photographs import Photograph, read_photograph
from excel_cam.labels.claims import claimed, work_of
from excel_cam.labels.class_maps import write_maps
from excel_cam.labels.failures import FailureLog
from excel_cam.labels.hand_made import require_same_classes
from excel_cam.labels.identity import Identity, resolved_identity
from excel_cam.labels.png import write_label
from excel_cam.labels.records import read_runs, retire_runs, run_file, write_run
from excel_cam.labels.status.shares import is_left_open, retire_covered
from excel_cam.model.prepare import prepare_model, prepare_text
from excel_cam.run.execute import Outcome, Stages, Tally, execute
from excel_cam.run.plan import (
    Destination,
    Plan,
    compare,
    finished_identity,
    label_path,
    maps_path,
    plan_run,
    refuse_other_runs,
)
from excel_cam.run.record import run_record
from excel_cam.run.settle import Settled, Work
from excel_cam.wording import OVERWRITE_HAND_MADE, Report

if TYPE_CHECKING:
    from excel_cam.knowledge.base import KnowledgeBase
    from excel_cam.model.clip import ClipModel
    from excel_cam.model.text_bank import TextBank
    from excel_cam.run.labeller import LabelledPhotograph, Labeller
    from excel_cam.run.learnt_labeller import TaglessLabeller

    AnyLabeller = Labeller | TaglessLabeller


def run(settled: Settled, report: Report) -> Generator[Outcome, None, None]:
    """Label what is left to label; yields every image's outcome, in the data set's order.

    Raises `ExcelCamError` for whatever the user has to mend. However the iteration ends, only whole files are left,
    and the same run goes on from there.
    """
    if not settled.data.samples:
        return  # more shares than images
    request, destination = settled.request, settled.request.destination
    out, started = destination.out, time.monotonic()
    has_background = settled.knowledge is None or settled.knowledge.has_background
    require_same_classes(out, settled.data.class_names, has_background)
    if not destination.overwrite:
        earlier = read_runs(out)
        finished = finished_identity(earlier, settled.known, settled.asked)
        if is_left_open(earlier, request.work.shard):
            finished = None  # a run that was ended left its record so: this one takes the folder, and closes it
        if finished and not (plan := compare(settled.data.samples, destination, finished)).pending:
            _tell_hand_made(plan, report)
            yield from (Outcome(sample, label_path(out, sample), kept=True) for sample in plan.samples)
            return
    work = work_of(request.work.shard, {"known": hash_json(settled.known)})
    with claimed(dict.fromkeys(destination.folders, work)) as claims:
        earlier = read_runs(out)
        if not destination.overwrite:
            refuse_other_runs(out, earlier, "known", settled.known)
        labeller = prepare_labeller(settled, report)
        model = labeller.model
        identity = Identity(settled.known, resolved_identity(model.fingerprint, model.precision))
        claims.specify({"resolved": hash_json(identity.resolved)})
        if not destination.overwrite:
            refuse_other_runs(out, earlier, "resolved", identity.resolved)
        plan = plan_run(settled.data.samples, destination, identity)
        _tell_hand_made(plan, report)
        batch_size = _batch_size(labeller, request.work, report)
        stages = photograph_stages(labeller, destination, claims.require, plan.hand_made)
        yield from _label(settled, plan, identity, labeller, stages, batch_size, started, report)


def _tell_hand_made(plan: Plan, report: Report) -> None:
    if plan.hand_made:
        report(f"{len(plan.hand_made):,} hand-made labels stay as they are; {OVERWRITE_HAND_MADE} replaces them")


def prepare_labeller(settled: Settled, report: Report) -> AnyLabeller:
    """The labeller that a run asks for: training-free, with a learnt calibration, or a segmenter."""
    from excel_cam.run.labeller import Labeller

    request = settled.request
    if request.adapter is None:
        assert settled.knowledge is not None
        return Labeller(*_prepare_text(settled, settled.knowledge, report), request.settings)

    from excel_cam.learnt.checkpoint import read_adapter
    from excel_cam.run.learnt_labeller import LearntLabeller, TaglessLabeller

    if settled.knowledge is None:
        assert request.segmentation is not None
        model = prepare_model(request.model, report)
        adapter = read_adapter(request.adapter, model)
        return TaglessLabeller(model, adapter, request.segmentation, request.settings)
    model, bank = _prepare_text(settled, settled.knowledge, report)
    return LearntLabeller(model, bank, read_adapter(request.adapter, model), request.settings)


def _prepare_text(settled: Settled, knowledge: KnowledgeBase, report: Report) -> tuple[ClipModel, TextBank]:
    request = settled.request
    return prepare_text(
        request.model, knowledge, request.settings, report, borrowing=request.source.has_own_knowledge
    )  # fmt: skip


def _batch_size(labeller: AnyLabeller, work: Work, report: Report) -> int:
    from excel_cam.run.batch_size import CPU_BATCH, automatic_batch_size
    from excel_cam.run.labeller import Labeller

    if work.batch_size != "auto":
        return work.batch_size
    batch_size = automatic_batch_size(labeller) if isinstance(labeller, Labeller) else CPU_BATCH
    if labeller.model.device.type != "cpu":
        report(f"batches of {batch_size} (auto)")
    return batch_size


def _label(
    settled: Settled, plan: Plan, identity: Identity, labeller: AnyLabeller, stages: Stages[LabelledPhotograph],
    batch_size: int, started: float, report: Report,
) -> Iterator[Outcome]:  # fmt: skip
    """Carry out a plan, between the opening and the closing of the run's record."""
    work, destination, tally = settled.request.work, settled.request.destination, Tally()
    out, cams = destination.out, destination.cams
    failures = FailureLog(out, work.shard)
    names = {sample.name for sample in plan.samples}
    failures.start(names)
    record = run_record(settled, identity, labeller.model, batch_size)
    _open_record(settled, record)
    if cams is not None:
        for folder in {maps_path(cams, sample).parent for sample in plan.samples}:
            remove_stale_parts(folder)

    def close(state: str) -> None:
        seconds = round(time.monotonic() - started, 1)
        spread = record["work"] | {"batch_size": min(batch_size, labeller.batch_limit or batch_size)}
        closed = {**record, "work": spread, "state": state, "counts": tally.counts(), "seconds": seconds}
        if plan.hand_made:
            closed["hand_made"] = len(plan.hand_made)
        write_run(out, closed, work.shard)

    try:
        for outcome in execute(
            plan, stages, out=out, identity=identity, failures=failures, batch_size=batch_size, workers=work.workers
        ):
            tally.add(outcome)
            yield outcome
        _require_written(plan, destination, failures)
    except BaseException:  # an interruption too, and the end of iteration before the end of the run
        if out.is_dir():  # one that was removed is not made again for this
            with contextlib.suppress(OutputError):  # a full disk is reported once, by what stopped the run
                close("stopped")
        raise
    failures.drop_elsewhere(names)
    if labeller.batch_limit is not None:
        report(f"the device's memory held {labeller.batch_limit} of the {batch_size} photographs of a batch")
    if tally.tagged and tally.classless == tally.tagged:
        report(
            f"none of the {tally.tagged:,} labels made now of images with tags holds a class: check that --weights "
            "belong to --model, and the tags; --background-power 2 lowers the background"
        )
    close("complete with failures" if tally.failed else "complete")
    retire_covered(out)


def _require_written(plan: Plan, destination: Destination, failures: FailureLog) -> None:
    """Raise `OutputError` where a label, or class maps, of this run are no longer there at its end."""
    made = [sample for sample in plan.samples if sample.name not in failures.reasons]
    wanted = [label_path(destination.out, sample) for sample in made]
    if destination.cams is not None:
        wanted += [maps_path(destination.cams, sample) for sample in made]
    gone = [path for path in wanted if not path.exists()]
    if gone:
        raise OutputError(
            f"{len(gone):,} of {len(wanted):,} files of this run were removed while it was going on, first {gone[0]}; "
            "run the same command again"
        )


def _open_record(settled: Settled, record: dict[str, Any]) -> None:
    """Write this run's record; raises `OutputError` where another one appeared meanwhile that differs."""
    destination, shard = settled.request.destination, settled.request.work.shard
    out, own = destination.out, run_file(shard)
    if destination.overwrite:
        retire_runs(out, record["identity"])
    write_run(out, {**record, "state": "running"}, shard)
    if destination.overwrite:
        return
    others = {name: other for name, other in read_runs(out).items() if name != own}
    try:
        for part in ("known", "resolved"):
            refuse_other_runs(out, others, part, record["identity"][part])
    except OutputError:
        (out / own).unlink(missing_ok=True)
        raise


def photograph_stages(
    labeller: AnyLabeller, destination: Destination, require_folders: Callable[[], None],
    hand_made: Set[str] = frozenset(),
) -> Stages[LabelledPhotograph]:  # fmt: skip
    """How a photograph is read, labelled, and written to its destination, class maps first where they are asked for.

    require_folders: raises `OutputError` where the destination is no longer this run's. hand_made: names of the labels
    that stay as they are; class maps alone are written for them.
    """

    def read(path: Path) -> Photograph:
        return read_photograph(path, labeller.settings.working_pixels)

    def label(photographs: Sequence[Photograph], tags: Sequence[Sequence[int]]) -> list[LabelledPhotograph]:
        sizes = [photograph.size for photograph in photographs]
        return labeller.label_with_maps([photograph.pixels for photograph in photographs], tags, sizes)

    def write(sample: Sample, photograph: Photograph, result: LabelledPhotograph, stamp: str) -> bool:
        label = photograph.as_stored(result.label)
        require_folders()
        if destination.cams is not None:  # first the maps: whoever finds the label finds them too
            maps = photograph.as_stored(result.maps)
            write_maps(maps_path(destination.cams, sample), maps, sample.tags, label.shape, stamp)
        if sample.name not in hand_made:
            write_label(label_path(destination.out, sample), label, destination.png_mode, stamp)
        least = 1 if labeller.has_background else 0
        return bool(((label >= least) & (label != IGNORE)).any())

    return Stages(read=read, label=label, write=write)
