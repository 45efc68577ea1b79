"""Compare two sets of labels of the same images: differences of IoU, each with a 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from excel_cam.evaluation.bootstrap import (
    DRAWS,
    Counts,
    Interval,
    class_counts,
    class_iou,
    draw_counts,
    interval,
    mean_iou,
)
from excel_cam.evaluation.evaluate import evaluate_labels
from excel_cam.evaluation.scores import Evaluation, IgnoreAs, or_none
from excel_cam.files.images.mask_folder import MaskFolder
from excel_cam.labels.label_files import LabelFiles, open_labels
from excel_cam.wording import percent


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two evaluations of the same images, and how sure their differences, first minus second, are.

    difference: of mean IoU, and class_differences of each class's IoU: 95 % intervals of fractions, NaN where
    undefined. other_only: labels of the second set that the first has not, which were left out.
    """

    first: Evaluation
    second: Evaluation
    difference: Interval
    class_differences: tuple[Interval, ...]
    other_only: int = 0

    @property
    def class_gaps(self) -> np.ndarray:
        """(K + 1,) float64: each class's IoU in the first set less that in the second; NaN where undefined."""
        return self.first.iou - self.second.iou

    def to_json_dict(self) -> dict[str, Any]:
        """The comparison in JSON's types: both evaluations whole, then the differences as fractions."""
        rows = zip(self.first.class_names, self.class_gaps, self.class_differences, strict=True)
        return {
            "labels": self.first.to_json_dict(),
            "against": self.second.to_json_dict(),
            "mean_iou": _json_difference(self.first.mean_iou - self.second.mean_iou, self.difference),
            "classes": [{"name": name, **_json_difference(gap, spread)} for name, gap, spread in rows],
            "other_only": self.other_only,
            "draws": DRAWS,
        }


def compare_labels(
    labels: Path | LabelFiles, other: Path | LabelFiles, truth: Path | MaskFolder, class_names: Sequence[str],
    names: Sequence[str] | None = None,
    ignore_as: IgnoreAs = "background", has_background: bool = True,
) -> Comparison:  # fmt: skip
    """Evaluate two label folders against one truth; for the arguments and errors see `evaluate_labels`.

    names: None means every label of the first folder; the other has to have each of them.
    """
    labels, other = open_labels(labels), open_labels(other)
    chosen = labels.names() if names is None else list(dict.fromkeys(names))
    evaluations: list[Evaluation] = []
    counts: list[Counts] = []
    for folder in (labels, other):
        of_images: list[Counts] = []

        def keep(confusion: Counts, of_images: list[Counts] = of_images) -> None:
            of_images.append(class_counts(confusion).astype(np.uint32))

        # Where there is no label at all, None makes `evaluate_labels` say so.
        evaluated = evaluate_labels(folder, truth, class_names, chosen or names, ignore_as, keep, has_background)
        evaluations.append(evaluated)
        counts.append(np.stack(of_images))
    first, second = draw_counts(counts)
    by_class = (class_iou(first) - class_iou(second)).T
    return Comparison(
        evaluations[0],
        evaluations[1],
        interval(mean_iou(first) - mean_iou(second)),
        tuple(interval(draws) for draws in by_class),
        len(set(other.names()).difference(chosen)) if names is None else 0,
    )


def format_comparison(comparison: Comparison, by_gap: bool = False) -> str:
    """The comparison as a table for a terminal, in percent; by_gap: the class that loses most first."""
    first, second, gaps = comparison.first, comparison.second, comparison.class_gaps
    width = max(len("class"), *(len(name) for name in first.class_names))
    lines = [f"{'class':<{width}}  IoU %  against %  difference  95 % interval"]
    for index in np.argsort(gaps, kind="stable") if by_gap else range(len(gaps)):
        spread = comparison.class_differences[index]
        scores = f"{percent(first.iou[index]):>5}  {percent(second.iou[index]):>9}"
        lines.append(f"{first.class_names[index]:<{width}}  {scores}  {_signed(gaps[index]):>10}  {_range(spread)}")
    low, high = comparison.difference.low, comparison.difference.high
    certain = "the interval leaves 0 out" if low > 0 or high < 0 else "no difference is certain: the interval holds 0"
    lines += [
        "",
        f"mIoU        {percent(first.mean_iou)} %, against {percent(second.mean_iou)} %",
        f"difference  {_signed(first.mean_iou - second.mean_iou)}, 95 % interval {_range(comparison.difference)}; "
        f"{certain}",
        f"images      {first.images}, drawn anew {DRAWS:,} times with replacement, the same for both",
    ]
    if comparison.other_only:
        lines.append(f"note        {comparison.other_only} more labels in the other set: not compared")
    return "\n".join(lines)


def _json_difference(difference: float, spread: Interval) -> dict[str, Any]:
    return {"difference": or_none(difference), "low": or_none(spread.low), "high": or_none(spread.high)}


def _signed(fraction: float) -> str:
    return "-" if np.isnan(fraction) else f"{100 * fraction:+.1f}"


def _range(spread: Interval) -> str:
    return "-" if np.isnan(spread.low) else f"{_signed(spread.low)} … {_signed(spread.high)}"
