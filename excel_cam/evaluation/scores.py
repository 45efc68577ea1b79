"""Scores of a confusion matrix: IoU, precision, recall, and the counting of pixels they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from excel_cam.classes import IGNORE
from excel_cam.files.images.masks import row_blocks

IgnoreAs = Literal["background", "skip"]


@dataclass(frozen=True, eq=False)  # eq: arrays compared with == give no single truth value
class Evaluation:
    """The result of an evaluation; scores are float64 fractions in 0..1, NaN where undefined.

    confusion: (K + 1, K + 1) int64 counted pixels, rows truth, columns label, background first.
    class_names: K + 1 names, "background" first. Labels without a background class have K of both, not K + 1.
    images: label masks compared. pixels: pixels whose truth is not 255. ignored_pixels: those of them labelled 255.
    ignore_as: "background" where these count as background, "skip" where they are left out of `confusion`.
    truth_without_label: truth masks nothing was compared with; always 0 where the names were given.

    >>> evaluation = Evaluation(np.array([[6, 2], [0, 8]]), ("background", "cat"), images=1, pixels=16,
    ...                         ignored_pixels=0, ignore_as="background", truth_without_label=0)
    >>> evaluation.iou.tolist(), evaluation.mean_iou
    ([0.75, 0.8], 0.775)
    """

    confusion: np.ndarray
    class_names: tuple[str, ...]
    images: int
    pixels: int
    ignored_pixels: int
    ignore_as: IgnoreAs
    truth_without_label: int = 0

    @property
    def truth_pixels(self) -> np.ndarray:
        """(K + 1,) int64: counted pixels of each class in the truth."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def label_pixels(self) -> np.ndarray:
        """(K + 1,) int64: counted pixels of each class in the labels."""
        return np.asarray(self.confusion.sum(axis=0))

    @property
    def iou(self) -> np.ndarray:
        """(K + 1,) float64: intersection over union; NaN for a class in neither truth nor labels."""
        hits = np.diagonal(self.confusion)
        return _ratio(hits, self.truth_pixels + self.label_pixels - hits)

    @property
    def precision(self) -> np.ndarray:
        """(K + 1,) float64: share of a class's labelled pixels that are right; NaN where none is labelled so."""
        return _ratio(np.diagonal(self.confusion), self.label_pixels)

    @property
    def recall(self) -> np.ndarray:
        """(K + 1,) float64: share of a class's true pixels that were found; NaN where the truth has none."""
        return _ratio(np.diagonal(self.confusion), self.truth_pixels)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur in truth or labels, background included; NaN without any."""
        defined = self.iou[~np.isnan(self.iou)]
        return float(defined.mean()) if defined.size else math.nan

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels whose label is right; NaN where no pixel was counted."""
        return float(_ratio(np.trace(self.confusion), self.confusion.sum()))

    @property
    def ignored_share(self) -> float:
        """Share labelled 255 of the pixels whose truth is not 255; NaN where there are no such pixels."""
        return self.ignored_pixels / self.pixels if self.pixels else math.nan

    def to_json_dict(self) -> dict[str, Any]:
        """The evaluation in JSON's types; scores are fractions in 0..1, null (never NaN) where undefined."""
        scores = zip(self.class_names, self.iou, self.precision, self.recall, strict=True)
        return {
            "mean_iou": or_none(self.mean_iou),
            "pixel_accuracy": or_none(self.pixel_accuracy),
            "ignored_share": or_none(self.ignored_share),
            "ignore_as": self.ignore_as,
            "images": self.images,
            "pixels": self.pixels,
            "ignored_pixels": self.ignored_pixels,
            "truth_without_label": self.truth_without_label,
            "classes": [
                {"name": name, "iou": or_none(iou), "precision": or_none(precision), "recall": or_none(recall)}
                for name, iou, precision, recall in scores
            ],
            "confusion": self.confusion.tolist(),
        }


class PixelCounts:
    """Counts the pixels of pairs of masks, one after the other, into one confusion matrix.

    class_names: of all label values from 0 on. ignore_as: how a labelled 255 counts.
    """

    def __init__(self, class_names: Sequence[str], ignore_as: IgnoreAs) -> None:
        self.class_names = tuple(class_names)
        self.ignore_as = ignore_as
        self.confusion = np.zeros((len(class_names), len(class_names)), np.int64)
        self.images = self.pixels = self.ignored_pixels = 0

    def add(self, label: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Count one pair of (H, W) masks; returns its own confusion matrix."""
        of_image = confusion_matrix(label, truth, len(self.class_names) - 1, self.ignore_as)
        judged = truth != IGNORE
        self.confusion += of_image
        self.images += 1
        self.pixels += int(np.count_nonzero(judged))
        self.ignored_pixels += int(np.count_nonzero(judged & (label == IGNORE)))
        return of_image

    def evaluation(self, truth_without_label: int = 0) -> Evaluation:
        """What was counted so far."""
        return Evaluation(
            self.confusion.copy(), self.class_names, self.images, self.pixels, self.ignored_pixels, self.ignore_as,
            truth_without_label,
        )  # fmt: skip


def confusion_matrix(label: np.ndarray, truth: np.ndarray, class_count: int, ignore_as: IgnoreAs) -> np.ndarray:
    """(K + 1, K + 1) int64 pixel counts, rows truth, columns label, of two (H, W) integer masks in 0..K or 255."""
    counts = np.zeros((class_count + 1, class_count + 1), np.int64)
    for rows in row_blocks(label.shape):
        counts += _block_matrix(label[rows], truth[rows], class_count, ignore_as)
    return counts


def _block_matrix(label: np.ndarray, truth: np.ndarray, class_count: int, ignore_as: IgnoreAs) -> np.ndarray:
    counted = truth != IGNORE
    if ignore_as == "skip":
        counted &= label != IGNORE
    column = np.where(label == IGNORE, 0, label)[counted]
    cell = truth[counted].astype(np.int64) * (class_count + 1) + column
    return np.bincount(cell, minlength=(class_count + 1) ** 2).reshape(class_count + 1, class_count + 1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """float64 part / whole, NaN where whole is 0."""
    quotient = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=quotient, where=np.asarray(whole) > 0)
    return quotient


def or_none(score: float) -> float | None:
    """A score as JSON can hold it: null where it is undefined."""
    return None if np.isnan(score) else float(score)
