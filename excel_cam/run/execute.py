"""A whole run: a data set's images → label files, in overlapping stages, resumable at any moment.

Decoding and writing go on in threads while the main thread computes. Few images are in flight at a time, so memory does
not grow with the data set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

from excel_cam.data.dataset import Sample
from excel_cam.errors import ImageError
from excel_cam.files.atomic import remove_stale_parts
from excel_cam.files.images.photographs import Photograph
from excel_cam.labels.failures import FailureLog
from excel_cam.run.plan import Plan, label_path
from excel_cam.run.worker import BATCH_PIXELS

WORKERS_PER_WRITER = 4  # decoding threads that one writing thread keeps up with

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Stages(Generic[Result]):
    """What is done with a photograph: read in threads, labelled in batches, written in threads.

    write returns whether the label holds a class, or why there is none.
    """

    read: Callable[[Path], Photograph]
    label: Callable[[Sequence[Photograph], Sequence[Sequence[int]]], Sequence[Result]]
    write: Callable[[Sample, Photograph, Result], bool | str]


@dataclass(frozen=True)
class Outcome:
    """What became of one image: labelled now, kept from an earlier run, or failed with a reason.

    shows_class: whether a label made now holds a class.
    """

    sample: Sample
    path: Path
    kept: bool = False
    reason: str | None = None
    shows_class: bool = False


@dataclass
class Tally:
    """How many images came out how."""

    labelled: int = 0
    kept: int = 0
    failed: int = 0
    tagged: int = 0  # of the labelled, those whose image has tags
    classless: int = 0  # of the tagged, those without a class

    def add(self, outcome: Outcome) -> None:
        """One more."""
        if outcome.kept:
            self.kept += 1
        elif outcome.reason is not None:
            self.failed += 1
        else:
            self.labelled += 1
            self.tagged += bool(outcome.sample.tags)
            self.classless += bool(outcome.sample.tags) and not outcome.shows_class

    def counts(self) -> dict[str, int]:
        """As the run record has them."""
        images = self.labelled + self.kept + self.failed
        return {"images": images, "labelled": self.labelled, "kept": self.kept, "failed": self.failed}


def execute(
    plan: Plan, stages: Stages[Result], *, out: Path, failures: FailureLog, batch_size: int, workers: int
) -> Iterator[Outcome]:
    """Label what the plan leaves to do; yields every image's outcome in the data set's order.

    Raises `OutputError` when a label cannot be written. However the iteration ends, only whole files are left.
    """
    for folder in {label_path(out, sample).parent for sample in plan.samples}:
        remove_stale_parts(folder)
    decoders = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    writer = ThreadPoolExecutor(max(1, workers // WORKERS_PER_WRITER), thread_name_prefix="write")
    try:
        written: deque[tuple[Sample, Future[bool | str] | str | None]] = deque()
        for batch in _decoded_batches(plan, decoders, stages.read, batch_size, lookahead=batch_size + workers):
            good = [(sample, image) for sample, image in batch if isinstance(image, Photograph)]
            results = iter(stages.label([image for _, image in good], [sample.tags for sample, _ in good]))
            for sample, image in batch:
                if isinstance(image, Photograph):
                    written.append((sample, writer.submit(stages.write, sample, image, next(results))))
                else:
                    written.append((sample, image))
            # The batch before this one has had the time of a forward pass to be written.
            while len(written) > batch_size:
                yield _settle(written.popleft(), plan, out, failures)
        while written:
            yield _settle(written.popleft(), plan, out, failures)
    finally:
        decoders.shutdown(wait=True, cancel_futures=True)
        writer.shutdown(wait=True, cancel_futures=True)


def _settle(
    entry: tuple[Sample, Future[bool | str] | str | None], plan: Plan, out: Path, failures: FailureLog
) -> Outcome:  # fmt: skip
    """Wait for one image to be written or failed."""
    sample, state = entry
    result = state.result() if isinstance(state, Future) else state
    if result is None:
        return Outcome(sample, label_path(out, sample), kept=True)
    if isinstance(result, str):
        failures.add(sample.name, result)
        return Outcome(sample, label_path(out, sample), reason=result)
    return Outcome(sample, label_path(out, sample), kept=sample.name in plan.hand_made, shows_class=result)


def _decoded_batches(
    plan: Plan, decoders: ThreadPoolExecutor, read_image: Callable[[Path], Photograph], batch_size: int, lookahead: int
) -> Iterator[list[tuple[Sample, Photograph | str | None]]]:
    """Batches of (sample, photograph | reason it cannot be read | None for a label that is kept).

    Each batch has `batch_size` readable photographs, except the last and those closed early for their pixels;
    `lookahead` more are being decoded meanwhile.
    """

    def read(path: Path) -> Photograph | str:
        try:
            return read_image(path)
        except ImageError as error:
            return str(error)

    remaining = iter(plan.samples)
    waiting: deque[tuple[Sample, Future[Photograph | str] | None]] = deque()

    def refill() -> None:
        for sample in islice(remaining, max(0, lookahead - len(waiting))):
            waiting.append((sample, None if sample.name in plan.done else decoders.submit(read, sample.image_path)))

    batch: list[tuple[Sample, Photograph | str | None]] = []
    readable = pixels = 0
    refill()
    while waiting:
        sample, future = waiting.popleft()
        refill()
        image = future.result() if future is not None else None
        batch.append((sample, image))
        if isinstance(image, Photograph):
            readable, pixels = readable + 1, pixels + image.size[0] * image.size[1]
        if readable == batch_size or pixels >= BATCH_PIXELS or len(batch) >= 4 * batch_size + 64:
            yield batch
            batch, readable, pixels = [], 0, 0
    if batch:
        yield batch
