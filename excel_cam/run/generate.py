"""`excel-cam generate` as a function: `run` what `settle` settled.

A finished run costs nothing: torch is only imported when there is something to compute.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Set
from typing import TYPE_CHECKING, Any

from excel_cam.data.dataset import Sample
from excel_cam.errors import OutputError
from excel_cam.files.atomic import hash_json, remove_stale_parts, write_atomically
from excel_cam.files.images.georeference import write_georeference
from excel_cam.files.images.photographs import Photograph, read_photograph
from excel_cam.labels.claims import claimed, work_of
from excel_cam.labels.failures import FailureLog
from excel_cam.labels.hand_made import require_same_classes
from excel_cam.labels.identity import Identity
from excel_cam.labels.records import read_runs, refuse_shards, retire_runs, run_file, write_run
from excel_cam.labels.status.shares import is_left_open, retire_covered
from excel_cam.run.execute import Outcome, Stages, Tally, execute, pace_on
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
from excel_cam.run.settle import Settled
from excel_cam.run.worker import Worker
from excel_cam.wording import OVERWRITE_HAND_MADE, Report

if TYPE_CHECKING:
    from excel_cam.run.labeller import LabelledPhotograph


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
    refuse_shards(out)
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
        worker = Worker(settled.recipe)
        worker.load(report)
        identity = worker.identity
        claims.specify({"resolved": hash_json(identity.resolved)})
        if not destination.overwrite:
            refuse_other_runs(out, earlier, "resolved", identity.resolved)
        plan = plan_run(settled.data.samples, destination, identity)
        _tell_hand_made(plan, report)
        worker.batch_size(report)
        stages = photograph_stages(worker, destination, claims.require, plan.hand_made)
        yield from _label(settled, plan, identity, worker, stages, started, report)


def _tell_hand_made(plan: Plan, report: Report) -> None:
    if plan.hand_made:
        report(f"{len(plan.hand_made):,} hand-made labels stay as they are; {OVERWRITE_HAND_MADE} replaces them")


def _label(
    settled: Settled, plan: Plan, identity: Identity, worker: Worker,
    stages: Stages[Sample, LabelledPhotograph, bool | str],
    started: float, report: Report,
) -> Iterator[Outcome]:  # fmt: skip
    """Carry out a plan, between the opening and the closing of the run's record."""
    work, destination, tally = settled.request.work, settled.request.destination, Tally()
    labeller, batch_size = worker.load(), worker.batch_size()
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
        pace = pace_on(labeller.model.device.type, work.workers)
        for outcome in execute(plan, stages, out=out, failures=failures, batch_size=batch_size, pace=pace):
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
    worker: Worker, destination: Destination, require_folders: Callable[[], None], hand_made: Set[str] = frozenset()
) -> Stages[Sample, LabelledPhotograph, bool | str]:
    """How a photograph is read, labelled, and written to its destination, class maps first where they are asked for.

    require_folders: raises `OutputError` where the destination is no longer this run's. hand_made: names of the labels
    that stay as they are; class maps alone are written for them.
    """

    def read(sample: Sample) -> Photograph:  # from its file, so that the bytes of large ones need not be held
        settings = worker.recipe.settings
        return read_photograph(sample.image_path, settings.working_pixels, bands=settings.bands)

    def write(sample: Sample, photograph: Photograph, result: LabelledPhotograph) -> bool | str:
        made = worker.encode(photograph, result, sample.tags, sample.regions)
        if made.reason is not None:
            return made.reason
        require_folders()
        if destination.cams is not None and made.maps is not None:  # first the maps: who finds the label finds them too
            write_atomically(maps_path(destination.cams, sample), made.maps)
        if sample.name not in hand_made:
            path = label_path(destination.out, sample)
            write_georeference(path, sample.image_path)  # first: who finds the label finds where it lies
            write_atomically(path, made.label)
        return made.shows_class

    return Stages(read=read, label=worker.compute, write=write)
