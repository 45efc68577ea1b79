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
from typing import TypeVar

from excel_cam.data.dataset import Sample
from excel_cam.errors import ImageError, OutputError
from excel_cam.files.atomic import remove_stale_parts
from excel_cam.files.photographs import Photograph
from excel_cam.labels.png import read_stamp
from excel_cam.labels.records import FailureLog, Identity

# Labels of one batch are held at a time; a batch is closed early when theirs would have more pixels than this.
BATCH_PIXELS = 100_000_000
WORKERS_PER_WRITER = 4  # decoding threads that one writing thread keeps up with

Result = TypeVar("Result")
LabelBatch = Callable[[Sequence[Photograph], Sequence[Sequence[int]]], Sequence[Result]]
WriteResult = Callable[[Sample, Photograph, Result, str], None]  # with the stamp of the label
ReadImage = Callable[[Path], Photograph]


@dataclass(frozen=True)
class Outcome:
    """What became of one image: labelled now, kept from an earlier run, or failed with a reason."""

    sample: Sample
    path: Path
    kept: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Plan:
    """Which images still need a label. `stale` have one that was made otherwise."""

    samples: tuple[Sample, ...]
    done: frozenset[str]
    stale: tuple[Sample, ...]

    @property
    def pending(self) -> int:
        """Images without a label of this identity."""
        return len(self.samples) - len(self.done)


def label_path(out: Path, sample: Sample) -> Path:
    """Where a sample's label goes: the folders of its name are mirrored."""
    return out / f"{sample.name}.png"


def plan_run(samples: tuple[Sample, ...], out: Path, identity: Identity) -> Plan:
    """Compare the labels in `out` with what this run would make; raises `OutputError` before a photograph is lost."""
    done, stale = set(), []
    stamps: dict[tuple[int, ...], str] = {}
    for sample in samples:
        path = label_path(out, sample)
        if path == sample.image_path or (sample.image_path.suffix == ".png" and _same_file(path, sample.image_path)):
            raise OutputError(f"{path}: the label would replace its own photograph; choose another --out")
        found = read_stamp(path)
        if found is None:
            continue
        if sample.tags not in stamps:
            stamps[sample.tags] = identity.stamp(sample.tags)
        if found == stamps[sample.tags]:
            done.add(sample.name)
        else:
            stale.append(sample)
    return Plan(samples, frozenset(done), tuple(stale))


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def execute(
    plan: Plan,
    out: Path,
    identity: Identity,
    label_batch: LabelBatch[Result],
    write_result: WriteResult[Result],
    read_image: ReadImage,
    failures: FailureLog,
    batch_size: int,
    workers: int,
) -> Iterator[Outcome]:
    """Label what the plan leaves to do; yields every image's outcome in the data set's order.

    Raises `OutputError` when a label cannot be written. However the iteration ends, only whole files are left.
    """
    for folder in {label_path(out, sample).parent for sample in plan.samples}:
        remove_stale_parts(folder)
    decoders = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    writer = ThreadPoolExecutor(max(1, workers // WORKERS_PER_WRITER), thread_name_prefix="write")
    try:
        written: deque[tuple[Sample, Future[None] | str | None]] = deque()
        for batch in _decoded_batches(plan, decoders, read_image, batch_size, lookahead=batch_size + workers):
            good = [(sample, image) for sample, image in batch if isinstance(image, Photograph)]
            results = iter(label_batch([image for _, image in good], [sample.tags for sample, _ in good]))
            for sample, image in batch:
                if isinstance(image, Photograph):
                    stamp = identity.stamp(sample.tags)
                    written.append((sample, writer.submit(write_result, sample, image, next(results), stamp)))
                else:
                    written.append((sample, image))
            # The batch before this one has had the time of a forward pass to be written.
            while len(written) > batch_size:
                yield _settle(written.popleft(), out, failures)
        while written:
            yield _settle(written.popleft(), out, failures)
    finally:
        decoders.shutdown(wait=True, cancel_futures=True)
        writer.shutdown(wait=True, cancel_futures=True)


def _settle(entry: tuple[Sample, Future[None] | str | None], out: Path, failures: FailureLog) -> Outcome:
    """Wait for one image to be written or failed."""
    sample, state = entry
    if isinstance(state, Future):
        state.result()
        return Outcome(sample, label_path(out, sample))
    if state is None:
        return Outcome(sample, label_path(out, sample), kept=True)
    failures.add(sample.name, state)
    return Outcome(sample, label_path(out, sample), reason=state)


def _decoded_batches(
    plan: Plan, decoders: ThreadPoolExecutor, read_image: ReadImage, batch_size: int, lookahead: int
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
