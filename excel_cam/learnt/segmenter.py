"""Segmentation without tags: photographs → labels of every class, by adapter and decoder alone (step 13.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.learnt.checkpoint import TrainedAdapter
from excel_cam.method.calibration import encode_static, grid_side
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.label_map import enlarged_strips
from excel_cam.method.refinement.crf import dense_crf
from excel_cam.model.clip import ClipModel
from excel_cam.settings import SegmentationSettings, check_crf_backend

FORWARD = 8  # photographs that go through an accelerator together, each with its mirror image
COCO_SHARE = 0.2  # of a photograph's sides, at which COCO's scores are averaged

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
Label = NDArray[np.uint8]  # (H, W): 0 background, index + 1 class


@dataclass(frozen=True)
class _WeightedScores:
    """One view's scores, (1 + K, h, w) float32 as the photograph lies, and their weight in the mean."""

    scores: Tensor
    weight: float


class Segmenter:
    """A model and a trained adapter, ready to segment photographs of which nothing is known.

    >>> from excel_cam.shipped import DEMO_ADAPTER
    >>> segmenter = Segmenter(model, read_adapter(DEMO_ADAPTER, model))
    >>> [label.shape for label in segmenter.segment([read_image(photo)])]
    [(452, 455)]
    """

    def __init__(self, model: ClipModel, adapter: TrainedAdapter, settings: SegmentationSettings | None = None) -> None:
        settings = settings or SegmentationSettings()
        check_crf_backend(settings.crf_backend)
        self.model = model
        self.adapter = adapter
        self.settings = settings
        self.class_names = adapter.description.classes  # label value less 1 → name
        self._trained_size = adapter.description.settings.size

    def segment(self, photographs: Sequence[Pixels], sizes: Sequence[tuple[int, int]] | None = None) -> list[Label]:
        """Segment photographs of any sizes.

        sizes: the labels' own (H, W) where photographs were reduced. Returns one (H, W) uint8 label per photograph. On
        the CPU in float32 the result does not depend on how photographs are grouped into calls. Scores at a label's
        size are held for one strip of rows at a time, with the CRF for the photograph's own pixels.
        """
        sizes = [photograph.shape[:2] for photograph in photographs] if sizes is None else sizes
        together = 1 if self.model.device.type == "cpu" else FORWARD
        labels: list[Label] = []
        for start in range(0, len(photographs), together):
            group = photographs[start : start + together]
            views = self._views(group)
            for photograph, one, size in zip(group, views, sizes[start : start + together], strict=True):
                labels.append(self._finish(one, photograph, size))
        return labels

    @torch.inference_mode()
    def scores(self, photograph: Pixels) -> Tensor:
        """The mean of all views' scores, (1 + K, H, W) float32; of variant `coco` at a fifth of the sides."""
        views = self._views([photograph])[0]
        return torch.cat(list(_mean_strips(views, *self._mean_size(photograph))), dim=1)

    @torch.inference_mode()
    def _views(self, photographs: Sequence[Pixels]) -> list[list[_WeightedScores]]:
        """For each photograph, the scores of its views."""
        trained = self.adapter.description.settings
        device = self.model.device
        normalised = [normalise(torch.from_numpy(one.copy()).to(device), trained.normalisation) for one in photographs]
        found: list[list[_WeightedScores]] = [[] for _ in photographs]
        for scale in self.settings.scales:
            side = grid_side(scale * self._trained_size, self.model.patch)
            inputs = torch.stack([resize_to_input(image, side * self.model.patch) for image in normalised])
            # The release looks at VOC's view of scale 1 without its mirror image.
            flips = (
                (False,) if not self.settings.flip or (self.settings.variant == "voc" and scale == 1) else (False, True)
            )
            weight = 1 / (len(flips) * len(self.settings.scales))
            pixels = torch.stack([inputs.flip(-1) if flip else inputs for flip in flips], dim=1)
            decoded = self._decode(pixels.flatten(0, 1), side).unflatten(0, (-1, len(flips)))
            for views, of_photograph in zip(found, decoded, strict=True):
                for flip, scores in zip(flips, of_photograph, strict=True):
                    views.append(_WeightedScores(scores.flip(-1) if flip else scores, weight))
        return found

    def _decode(self, pixels: Tensor, side: int) -> Tensor:
        """(n, 3, S, S) float32 inputs to scores, (n, 1 + K, side, side)."""
        description, network = self.adapter.description, self.adapter.network
        via = grid_side(self._trained_size, self.model.patch) if self.settings.positions == "trained" else None
        static = encode_static(
            self.model.visual, pixels, description.settings.calibrated_blocks, slots=description.training.slots,
            keep_attention=False, via_side=via,
        )  # fmt: skip
        return network.decoder(network.adapter(static.slots), side)

    def _mean_size(self, photograph: Pixels) -> tuple[int, int]:
        height, width = photograph.shape[:2]
        if self.settings.variant == "coco":
            return max(1, int(COCO_SHARE * height)), max(1, int(COCO_SHARE * width))
        return height, width

    @torch.inference_mode()
    def _finish(self, views: list[_WeightedScores], photograph: Pixels, size: tuple[int, int]) -> Label:
        height, width = photograph.shape[:2]
        if self.settings.crf:
            strips = self._enlarged(views, photograph, (height, width))
            probabilities = torch.cat([torch.softmax(strip, dim=0) for strip in strips], dim=1).cpu().numpy()
            refined = torch.from_numpy(dense_crf(photograph, [probabilities], self.settings.crf_backend)[0])
            strips = iter([refined]) if size == (height, width) else enlarged_strips(refined, *size)
        else:
            strips = self._enlarged(views, photograph, size)
        return np.concatenate([strip.argmax(dim=0).to(torch.uint8).cpu().numpy() for strip in strips])

    def _enlarged(self, views: list[_WeightedScores], photograph: Pixels, size: tuple[int, int]) -> Iterator[Tensor]:
        """The mean scores at a size, strip by strip, (1 + K, rows, W) float32."""
        if self.settings.variant == "voc":
            # The mean of enlarged scores is taken at the label's own size, however far the photograph was reduced.
            return _mean_strips(views, *size)
        mean = torch.cat(list(_mean_strips(views, *self._mean_size(photograph))), dim=1)
        return enlarged_strips(mean, *size)


def _mean_strips(views: list[_WeightedScores], height: int, width: int) -> Iterator[Tensor]:
    """The weighted mean of views' scores enlarged to (height, width): (1 + K, rows, width), from top to bottom."""
    parts = [enlarged_strips(view.scores, height, width) for view in views]
    for strips in zip(*parts, strict=True):
        mean = torch.zeros_like(strips[0])
        for view, strip in zip(views, strips, strict=True):
            mean.add_(strip, alpha=view.weight)
        yield mean
