"""What a run would take, before it is begun: a few of its images are labelled, into a folder that goes away again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from excel_cam.data.dataset import Sample
from excel_cam.errors import ImageError
from excel_cam.files.atomic import free_space
from excel_cam.run.generate import photograph_stages
from excel_cam.run.plan import compare, label_path, maps_path
from excel_cam.run.settle import Settled
from excel_cam.run.worker import Worker
from excel_cam.wording import Report, duration, readable_size

TRIED = 3  # images that are labelled, after one that is not counted: the first takes longer


@dataclass(frozen=True)
class Estimate:
    """images: of this share. done: those whose label is there. stale: those with one made otherwise.

    seconds, label_bytes, maps_bytes: means of the images tried, of whom there are `tried`; maps_bytes 0 without maps.
    free: bytes where the labels go.
    """

    images: int
    done: int
    stale: int
    tried: int
    seconds: float
    label_bytes: float
    maps_bytes: float
    free: int
    device: str

    @property
    def pending(self) -> int:
        """Images to be labelled."""
        return self.images - self.done

    def lines(self) -> Iterator[str]:
        """The estimate for people."""
        stale = f", {self.stale:,} of them with a label made otherwise" if self.stale else ""
        yield f"dry run: {self.images:,} images, {self.done:,} done, {self.pending:,} to label{stale}"
        if not self.pending:
            return
        if not self.tried:
            yield "none of the images tried could be read: time and disk are not known"
            return
        yield (
            f"about {duration(self.pending * self.seconds)} on {self.device}: {self.seconds:.2g} s an image, by "
            f"{self.tried} of them one after the other; batches and threads take less"
        )
        needed = self.pending * (self.label_bytes + self.maps_bytes)
        maps = readable_size(round(self.pending * self.maps_bytes))
        share = f", of which class maps {maps}" if self.maps_bytes else ""
        yield f"about {readable_size(round(needed))} to write{share}; {readable_size(self.free)} free there"


def estimate_run(settled: Settled, report: Report) -> Estimate:
    """Look at what is there, load the model, and label a few of the images that are left; nothing stays written.

    Raises `ExcelCamError` for whatever would stop the run before its first label, but for labels in the way, which are
    counted.
    """
    destination = settled.request.destination
    worker = Worker(settled.recipe)
    device = worker.load(report).model.device
    plan = compare(
        settled.data.samples, replace(destination, overwrite=True), worker.identity
    )  # what is in the way is counted
    done = frozenset() if destination.overwrite else plan.done
    pending = [sample for sample in plan.samples if sample.name not in done]
    seconds: list[float] = []
    label_bytes = maps_bytes = 0
    with tempfile.TemporaryDirectory(prefix="excel-cam-") as folder:
        out, cams = Path(folder, "labels"), Path(folder, "cams")
        trial = replace(destination, out=out, cams=None if destination.cams is None else cams)
        stages = photograph_stages(worker, trial, lambda: None)
        for sample in _spread(pending, TRIED + 1):
            started = time.monotonic()
            try:
                photograph = stages.read(sample)
            except ImageError:
                continue
            (result,) = stages.label([photograph], [sample.tags])
            if isinstance(stages.write(sample, photograph, result), str):
                continue  # regions that do not fit
            seconds.append(time.monotonic() - started)
            label_bytes += label_path(out, sample).stat().st_size
            maps_bytes += maps_path(cams, sample).stat().st_size if destination.cams is not None else 0
    counted = seconds[1:] or seconds
    count = max(1, len(seconds))
    return Estimate(
        len(plan.samples), len(done), len(plan.stale), len(counted), sum(counted) / max(1, len(counted)),
        label_bytes / count, maps_bytes / count, free_space(destination.out), str(device),
    )  # fmt: skip


def _spread(samples: list[Sample], count: int) -> list[Sample]:
    """So many of them, from the first to the last."""
    if len(samples) <= count:
        return samples
    return [samples[index * (len(samples) - 1) // (count - 1)] for index in range(count)]
