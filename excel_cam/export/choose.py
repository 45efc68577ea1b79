"""All export formats by name, and what each has to be given."""

from __future__ import annotations

from pathlib import Path

from excel_cam.errors import UsageError
from excel_cam.export.coco import CocoJSON, pycocotools_mask
from excel_cam.export.formats import Format
from excel_cam.export.maps import IRN, PSA, ClipES
from excel_cam.export.masks import DeepLab, MMSegmentation
from excel_cam.export.trainers import TRAINERS
from excel_cam.labels.folder import has_background_class, required_class_names
from excel_cam.wording import Report

FORMATS: dict[str, type[Format]] = dict(
    zip(TRAINERS, (IRN, ClipES, PSA, DeepLab, MMSegmentation, CocoJSON), strict=True)
)


def choose_format(
    name: str, labels: Path, cams: Path | None, dataset: str | None, classes: Path | None,
    report: Report = lambda _: None,
) -> Format:  # fmt: skip
    """The format of that name for a folder of labels.

    Raises `UsageError` where class maps or class names are missing or contradict, or pycocotools is not installed.
    """
    chosen = FORMATS[name]
    if chosen.needs_maps and cams is None:
        raise UsageError(
            f"--to {name} needs the class maps behind the labels; make them with `excel-cam generate ... --save-cams "
            "DIR` and give the folder with --cams DIR"
        )
    if not chosen.needs_maps and cams is not None:
        raise UsageError(f"--to {name} reads labels alone; leave --cams out")
    if chosen is CocoJSON:
        pycocotools_mask()
    class_names, has_background = required_class_names(labels, dataset, classes, report), True
    if not has_background_class(labels, dataset):
        if chosen.needs_background:
            able = ", ".join(other for other, format in FORMATS.items() if not format.needs_background)
            raise UsageError(
                f"--to {name} needs a background class, and {labels} holds labels without one; choose one of {able}"
            )
        has_background = False
    return chosen(class_names, has_background)
