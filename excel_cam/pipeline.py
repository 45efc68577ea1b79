"""The one place that joins the steps: photographs and their tags → label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.affinity import refine_maps, transition_matrix
from excel_cam.calibration import DenseFeatures, encode_images, grid_side
from excel_cam.cam import class_activation_maps
from excel_cam.classes import IGNORE
from excel_cam.clip_model import ClipModel
from excel_cam.images import normalise, resize_to_input
from excel_cam.labels import (
    doubtful_label_map,
    label_map,
    stack_background,
    stack_constant_backgrounds,
    upsample_maps,
)
from excel_cam.refine import pixel_adaptive_refinement
from excel_cam.settings import Settings, check_background
from excel_cam.text_bank import TextBank

# A spread map's least and greatest value can differ by a thousandth, which step 6.1 stretches to 0..1, rounding errors
# included. On the patch grid double precision costs next to nothing and keeps those errors out of the labels.
GRID_DTYPE = torch.float64

Photograph = NDArray[np.uint8]  # (H, W, 3) RGB
Label = NDArray[np.uint8]  # (H, W): 0 background, index + 1 class (index without a background class), 255 ignored


class Labeller:
    """A model, its text rows and settings, ready to label batches of photographs."""

    def __init__(self, model: ClipModel, bank: TextBank, settings: Settings) -> None:
        check_background(bank.has_background, settings)
        self.model = model
        self.has_background = bank.has_background
        self.settings = settings
        self.side = grid_side(settings.size, model.patch)
        self.size = self.side * model.patch
        self._text = torch.from_numpy(bank.text).to(model.device, GRID_DTYPE)

    def label(self, photographs: Sequence[Photograph], tags: Sequence[Sequence[int]]) -> list[Label]:
        """Label photographs of any sizes, each with the 0-based classes present in it.

        Returns one (H, W) uint8 label per photograph, at its size; all background where there are no tags, all
        `IGNORE` (255) where there is no background class either.
        On the CPU in float32 the result does not depend on how photographs are grouped into calls.
        """
        untagged = 0 if self.has_background else IGNORE
        labels: list[Label] = [np.full(photograph.shape[:2], untagged, np.uint8) for photograph in photographs]
        tagged = [index for index, present in enumerate(tags) if len(present)]
        for start in range(0, len(tagged), self._forward_size(len(tagged))):
            group = tagged[start : start + self._forward_size(len(tagged))]
            for index, label in zip(
                group, self._label_tagged([photographs[i] for i in group], [tags[i] for i in group]), strict=True
            ):
                labels[index] = label
        return labels

    def _forward_size(self, count: int) -> int:
        # One photograph fills a CPU's caches, and matrix products of another height may round differently: going one
        # by one costs no time and makes every batch size give the same bytes.
        return 1 if self.model.device.type == "cpu" else max(1, count)

    def _label_tagged(self, photographs: Sequence[Photograph], tags: Sequence[Sequence[int]]) -> list[Label]:
        """Label a batch in one forward pass; when the device's memory does not hold it, in two halves."""
        try:
            return self._label_batch(photographs, tags)
        except torch.OutOfMemoryError:
            if len(photographs) == 1:
                raise
        half = len(photographs) // 2
        return self._label_tagged(photographs[:half], tags[:half]) + self._label_tagged(photographs[half:], tags[half:])

    def _label_batch(self, photographs: Sequence[Photograph], tags: Sequence[Sequence[int]]) -> list[Label]:
        normalised = [
            normalise(photograph, self.settings.normalisation).to(self.model.device) for photograph in photographs
        ]
        inputs = torch.stack([resize_to_input(image, self.size) for image in normalised])
        features = self.encode(inputs)
        maps = class_activation_maps(features.tokens.to(GRID_DTYPE), self._text, self.settings.feature_norm)
        maps = maps.transpose(1, 2).unflatten(2, (self.side, self.side))  # (n, T, h, w)
        refined = [image_maps[list(present)] for image_maps, present in zip(maps, tags, strict=True)]
        if self.settings.affinity:
            transitions = transition_matrix(features.attention.to(GRID_DTYPE))
            refined = [
                refine_maps(image_maps, transition, self.settings.box_threshold)
                for image_maps, transition in zip(refined, transitions, strict=True)
            ]
        on_device = [
            self._to_label(image_maps, present, image, network_input)
            for image_maps, present, image, network_input in zip(refined, tags, normalised, inputs, strict=True)
        ]
        return [label.cpu().numpy() for label in on_device]

    def encode(self, inputs: Tensor) -> DenseFeatures:
        """The calibrated forward pass of (n, 3, S, S) float32 network inputs."""
        return encode_images(
            self.model.visual, inputs, self.settings.attention, self.settings.calibrated_blocks, relation=None
        )

    def _to_label(self, maps: Tensor, tags: Sequence[int], image: Tensor, network_input: Tensor) -> Tensor:
        """One image's maps on the patch grid, (c, h, w), to its (H, W) uint8 label."""
        height, width = image.shape[1:]
        maps = upsample_maps(maps, height, width)
        thresholds = self.settings.ignore_thresholds
        if not self.has_background:
            scores = maps
        elif thresholds is None:
            scores = stack_background(maps, self.settings.background_power)
        else:
            scores = stack_constant_backgrounds(maps, thresholds)
        if self.settings.refine == "par":
            scores = pixel_adaptive_refinement(self._guide(image, network_input), scores)
        if thresholds is not None:
            return doubtful_label_map(scores, tags)
        return label_map(scores, tags, self.has_background)

    def _guide(self, image: Tensor, network_input: Tensor) -> Tensor:
        """The (3, H, W) colours that guide refinement: by the release, the network's input scaled back up."""
        if self.settings.par_image == "original":
            return image
        return F.interpolate(network_input[None], size=image.shape[1:], mode="bilinear", align_corners=True)[0]
