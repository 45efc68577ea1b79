"""Which background score suits saved class maps best: mean IoU at many of them, in one pass over the maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from excel_cam.errors import DataError, UsageError
from excel_cam.evaluation.bootstrap import class_counts, mean_iou
from excel_cam.evaluation.curves import Panel, svg_curves
from excel_cam.evaluation.scores import confusion_matrix
from excel_cam.files.images.masks import ClassSearch, mask_path, read_mask
from excel_cam.files.storage import Place
from excel_cam.labels.class_maps import read_maps
from excel_cam.labels.folder import photographs_of, require_files, require_photographs, settings_of_run
from excel_cam.labels.label_files import LabelFiles, open_maps
from excel_cam.settings import Settings
from excel_cam.wording import percent, size_text

POWERS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What is swept.

    cams: class maps. truth: folder of masks. class_names: the K foreground classes. names: images to
    compare. photographs: file by name, for refinement; None leaves refinement out. powers: gammas above 0.
    thresholds: constant background scores, 0..1. settings: of the run that made the maps.
    """

    cams: LabelFiles
    truth: Path
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    photographs: Mapping[str, Path] | None
    powers: tuple[float, ...]
    thresholds: tuple[float, ...]
    settings: Settings


@dataclass(frozen=True)
class Curve:
    """Mean IoU, fractions 0..1, at each of ascending values of one way to score the background."""

    values: tuple[float, ...]
    mean_iou: tuple[float, ...]

    @property
    def best(self) -> int:
        """The index of the greatest mean IoU, the first of equals."""
        return int(np.argmax(self.mean_iou))

    def to_json_dict(self) -> dict[str, Any]:
        """The curve and its best point."""
        points = [{"value": value, "mean_iou": score} for value, score in zip(self.values, self.mean_iou, strict=True)]
        return {"best": points[self.best], "curve": points}


@dataclass(frozen=True)
class Sweep:
    """What a sweep found. refined: whether pixel-adaptive refinement was part of it."""

    power: Curve
    threshold: Curve
    images: int
    refined: bool

    def to_json_dict(self) -> dict[str, Any]:
        """The sweep in JSON's types; scores are fractions 0..1."""
        curves = {"background_power": self.power.to_json_dict(), "background_score": self.threshold.to_json_dict()}
        return {"images": self.images, "refined": self.refined, **curves}


def choose_sweep(
    *, cams: Path | Place | LabelFiles, truth: Path, class_names: tuple[str, ...], names: Sequence[str] | None = None,
    images: Path | None = None, labels: Path | Place | None = None, powers: Sequence[float] | None = None,
    thresholds: Sequence[float] | None = None,
) -> SweepRequest:  # fmt: skip
    """Settle what is swept. names: None means all with class maps. images: folder of photographs, for refinement.

    labels: folder of the run that made the maps, whose record has the settings; without it they are preset paper's.
    Raises `DataError` where maps, truth or photograph of a name are missing or there is no run record, `UsageError`
    for a power or threshold out of range.
    """
    settings = Settings() if labels is None else settings_of_run(labels)
    cams = open_maps(cams)
    chosen = _choose_names(cams, truth, names)
    photographs = None
    if images is not None:
        photographs = photographs_of(images, cams.folder, chosen)
        require_photographs(photographs, chosen, images, "class maps")
    return SweepRequest(
        cams=cams, truth=truth, class_names=class_names, names=chosen, photographs=photographs, settings=settings,
        powers=_ascending("--powers", powers or POWERS, lambda value: 0 < value < math.inf, "above 0"),
        thresholds=_ascending(
            "--thresholds", thresholds or THRESHOLDS, lambda value: 0 <= value <= 1, "within 0..1"
        ),
    )  # fmt: skip


def _ascending(
    option: str, values: Sequence[float], holds: Callable[[float], bool], expected: str
) -> tuple[float, ...]:
    """The values in order, each once; `UsageError` for the first that is out of range."""
    for value in values:
        if not holds(value):
            raise UsageError(f"{option}: {value:g} is not {expected}")
    return tuple(sorted(set(values)))


def _choose_names(cams: LabelFiles, truth: Path, names: Sequence[str] | None) -> tuple[str, ...]:
    """The images to sweep, each with maps and a truth, or `DataError`."""
    chosen = cams.names() if names is None else list(dict.fromkeys(names))
    if not chosen:
        raise DataError(f"{cams}: expected class maps (<name>.npz), found none; run `excel-cam generate --save-cams`")
    cams.require(chosen)
    require_files(truth, chosen, "truth")
    return tuple(chosen)


def sweep_backgrounds(request: SweepRequest, on_image: Callable[[], None] = lambda: None) -> Sweep:
    """Label every image with every background score and compare with its truth; one image in memory at a time.

    Labels are those `generate` makes with --refine none, or par where there are photographs, but for pixels whose two
    best scores are nearer than the rounding of saved maps. Truth of 255 is skipped. Raises `DataError` for missing,
    damaged or ill-fitting maps, masks and photographs.
    """
    from excel_cam.evaluation.sweep_labels import swept_labels

    classes = len(request.class_names)
    confusions = np.zeros((len(request.powers) + len(request.thresholds), classes + 1, classes + 1), np.int64)
    search = ClassSearch()
    for name in request.names:
        maps_file, truth_file = request.cams.file(name), mask_path(request.truth, name)
        class_maps, truth = read_maps(maps_file, classes), read_mask(truth_file, classes)
        if class_maps.size != truth.shape:
            raise DataError(
                f"{maps_file}: class maps of an image of {size_text(class_maps.size)} (H x W), but its truth "
                f"{truth_file} is {size_text(truth.shape)}; check --truth"
            )
        search.add(truth)
        photograph = None if request.photographs is None else request.photographs[name]
        labels = swept_labels(class_maps, photograph, request.powers, request.thresholds, request.settings)
        for confusion, label in zip(confusions, labels, strict=True):
            confusion += confusion_matrix(label, truth, classes, "background")
        on_image()
    search.require(request.truth)
    scores = [float(score) for score in mean_iou(class_counts(confusions))]
    power = Curve(request.powers, tuple(scores[: len(request.powers)]))
    threshold = Curve(request.thresholds, tuple(scores[len(request.powers) :]))
    return Sweep(power, threshold, len(request.names), request.photographs is not None)


def format_sweep(sweep: Sweep) -> str:
    """Both curves as tables for a terminal, mean IoU in percent, and their best points."""
    lines = []
    for heading, curve in (("background power", sweep.power), ("background score", sweep.threshold)):
        lines.append(f"{heading}  mIoU %")
        for index, (value, score) in enumerate(zip(curve.values, curve.mean_iou, strict=True)):
            lines.append(f"{value:>16g}  {percent(score):>6}{'  best' if index == curve.best else ''}")
        lines.append("")
    power, threshold = sweep.power, sweep.threshold
    stage = "refined by par" if sweep.refined else "not refined; --images adds par"
    return "\n".join([
        *lines,
        f"best      --background-power {power.values[power.best]:g}: mIoU {percent(power.mean_iou[power.best])} %",
        f"constant  a background score of {threshold.values[threshold.best]:g}: "
        f"mIoU {percent(threshold.mean_iou[threshold.best])} %",
        f"images    {sweep.images}, {stage}",
    ])  # fmt: skip


def draw_sweep(sweep: Sweep) -> str:
    """Both curves as an SVG document."""
    stage = "refined by par" if sweep.refined else "not refined"
    panels = [
        Panel(
            f"Background power ({stage})", "gamma in (1 - greatest map) ^ gamma", "mIoU %",
            _in_percent(sweep.power), sweep.power.best, logarithmic=True, default=Settings.background_power,
        ),
        Panel(
            f"Constant background score ({stage})", "score", "mIoU %", _in_percent(sweep.threshold),
            sweep.threshold.best,
        ),
    ]  # fmt: skip
    return svg_curves(panels)


def _in_percent(curve: Curve) -> tuple[tuple[float, float], ...]:
    return tuple((value, 100 * score) for value, score in zip(curve.values, curve.mean_iou, strict=True))
