"""One image of a report: its photograph and masks, reduced and turned upright, and what is said of each class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from excel_cam.classes import IGNORE
from excel_cam.errors import DataError
from excel_cam.files.images.masks import value_counts
from excel_cam.files.images.photographs import read_photograph, turn_upright
from excel_cam.report.measure import evaluate_one, stretched
from excel_cam.report.source import Masks, ViewSource, read_masks
from excel_cam.wording import size_text


@dataclass(frozen=True)
class ClassPart:
    """One class of one image: its label value, its shares of label and truth, 0..1, and its IoU, NaN where undefined.

    truth_share None: the image has no truth.
    """

    value: int
    share: float
    truth_share: float | None
    iou: float


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """An image made small, upright. parts: of its classes, background and 255 included, by value.

    photograph: RGB. label, truth: (h, w) uint8 of its size. maps: by label value, (h', w') float64 in 0..1, on the
    grid of the class maps.
    """

    photograph: Image.Image
    label: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    maps: dict[int, NDArray[np.float64]]
    parts: tuple[ClassPart, ...]


def make_thumbnails(source: ViewSource, name: str, side: int) -> Thumbnails:
    """Read one image and reduce it to at most `side` pixels, longer side; small ones are not enlarged.

    Raises `DataError` where a mask is damaged or of another size than its photograph, `ImageError` for the photograph.
    """
    masks = read_masks(source, name)
    opened = read_photograph(source.photographs[name], working_pixels=4 * side * side)
    label = turn_upright(masks.label, opened.orientation)
    if label.shape != opened.size:
        raise DataError(
            f"{source.labels.file(name)}: label is {size_text(label.shape)} (H x W) but its photograph "
            f"{source.photographs[name]} is {size_text(opened.size)}; `excel-cam doctor --images` lists all such labels"
        )
    scale = min(1.0, side / max(label.shape))
    size = (max(1, round(label.shape[1] * scale)), max(1, round(label.shape[0] * scale)))
    truth = None if masks.truth is None else _reduced(turn_upright(masks.truth, opened.orientation), size)
    maps = {}
    if masks.maps is not None and masks.maps.keys:
        upright = (turn_upright(plane, opened.orientation) for plane in stretched(masks.maps))
        maps = {key + 1: plane for key, plane in zip(masks.maps.keys, upright, strict=True)}
    photograph = Image.fromarray(opened.pixels).resize(size, Image.Resampling.LANCZOS)
    return Thumbnails(photograph, _reduced(label, size), truth, maps, _parts(masks, source))


def _reduced(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))


def _parts(masks: Masks, source: ViewSource) -> tuple[ClassPart, ...]:
    counts = value_counts(masks.label)
    present = counts > 0
    truth_counts, iou = None, None
    if masks.truth is not None:
        truth_counts = value_counts(masks.truth)
        present |= (truth_counts > 0) & (np.arange(256) != IGNORE)  # what the truth leaves open is no class
        iou = evaluate_one(masks, source).iou
    return tuple(
        ClassPart(
            int(value),
            float(counts[value] / masks.label.size),
            None if truth_counts is None else float(truth_counts[value] / masks.label.size),
            math.nan if iou is None or value == IGNORE else float(iou[value]),
        )
        for value in np.flatnonzero(present)
    )
