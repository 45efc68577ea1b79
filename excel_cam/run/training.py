"""`excel-cam train` as functions: from choices to a training run, and readouts of what it has learnt so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from excel_cam.data.dataset import Sample
from excel_cam.data.source import Source, choose_knowledge, open_source
from excel_cam.errors import DataError
from excel_cam.evaluation.scores import Evaluation, PixelCounts, or_none
from excel_cam.evaluation.training_log import READOUT_FILE, read_log_lines
from excel_cam.files.atomic import check_writable, json_line, write_atomically
from excel_cam.files.images.masks import mask_path, read_mask
from excel_cam.files.images.photographs import read_photograph
from excel_cam.learnt.checkpoint import checkpoint_path, read_adapter
from excel_cam.learnt.segmenter import Segmenter
from excel_cam.learnt.training.settings import TrainingSettings, check_learnable
from excel_cam.learnt.training.train import TrainingRequest
from excel_cam.model.prepare import prepare_text
from excel_cam.settings import ModelChoice, SegmentationSettings, Settings, check_crf_backend
from excel_cam.wording import Report


@dataclass(frozen=True, kw_only=True)
class TrainingOrder:
    """A training run as asked for. checkpoint_every: steps. workers: processes that decode and crop."""

    source: Source
    model: ModelChoice
    settings: Settings
    training: TrainingSettings
    out: Path
    workers: int = 2
    checkpoint_every: int = 1000


@dataclass(frozen=True, kw_only=True)
class Readout:
    """Truth at hand while training, for readouts alone: nothing is learnt from it. names: of the images compared."""

    truth: Path
    names: tuple[str, ...]


def open_training(order: TrainingOrder, report: Report) -> TrainingRequest:
    """Open the data set, load the model and its text rows; `report` is told what was found.

    Raises `ExcelCamError` for whatever the user has to mend, as far as possible before the model is loaded.
    """
    check_writable(order.out)
    data, found = open_source(order.source, order.out, report)
    knowledge = choose_knowledge(order.source, data)
    check_learnable(order.settings, knowledge.has_background)
    check_crf_backend(order.settings.crf_backend)
    for note in (f"{data.name}: {data.root} ({found})", *data.notes):
        report(note)
    model, bank = prepare_text(order.model, knowledge, order.settings, report, borrowing=order.source.has_own_knowledge)
    return TrainingRequest(
        data=data, model=model, bank=bank, settings=order.settings, training=order.training, out=order.out,
        workers=order.workers, checkpoint_every=order.checkpoint_every, resume=True,
    )  # fmt: skip


def choose_readout(truth: Path, samples: Sequence[Sample], images: int) -> Readout:
    """The first images of a data set that have a truth mask; raises `DataError` where none has."""
    names = tuple(sample.name for sample in samples if mask_path(truth, sample.name).is_file())[:images]
    if not names:
        raise DataError(f"{truth}: no truth mask of any of the {len(samples):,} images; check --truth")
    return Readout(truth=truth, names=names)


def read_out(request: TrainingRequest, readout: Readout, step: int) -> Evaluation:
    """How good the decoder of a checkpoint is, at one scale and without tags; a readout, training goes on unchanged."""
    adapter = read_adapter(checkpoint_path(request.out, step), request.model)
    segmenter = Segmenter(request.model, adapter, SegmentationSettings(scales=(1.0,)))
    paths = {sample.name: sample.image_path for sample in request.data.samples}
    counts = PixelCounts(("background", *request.data.class_names), "background")
    for name in readout.names:
        photograph = read_photograph(paths[name], request.settings.working_pixels)
        label = photograph.as_stored(segmenter.segment([photograph.pixels], [photograph.size])[0])
        truth = read_mask(mask_path(readout.truth, name), len(request.data.class_names))
        if truth.shape != label.shape:
            raise DataError(f"{mask_path(readout.truth, name)}: not of its photograph's size; check --truth")
        counts.add(label, truth)
    return counts.evaluation()


def write_readout(out: Path, step: int, evaluation: Evaluation) -> float:
    """Add a readout to `readout.jsonl`, less those of later steps that are taken again; returns the mean IoU, 0..1."""
    kept = [line for line in read_log_lines(out / READOUT_FILE) if line.get("step", step) < step]
    line = {"step": step, "mean_iou": or_none(evaluation.mean_iou), "images": evaluation.images}
    write_atomically(out / READOUT_FILE, "".join(map(json_line, [*kept, line])).encode())
    return evaluation.mean_iou
