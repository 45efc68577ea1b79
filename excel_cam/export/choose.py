"""All export formats by name, and what each has to be given."""

from __future__ import annotations

from pathlib import Path

from excel_cam.errors import UsageError
from excel_cam.export.coco import CocoJSON, pycocotools_mask
from excel_cam.export.formats import Format
from excel_cam.export.maps import IRN, PSA, ClipES
from excel_cam.export.masks import DeepLab, MMSegmentation
from excel_cam.labels.folder import class_names_of
from excel_cam.wording import Report

FORMATS: dict[str, type[Format]] = {
    entry.name: entry for entry in (IRN, ClipES, PSA, DeepLab, MMSegmentation, CocoJSON)
}


def choose_format(
    name: str, labels: Path, cams: Path | None, dataset: str | None, classes: Path | None,
    report: Report = lambda _: None,
) -> Format:  # fmt: skip
    """The format of that name for a folder of labels.

    Raises `UsageError` where class maps or class names are missing, contradict, or pycocotools is not installed.
    """
    chosen = FORMATS[name]
    if chosen.needs_maps and cams is None:
        raise UsageError(
            f"--to {name} needs the class maps behind the labels; make them with `excel-cam generate ... --save-cams "
            "DIR` and give the folder with --cams DIR"
        )
    if not chosen.needs_maps and cams is not None:
        raise UsageError(f"--to {name} reads labels alone; leave --cams out")
    if dataset is not None and classes is not None:
        raise UsageError("give the class names with either --dataset or --classes")
    if chosen is CocoJSON:
        pycocotools_mask()
    names = class_names_of(labels, dataset, classes, report)
    if names is None:
        raise UsageError(f"{labels} has no run.json that names the classes; give them with --dataset or --classes")
    return chosen(names)
