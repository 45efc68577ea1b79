"""Compare finished label PNGs with the truth: one confusion matrix over the whole data set, streamed.

Pixels whose truth is 255 are skipped. A label value of 255 at any other pixel is counted as background or skipped,
and every result says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from excel_cam.classes import MAX_CLASSES, MAX_CLASSES_ALONE
from excel_cam.errors import DataError, SettingsError
from excel_cam.evaluation.scores import Evaluation, IgnoreAs, PixelCounts
from excel_cam.files.images.mask_folder import MaskFolder
from excel_cam.files.images.masks import ClassSearch, read_mask
from excel_cam.labels.folder import require_files
from excel_cam.labels.label_files import LabelFiles, open_labels
from excel_cam.wording import first_lines, percent, size_text

_ABSENT_SHOWN = 20  # classes that a table names as absent


def evaluate_labels(
    labels: Path | LabelFiles,
    truth: Path | MaskFolder,
    class_names: Sequence[str],
    names: Sequence[str] | None = None,
    ignore_as: IgnoreAs = "background",
    on_image: Callable[[np.ndarray], None] | None = None,
    has_background: bool = True,
) -> Evaluation:
    """Compare `labels/<name>.png` with `truth/<name>.png` for every name; one pair of masks in memory at a time.

    >>> from excel_cam.shipped import DEMO_TRUTH
    >>> evaluate_labels(DEMO_TRUTH, DEMO_TRUTH, labeller.classes, names=["drawing_000"]).mean_iou   # with itself
    1.0

    labels: a folder, of files or of shards. truth: a folder of masks as labels are, or with a data set's own form.
    class_names: the K foreground classes in label order. names: what to compare, repeats counted once; None means
    every label found. ignore_as: how a labelled 255 counts. on_image is called after each pair
    with its confusion matrix.
    has_background: whether label 0 is background; otherwise a label is its class's index, and 255 can only be skipped.

    Raises DataError where a folder or mask is missing, unreadable, no index mask, out of range or of another size, and
    where no truth holds a class, SettingsError for an unknown `ignore_as`.
    """
    if ignore_as not in get_args(IgnoreAs):
        raise SettingsError(f"ignore_as: expected one of {', '.join(get_args(IgnoreAs))}, got {ignore_as!r}")
    if not has_background and ignore_as == "background":
        raise SettingsError("ignore_as: labels without a background class can only skip 255; choose skip")
    limit = MAX_CLASSES if has_background else MAX_CLASSES_ALONE
    if not 1 <= len(class_names) <= limit:
        raise DataError(f"class list: expected 1 to {limit} classes besides background, got {len(class_names)}")
    all_names = ("background", *class_names) if has_background else tuple(class_names)
    greatest = len(all_names) - 1  # label value
    labels = open_labels(labels)
    chosen = labels.names() if names is None else list(dict.fromkeys(names))
    truth = MaskFolder(truth) if isinstance(truth, Path) else truth
    _check_pairs(labels, truth, chosen, listed=names is not None)
    unlabelled = len(set(truth.names()).difference(chosen)) if names is None else 0

    counts, search = PixelCounts(all_names, ignore_as), ClassSearch(has_background)
    for name in chosen:
        label_file = labels.file(name)
        label_mask = read_mask(label_file, greatest, len(class_names))
        truth_mask = truth.read(name, greatest, len(class_names))
        if label_mask.shape != truth_mask.shape:
            raise DataError(
                f"{label_file}: label is {size_text(label_mask.shape)} (H x W) but its truth {truth.path(name)} is "
                f"{size_text(truth_mask.shape)}; both must have the size of the photograph"
            )
        search.add(truth_mask)
        of_image = counts.add(label_mask, truth_mask)
        if on_image is not None:
            on_image(of_image)
    search.require(truth.folder)
    return counts.evaluation(unlabelled)


def check_expected(evaluation: Evaluation, expected: float, within: float) -> None:
    """Raise `DataError` where the mean IoU is further than `within` from `expected`, both in percent."""
    score = 100 * evaluation.mean_iou
    if not abs(score - expected) <= within + 1e-9:  # rounding of the last bits is no difference; NaN is one
        raise DataError(
            f"mIoU is {percent(evaluation.mean_iou)} %, expected {expected:g} within {within:g} "
            f"(difference {score - expected:+.2f})"
        )


def format_evaluation(evaluation: Evaluation, by_gap: bool = False) -> str:
    """The evaluation as a table for a terminal: percent per class, then totals and what was counted how.

    by_gap: also each class's IoU less the mean, and the class furthest below it first, absent ones last.
    """
    names, iou = evaluation.class_names, evaluation.iou
    width = max(len(name) for name in names)
    lines = [f"{'class':<{width}}  IoU %  precision %  recall %{'   gap' if by_gap else ''}"]
    for index in np.argsort(iou, kind="stable") if by_gap else range(len(names)):
        scores = (iou[index], evaluation.precision[index], evaluation.recall[index])
        first, second, third = map(percent, scores)
        below = iou[index] - evaluation.mean_iou
        gap = f"  {'-' if np.isnan(below) else format(100 * below, '+.1f'):>5}" if by_gap else ""
        lines.append(f"{names[index]:<{width}}  {first:>5}  {second:>11}  {third:>8}{gap}")
    absent = [name for name, value in zip(names, iou, strict=True) if np.isnan(value)]
    present = f"{len(names) - len(absent)} of {len(names)} classes"
    counted_as = "counted as background" if evaluation.ignore_as == "background" else "skipped"
    lines += [
        "",
        f"mIoU            {percent(evaluation.mean_iou)} % (mean of the {present} that occur in truth or labels)",
        f"pixel accuracy  {percent(evaluation.pixel_accuracy)} %",
        f"labelled 255    {percent(evaluation.ignored_share)} % of the pixels, {counted_as}",
        f"images          {evaluation.images} ({evaluation.pixels} pixels, truth 255 skipped)",
    ]
    if absent:
        lines.append(f"absent classes  {first_lines(absent, _ABSENT_SHOWN)} (in neither truth nor labels)")
    if evaluation.truth_without_label:
        lines.append(f"note            {evaluation.truth_without_label} more truth masks have no label: not evaluated")
    return "\n".join(lines)


def _check_pairs(labels: LabelFiles, truth: MaskFolder, names: Sequence[str], listed: bool) -> None:
    """Raise DataError unless there are names and each has a label and a truth; before any mask is read."""
    if not names and listed:
        raise DataError(
            "list of names: expected at least one name to evaluate, got none; fill the list or leave it out"
        )
    if not names:
        raise DataError(f"{labels}: expected label PNGs (<name>.png), found none; run `excel-cam generate` first")
    labels.require(names)
    require_files(truth, names, "truth")
