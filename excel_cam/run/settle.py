"""What a run is asked for, and everything about it that can be settled without the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from excel_cam.data.dataset import DataSet, Sample
from excel_cam.data.source import Source, choose_knowledge, open_source
from excel_cam.data.untagged import open_untagged
from excel_cam.errors import ModelError, UsageError
from excel_cam.files.atomic import check_writable, hash_file
from excel_cam.files.inputs import lies_in
from excel_cam.knowledge.base import KnowledgeBase
from excel_cam.labels.identity import known_identity, segment_identity
from excel_cam.labels.regions.settings import RegionChoice
from excel_cam.labels.shards import WHOLE, Shard
from excel_cam.model.remembered import asked_model, model_identity
from excel_cam.model.words_file import fit_recorded
from excel_cam.run.plan import Destination
from excel_cam.run.worker import Recipe
from excel_cam.settings import (
    ModelChoice,
    SegmentationSettings,
    Settings,
    check_background,
    check_bands,
    check_crf_backend,
    check_learnt_backend,
)
from excel_cam.wording import Report, first_lines

TRUTH_FOLDERS = ("SegmentationClass", "SegmentationObject")  # of a data set in VOC's layout


@dataclass(frozen=True, kw_only=True)
class Work:
    """How the work is spread; changes speed and memory, never a label on the CPU in float32.

    devices: those of this machine, a process each, as `--device` has them; () for this process alone.
    """

    batch_size: int | Literal["auto"] = "auto"
    workers: int = 2
    shard: Shard = WHOLE
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Request:
    """A run as asked for.

    setting_sources: where each setting's value comes from. adapter: trained weights, a file. segmentation: how a
    trained segmenter looks at photographs, where labels are to come from it alone; tags are not needed then. regions:
    those that vote on each label before it is written.
    """

    source: Source
    destination: Destination
    model: ModelChoice
    settings: Settings
    setting_sources: dict[str, str]
    work: Work = field(default_factory=Work)
    adapter: Path | None = None
    segmentation: SegmentationSettings | None = None
    regions: RegionChoice | None = None


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A run of which everything is settled that needs no model.

    data: what is to be labelled, this share of it. images_in_all: of all shares, None where that is not known.
    root_found: how its root was found.
    knowledge: None where labels come from a segmenter, which needs no text.
    """

    request: Request
    data: DataSet
    root_found: str
    knowledge: KnowledgeBase | None
    images_in_all: int | None

    @cached_property
    def known(self) -> dict[str, Any]:
        """What decides the labels and needs no model."""
        request, classes = self.request, list(self.data.class_names)
        learnt = {} if request.adapter is None else {"adapter": hash_file(request.adapter)}
        voting = {} if request.regions is None else {"regions": request.regions.settings.identity()}
        model, png_mode = model_identity(request.model), request.destination.png_mode
        if request.segmentation is not None:
            assert request.adapter is not None
            return segment_identity(
                request.segmentation, request.settings.working_pixels, adapter=request.adapter, model=model,
                png_mode=png_mode, classes=classes,
            )  # fmt: skip
        assert self.knowledge is not None
        return known_identity(
            request.settings, knowledge=self.knowledge.content(), model=model, png_mode=png_mode, classes=classes,
            **learnt, **voting,
        )  # fmt: skip

    @property
    def recipe(self) -> Recipe:
        """What a worker needs to make the labels."""
        request = self.request
        return Recipe(
            known=self.known, model=request.model, settings=request.settings, knowledge=self.knowledge,
            borrowing=request.source.has_own_knowledge, adapter=request.adapter, segmentation=request.segmentation,
            png_mode=request.destination.png_mode, with_maps=request.destination.cams is not None,
            batch_size=request.work.batch_size, vote=None if request.regions is None else request.regions.settings,
        )  # fmt: skip

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the label values 0, 1, ... stand for."""
        return ("background", *self.data.class_names) if self.knowledge is None else self.knowledge.label_names

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The model as asked for."""
        return asked_model(self.request.model)


def settle(request: Request, report: Report, writing: bool = True) -> Settled:
    """Open the data set, choose its sentences and this share; `report` is told what was found.

    writing: whether labels are to be written, so that their folders are made.

    Raises `ExcelCamError` for whatever the user has to mend.
    """
    destination = request.destination
    for folder in destination.folders if writing else ():
        check_writable(folder)
    require_parts(request)
    if request.segmentation is not None:
        data, root_found = open_untagged(request.source, destination.out)
        return _share(request, with_learnt_classes(request, data), root_found, None, report)
    data, root_found = open_source(request.source, destination.out, report)
    request, knowledge = with_knowledge(request, data)
    return _share(request, data, root_found, knowledge, report)


def require_parts(request: Request) -> None:
    """Raise `ModelError` or `SettingsError` where trained weights or a CRF are asked for that are not there."""
    if request.adapter is not None:
        check_learnt_backend(request.model.backend)
    if request.adapter is not None and not request.adapter.is_file():
        raise ModelError(
            f"{request.adapter}: no trained weights there; give --lvc the folder of a finished `excel-cam train`, its "
            "adapter.safetensors, one of its checkpoints, or `demo`"
        )
    if request.segmentation is not None:
        check_crf_backend(request.segmentation.crf_backend)


def with_knowledge(request: Request, data: DataSet) -> tuple[Request, KnowledgeBase]:
    """The knowledge base of a data set's classes, and the request with the settings that it decides."""
    knowledge = choose_knowledge(request.source, data)
    settings = fit_recorded(request.settings, request.setting_sources, knowledge.sentence_count)
    check_background(knowledge.has_background, settings)
    check_crf_backend(settings.crf_backend)
    check_bands(settings.bands)
    return replace(request, settings=settings), knowledge


def _share(
    request: Request, data: DataSet, root_found: str, knowledge: KnowledgeBase | None, report: Report
) -> Settled:
    """This process's share of the images; `report` is told what was found."""
    refuse_truth(request.destination.folders, data.root)
    for note in (f"{data.name}: {data.root} ({root_found})", *data.notes):
        report(note)
    if knowledge is not None and request.settings.attributes != "none":
        report_sentences(knowledge, request.source.has_own_knowledge, report)
    shard, images = request.work.shard, len(data.samples)
    if not shard.is_whole:
        data = replace(data, samples=shard.select(data.samples))
        report(f"shard {shard} ({shard.source}): {len(data.samples):,} of {images:,} images")
    if request.regions is not None:
        data = replace(data, samples=_with_regions(data.samples, request.regions, request.destination))
    return Settled(request=request, data=data, root_found=root_found, knowledge=knowledge, images_in_all=images)


def _with_regions(samples: Sequence[Sample], choice: RegionChoice, destination: Destination) -> tuple[Sample, ...]:
    """The samples, each with its regions; raises `DataError` where they are missing and must not be."""
    from excel_cam.files.regions.source import open_regions, require_regions  # with scipy, which few runs need so early

    for folder in destination.folders:
        if lies_in(folder / "any", choice.path):
            raise UsageError(f"{folder} lies in {choice.path}, whose regions are read; choose another --out")
    names = [sample.name for sample in samples]
    regions = open_regions(choice.path, names)
    if not choice.allow_missing:
        require_regions(regions, names, choice.path)
    return tuple(replace(sample, regions=regions.of(sample.name)) for sample in samples)


def report_sentences(knowledge: KnowledgeBase, is_own: bool, report: Report) -> None:
    """Say which classes are compared by their prompts alone. is_own: whether the knowledge base is of these classes."""
    without = [entry.name for entry in knowledge.classes if not entry.sentences]
    if not knowledge.sentence_count:
        report("no sentences: class prompts alone, without enrichment")
    elif not is_own:
        described = len(knowledge.classes) - len(without)
        alone = f"; by prompts alone: {first_lines(without)}" if without else ""
        report(
            f"sentences of VOC's and COCO's knowledge bases for {described} of {len(knowledge.classes)} classes{alone}"
        )


def refuse_truth(folders: Sequence[Path], root: Path) -> None:
    """Raise `UsageError` where labels would be written among a data set's own masks, and `--overwrite` replace them."""
    for folder in folders:
        for truth in (root / name for name in TRUTH_FOLDERS):
            if lies_in(folder / "any", truth):
                raise UsageError(
                    f"{folder} lies in {truth}, which holds the data set's own masks; choose another --out"
                )


def with_learnt_classes(request: Request, data: DataSet) -> DataSet:
    """A data set with the classes that an adapter tells apart; raises `ModelError` where it has others."""
    from excel_cam.learnt.checkpoint import read_description

    assert request.adapter is not None
    classes = read_description(request.adapter).classes
    if data.class_names and data.class_names != classes:
        raise ModelError(
            f"{request.adapter} was trained on {len(classes)} classes, {first_lines(classes)}, which are not those of "
            f"{data.name}; segment its images with --dataset folder"
        )
    return replace(data, class_names=classes)
