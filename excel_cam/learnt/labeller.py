"""Label maps by a learnt calibration: photographs and their tags → labels, each with its mirror image (step 13.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.errors import ModelError, SettingsError
from excel_cam.learnt.checkpoint import TrainedAdapter
from excel_cam.learnt.labels import GRID_DTYPE, class_maps, patch_affinity, spread_maps
from excel_cam.learnt.relation import mean_of_image, mean_of_views, relation_attention, relation_scores
from excel_cam.learnt.training_settings import check_learnable
from excel_cam.method.calibration import encode_static, grid_side
from excel_cam.method.crf import dense_crf
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.label_map import (
    agreed_label_map,
    enlarged_strips,
    label_map,
    stack_background,
    stack_constant_backgrounds,
    upsample_maps,
    with_each_background,
)
from excel_cam.method.par import GROWTH, guide_image, pixel_adaptive_refinement
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.settings import Settings, check_crf_backend

FORWARD = 8  # photographs that go through an accelerator together, each with its mirror image
MIRROR_EPSILON = 1e-5  # added to the greatest value of the two views' maps

Photograph = NDArray[np.uint8]  # (H, W, 3) RGB
Label = NDArray[np.uint8]  # (H, W): 0 background, index + 1 class, 255 ignored


@dataclass(frozen=True)
class LearntLabel:
    """A label, (H, W) uint8, and the class maps it comes from, (c, h, w) float64, one per tag in order (step 5)."""

    label: Label
    maps: NDArray[np.float64]


class LearntLabeller:
    """A model, its text rows and a trained adapter, ready to label photographs whose classes are known."""

    def __init__(self, model: ClipModel, bank: TextBank, adapter: TrainedAdapter, settings: Settings) -> None:
        """Raises `SettingsError` or `ModelError` where settings, text rows and adapter do not go together."""
        check_learnable(settings, bank.has_background)
        check_crf_backend(settings.crf_backend)
        check_fits(adapter, bank, settings)
        self.model = model
        self.adapter = adapter
        self.settings = settings
        self.side = grid_side(settings.size, model.patch)
        self.size = self.side * model.patch
        self._classes = bank.foreground
        self.batch_limit: int | None = None  # photographs go through in groups of a fixed, small size
        self._text = torch.from_numpy(bank.text).to(model.device, GRID_DTYPE)

    def label(self, photographs: Sequence[Photograph], tags: Sequence[Sequence[int]]) -> list[Label]:
        """Label photographs of any sizes, each with the 0-based classes present in it.

        Returns one (H, W) uint8 label per photograph, all background where there are no tags. On the CPU in float32 the
        result does not depend on how photographs are grouped into calls; nowhere does a label depend on which
        photographs it shares a batch with but by rounding.
        """
        sizes = [photograph.shape[:2] for photograph in photographs]
        return [labelled.label for labelled in self.label_with_maps(photographs, tags, sizes)]

    def label_with_maps(
        self, photographs: Sequence[Photograph], tags: Sequence[Sequence[int]], sizes: Sequence[tuple[int, int]]
    ) -> list[LearntLabel]:
        """As `label`, with the class maps behind each label. `sizes` are the labels' own, (H, W)."""
        empty = np.zeros((0, self.side, self.side))
        labels = [LearntLabel(np.zeros(size, np.uint8), empty) for size in sizes]
        tagged = [place for place, present in enumerate(tags) if len(present)]
        together = 1 if self.model.device.type == "cpu" else FORWARD
        for start in range(0, len(tagged), together):
            places = tagged[start : start + together]
            normalised = [self._normalise(photographs[place]) for place in places]
            inputs = torch.stack([resize_to_input(image, self.size) for image in normalised])
            maps, affinities = self.class_maps(inputs)
            for index, place in enumerate(places):
                guide = guide_image(normalised[index], inputs[index], self.settings.par_image)
                spread = spread_maps(
                    maps[index : index + 1, list(tags[place])], affinities[index : index + 1],
                    self.settings.box_threshold,
                )[0]  # fmt: skip
                label = self._finish(spread, tags[place], guide, photographs[place], sizes[place])
                labels[place] = LearntLabel(label, spread.cpu().numpy())
        return labels

    @torch.inference_mode()
    def class_maps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and affinity that step 5 goes on from, each image seen with its mirror image alone.

        inputs: (n, 3, S, S) float32, normalised. Returns the K classes' maps, (n, K, h, w) float64, and A′ of step
        11.2, (n, N, N) float64.
        """
        views = torch.stack([inputs, inputs.flip(-1)], dim=1).flatten(0, 1)
        static = encode_static(
            self.model.visual, views, self.settings.calibrated_blocks, slots=self.adapter.description.training.slots
        )
        assert static.attention is not None  # asked for
        features = self.adapter.network.adapter(static.slots).unflatten(0, (-1, 2))  # (n, 2, N, C)
        own_mean = self.adapter.description.training.relation_mean == "image"
        relation = relation_attention(relation_scores(features, mean_of_image if own_mean else mean_of_views))
        tokens = static.tokens(self.model.visual, relation.flatten(0, 1))
        maps = class_maps(tokens, self._text, self._classes, self.settings.feature_norm).unflatten(0, (-1, 2))
        sigma = torch.sigmoid(relation_scores(features[:, 0], mean_of_image))
        return join_mirror(maps[:, 0], maps[:, 1]), patch_affinity(static.attention[:, ::2], sigma)

    @torch.inference_mode()
    def rehearse(self, count: int) -> None:
        """Compute the maps of `count` blank images and their mirror images, to learn what that takes."""
        self.class_maps(torch.zeros(count, 3, self.size, self.size, device=self.model.device))

    def _normalise(self, photograph: Photograph) -> Tensor:
        pixels = torch.from_numpy(photograph.copy()).to(self.model.device)
        return normalise(pixels, self.settings.normalisation)

    @torch.inference_mode()
    def _finish(
        self, maps: Tensor, tags: Sequence[int], guide: Tensor, photograph: Photograph, size: tuple[int, int]
    ) -> Label:
        """Steps 6.1 to 6.5: maps (c, h, w) as step 5 leaves them and colours (3, H', W') to the label, (H, W)."""
        settings = self.settings
        enlarged = upsample_maps(maps, guide.shape[1], guide.shape[2])
        thresholds = settings.ignore_thresholds
        if thresholds is None:
            scores = stack_background(enlarged, settings.background_power)
        else:
            scores = stack_constant_backgrounds(enlarged, thresholds)
        if settings.uses_par:
            scores = pixel_adaptive_refinement(guide, scores)
        stacks = [scores] if thresholds is None else with_each_background(scores)
        if settings.uses_crf:
            growth = GROWTH if settings.uses_par else 1.0  # undone, as the training-free labels do
            arrays = [(stack / growth).cpu().numpy() for stack in stacks]
            stacks = [torch.from_numpy(s) for s in dense_crf(photograph, arrays, settings.crf_backend)]
        if guide.shape[1:] == size:
            return _to_label(stacks, tags)
        strips = zip(*(enlarged_strips(stack, *size) for stack in stacks), strict=True)
        return np.concatenate([_to_label(parts, tags) for parts in strips])


def _to_label(stacks: Sequence[Tensor], tags: Sequence[int]) -> Label:
    """The label of one stack of scores, (1 + c, H, W), or what those of two agree on."""
    labels = [label_map(stack, tags) for stack in stacks]
    return (labels[0] if len(labels) == 1 else agreed_label_map(*labels)).cpu().numpy()


def join_mirror(image: Tensor, mirrored: Tensor) -> Tensor:
    """The greater of an image's maps and its mirror image's, turned back, stretched to 0..1: (..., h, w) twice."""
    joined = torch.maximum(image, mirrored.flip(-1))
    joined = joined - joined.amin(dim=(-2, -1), keepdim=True)
    return joined / (joined.amax(dim=(-2, -1), keepdim=True) + MIRROR_EPSILON)


def check_fits(adapter: TrainedAdapter, bank: TextBank, settings: Settings) -> None:
    """Raise `ModelError` or `SettingsError` where an adapter was trained for other classes or another image side."""
    description = adapter.description
    names = tuple(bank.names[: bank.foreground])
    if len(names) != description.shape.classes:
        raise ModelError(
            f"the adapter was trained for {description.shape.classes} classes, but the text bank has {len(names)}; "
            "label the data set it was trained for"
        )
    for name in ("calibrated_blocks", "normalisation"):
        theirs, ours = getattr(description.settings, name), getattr(settings, name)
        if theirs != ours:
            flag = "--" + name.replace("_", "-")
            raise SettingsError(f"{flag} is {ours}, but the adapter was trained with {theirs}; leave it so")
