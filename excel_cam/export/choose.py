"""All export formats by name, and what each has to be given."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from excel_cam.errors import UsageError
from excel_cam.export.coco import CocoJSON, pycocotools_mask
from excel_cam.export.formats import Format
from excel_cam.export.maps import IRN, PSA, ClipES
from excel_cam.export.masks import DeepLab, MMSegmentation
from excel_cam.export.tools.cvat import CVAT
from excel_cam.export.tools.label_studio import LOCAL_FILES, LabelStudio
from excel_cam.export.tools.labelme import Labelme
from excel_cam.export.tools.loaders import FiftyOne, HuggingFace
from excel_cam.export.tools.ultralytics import Ultralytics
from excel_cam.export.trainers import TRAINERS
from excel_cam.files.storage import Place
from excel_cam.labels.folder import has_background_class, required_class_names
from excel_cam.wording import Report

_FORMATS: tuple[type[Format], ...] = (
    IRN, ClipES, PSA, DeepLab, MMSegmentation, CocoJSON, Ultralytics, HuggingFace, FiftyOne, CVAT, LabelStudio, Labelme,
)  # fmt: skip
FORMATS = dict(zip(TRAINERS, _FORMATS, strict=True))


def choose_format(
    name: str, labels: Path | Place, cams: Path | Place | None, dataset: str | None, classes: Path | None,
    report: Report = lambda _: None, *, images: Path | None = None, image_url: str | None = None,
) -> Format:  # fmt: skip
    """The format of that name for a folder of labels.

    images: the photographs' folder. image_url: what stands before a photograph's file name in its address, for Label
    Studio. Raises `UsageError` where class maps or class names are missing or contradict, or pycocotools is not
    installed, `DataError` where the format cannot hold a class name.
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
    if image_url is not None and chosen is not LabelStudio:
        raise UsageError(f"--image-url is for --to label-studio; leave it out with --to {name}")
    class_names, has_background = required_class_names(labels, dataset, classes, report), True
    if not has_background_class(labels, dataset):
        if chosen.needs_background:
            able = ", ".join(other for other, format in FORMATS.items() if not format.needs_background)
            raise UsageError(
                f"--to {name} needs a background class, and {labels} holds labels without one; choose one of {able}"
            )
        has_background = False
    if chosen is LabelStudio:
        folder = "" if images is None else f"{quote(images.resolve().name)}/"
        made: Format = LabelStudio(
            class_names, has_background, LOCAL_FILES + folder if image_url is None else image_url
        )
    else:
        made = chosen(class_names, has_background)
    made.check_classes()
    return made
