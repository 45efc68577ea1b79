"""Every switch of training, once: default, unit and step; the presets are the release's runs (steps 11 and 12)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from excel_cam.errors import SettingsError
from excel_cam.settings import Settings, check_background

SLOTS = ("paper", "outputs")
RELATION_MEANS = ("batch", "image")
PADDINGS = ("train", "ignore")
MAX_STEPS = 10_000_000
WARM_UP_START = 1e-6  # share of the rate that the first step has


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """All settings that decide what is learnt. Raises `SettingsError` when one is out of range.

    `dynamic_from` (T₁) and `own_from` (T₂) are a step where they are an int, a share of `steps` where they are a float;
    `own_from` None is never.
    """

    steps: int = 30_000  # T
    warm_up: int = 50  # W, steps
    dynamic_from: int | float = 14_000 / 30_000  # T₁: labels from the calibration that is being learnt (step 11.1)
    own_from: int | float | None = 24_000 / 30_000  # T₂: pairs by the decoder's own prediction (step 11.5)
    batch: int = 4  # crops a step, over all processes together
    rate: float = 1e-3
    decay: float = 1e-2
    box_threshold: float = 0.79  # step 11.3
    channels: int = 256  # C
    decoder_blocks: int = 3
    decoder_heads: int = 8
    dropped: float = 0.1  # share of the channels that are dropped, per image (step 8.3)
    radius: int = 8  # patches: pairs further apart, in rows or columns, teach nothing (step 11.5)
    seed: int = 0
    slots: str = "paper"  # what the adapter reads of each block (step 8.1)
    relation_mean: str = "batch"  # over what the mean of R is taken (step 9.1)
    padding: str = "train"  # whether the black around small crops is labelled like anything else (step 11.4)
    average: float = 0.0  # decay of the running average of the weights, such as 0.999; 0 keeps the last weights

    def __post_init__(self) -> None:
        _require(1 <= self.steps <= MAX_STEPS, "steps", self.steps, f"between 1 and {MAX_STEPS:,}")
        _require(self.warm_up >= 0, "warm_up", self.warm_up, "0 or more steps")
        for name in ("dynamic_from", "own_from"):
            value = getattr(self, name)
            holds = value is None or (0 <= value <= 1 if isinstance(value, float) else value >= 0)
            _require(holds, name, value, "a step (a whole number), or a share of the steps (0.0 to 1.0)")
        _require(self.dynamic_from is not None, "dynamic_from", None, "a step, or a share of the steps")
        _require(self.batch >= 1, "batch", self.batch, "at least 1")
        _require(0 < self.rate < math.inf, "rate", self.rate, "above 0")
        _require(0 <= self.decay < math.inf, "decay", self.decay, "0 or more")
        _require(0 <= self.box_threshold < 1, "box_threshold", self.box_threshold, "at least 0 and below 1")
        _require(self.channels >= 1, "channels", self.channels, "at least 1")
        _require(self.decoder_blocks >= 1, "decoder_blocks", self.decoder_blocks, "at least 1")
        _require(
            self.decoder_heads >= 1 and self.channels % self.decoder_heads == 0,
            "decoder_heads", self.decoder_heads, f"a divisor of the {self.channels} channels",
        )  # fmt: skip
        _require(0 <= self.dropped < 1, "dropped", self.dropped, "at least 0 and below 1")
        _require(self.radius >= 0, "radius", self.radius, "0 or more patches")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(0 <= self.average < 1, "average", self.average, "at least 0 and below 1")
        for name, choices in (("slots", SLOTS), ("relation_mean", RELATION_MEANS), ("padding", PADDINGS)):
            _require(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")

    @property
    def first_dynamic_step(self) -> int:
        """T₁ as a step."""
        return _as_step(self.dynamic_from, self.steps)

    @property
    def first_own_step(self) -> int:
        """T₂ as a step; `steps`, which is never reached, for never."""
        return self.steps if self.own_from is None else _as_step(self.own_from, self.steps)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0 (step 12.2)."""
        if step < self.warm_up:
            return self.rate * (1 - (1 - step / self.warm_up) * (1 - WARM_UP_START))
        # Not shifted by the warm-up, as the release has it: after it, the rate is already W / T below its peak.
        return self.rate * (1 - step / self.steps)

    def as_json(self) -> dict[str, Any]:
        """The settings as a dictionary that JSON can hold; `TrainingSettings(**…)` reads it."""
        return dataclasses.asdict(self)


def check_learnable(settings: Settings, has_background: bool) -> None:
    """Raise `SettingsError` where labels of these settings cannot be made with a learnt calibration, or taught."""
    if not has_background:
        raise SettingsError(
            'the trained half needs a background class, but the knowledge base says "background_class": false; '
            "use `generate` without a trained adapter"
        )
    check_background(has_background, settings)
    views = ",".join(f"{scale:g}" for scale in settings.scales)
    fixed = {
        "--attention": (settings.attention, "svc"),
        "--scales": (views, "1"),
        "--flip": (settings.flip, False),
        "--windows": (settings.windows, "off"),
        "--affinity": (settings.affinity, True),
    }
    for flag, (value, expected) in fixed.items():
        if value != expected:
            raise SettingsError(f"{flag} is {value}; the trained half has its own views and needs {expected}")


def _as_step(value: int | float, steps: int) -> int:
    return round(value * steps) if isinstance(value, float) else value


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise SettingsError(f"{name} is {value}; expected {expected}")


TRAINING_PRESETS = {
    "voc": TrainingSettings(),
    "coco": TrainingSettings(
        steps=100_000, warm_up=200, dynamic_from=30_000 / 100_000, own_from=None, box_threshold=0.88
    ),
}


def training_preset(data_set: str) -> TrainingSettings:
    """The settings a data set is trained with by default: `coco` has its own, any other VOC's shares."""
    return TRAINING_PRESETS.get(data_set, TRAINING_PRESETS["voc"])
