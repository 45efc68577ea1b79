"""The one place that joins the steps: photographs and their tags → label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.affinity import refine_maps, transition_matrix
from excel_cam.calibration import DenseFeatures, encode_images, grid_side
from excel_cam.cam import class_activation_maps
from excel_cam.classes import IGNORE
from excel_cam.clip_model import ClipModel
from excel_cam.crf import dense_crf
from excel_cam.images import normalise, resize_to_input
from excel_cam.labels import (
    agreed_label_map,
    enlarged_strips,
    label_map,
    stack_background,
    stack_constant_backgrounds,
    upsample_maps,
    with_each_background,
)
from excel_cam.refine import GROWTH, guide_image, pixel_adaptive_refinement
from excel_cam.settings import Settings, check_background, check_crf_backend
from excel_cam.text_bank import TextBank
from excel_cam.views import View, average_over_views, chosen_views

# A spread map's least and greatest value can differ by a thousandth, which step 6.1 stretches to 0..1, rounding errors
# included. On the patch grid double precision costs next to nothing and keeps those errors out of the labels.
GRID_DTYPE = torch.float64

Photograph = NDArray[np.uint8]  # (H, W, 3) RGB
Label = NDArray[np.uint8]  # (H, W): 0 background, index + 1 class (index without a background class), 255 ignored


@dataclass(frozen=True)
class Labelled:
    """A label, and the class maps it comes from.

    maps: (c, h, w) float64 on the patch grid, one per tag in order, as step 5 leaves them (step 4 without affinity).
    """

    label: Label
    maps: NDArray[np.float64]


@dataclass(frozen=True)
class _Job:
    """A photograph with its tags, and the (H, W) its label is to have."""

    photograph: Photograph
    tags: Sequence[int]
    size: tuple[int, int]


class Labeller:
    """A model, its text rows and settings, ready to label batches of photographs."""

    def __init__(self, model: ClipModel, bank: TextBank, settings: Settings) -> None:
        check_background(bank.has_background, settings)
        check_crf_backend(settings.crf_backend)
        self.model = model
        self.has_background = bank.has_background
        self.settings = settings
        self.side = grid_side(settings.size, model.patch)
        self.size = self.side * model.patch
        self._views = chosen_views(settings, model.patch)
        self._text = torch.from_numpy(bank.text).to(model.device, GRID_DTYPE)

    def label(self, photographs: Sequence[Photograph], tags: Sequence[Sequence[int]]) -> list[Label]:
        """Label photographs of any sizes, each with the 0-based classes present in it.

        Returns one (H, W) uint8 label per photograph, at its size; all background where there are no tags, all
        `IGNORE` (255) where there is no background class either.
        On the CPU in float32 the result does not depend on how photographs are grouped into calls.
        """
        sizes = [photograph.shape[:2] for photograph in photographs]
        return [labelled.label for labelled in self.label_with_maps(photographs, tags, sizes)]

    def label_with_maps(
        self, photographs: Sequence[Photograph], tags: Sequence[Sequence[int]], sizes: Sequence[tuple[int, int]]
    ) -> list[Labelled]:
        """As `label`, with the class maps behind each label. `sizes` are the labels' own, (H, W).

        A label larger than its photograph, which was then reduced, comes from enlarged scores.
        """
        untagged = 0 if self.has_background else IGNORE
        results = [Labelled(np.full(size, untagged, np.uint8), self._no_maps()) for size in sizes]
        tagged = [index for index, present in enumerate(tags) if len(present)]
        for start in range(0, len(tagged), self._forward_size(len(tagged))):
            group = tagged[start : start + self._forward_size(len(tagged))]
            jobs = [_Job(photographs[i], tags[i], sizes[i]) for i in group]
            for index, labelled in zip(group, self._label_jobs(jobs), strict=True):
                results[index] = labelled
        return results

    def _no_maps(self) -> NDArray[np.float64]:
        return np.zeros((0, self.side, self.side))

    def _forward_size(self, count: int) -> int:
        # One photograph fills a CPU's caches, and matrix products of another height may round differently: going one
        # by one costs no time and makes every batch size give the same bytes.
        return 1 if self.model.device.type == "cpu" else max(1, count)

    def _label_jobs(self, jobs: Sequence[_Job]) -> list[Labelled]:
        """Label a batch in one forward pass; when the device's memory does not hold it, in two halves."""
        try:
            return self._label_batch(jobs)
        except torch.OutOfMemoryError:
            if len(jobs) == 1:
                raise
        half = len(jobs) // 2
        return self._label_jobs(jobs[:half]) + self._label_jobs(jobs[half:])

    def _label_batch(self, jobs: Sequence[_Job]) -> list[Labelled]:
        normalised = [normalise(job.photograph, self.settings.normalisation).to(self.model.device) for job in jobs]
        inputs = torch.stack([resize_to_input(image, self.size) for image in normalised])
        maps, attention = self._class_maps(normalised, inputs)
        refined = [image_maps[list(job.tags)] for image_maps, job in zip(maps, jobs, strict=True)]
        if self.settings.affinity:
            transitions = transition_matrix(attention.to(GRID_DTYPE))
            refined = [
                refine_maps(image_maps, transition, self.settings.box_threshold)
                for image_maps, transition in zip(refined, transitions, strict=True)
            ]
        on_device = [
            self._to_label(image_maps, job, image, network_input)
            for image_maps, job, image, network_input in zip(refined, jobs, normalised, inputs, strict=True)
        ]
        return [
            Labelled(label.cpu().numpy(), image_maps.cpu().numpy())
            for label, image_maps in zip(on_device, refined, strict=True)
        ]

    def _class_maps(self, normalised: Sequence[Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of step 4, (n, T, h, w), averaged over the views, and the base view's attention A."""
        base = self.encode(inputs)

        def map_view(view: View) -> Tensor:
            if view == View(self.side, mirrored=False):
                return self._maps_on_grid(base, self.side)
            size = view.side * self.model.patch
            pixels = inputs if size == self.size else torch.stack([resize_to_input(i, size) for i in normalised])
            return self._maps_on_grid(self.encode(pixels.flip(-1) if view.mirrored else pixels), view.side)

        return average_over_views(self._views, map_view, self.side), base.attention

    def _maps_on_grid(self, features: DenseFeatures, side: int) -> Tensor:
        maps = class_activation_maps(features.tokens.to(GRID_DTYPE), self._text, self.settings.feature_norm)
        return maps.transpose(1, 2).unflatten(2, (side, side))  # (n, T, h, w)

    def encode(self, inputs: Tensor) -> DenseFeatures:
        """The calibrated forward pass of (n, 3, S, S) float32 network inputs."""
        return encode_images(
            self.model.visual, inputs, self.settings.attention, self.settings.calibrated_blocks, relation=None
        )

    def _to_label(self, maps: Tensor, job: _Job, image: Tensor, network_input: Tensor) -> Tensor:
        """One image's maps on the patch grid, (c, h, w), to its uint8 label of the size asked for."""
        height, width = image.shape[1:]
        maps = upsample_maps(maps, height, width)
        thresholds = self.settings.ignore_thresholds
        if not self.has_background:
            scores = maps
        elif thresholds is None:
            scores = stack_background(maps, self.settings.background_power)
        else:
            scores = stack_constant_backgrounds(maps, thresholds)
        if self.settings.uses_par:
            scores = pixel_adaptive_refinement(guide_image(image, network_input, self.settings.par_image), scores)
        stacks = [scores] if thresholds is None else with_each_background(scores)
        if self.settings.uses_crf:
            stacks = self._dense_crf(stacks, job.photograph)

        def to_label(parts: Sequence[Tensor]) -> Tensor:
            labels = [label_map(part, job.tags, self.has_background) for part in parts]
            return labels[0] if len(labels) == 1 else agreed_label_map(*labels)

        if (height, width) == job.size:
            return to_label(stacks)
        strips = zip(*(enlarged_strips(stack, *job.size) for stack in stacks), strict=True)
        return torch.cat([to_label(parts) for parts in strips])

    def _dense_crf(self, stacks: Sequence[Tensor], photograph: Photograph) -> list[Tensor]:
        """The CRF's probabilities, (c, H, W) float32 for each stack of scores, by the photograph's own pixels."""
        # What PAR has made of 1 everywhere is GROWTH everywhere. A common factor of all scores changes nothing but
        # where the CRF takes the least probability; with it undone, that is the same with PAR as without.
        growth = GROWTH if self.settings.uses_par else 1.0
        scores = [(stack / growth).cpu().numpy() for stack in stacks]
        refined = dense_crf(photograph, scores, self.settings.crf_backend)
        return [torch.from_numpy(probabilities).to(stacks[0].device) for probabilities in refined]
