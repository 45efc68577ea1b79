"""How sure a mean IoU is: image sets drawn anew, with replacement, from per-image counts (paired bootstrap).

IoU needs three numbers per class of a confusion matrix, not all of it, so that the counts of a whole data set are
small: hits, true pixels and labelled pixels. Letters: n images, C classes, background included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.integer[Any]]
Scores = NDArray[np.float64]

DRAWS = 2000
INTERVAL = (2.5, 97.5)  # percentiles between which 95 % of the draws lie
_DRAWS_AT_A_TIME = 50


@dataclass(frozen=True)
class Interval:
    """Where 95 % of the draws lie; NaN where a score is undefined in every draw."""

    low: float
    high: float


def class_counts(confusion: Counts) -> Counts:
    """(..., C, C) confusion matrices, rows truth, to (..., 3, C): hits, true pixels, labelled pixels per class."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([hits, confusion.sum(axis=-1), confusion.sum(axis=-2)], axis=-2)


def class_iou(counts: NDArray[Any]) -> Scores:
    """(..., C) IoU, 0..1, of (..., 3, C) counts; NaN for a class that occurs in neither truth nor labels."""
    hits, true, labelled = np.moveaxis(counts, -2, 0)
    union = true + labelled - hits
    scores = np.full(union.shape, np.nan)
    np.divide(hits, union, out=scores, where=union > 0)
    return scores


def mean_iou(counts: NDArray[Any]) -> Scores:
    """(...) mean IoU, 0..1, of (..., 3, C) counts, over the classes that occur in truth or labels; NaN without any."""
    scores = class_iou(counts)
    defined = ~np.isnan(scores)
    total, number = np.where(defined, scores, 0).sum(axis=-1), defined.sum(axis=-1)
    means = np.full(number.shape, np.nan)
    np.divide(total, number, out=means, where=number > 0)
    return means


def draw_counts(label_sets: Sequence[Counts], seed: int = 0) -> list[Scores]:
    """Counts of `DRAWS` sets of n images drawn with replacement, the same images for each of the label sets.

    label_sets: (n, 3, C) counts of each, of the same images in the same order. Returns (DRAWS, 3, C) float64 of each.
    Equal n and seed give equal draws.
    """
    rng = np.random.default_rng(seed)
    count = len(label_sets[0])
    flat = [counts.reshape(count, -1).astype(np.float64) for counts in label_sets]
    drawn: list[list[Scores]] = [[] for _ in label_sets]
    for start in range(0, DRAWS, _DRAWS_AT_A_TIME):  # all weights at once would be large for a large data set
        some = range(start, min(start + _DRAWS_AT_A_TIME, DRAWS))
        weights = np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in some])
        for results, counts in zip(drawn, flat, strict=True):
            results.append(weights.astype(np.float64) @ counts)
    shape = (DRAWS, *label_sets[0].shape[1:])
    return [np.concatenate(results).reshape(shape) for results in drawn]


def interval(draws: Scores) -> Interval:
    """The 95 % interval of (DRAWS,) scores, leaving out the draws in which it is undefined."""
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(defined, INTERVAL)
    return Interval(float(low), float(high))
