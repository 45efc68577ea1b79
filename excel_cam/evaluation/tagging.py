"""How good predicted tags are: average precision per class, and F1 of the tags that a threshold chooses.

Letters: n images, K classes. `truth` is always (n, K) bool, `scores` (n, K) floating, of the same images and classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Truth = NDArray[np.bool_]
Scores = NDArray[np.floating[Any]]


def average_precisions(truth: Truth, scores: Scores) -> NDArray[np.float64]:
    """(K,) average precision of each class, 0..1: the mean, over the images that show it, of the precision at theirs.

    Images are ranked by score; images of equal score are taken together, so that their order in the file decides
    nothing. NaN for a class that no image shows.
    """
    return np.array([_average_precision(truth[:, k], scores[:, k]) for k in range(truth.shape[1])])


def _average_precision(shows: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    if not shows.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], shows[order].cumsum()
    last = np.searchsorted(-ranked, -ranked, side="right") - 1  # of the images that share a score
    precision = hits[last] / (last + 1)
    return float(precision[shows[order]].mean())


def f1_score(truth: Truth, chosen: Truth) -> float:
    """F1 over all pairs of image and class together (micro), 0..1; NaN where there is neither a tag nor a choice."""
    both, total = int((truth & chosen).sum()), int(truth.sum()) + int(chosen.sum())
    return 2 * both / total if total else float("nan")


@dataclass(frozen=True)
class Threshold:
    """A score from which on a class is taken for a tag, and the F1 that this reaches where it was chosen."""

    value: float
    f1: float


def best_threshold(truth: Truth, scores: Scores) -> Threshold:
    """The threshold of the greatest F1 over all pairs of image and class, itself one of the scores.

    The highest of several that are equally good. Raises `ValueError` where the truth has no tag.
    """
    if not truth.any():
        raise ValueError("no image shows a class")
    order = np.argsort(-scores, axis=None, kind="stable")
    ranked, hits = scores.reshape(-1)[order], truth.reshape(-1)[order].cumsum()
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # a threshold takes all that share its score
    f1 = 2 * hits[ends] / (ends + 1 + truth.sum())
    best = int(f1.argmax())
    return Threshold(float(ranked[ends[best]]), float(f1[best]))
