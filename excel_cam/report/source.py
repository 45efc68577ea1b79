"""What a report is made from: labels, and the photographs, truth and class maps that belong to them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE, MAX_CLASSES
from excel_cam.errors import DataError
from excel_cam.evaluation.scores import IgnoreAs
from excel_cam.files.images.mask_folder import MaskFolder
from excel_cam.files.images.masks import read_mask
from excel_cam.files.storage import Place
from excel_cam.labels.class_maps import ClassMaps, read_maps
from excel_cam.labels.folder import photographs_of, require_photographs, run_identity
from excel_cam.labels.label_files import LabelFiles, open_labels
from excel_cam.labels.records import predicted_tags_note
from excel_cam.settings import Settings
from excel_cam.wording import size_text


@dataclass(frozen=True)
class ViewSource:
    """Labels and what belongs to them.

    class_names: the K classes in label order. has_background: whether label 0 is background. names: of the labels, in
    the order they were given, else sorted. photographs: by name, one for each. truth_names: those of `names` that have
    a truth. background_power: gamma of the labels' background score, which decides how close two scores are.
    """

    labels: LabelFiles
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    photographs: Mapping[str, Path]
    cams: LabelFiles | None = None
    truth: MaskFolder | None = None
    truth_names: frozenset[str] = frozenset()
    background_power: float = 1.0
    has_background: bool = True
    predicted_tags: str | None = None  # what the run record says of tags that were predicted, not given

    @property
    def all_names(self) -> tuple[str, ...]:
        """Names of the values 0, 1, ... of `Masks`; without a background class none of them is 0."""
        return ("background", *self.class_names)

    @property
    def ignore_as(self) -> IgnoreAs:
        """How a predicted 255 counts, as `excel-cam evaluate` counts it."""
        return "background" if self.has_background else "skip"


@dataclass(frozen=True, eq=False)
class Masks:
    """One image's label, truth and class maps.

    label, truth: (H, W) uint8, 0 for background, index + 1 for a class whatever value its file has for it, or 255;
    truth None: there is none. maps: None where no class maps were given.
    """

    label: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    maps: ClassMaps | None


def open_view(
    labels: Path | LabelFiles, images: Path, class_names: Sequence[str], cams: LabelFiles | None,
    truth: MaskFolder | None, names: Sequence[str] | None, has_background: bool = True,
) -> ViewSource:  # fmt: skip
    """Find every file a report needs, before any is read. names: what to show; None means every label.

    Raises `DataError` where there are no labels, or a named label, a photograph or a file of class maps is missing,
    or no label at all has a truth, or there are more classes than can be told apart.
    """
    if len(class_names) > MAX_CLASSES:
        raise DataError(f"{labels}: {len(class_names)} classes; at most {MAX_CLASSES} can be told apart in a report")
    labels = open_labels(labels)
    chosen = labels.names() if names is None else list(dict.fromkeys(names))
    if not chosen:
        raise DataError(f"{labels}: no label PNGs in this folder; make them with `excel-cam generate`")
    labels.require(chosen)
    if cams is not None:
        cams.require(chosen)
    photographs = photographs_of(images, labels.folder, chosen)
    require_photographs(photographs, chosen, images, "labels")
    with_truth: frozenset[str] = frozenset()
    if truth is not None:
        with_truth = frozenset(name for name in chosen if os.path.isfile(truth.path(name)))
        if not with_truth:
            raise DataError(f"{truth}: expected truth masks named like the labels, found none of {len(chosen):,}")
    return ViewSource(
        labels, tuple(class_names), tuple(chosen), {name: photographs[name] for name in chosen}, cams, truth,
        with_truth, _background_power(labels.place), has_background, predicted_tags_note(labels.place),
    )  # fmt: skip


def _background_power(labels: Path | Place) -> float:
    """The gamma recorded beside the labels, else the default."""
    identity = run_identity(labels) or {}
    known = identity.get("known")
    settings = known.get("settings") if isinstance(known, dict) else None
    power = settings.get("background_power") if isinstance(settings, dict) else None
    return float(power) if isinstance(power, int | float) and power > 0 else Settings.background_power


def read_masks(source: ViewSource, name: str) -> Masks:
    """Read what belongs to one label, except its photograph; raises `DataError` where files are damaged or do not fit.

    Truth is read as `evaluate` reads it: of the label's size, its values in the class list.
    """
    count = len(source.class_names)
    greatest = count if source.has_background else count - 1
    file = source.labels.file(name)
    label = _from_one(read_mask(file, greatest, count), source)
    truth = None
    if source.truth is not None and name in source.truth_names:
        truth_path = source.truth.path(name)
        truth = _from_one(source.truth.read(name, greatest, count), source)
        if truth.shape != label.shape:
            raise DataError(
                f"{file}: label is {size_text(label.shape)} (H x W) but its truth {truth_path} is "
                f"{size_text(truth.shape)}; both must have the size of the photograph"
            )
    return Masks(label, truth, None if source.cams is None else _read_maps(source, name, label))


def _from_one(mask: NDArray[np.integer[Any]], source: ViewSource) -> NDArray[np.uint8]:
    """A mask with its classes numbered from 1, as they are beside a background."""
    values = mask.astype(np.uint8)
    if not source.has_background:
        values[values != IGNORE] += 1
    return values


def _read_maps(source: ViewSource, name: str, label: NDArray[np.uint8]) -> ClassMaps:
    assert source.cams is not None
    file = source.cams.file(name)
    class_maps = read_maps(file, len(source.class_names))
    if class_maps.size != label.shape:
        raise DataError(
            f"{file}: class maps of an image of {size_text(class_maps.size)} (H x W), but its label is "
            f"{size_text(label.shape)}; make both in one run"
        )
    return class_maps
