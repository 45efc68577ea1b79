"""A whole training run: a data set's photographs and tags → an adapter, resumable at every checkpoint (step 12)."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

import excel_cam
from excel_cam.data.dataset import DataSet
from excel_cam.errors import DataError, ImageError, ModelError, OutputError, SettingsError
from excel_cam.files.atomic import hash_json, json_line, remove_stale_parts, write_atomically
from excel_cam.files.json_file import parse_json_line
from excel_cam.learnt.checkpoint import (
    Description,
    check_same_run,
    find_checkpoints,
    model_size,
    read_description,
    resume_from,
    write_adapter,
    write_checkpoint,
)
from excel_cam.learnt.network import Network, NetworkShape
from excel_cam.learnt.training.crops import Crop, CropChoices, check_batch, crop_batches
from excel_cam.learnt.training.draws import channel_factors
from excel_cam.learnt.training.learner import CropBatch, Learner
from excel_cam.learnt.training.pooling import Pool, joined_pool
from excel_cam.learnt.training.settings import TrainingSettings, check_learnable
from excel_cam.method.images import normalise
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.settings import Settings
from excel_cam.shipped import ADAPTER_FILE

LOG_FILE = "log.jsonl"
MOST_SKIPPED = 100  # steps in a row without a finite loss, after which nothing is to be hoped for


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Everything a run is made from. settings: the image side, as for labels; their box threshold is not used.

    out: the folder for `log.jsonl`, checkpoints and `adapter.safetensors`. workers: processes that decode and crop, for
    each process that trains; they change no crop. checkpoint_every: steps. resume: go on in `out`, where it has begun.
    """

    data: DataSet
    model: ClipModel
    bank: TextBank
    settings: Settings
    training: TrainingSettings
    out: Path
    workers: int = 2
    checkpoint_every: int = 1000
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What a step came to, over all processes; a line of the log. The losses are those before its update.

    step: counted from 0. seconds: of this step. skipped: whether the loss was not finite, so that nothing moved.
    unreadable: why photographs of this process's share could not be read.
    """

    step: int
    loss: float
    segmentation: float
    diversity: float
    rate: float
    seconds: float
    images_per_second: float
    skipped: bool = False
    unreadable: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """A line of the log; a loss that is not finite is null."""
        line: dict[str, Any] = {"step": self.step}
        for name in ("loss", "segmentation", "diversity"):
            value = getattr(self, name)
            line[name] = value if math.isfinite(value) else None
        line |= {"rate": self.rate, "seconds": round(self.seconds, 4)}
        line["images_per_second"] = round(self.images_per_second, 2)
        if self.skipped:
            line["skipped"] = True
        if self.unreadable:
            line["unreadable"] = list(self.unreadable)
        return line


def train(request: TrainingRequest) -> Iterator[StepRecord]:
    """Train, or go on with a run; yields each step as it is done, and writes `adapter.safetensors` after the last.

    Everything is checked at once, before the first step. Where torchrun has started several processes, each calls this
    and they share every batch; the first writes. A finished run that is resumed yields nothing.

    Raises `SettingsError`, `DataError` and `OutputError` for what the request cannot mean, `ImageError` when the first
    batch has no readable photograph, and `ModelError` when the loss stays infinite.
    """
    _check(request)
    description = describe(request)
    is_finished = _check_folder(request, description)
    return iter(()) if is_finished else _run(request, description)


def describe(request: TrainingRequest) -> Description:
    """What the request's weights are trained with, as their file will say."""
    depth, width = model_size(request.model)
    training, bank = request.training, request.bank
    return Description(
        package=excel_cam.__version__,
        data_set=request.data.name,
        classes=request.data.class_names,
        model=request.model.name,
        clip=request.model.fingerprint,
        precision=request.model.precision,
        bank=hash_json([bank.names, bank.text.tolist()]),
        data=hash_json([[sample.name, sample.tags] for sample in request.data.samples]),
        shape=NetworkShape(
            depth=depth, width=width, classes=bank.foreground, channels=training.channels,
            decoder_blocks=training.decoder_blocks, decoder_heads=training.decoder_heads,
        ),
        settings=request.settings,
        training=training,
    )  # fmt: skip


def _check(request: TrainingRequest) -> None:
    check_learnable(request.settings, request.bank.has_background)
    if request.settings.uses_crf:
        raise SettingsError("--refine crf is too slow for the label of every crop; train with par or none")
    if request.settings.ignore_thresholds is not None:
        raise SettingsError("--ignore-thresholds is for labels that are written; train without it")
    named, known = len(request.data.class_names), request.bank.foreground
    if named != known:
        raise DataError(f"{request.data.name} has {named} classes, but the text bank {known}; build its own")
    if request.checkpoint_every < 1:
        raise SettingsError(f"checkpoint_every is {request.checkpoint_every}; expected at least 1 step")
    check_batch(len(request.data.samples), request.training.batch, 1)


def _check_folder(request: TrainingRequest, description: Description) -> bool:
    """Whether the run is finished already; raises `OutputError` where the folder holds what must not be mixed."""
    adapter, checkpoints = request.out / ADAPTER_FILE, find_checkpoints(request.out)
    if not adapter.exists() and not checkpoints:
        return False
    if not request.resume:
        raise OutputError(f"{request.out} holds a training run already; go on with --resume, or choose another --out")
    if adapter.exists():
        check_same_run(adapter, read_description(adapter), description)
        return True
    check_same_run(checkpoints[-1].path, read_description(checkpoints[-1].path), description)
    return False


def _run(request: TrainingRequest, description: Description) -> Iterator[StepRecord]:
    with joined_pool(request.model.device) as pool:
        training, out = request.training, request.out
        check_batch(len(request.data.samples), training.batch, pool.size)
        network = Network(description.shape, training.seed)
        learner = Learner(request.model, request.bank, request.settings, training, network, pool)
        checkpoints = find_checkpoints(out)
        first_step = checkpoints[-1].step if checkpoints else 0
        if checkpoints:
            resume_from(checkpoints[-1], learner, description)
        pool.wait()  # all have read the checkpoint before one writes the next
        with _opened_log(out, first_step, pool) as log:
            for record in _steps(request, learner, first_step):
                log.write(json_line(record.as_json()))
                log.flush()
                done = record.step + 1
                if pool.rank == 0 and done % request.checkpoint_every == 0:
                    write_checkpoint(out, done, learner, description)
                if pool.rank == 0 and done == training.steps:
                    write_adapter(out, learner, description)
                yield record
        if pool.rank == 0 and first_step == training.steps:  # stopped between the last checkpoint and the adapter
            write_adapter(out, learner, description)
        pool.wait()


def _steps(request: TrainingRequest, learner: Learner, first_step: int) -> Iterator[StepRecord]:
    training, pool = request.training, learner.pool
    choices = CropChoices(
        samples=request.data.samples, side=learner.size, batch=training.batch, seed=training.seed,
        working_pixels=request.settings.working_pixels,
    )  # fmt: skip
    skipped_in_a_row, started = 0, time.perf_counter()
    batches = crop_batches(choices, first_step, training.steps, request.workers, pool.rank, pool.size)
    for step, crops in enumerate(batches, first_step):
        failures = tuple(crop.failure for crop in crops if crop.failure is not None)
        if step == first_step and len(failures) == len(crops):
            raise ImageError(failures[0])
        losses, has_moved = learner.advance(make_batch(crops, request, step), step)
        values = [float(loss.detach()) for loss in (losses.total, losses.segmentation, losses.diversity)]
        skipped_in_a_row = 0 if has_moved else skipped_in_a_row + 1
        if skipped_in_a_row == MOST_SKIPPED:
            raise ModelError(
                f"the loss has not been finite in {MOST_SKIPPED} steps in a row, the last of them step {step}; "
                "lower the rate, or compute with --precision fp32"
            )
        now = time.perf_counter()
        seconds, started = now - started, now
        yield StepRecord(
            step=step, loss=values[0], segmentation=values[1], diversity=values[2], rate=training.rate_at(step),
            seconds=seconds, images_per_second=training.batch / seconds, skipped=not has_moved, unreadable=failures,
        )  # fmt: skip


def make_batch(crops: Sequence[Crop], request: TrainingRequest, step: int) -> CropBatch:
    """Crops with their photographs' tags and channel factors, on the model's device."""
    device, training = request.model.device, request.training
    pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).to(device)
    factors = np.stack(
        [channel_factors(training.seed, step, crop.index, training.channels, training.dropped) for crop in crops]
    )
    ignores = training.padding == "ignore" or any(crop.failure is not None for crop in crops)
    return CropBatch(
        images=torch.stack([normalise(one, request.settings.normalisation) for one in pixels]),
        guides=pixels.permute(0, 3, 1, 2).float() / 255,
        tags=[request.data.samples[crop.index].tags if crop.failure is None else () for crop in crops],
        factors=torch.from_numpy(factors).to(device),
        ignored=_ignored(crops, training.padding == "ignore").to(device) if ignores else None,
    )


def _ignored(crops: Sequence[Crop], ignores_padding: bool) -> torch.Tensor:
    """(n, S, S) bool: pixels that nothing is learnt from: unreadable ones, and padding where it is ignored."""
    ignored = torch.zeros((len(crops), *crops[0].pixels.shape[:2]), dtype=torch.bool)
    for plane, crop in zip(ignored, crops, strict=True):
        if ignores_padding or crop.failure is not None:
            top, bottom, left, right = crop.inside
            plane[:] = True
            plane[top:bottom, left:right] = False
    return ignored


def _opened_log(out: Path, first_step: int, pool: Pool) -> IO[str]:
    """The log, less the lines of steps that are to be taken again; for all processes but the first, nothing's."""
    path = out / LOG_FILE
    try:
        if pool.rank:
            return open(os.devnull, "w", encoding="utf-8")
        out.mkdir(parents=True, exist_ok=True)
        remove_stale_parts(out)
        if path.exists():
            lines = path.read_text("utf-8").splitlines(keepends=True)
            write_atomically(path, "".join(line for line in lines if _is_before(line, first_step)).encode())
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def _is_before(line: str, first_step: int) -> bool:
    """Whether a line of the log is whole, and tells of an earlier step."""
    try:
        return line.endswith("\n") and int(parse_json_line(line)["step"]) < first_step
    except (ValueError, KeyError, TypeError):
        return False  # cut off when the run was killed
