"""Segmentation without tags: photographs → labels of every class, by adapter and decoder alone (step 13.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.errors import MachineError, not_finite
from excel_cam.learnt.checkpoint import TrainedAdapter
from excel_cam.method.calibration import encode_static, grid_side
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.label_map import enlarged_strips
from excel_cam.method.memory import in_groups_that_fit
from excel_cam.method.refinement.crf import dense_crf
from excel_cam.method.threads import in_threads
from excel_cam.method.transfer import HostCopy, to_device
from excel_cam.model.clip import ClipModel
from excel_cam.settings import SegmentationSettings, check_crf_backend

FORWARD = 8  # photographs that go through an accelerator together where nobody has measured more, or with a CRF
COCO_SHARE = 0.2  # of a photograph's sides, at which COCO's scores are averaged

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
Label = NDArray[np.uint8]  # (H, W): 0 background, index + 1 class


@dataclass(frozen=True)
class _WeightedScores:
    """One view's scores, (1 + K, h, w) float32 as the photograph lies, and their weight in the mean."""

    scores: Tensor
    weight: float


@dataclass(frozen=True)
class MaskUnderWay:
    """A mask that a device may still be at."""

    copy: HostCopy
    require_finite: Callable[[], None]

    def numpy(self) -> Label:
        """(H, W) uint8, when it has arrived; raises `ModelError` where the scores it comes from are not finite."""
        self.require_finite()
        return self.copy.numpy()


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
        self.batch_limit: int | None = None  # photographs the device's memory has been found to hold
        self._trained_size = adapter.description.settings.size

    def segment(self, photographs: Sequence[Pixels], sizes: Sequence[tuple[int, int]] | None = None) -> list[Label]:
        """Segment photographs of any sizes.

        sizes: the labels' own (H, W) where photographs were reduced. Returns one (H, W) uint8 label per photograph. On
        the CPU in float32 the result does not depend on how photographs are grouped into calls. Scores at a label's
        size are held for one strip of rows at a time, with the CRF for the photograph's own pixels.
        Raises `MachineError` where the memory does not hold one photograph, `ModelError` where scores are not finite.
        """
        sizes = [photograph.shape[:2] for photograph in photographs] if sizes is None else sizes
        labels: list[MaskUnderWay] = []
        for start in range(0, len(photographs), FORWARD):
            part = slice(start, start + FORWARD)
            labels += self.segment_batch(photographs[part], sizes[part])
        return [label.numpy() for label in labels]

    def segment_batch(self, photographs: Sequence[Pixels], sizes: Sequence[tuple[int, int]]) -> list[MaskUnderWay]:
        """As `segment`, for photographs that go through an accelerator together; their labels may be under way yet.

        A batch that the memory does not hold is halved, and so are those after it: `batch_limit`.
        """
        return in_groups_that_fit(
            self, len(photographs), self._most_together,
            lambda group: self._segment_group(photographs[group], sizes[group]),
            lambda place: _too_large(photographs[place]),
        )  # fmt: skip

    def _most_together(self, left: int) -> int:
        if self.model.device.type == "cpu":
            return 1
        most = min(left, self.batch_limit or left)
        return min(most, FORWARD) if self.settings.crf else most  # the host holds probabilities of every pixel

    @torch.inference_mode()
    def rehearse(self, count: int) -> None:
        """Compute the scores of `count` blank photographs at once, all views of them, to learn what that takes."""
        side = grid_side(self._trained_size, self.model.patch) * self.model.patch
        self._views(list(torch.zeros(count, 3, side, side, device=self.model.device)))

    @torch.inference_mode()
    def scores(self, photograph: Pixels) -> Tensor:
        """The mean of all views' scores, (1 + K, H, W) float32; of variant `coco` at a fifth of the sides."""
        views = self._views(self._uploaded([photograph]))[0]
        return torch.cat(list(_mean_strips(views, *self._mean_size(photograph))), dim=1)

    def _uploaded(self, photographs: Sequence[Pixels]) -> list[Tensor]:
        """The photographs on the device, (3, H, W) float32 each, normalised."""
        normalisation = self.adapter.description.settings.normalisation
        uploaded = [to_device(photograph, torch.uint8, self.model.device) for photograph in photographs]
        return [normalise(pixels, normalisation) for pixels in uploaded]

    def _views(self, normalised: Sequence[Tensor]) -> list[list[_WeightedScores]]:
        """For each photograph, (3, H, W), the scores of its views."""
        found: list[list[_WeightedScores]] = [[] for _ in normalised]
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
    def _segment_group(self, photographs: Sequence[Pixels], sizes: Sequence[tuple[int, int]]) -> list[MaskUnderWay]:
        """Segment photographs in one forward pass. On CUDA this returns, CRF aside, before the device is done."""
        views = self._views(self._uploaded(photographs))
        sound = HostCopy(torch.stack([one.scores.isfinite().all() for own in views for one in own]))

        def require_finite() -> None:
            if not sound.numpy().all():
                raise not_finite("the segmenter's scores", self.model.precision, "--model, --weights or --lvc")

        if not self.settings.crf:
            parts = zip(views, photographs, sizes, strict=True)
            return [MaskUnderWay(HostCopy(_best(self._enlarged(*part))), require_finite) for part in parts]
        require_finite()  # the host waits for the device anyway, and numpy would complain of such scores
        probabilities = []
        for own, photograph in zip(views, photographs, strict=True):
            strips = self._enlarged(own, photograph, photograph.shape[:2])
            probabilities.append(HostCopy(torch.cat([torch.softmax(strip, dim=0) for strip in strips], dim=1)))

        def refine(place: int) -> MaskUnderWay:
            photograph, maps = photographs[place], [probabilities[place].numpy()]
            refined = torch.from_numpy(dense_crf(photograph, maps, self.settings.crf_backend)[0])
            whole = sizes[place] == photograph.shape[:2]
            best = _best([refined] if whole else enlarged_strips(refined, *sizes[place]))
            return MaskUnderWay(HostCopy(best), require_finite)

        return in_threads(refine, range(len(photographs)))

    def _enlarged(self, views: list[_WeightedScores], photograph: Pixels, size: tuple[int, int]) -> Iterator[Tensor]:
        """The mean scores at a size, strip by strip, (1 + K, rows, W) float32."""
        if self.settings.variant == "voc":
            # The mean of enlarged scores is taken at the label's own size, however far the photograph was reduced.
            return _mean_strips(views, *size)
        mean = torch.cat(list(_mean_strips(views, *self._mean_size(photograph))), dim=1)
        return enlarged_strips(mean, *size)


def _best(strips: Iterable[Tensor]) -> Tensor:
    """The class of the greatest score, (H, W) uint8, from strips of scores, (1 + K, rows, W)."""
    return torch.cat([strip.argmax(dim=0).to(torch.uint8) for strip in strips])


def _too_large(photograph: Pixels) -> MachineError:
    height, width = photograph.shape[:2]
    return MachineError(
        f"the memory does not hold a photograph of {height} x {width} in all its views; free some, lower "
        "--working-pixels, give smaller --scales, or leave this photograph out"
    )


def _mean_strips(views: list[_WeightedScores], height: int, width: int) -> Iterator[Tensor]:
    """The weighted mean of views' scores enlarged to (height, width): (1 + K, rows, width), from top to bottom."""
    parts = [enlarged_strips(view.scores, height, width) for view in views]
    for strips in zip(*parts, strict=True):
        mean = torch.zeros_like(strips[0])
        for view, strip in zip(views, strips, strict=True):
            mean.add_(strip, alpha=view.weight)
        yield mean
