"""A photograph → how likely it shows each class: joins the steps of `method/tagging`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.errors import ModelError
from excel_cam.method.calibration import grid_side
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.tagging.regions import candidate_classes, region_box
from excel_cam.method.tagging.scores import fuse_scores, local_scores, row_probabilities
from excel_cam.method.transfer import to_device
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.settings import Settings

Pixels = NDArray[np.uint8]
# A score's order decides which tag is given, and softmaxes of near-equal patches differ late: as in `run/labeller.py`.
_DTYPE = torch.float64


class Tagger:
    """A model, its text rows and settings, ready to score photographs."""

    def __init__(self, model: ClipModel, bank: TextBank, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        self.classes = bank.foreground
        self.side = grid_side(settings.size, model.patch)
        self._text = torch.from_numpy(bank.text).to(model.device, _DTYPE)

    @torch.inference_mode()
    def score(self, photograph: Pixels) -> NDArray[np.float64]:
        """(K,) scores, 0..1, of an (H, W, 3) uint8 RGB photograph of any size.

        Raises `ModelError` where the model's values are not finite.
        """
        whole, attention = self._probabilities([photograph])
        local = self._checked(local_scores(whole, attention, self.classes)[0])
        maps = whole[0, 1:, : self.classes].T.unflatten(1, (self.side, self.side)).cpu().numpy()
        candidates = candidate_classes(local)
        boxes = [region_box(maps[index], photograph.shape[:2]) for index in candidates]
        crops = [photograph[top:bottom, left:right] for top, bottom, left, right in boxes]
        region = torch.zeros(self.classes, dtype=_DTYPE)
        own, _ = self._probabilities(crops)
        for place, index in enumerate(candidates):
            region[index] = own[place, 0, index]
        return self._checked(fuse_scores(torch.from_numpy(local), region))

    @torch.inference_mode()
    def score_whole(self, photograph: Pixels) -> NDArray[np.float64]:
        """(K,) probabilities by the class token of the whole photograph alone: plain CLIP, to compare with."""
        return self._checked(self._probabilities([photograph])[0][0, 0, : self.classes])

    def _probabilities(self, photographs: list[Pixels]) -> tuple[Tensor, Tensor]:
        """What each token of each photograph shows, (n, 1 + N, T), and the attention A, (n, 1 + N, 1 + N)."""
        settings, size = self.settings, self.side * self.model.patch
        normalised = [
            normalise(to_device(pixels, torch.uint8, self.model.device), settings.normalisation)
            for pixels in photographs
        ]
        inputs = torch.stack([resize_to_input(image, size) for image in normalised])
        features = self.model.encode_images(inputs, settings.attention, settings.calibrated_blocks)
        return row_probabilities(features.tokens.to(_DTYPE), self._text, self.model.sharpness), features.attention

    def _checked(self, scores: Tensor) -> NDArray[np.float64]:
        if not scores.isfinite().all():
            raise ModelError(
                f"the model's scores are not finite in {self.model.precision}: use --precision fp32, or other weights "
                "where it is that already"
            )
        return scores.cpu().numpy()
