"""What a training step takes, stage by stage, in each of its phases; used by `benchmark.py --only train`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import benchmark_measures as measures

from excel_cam.classes import VOC_CLASSES
from excel_cam.data.dataset import DataSet
from excel_cam.knowledge.base import shipped_knowledge
from excel_cam.learnt.network import Network
from excel_cam.learnt.training.crops import CropChoices, crop_batches
from excel_cam.learnt.training.learner import CropBatch, Learner
from excel_cam.learnt.training.settings import TrainingSettings
from excel_cam.learnt.training.train import TrainingRequest, describe, make_batch
from excel_cam.method.calibration import encode_static
from excel_cam.model.clip import load_model
from excel_cam.model.text_bank import build_text_bank
from excel_cam.settings import ModelChoice, Settings

TRAINING = TrainingSettings(steps=30, dynamic_from=10, own_from=20)
PHASES = {"static": 0, "dynamic": 10, "own prediction": 20}  # a step of each


def time_training(choice: ModelChoice, paths: Sequence[Path], settings: Settings, repeat: int) -> dict[str, float]:
    """Seconds, medians, of: cropping a batch, the frozen pass, and a whole step of each phase."""
    model = load_model(choice)
    bank = build_text_bank(shipped_knowledge("voc"), model, settings)
    samples = measures.make_samples(list(paths), max(len(paths), TRAINING.batch))
    data = DataSet("voc", paths[0].parent, VOC_CLASSES, VOC_CLASSES, samples, "generated", ())
    request = TrainingRequest(
        data=data, model=model, bank=bank, settings=settings, training=TRAINING, out=paths[0].parent / "unused"
    )
    learner = Learner(model, bank, settings, TRAINING, Network(describe(request).shape, TRAINING.seed))
    choices = CropChoices(
        samples=samples, side=learner.size, batch=TRAINING.batch, seed=TRAINING.seed,
        working_pixels=settings.working_pixels,
    )  # fmt: skip
    batches = iter(crop_batches(choices, 0, TRAINING.steps, 1, 0, 1))
    batch: CropBatch = make_batch(next(batches), request, 0)

    def median(action: Callable[[], object]) -> float:
        action()  # memory is found the first time
        return statistics.median(measures.seconds(model.device, action) for _ in range(repeat))

    times = {
        "decode and crop a batch, one process": median(lambda: next(batches)),
        "frozen pass": median(
            lambda: encode_static(model.visual, batch.images, settings.calibrated_blocks, slots=TRAINING.slots)
        ),
    }
    for phase, step in PHASES.items():
        times[f"whole step, {phase}"] = median(lambda step=step: learner.advance(batch, step))  # type: ignore[misc]
    return times
