"""A whole run: a data set's images → label files, in overlapping stages, resumable at any moment.

Decoding and writing go on in threads while the main thread computes. Few images are in flight at a time, so memory does
not grow with the data set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from excel_cam.data.dataset import Sample
from excel_cam.errors import ImageError
from excel_cam.files.atomic import remove_stale_parts
from excel_cam.files.images.photographs import Photograph
from excel_cam.labels.failures import FailureLog
from excel_cam.run.plan import Plan, label_path
from excel_cam.run.worker import BATCH_PIXELS

WORKERS_PER_WRITER = 4  # decoding threads that one writing thread keeps up with, where a CPU computes labels


class Tagged(Protocol):
    """An image with the 0-based classes it shows."""

    @property
    def tags(self) -> tuple[int, ...]:
        """Ascending, each once."""


Image = TypeVar("Image", bound=Tagged)
Result = TypeVar("Result")
Written = TypeVar("Written")


@dataclass(frozen=True, kw_only=True)
class Stages(Generic[Image, Result, Written]):
    """What is done with an image: read in threads, labelled in batches with its tags, written in threads.

    read raises `ImageError` where it cannot be read.
    """

    read: Callable[[Image], Photograph]
    label: Callable[[Sequence[Photograph], Sequence[tuple[int, ...]]], Sequence[Result]]
    write: Callable[[Image, Photograph, Result], Written]


@dataclass(frozen=True)
class Pace:
    """How the stages of a run go on beside each other.

    workers: threads that decode. writers: threads that write. unwritten: how many batches may be on their way to the
    disk before the next is computed.
    """

    workers: int
    writers: int
    unwritten: int


def pace_on(device: str, workers: int) -> Pace:
    """The pace of a run on a device of this type, as torch names it, with `workers` threads that decode.

    On a CPU one batch is written while the next is computed. A GPU may make a thousand labels a second, where a writer
    takes 2 ms for one, more if the disk is slow to confirm it: there as many threads write as decode, and the batch
    after the next is handed over before the labels of this one are waited for, lest the device have nothing to do
    meanwhile.
    """
    if device == "cpu":
        return Pace(workers, max(1, workers // WORKERS_PER_WRITER), 1)
    return Pace(workers, workers, 2)


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
    plan: Plan, stages: Stages[Sample, Any, bool | str], *, out: Path, failures: FailureLog, batch_size: int,
    pace: Pace,
) -> Iterator[Outcome]:  # fmt: skip
    """Label what the plan leaves to do; yields every image's outcome in the data set's order.

    stages.write tells whether the label holds a class, or why there is none.
    Raises `OutputError` when a label cannot be written. However the iteration ends, only whole files are left.
    """
    for folder in {label_path(out, sample).parent for sample in plan.samples}:
        remove_stale_parts(folder)

    def is_done(sample: Sample) -> bool:
        return sample.name in plan.done

    for sample, state in overlapped(plan.samples, stages, is_done=is_done, batch_size=batch_size, pace=pace):
        path = label_path(out, sample)
        if state is None:
            yield Outcome(sample, path, kept=True)
        elif isinstance(state, str):
            failures.add(sample.name, state)
            yield Outcome(sample, path, reason=state)
        else:
            yield Outcome(sample, path, kept=sample.name in plan.hand_made, shows_class=state)


def overlapped(
    images: Iterable[Image], stages: Stages[Image, Result, Written], *, is_done: Callable[[Image], bool],
    batch_size: int, pace: Pace,
) -> Iterator[tuple[Image, Written | str | None]]:  # fmt: skip
    """Images through their stages, in their order: what was written, why one cannot be read, None for one that is done.

    Few images are taken from `images` ahead of their time.
    """
    decoders = ThreadPoolExecutor(pace.workers, thread_name_prefix="decode")
    writer = ThreadPoolExecutor(pace.writers, thread_name_prefix="write")
    written: deque[tuple[Image, Future[Written] | str | None]] = deque()

    def settle_next() -> tuple[Image, Written | str | None]:
        image, state = written.popleft()
        return image, state.result() if isinstance(state, Future) else state

    try:
        for batch in decoded_batches(images, decoders, stages.read, is_done, batch_size, batch_size + pace.workers):
            good = [(image, photograph) for image, photograph in batch if isinstance(photograph, Photograph)]
            results = iter(stages.label([photograph for _, photograph in good], [image.tags for image, _ in good]))
            for image, photograph in batch:
                if isinstance(photograph, Photograph):
                    written.append((image, writer.submit(stages.write, image, photograph, next(results))))
                else:
                    written.append((image, photograph))
            while len(written) > pace.unwritten * batch_size:
                yield settle_next()
        while written:
            yield settle_next()
    finally:
        decoders.shutdown(wait=True, cancel_futures=True)
        writer.shutdown(wait=True, cancel_futures=True)


def decoded_batches(
    images: Iterable[Image], decoders: ThreadPoolExecutor, read_image: Callable[[Image], Photograph],
    is_done: Callable[[Image], bool], batch_size: int, lookahead: int,
) -> Iterator[list[tuple[Image, Photograph | str | None]]]:  # fmt: skip
    """Batches of (image, photograph | reason it cannot be read | None for one that is done).

    Each batch has `batch_size` readable photographs, except the last and those closed early for their pixels;
    `lookahead` more are being decoded meanwhile.
    """

    def read(image: Image) -> Photograph | str:
        try:
            return read_image(image)
        except ImageError as error:
            return str(error)

    remaining = iter(images)
    waiting: deque[tuple[Image, Future[Photograph | str] | None]] = deque()

    def refill() -> None:
        for image in islice(remaining, max(0, lookahead - len(waiting))):
            waiting.append((image, None if is_done(image) else decoders.submit(read, image)))

    batch: list[tuple[Image, Photograph | str | None]] = []
    readable = pixels = 0
    refill()
    while waiting:
        image, future = waiting.popleft()
        refill()
        photograph = future.result() if future is not None else None
        batch.append((image, photograph))
        if isinstance(photograph, Photograph):
            readable, pixels = readable + 1, pixels + photograph.size[0] * photograph.size[1]
        if readable == batch_size or pixels >= BATCH_PIXELS or len(batch) >= 4 * batch_size + 64:
            yield batch
            batch, readable, pixels = [], 0, 0
    if batch:
        yield batch
