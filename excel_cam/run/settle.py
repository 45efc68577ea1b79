"""What a run is asked for, and everything about it that can be settled without the model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from excel_cam.data.dataset import DataSet
from excel_cam.data.source import Source, choose_knowledge, open_source
from excel_cam.files.atomic import hash_file
from excel_cam.knowledge.base import KnowledgeBase
from excel_cam.labels.identity import known_identity
from excel_cam.labels.records import check_writable
from excel_cam.labels.shards import WHOLE, Shard
from excel_cam.model.weight_files import hash_weights
from excel_cam.model.words_file import WORDS_SUFFIX, fit_recorded
from excel_cam.run.plan import (
    Destination,
)
from excel_cam.settings import ModelChoice, Settings, check_background, check_crf_backend
from excel_cam.wording import Report

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class Work:
    """How the work is spread; changes speed and memory, never a label on the CPU in float32."""

    batch_size: int | Literal["auto"] = "auto"
    workers: int = 2
    shard: Shard = WHOLE


@dataclass(frozen=True, kw_only=True)
class Request:
    """A run as asked for. setting_sources: where each setting's value comes from."""

    source: Source
    destination: Destination
    model: ModelChoice
    settings: Settings
    setting_sources: dict[str, str]
    work: Work = field(default_factory=Work)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A run of which everything is settled that needs no model.

    data: what is to be labelled, this share of it. images_in_all: of all shares. root_found: how its root was found.
    """

    request: Request
    data: DataSet
    root_found: str
    knowledge: KnowledgeBase
    images_in_all: int

    @cached_property
    def known(self) -> dict[str, Any]:
        """What decides the labels and needs no model."""
        return known_identity(
            self.request.settings, knowledge=self.knowledge.content(), model=_model_identity(self.request.model),
            png_mode=self.request.destination.png_mode, classes=list(self.data.class_names),
        )  # fmt: skip

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The model as asked for: weights by their content, the rest by name."""
        choice = self.request.model
        weights = choice.weights
        return {
            "pretrained": None if weights is not None else choice.pretrained,
            "weights": hash_weights(weights) if weights is not None and weights.is_file() else None,
            "device": choice.device,
            "precision": choice.precision,
        }


def settle(request: Request, report: Report) -> Settled:
    """Open the data set, choose its sentences and this share; `report` is told what was found.

    Raises `ExcelCamError` for whatever the user has to mend.
    """
    destination, settings, shard = request.destination, request.settings, request.work.shard
    check_writable(destination.out)
    if destination.cams is not None:
        check_writable(destination.cams)
    data, root_found = open_source(request.source, destination.out)
    knowledge = choose_knowledge(request.source, data)
    settings = fit_recorded(settings, request.setting_sources, knowledge.sentence_count)
    request = replace(request, settings=settings)
    check_background(knowledge.has_background, settings)
    check_crf_backend(settings.crf_backend)
    for note in (f"{data.name}: {data.root} ({root_found})", *data.notes):
        report(note)
    if settings.attributes != "none" and not knowledge.sentence_count:
        report("no sentences: class prompts alone, without enrichment")
    images = len(data.samples)
    if not shard.is_whole:
        data = replace(data, samples=shard.select(data.samples))
        report(f"shard {shard} ({shard.source}): {len(data.samples):,} of {images:,} images")
    return Settled(request=request, data=data, root_found=root_found, knowledge=knowledge, images_in_all=images)


def _model_identity(choice: ModelChoice) -> str:
    """A model by its name; a configuration file by its content too, which may change under one name."""
    path = Path(choice.name)
    if path.suffix != ".json" or not path.is_file():  # what is not there is reported when it is loaded
        return choice.name
    words = path.with_suffix(WORDS_SUFFIX)
    vocabulary = f" {hash_file(words)[:16]}" if words.is_file() else ""
    return f"{path.stem} {hash_file(path)[:16]}{vocabulary}"
