"""COCO's JSON: one annotation per class and image, its pixels run-length coded.

The annotations of one image go to a file of their own first, so that nothing grows with the data set and an
interrupted export goes on; they are joined, and removed, at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import COCO_CATEGORY_IDS, COCO_CLASSES, IGNORE
from excel_cam.errors import UsageError
from excel_cam.export.formats import Format, Images, LabelledImage
from excel_cam.files.atomic import replacing
from excel_cam.files.images.masks import read_mask
from excel_cam.wording import install_hint


class CocoJSON(Format):
    """COCO's instances layout with one region per class and image, as COCO-Stuff has it.

    Category ids are the label values, 1 and up (the values + 1, where there is no background class); with COCO's own
    classes, COCO's own ids, 1 to 90 with gaps. Image ids are the names where all are whole numbers (VOC's without their
    underscore), else 1, 2, 3, ... in the order of the names. Pixels of 255 belong to no annotation.
    """

    name = "coco-json"
    needs_background = False
    final_files = ("annotations.json",)
    parts_folder = ".coco-json-parts"

    def image_file(self, name: str) -> str:
        """The annotations of one image."""
        return f"{self.parts_folder}/{name}.json"

    def encode(self, image: LabelledImage) -> bytes:
        """A JSON list: each class of the label with its regions as compressed RLE, area and box (x, y, w, h)."""
        mask = read_mask(image.label, self.greatest, len(self.class_names))
        first = int(self.has_background)  # label value of the first class
        values = [int(value) for value in np.unique(mask) if first <= value != IGNORE]
        return json.dumps([_annotation(mask == value, self._category(value - first)) for value in values]).encode()

    def _category(self, index: int) -> int:
        return COCO_CATEGORY_IDS[index] if tuple(self.class_names) == COCO_CLASSES else index + 1

    def bytes_of(self, image: LabelledImage) -> int:
        """Run lengths need about as much as the PNG does, and are there twice until they are joined."""
        return 2 * (image.label_bytes + 200)

    def finish(self, out: Path, images: Images) -> list[str]:
        """Join all images' annotations."""
        with replacing(out / self.final_files[0]) as part, part.open("w", encoding="utf-8") as stream:
            self._write(stream, out, images)
        return ["coco-json: pixels of 255 (ignore) are in no annotation; COCO has no such value"]

    def _write(self, stream: IO[str], out: Path, images: Images) -> None:
        categories = [{"id": self._category(index), "name": name} for index, name in enumerate(self.class_names)]
        identify = image_ids(image.name for image in images())
        stream.write('{"info": {"description": "pseudo-labels from excel-cam"},\n')
        stream.write(f'"categories": {json.dumps(categories)},\n"images": [\n')
        _write_list(stream, (_image_record(image, identify(n, image.name)) for n, image in enumerate(images(), 1)))
        stream.write('],\n"annotations": [\n')
        _write_list(stream, self._annotations(out, images, identify))
        stream.write("]}\n")

    def _annotations(self, out: Path, images: Images, identify: Any) -> Iterator[dict[str, Any]]:
        number = 0
        for order, image in enumerate(images(), 1):
            for annotation in json.loads((out / self.image_file(image.name)).read_text("utf-8")):
                number += 1
                yield {"id": number, "image_id": identify(order, image.name), **annotation}


def _annotation(region: NDArray[np.bool_], category: int) -> dict[str, Any]:
    """One class's pixels, (H, W); `iscrowd` 0, or loaders would leave it out of training."""
    coder = pycocotools_mask()
    code = coder.encode(np.asfortranarray(region.astype(np.uint8)))
    return {
        "category_id": category, "iscrowd": 0, "area": int(coder.area(code)),
        "bbox": [float(edge) for edge in coder.toBbox(code)],
        "segmentation": {"size": list(region.shape), "counts": code["counts"].decode("ascii")},
    }  # fmt: skip


def _image_record(image: LabelledImage, identity: int) -> dict[str, Any]:
    height, width = image.size
    return {"id": identity, "file_name": f"{image.name}{image.suffix}", "height": height, "width": width}


def image_ids(names: Iterator[str]) -> Any:
    """How (order, name) becomes an image's id: by its name where all names are different whole numbers."""
    numbers = set()
    for count, name in enumerate(names, 1):
        digits = name.replace("_", "")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
            return lambda order, _name: order
        numbers.add(int(digits))
        if len(numbers) < count:
            return lambda order, _name: order
    return lambda _order, name: int(name.replace("_", ""))


def _write_list(stream: IO[str], records: Iterator[dict[str, Any]]) -> None:
    for index, record in enumerate(records):
        stream.write((",\n" if index else "") + json.dumps(record, ensure_ascii=False))
    stream.write("\n")


def pycocotools_mask() -> Any:
    """pycocotools' module of run-length codes; `UsageError` where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError:
        raise UsageError(f"--to coco-json needs pycocotools: {install_hint('coco')}") from None
    return mask
