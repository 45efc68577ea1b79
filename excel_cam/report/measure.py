"""How doubtful and how right each label is, and what all of them hold together: one image at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE
from excel_cam.evaluation.scores import Evaluation, PixelCounts
from excel_cam.files.images.masks import ClassSearch, value_counts
from excel_cam.labels.class_maps import ClassMaps
from excel_cam.report.source import Masks, ViewSource, read_masks
from excel_cam.settings import MAP_EPSILON

CLOSE = 0.1  # two scores less than this apart are close; scores are within 0..1
GRID_SIDE = 320  # pixels; labels are looked at in about this size, so that large photographs seem no surer than small


@dataclass(frozen=True)
class Measure:
    """One image: doubt in 0..1, and mean IoU in 0..1 over the classes in its label or truth, NaN without a truth."""

    name: str
    doubt: float
    iou: float


@dataclass(frozen=True, eq=False)
class Measurements:
    """All images of a source, in its order, and what they hold together.

    pixels, images: (256,) int64, pixels and labels with that value. evaluation: over the images that have a truth, as
    `excel-cam evaluate` counts; None where none has. maps_used: what doubt was taken from.
    """

    measures: tuple[Measure, ...]
    pixels: NDArray[np.int64]
    images: NDArray[np.int64]
    evaluation: Evaluation | None
    maps_used: bool
    has_background: bool = True


def measure_all(source: ViewSource, on_image: Callable[[], None] = lambda: None) -> Measurements:
    """Measure every image of the source; nothing but a few numbers is kept of each. Raises `DataError`."""
    counts = PixelCounts(source.all_names, source.ignore_as)
    pixels, images = np.zeros(256, np.int64), np.zeros(256, np.int64)
    search = ClassSearch()
    measures = []
    for name in source.names:
        masks = read_masks(source, name)
        in_label = value_counts(masks.label)
        pixels += in_label
        images += in_label > 0
        iou = math.nan
        if masks.truth is not None:
            search.add(masks.truth)
            counts.add(masks.label, masks.truth)
            iou = evaluate_one(masks, source).mean_iou
        measures.append(Measure(name, doubt_of(masks, source), iou))
        on_image()
    if source.truth is not None:
        search.require(source.truth.folder)
    evaluation = counts.evaluation() if source.truth_names else None
    maps_used = source.cams is not None
    return Measurements(tuple(measures), pixels, images, evaluation, maps_used, source.has_background)


def evaluate_one(masks: Masks, source: ViewSource) -> Evaluation:
    """The evaluation of one image that has a truth."""
    assert masks.truth is not None
    counts = PixelCounts(source.all_names, source.ignore_as)
    counts.add(masks.label, masks.truth)
    return counts.evaluation()


def doubt_of(masks: Masks, source: ViewSource) -> float:
    """The doubt of one label: from its class maps where there are any, else from the label alone."""
    if masks.maps is not None:
        return doubt_of_maps(masks.maps, source.background_power if source.has_background else None)
    return doubt_of_label(masks.label)


def doubt_of_maps(class_maps: ClassMaps, background_power: float | None) -> float:
    """The share, 0..1, of cells of the maps' own grid whose two best scores are less than `CLOSE` apart.

    Scores are those of step 6: each map stretched to 0..1, background (1 - greatest map) ^ power beside them; a power
    of None: no background takes part, and a class alone is beyond doubt.
    """
    scores = stretched(class_maps)
    if background_power is not None and len(scores):
        scores = np.concatenate([(1 - scores.max(axis=0, keepdims=True)) ** background_power, scores])
    if len(scores) < 2:
        return 0.0
    best = np.sort(scores, axis=0)[-2:]
    return float(np.mean(best[1] - best[0] < CLOSE))


def stretched(class_maps: ClassMaps) -> NDArray[np.float64]:
    """(c, h, w) float64: each map stretched from its least value to its greatest, 0..1."""
    maps = class_maps.maps - class_maps.maps.min(axis=(1, 2), keepdims=True)
    return np.asarray(maps / (MAP_EPSILON + maps.max(axis=(1, 2), keepdims=True)))


def doubt_of_label(label: NDArray[np.uint8]) -> float:
    """The share, 0..1, of pixels that are 255 or touch, at an edge, a pixel of another value: ragged labels score high.

    Looked at with its longer side reduced to at most `GRID_SIDE` pixels.
    """
    step = math.ceil(max(label.shape) / GRID_SIDE)
    small = label[::step, ::step]
    doubtful = small == IGNORE
    across, down = small[:, 1:] != small[:, :-1], small[1:] != small[:-1]
    doubtful[:, 1:] |= across
    doubtful[:, :-1] |= across
    doubtful[1:] |= down
    doubtful[:-1] |= down
    return float(doubtful.mean())
