"""What the trained half makes of photographs: labels of known classes, better ones, and labels without any tags."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from excel_cam.learnt.checkpoint import TrainedAdapter
from excel_cam.learnt.labeller import LearntMaps
from excel_cam.learnt.labels import spread_along
from excel_cam.learnt.segmenter import Segmenter
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.run.labeller import LabelledPhotograph, Labeller, Pixels
from excel_cam.settings import SegmentationSettings, Settings


class LearntLabeller(Labeller):
    """A labeller whose maps and affinity come from a learnt calibration (step 13.1); all else is as without it."""

    def __init__(self, model: ClipModel, bank: TextBank, adapter: TrainedAdapter, settings: Settings) -> None:
        """Raises `SettingsError` or `ModelError` where settings, text rows and adapter do not go together."""
        super().__init__(model, bank, settings)
        self._learnt = LearntMaps(model, bank, adapter, settings)

    def class_maps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The K classes' maps, (n, K, h, w), and the affinity A′, (n, N, N), of (n, 3, S, S) network inputs."""
        return self._learnt.class_maps(inputs)

    def _class_maps(self, normalised: Sequence[Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.class_maps(inputs)

    def _spread(self, maps: Tensor, attention: Tensor) -> Tensor:
        return spread_along(maps, attention, self.settings.box_threshold)


class TaglessLabeller:
    """A segmenter as runs see a labeller: photographs in, labels out; tags are not looked at (step 13.2)."""

    has_background = True

    def __init__(
        self, model: ClipModel, adapter: TrainedAdapter, segmentation: SegmentationSettings, settings: Settings
    ) -> None:
        self.model = model
        self.settings = settings
        self._segmenter = Segmenter(model, adapter, segmentation)

    @property
    def batch_limit(self) -> int | None:
        """How many photographs the device's memory has been found to hold; None where nothing was too many."""
        return self._segmenter.batch_limit

    def label_with_maps(
        self, photographs: Sequence[Pixels], tags: Sequence[Sequence[int]], sizes: Sequence[tuple[int, int]]
    ) -> list[LabelledPhotograph]:
        """One label per photograph, of `sizes`, (H, W); there are no class maps behind it."""
        labels = self._segmenter.segment_batch(photographs, sizes)
        return [LabelledPhotograph(label.numpy, lambda: np.zeros((0, 1, 1))) for label in labels]

    def rehearse(self, count: int) -> None:
        """Segment `count` blank photographs at once, to learn what that takes."""
        self._segmenter.rehearse(count)
