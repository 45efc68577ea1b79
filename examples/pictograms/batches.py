"""Batches of scenes for training, stage after stage, composed from a seed and the batch's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captions import Captions
from compose import Composer, Style, paint_pool, photograph_pool
from photographs import Photograph
from stream import MARGIN, Batch
from words import Words

ALTERED = 0.6  # share of photographs turned, recoloured or joined with another: there are few
SCENE = 256  # pixels of a scene's side as the model reads it


@dataclass(frozen=True)
class Stage:
    """A stretch of training: the images' side, how many, the share of easy scenes, and what patches learn from.

    With `masks` a patch learns from what covers it, without from the image's labels alone (`patch_loss`).
    """

    side: int
    images: int
    easy: float
    masks: bool = False


def close_style(side: int) -> Style:
    """Objects of 13 to 230 pixels, 5 to 90 % of a scene's side, in images of another side.

    A small image then shows objects as a scene does, patch for patch, larger than itself and cut off.
    """
    shares = 13 / side, 0.9 * SCENE / side, 0.5 * SCENE / side
    return Style(smallest=shares[0], largest=shares[1], largest_of_many=shares[2], inside=0.3, least_share=0.005)


class Batches(torch.utils.data.Dataset[Batch]):
    """Batch number -> the batch of its stage; the same for the same seed."""

    def __init__(
        self, composer: Composer, photographs: Sequence[Photograph], captions: Captions, words: Words,
        stages: Sequence[Stage], size: int, seed: int,
    ) -> None:  # fmt: skip
        self.composer, self.photographs, self.captions, self.words = composer, photographs, captions, words
        self.stages, self.size, self.seed = stages, size, seed

    def __getitem__(self, number: int) -> Batch:
        return self.compose(number, self.stages[number])

    def compose(self, number: int, stage: Stage, margin: int = 0) -> Batch:
        """A batch whose scenes are larger than a stage's by `margin` pixels."""
        rng, side = np.random.default_rng((self.seed, number)), stage.side + margin
        self.composer.easy, self.composer.style = stage.easy, close_style(side)
        # Of backgrounds that come again towers remember each, and see things in all others.
        self.composer.backgrounds = paint_pool(rng, self.size)
        self.composer.photographs = photograph_pool(
            rng, self.photographs, self.size, self.captions.background, altered=ALTERED
        )
        scenes = [self.composer.compose(rng, side, side) for _ in range(self.size)]
        pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes])).permute(0, 3, 1, 2).contiguous()
        mask = torch.from_numpy(np.stack([scene.mask for scene in scenes])) if stage.masks else None
        targets = self.captions.targets(rng, scenes)
        return Batch(pixels, mask, targets, self.words.encode(targets.texts, rng))


class TimedBatches(Batches):
    """Batch number -> a batch of the stage that has come, with the margin of `stream`."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.place = torch.zeros(1, dtype=torch.int64).share_memory_()  # of the stage, told to all processes

    def __getitem__(self, number: int) -> Batch:
        return self.compose(number, self.stages[int(self.place)], MARGIN)

    def tell(self, gone: float) -> None:
        """`gone`: the share of the time gone by, of which a stage has as much as its number of all numbers."""
        ends = np.cumsum([stage.images for stage in self.stages])
        self.place.fill_(min(int((ends <= gone * ends[-1]).sum()), len(ends) - 1))
