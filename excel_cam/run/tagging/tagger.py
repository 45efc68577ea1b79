"""Photographs → how likely each shows each class: joins the steps of `method/tagging`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.errors import MachineError, not_finite
from excel_cam.method.calibration import grid_side
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.memory import in_groups_that_fit
from excel_cam.method.tagging.regions import MOST_CANDIDATES, candidate_classes, region_box
from excel_cam.method.tagging.scores import fuse_scores, local_scores, row_probabilities
from excel_cam.method.transfer import HostCopy, to_device
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
        self.batch_limit: int | None = None  # photographs the device's memory has been found to hold
        self.side = grid_side(settings.size, model.patch)
        self._text = torch.from_numpy(bank.text).to(model.device, _DTYPE)

    def score(self, photograph: Pixels) -> NDArray[np.float64]:
        """(K,) scores, 0..1, of an (H, W, 3) uint8 RGB photograph of any size; see `score_batch`."""
        return self.score_batch([photograph])[0]

    def score_batch(self, photographs: Sequence[Pixels]) -> list[NDArray[np.float64]]:
        """(K,) scores, 0..1, of each of some (H, W, 3) uint8 RGB photographs, which go through the model together.

        A batch that the device's memory does not hold is halved, and so are those after it. Raises `MachineError` where
        it does not hold one photograph, `ModelError` where the model's values are not finite.
        """

        def too_large(place: int) -> MachineError:
            height, width = photographs[place].shape[:2]
            return MachineError(
                f"the memory does not hold a photograph of {height} x {width}; free some, or leave it out"
            )

        def most_together(left: int) -> int:
            return min(left, self.batch_limit or left)

        return in_groups_that_fit(
            self, len(photographs), most_together, lambda group: self._score_together(photographs[group]), too_large
        )

    @torch.inference_mode()
    def _score_together(self, photographs: Sequence[Pixels]) -> list[NDArray[np.float64]]:
        """The host waits twice: for what patches say, which decides where to look again, and for what is seen there."""
        uploaded = [to_device(pixels, torch.uint8, self.model.device) for pixels in photographs]
        whole, attention = self._probabilities(uploaded)
        patches = HostCopy(whole[:, 1:, : self.classes])
        local = self._checked(HostCopy(local_scores(whole, attention, self.classes)))
        candidates = [candidate_classes(scores) for scores in local]
        places = [(place, index) for place, indices in enumerate(candidates) for index in indices]
        maps = patches.numpy().reshape(len(photographs), self.side, self.side, self.classes)
        crops = []
        for place, index in places:
            top, bottom, left, right = region_box(maps[place, :, :, index], photographs[place].shape[:2])
            crops.append(uploaded[place][top:bottom, left:right].contiguous())
        seen = []
        most = max(MOST_CANDIDATES, len(photographs))
        for start in range(0, len(crops), most):
            tokens = self._probabilities(crops[start : start + most])[0][:, 0]
            indices = to_device([index for _, index in places[start : start + most]], torch.int64, tokens.device)
            seen.append(tokens.gather(1, indices[:, None])[:, 0])
        region = np.zeros_like(local)
        region[tuple(zip(*places, strict=True))] = self._checked(HostCopy(torch.cat(seen)))
        return list(fuse_scores(torch.from_numpy(local), torch.from_numpy(region)).numpy())

    @torch.inference_mode()
    def rehearse(self, count: int) -> None:
        """Put so many blank photographs through the model at once, to learn what that takes."""
        side = self.side * self.model.patch
        self._probabilities(list(torch.zeros(count, side, side, 3, dtype=torch.uint8, device=self.model.device)))

    @torch.inference_mode()
    def score_whole(self, photograph: Pixels) -> NDArray[np.float64]:
        """(K,) probabilities by the class token of the whole photograph alone: plain CLIP, to compare with."""
        uploaded = to_device(photograph, torch.uint8, self.model.device)
        return self._checked(HostCopy(self._probabilities([uploaded])[0][0, 0, : self.classes]))

    def _probabilities(self, photographs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What each token of photographs on the device shows, (n, 1 + N, T), and the attention A, (n, 1 + N, 1 + N).

        photographs: (H, W, 3) uint8 each.
        """
        settings, size = self.settings, self.side * self.model.patch
        inputs = torch.stack([resize_to_input(normalise(one, settings.normalisation), size) for one in photographs])
        features = self.model.encode_images(inputs, settings.attention, settings.calibrated_blocks)
        return row_probabilities(features.tokens.to(_DTYPE), self._text, self.model.sharpness), features.attention

    def _checked(self, scores: HostCopy) -> NDArray[np.float64]:
        found: NDArray[np.float64] = scores.numpy()
        if not np.isfinite(found).all():
            raise not_finite("the model's scores", self.model.precision)
        return found
