"""The one worker of every run: bytes of photographs and their tags in, bytes of labels or reasons of failure out.

It knows no folder, thread, engine or progress. A run over a folder calls its stages from threads of its own; whoever
has nothing to overlap calls `label`, which goes through them one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from excel_cam.classes import IGNORE
from excel_cam.errors import DataError, ImageError
from excel_cam.files.images.photographs import Photograph, read_photograph, upright_size
from excel_cam.labels.class_maps import maps_bytes
from excel_cam.labels.identity import Identity, resolved_identity
from excel_cam.labels.png import class_shares, label_bytes
from excel_cam.model.prepare import prepare_model, prepare_text
from excel_cam.settings import ModelChoice, SegmentationSettings, Settings
from excel_cam.wording import Report

if TYPE_CHECKING:
    from pathlib import Path

    from excel_cam.files.regions.region import ImageRegions
    from excel_cam.knowledge.base import KnowledgeBase
    from excel_cam.labels.regions.settings import VoteSettings
    from excel_cam.run.labeller import LabelledPhotograph, Labeller
    from excel_cam.run.learnt_labeller import TaglessLabeller

    AnyLabeller = Labeller | TaglessLabeller

# Labels of one batch are held at a time; a batch is closed early when theirs would have more pixels than this.
BATCH_PIXELS = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides labels, and which files are made of them, as plain values that another process can be sent.

    known: what decides the labels and needs no model, as their identity has it. knowledge: None for a segmenter, which
    needs no text; borrowing: as `prepare_text` has it. adapter: trained weights, a file. segmentation: how a trained
    segmenter looks at photographs, where labels come from it alone. vote: how regions vote, where they do. with_maps,
    with_shares: whether class maps are made too, and the share of each value in a label counted.
    """

    known: dict[str, Any]
    model: ModelChoice
    settings: Settings
    knowledge: KnowledgeBase | None = None
    borrowing: bool = True
    adapter: Path | None = None
    segmentation: SegmentationSettings | None = None
    vote: VoteSettings | None = None
    png_mode: str = "L"
    with_maps: bool = False
    with_shares: bool = False
    batch_size: int | Literal["auto"] = "auto"


@dataclass(frozen=True)
class Job:
    """A photograph to label: the bytes of its file, the 0-based classes it shows, ascending, and what to call it.

    regions: those that vote on its label, where the recipe has a vote.
    """

    content: bytes
    tags: tuple[int, ...]
    where: str
    regions: ImageRegions | None = None


@dataclass(frozen=True)
class Made:
    """What became of a photograph: the bytes of its label's PNG, and of its class maps' .npz; or why there are none.

    stamp: the label's. shows_class: whether a class is in it. shares: of its pixels by value, ascending, if counted.
    """

    label: bytes = b""
    maps: bytes | None = None
    stamp: str = ""
    shows_class: bool = False
    shares: dict[int, float] = field(default_factory=dict)
    reason: str | None = None


class Worker:
    """A recipe at work: the model is loaded on first use, once in a process; pickled, it is its recipe again."""

    def __init__(self, recipe: Recipe, labeller: AnyLabeller | None = None) -> None:
        """labeller: one that is loaded already, of this recipe."""
        self.recipe = recipe
        self._labeller = labeller
        self._batch_size: int | None = None

    def __reduce__(self) -> tuple[type[Worker], tuple[Recipe]]:
        return Worker, (self.recipe,)

    def load(self, report: Report = lambda _: None) -> AnyLabeller:
        """The labeller, loaded now if it was not yet; raises `ModelError` and `KnowledgeError`."""
        if self._labeller is None:
            self._labeller = _load(self.recipe, report)
        return self._labeller

    @property
    def identity(self) -> Identity:
        """Everything besides photographs and tags that decides the labels."""
        model = self.load().model
        return Identity(self.recipe.known, resolved_identity(model.fingerprint, model.precision, model.backend))

    def batch_size(self, report: Report = lambda _: None) -> int:
        """How many photographs go through the model at a time."""
        if self._batch_size is None:
            self._batch_size = _chosen_batch_size(self.load(), self.recipe.batch_size, report)
        return self._batch_size

    def label(self, jobs: Iterable[Job]) -> Iterator[Made]:
        """What becomes of each photograph, in their order; one batch of them is held at a time.

        One that cannot be read has its reason. Raises `MachineError` and `ModelError`.
        """
        batch: list[tuple[Job, Photograph | str]] = []
        readable = pixels = 0
        for job in jobs:
            photograph = self._decoded(job)
            batch.append((job, photograph))
            if isinstance(photograph, Photograph):
                readable, pixels = readable + 1, pixels + photograph.size[0] * photograph.size[1]
            if readable == self.batch_size() or pixels >= BATCH_PIXELS:
                yield from self._label_decoded(batch)
                batch, readable, pixels = [], 0, 0
        yield from self._label_decoded(batch)

    def _decoded(self, job: Job) -> Photograph | str:
        try:
            return self.decode(job.content, job.where)
        except ImageError as error:
            return str(error)

    def _label_decoded(self, batch: Sequence[tuple[Job, Photograph | str]]) -> Iterator[Made]:
        good = [(job, photograph) for job, photograph in batch if isinstance(photograph, Photograph)]
        results = iter(self.compute([photograph for _, photograph in good], [job.tags for job, _ in good]))
        for job, photograph in batch:
            if isinstance(photograph, Photograph):
                yield self.encode(photograph, next(results), job.tags, job.regions)
            else:
                yield Made(reason=photograph)

    def decode(self, content: bytes, where: str) -> Photograph:
        """Stage one, for any thread: a photograph's pixels; raises `ImageError`, which begins with `where`."""
        return read_photograph(content, self.recipe.settings.working_pixels, where)

    def compute(
        self, photographs: Sequence[Photograph], tags: Sequence[Sequence[int]]
    ) -> list[LabelledPhotograph]:  # fmt: skip
        """Stage two, for one thread: the labels of a batch of photographs. Raises `MachineError` and `ModelError`."""
        sizes = [photograph.size for photograph in photographs]
        return self.load().label_with_maps([photograph.pixels for photograph in photographs], tags, sizes)

    def encode(
        self, photograph: Photograph, result: LabelledPhotograph, tags: tuple[int, ...],
        regions: ImageRegions | None = None,
    ) -> Made:  # fmt: skip
        """Stage three, for any thread: a label and its maps as their files have them, stamped.

        Regions that cannot be read, or do not fit, are the photograph's failure. Raises `ModelError` where the model's
        values are not finite.
        """
        recipe = self.recipe
        label = photograph.finished(result.label)
        try:
            stamp = self.identity.stamp(tags, None if regions is None else regions.fingerprint)
            if recipe.vote is not None and regions is not None:
                from excel_cam.labels.regions.vote import vote  # with scipy, half a second that a finished run saves

                found = regions.read((label.shape[0], label.shape[1]))
                label = photograph.without_data(vote(label, found, recipe.vote, self.load().has_background))
        except DataError as error:
            return Made(reason=str(error))
        maps = photograph.as_stored(result.maps) if recipe.with_maps else None
        seen = result.input_size and upright_size(result.input_size, photograph.orientation)  # turned back, too
        least = 1 if self.load().has_background else 0
        return Made(
            label=label_bytes(label, recipe.png_mode, stamp),
            maps=None if maps is None else maps_bytes(maps, tags, label.shape, stamp, seen),
            stamp=stamp,
            shows_class=bool(((label >= least) & (label != IGNORE)).any()),
            shares=class_shares(label) if recipe.with_shares else {},
        )


def _load(recipe: Recipe, report: Report) -> AnyLabeller:
    """The labeller that a recipe asks for: training-free, with a learnt calibration, or a segmenter."""
    from excel_cam.run.labeller import Labeller

    if recipe.adapter is None:
        assert recipe.knowledge is not None
        return Labeller(
            *prepare_text(recipe.model, recipe.knowledge, recipe.settings, report, recipe.borrowing), recipe.settings
        )

    from excel_cam.learnt.checkpoint import read_adapter
    from excel_cam.run.learnt_labeller import LearntLabeller, TaglessLabeller

    if recipe.knowledge is None:
        assert recipe.segmentation is not None
        model = prepare_model(recipe.model, report)
        return TaglessLabeller(model, read_adapter(recipe.adapter, model), recipe.segmentation, recipe.settings)
    model, bank = prepare_text(recipe.model, recipe.knowledge, recipe.settings, report, recipe.borrowing)
    return LearntLabeller(model, bank, read_adapter(recipe.adapter, model), recipe.settings)


def _chosen_batch_size(labeller: AnyLabeller, asked: int | Literal["auto"], report: Report) -> int:
    from excel_cam.run.batch_size import CPU_BATCH, automatic_batch_size
    from excel_cam.run.labeller import Labeller

    if asked != "auto":
        return asked
    # A segmenter's photographs go through a CPU one after the other, whatever the threads.
    singly = labeller.model.device.type == "cpu" and not isinstance(labeller, Labeller)
    batch_size = CPU_BATCH if singly else automatic_batch_size(labeller)
    if labeller.model.device.type != "cpu":
        if isinstance(labeller, Labeller):
            labeller.windows_together = batch_size
        report(f"batches of {batch_size} (auto)")
    return batch_size
