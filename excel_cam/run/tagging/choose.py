"""Scores → tags: which scores are high enough, by a rule that is asked for or found on a few tagged photographs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError, UsageError
from excel_cam.evaluation.tagging import Threshold, best_threshold
from excel_cam.tags.lookup import Tags
from excel_cam.tags.scores import Scores
from excel_cam.wording import quoted

GREATEST_SHARE = 0.3  # of a photograph's greatest score, from which on a class is a tag where nothing else is asked for


@dataclass(frozen=True)
class TagRule:
    """How tags are chosen: the best `per_image` of each photograph, all from `threshold` on, or, where neither is set,
    all from `GREATEST_SHARE` of the photograph's own greatest score on, so that every photograph has a tag.

    Raises `UsageError` where both are set or one is out of range.
    """

    per_image: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.per_image is not None and self.threshold is not None:
            raise UsageError("give one of --per-image, --threshold and --calibrate")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UsageError(f"--threshold {self.threshold:g}: scores lie within 0..1; give one above 0, such as 0.5")

    def __str__(self) -> str:
        if self.per_image is not None:
            return f"the best {self.per_image:,} of each photograph" if self.per_image > 1 else "each photograph's best"
        if self.threshold is not None:
            return f"scores from {self.threshold:g} on"
        return f"scores from {GREATEST_SHARE:g} of each photograph's greatest on"

    def choose(self, scores: NDArray[np.float64]) -> tuple[int, ...]:
        """The classes of one photograph, 0-based, ascending: from its (K,) scores."""
        if self.per_image is not None:
            chosen = np.argsort(-scores, kind="stable")[: self.per_image]
            return tuple(sorted(int(index) for index in chosen))
        least = GREATEST_SHARE * scores.max() if self.threshold is None else self.threshold
        return tuple(int(index) for index in np.flatnonzero(scores >= least))


def calibrate(scores: Scores, given: Tags, source: str) -> Threshold:
    """The threshold of the best F1 over photographs whose tags are known, and that F1.

    Raises `DataError` where none of them has a tag, or one has no scores.
    """
    if missing := [name for name in given if name not in scores]:
        raise DataError(
            f"{source}: {len(missing):,} of its {len(given):,} names have no readable photograph among --images, first "
            f"{quoted(missing[0])}; take them out"
        )
    if not any(given.values()):
        raise DataError(f"{source}: no image in it has a class; a threshold needs some")
    of_all = np.stack([scores[name] for name in given])
    truth = np.zeros(of_all.shape, bool)
    for row, indices in zip(truth, given.values(), strict=True):
        row[list(indices)] = True
    return best_threshold(truth, of_all)
