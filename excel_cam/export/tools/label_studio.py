"""Label Studio: tasks with pre-annotations, each class's pixels as one brush region, and the labeling interface.

The tasks' form is that of Label Studio's documentation on importing pre-annotations; the brush's code is exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from excel_cam.classes import IGNORE, IGNORED_NAMES, voc_palette
from excel_cam.export.formats import Format, Images, LabelledImage
from excel_cam.files.annotations.brush_rle import encode_brush
from excel_cam.files.atomic import replacing, write_atomically

FROM_NAME, TO_NAME = "label", "image"  # of the labeling interface
NAME_KEY = "excel_cam_name"  # of a task's data: which label it is of, whatever its photograph's address is
LOCAL_FILES = "/data/local-files/?d="  # Label Studio's own address of files below its document root
_ESCAPED = ("http:", "https:", "/")  # beginnings of addresses that are URLs; in those of buckets, % is a character


@dataclass(frozen=True)
class LabelStudio(Format):
    """Pre-annotated tasks. image_url: what stands before a photograph's file name in its address."""

    image_url: str = LOCAL_FILES
    name = "label-studio"
    needs_background: ClassVar[bool] = False
    upright: ClassVar[bool] = True
    final_files: ClassVar[tuple[str, ...]] = ("tasks.json", "labeling_interface.xml")
    parts_folder: ClassVar[str] = ".label-studio-parts"
    reserved: ClassVar[tuple[str, ...]] = IGNORED_NAMES[:1]

    def options(self) -> dict[str, Any]:
        """The photographs' address."""
        return {"image_url": self.image_url}

    def image_file(self, name: str) -> str:
        """The task of one image."""
        return f"{self.parts_folder}/{name}.json"

    def encode(self, image: LabelledImage) -> bytes:
        """A task: the photograph's address, and a region per value of the label but the background's."""
        mask = self.mask_of(image)
        height, width = mask.shape
        regions = [
            {
                "id": f"excel-cam-{value}", "from_name": FROM_NAME, "to_name": TO_NAME, "type": "brushlabels",
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {
                    "format": "rle", "rle": encode_brush(mask == value), "brushlabels": [self._labels[int(value)]],
                },
            }
            for value in np.unique(mask) if int(value) in self._labels
        ]  # fmt: skip
        prediction = {"model_version": "excel-cam", "result": regions}
        data = {TO_NAME: self._address(f"{image.name}{image.suffix}"), NAME_KEY: image.name}
        return json.dumps({"data": data, "predictions": [prediction]}, separators=(",", ":")).encode()

    @property
    def _labels(self) -> dict[int, str]:
        return {**self.names_of_values, IGNORE: IGNORED_NAMES[0]}

    def _address(self, file: str) -> str:
        return self.image_url + (quote(file) if self.image_url.startswith(_ESCAPED) else file)

    def bytes_of(self, image: LabelledImage) -> int:
        """Runs in decimal digits, some five times the PNG, and there twice until they are joined."""
        return 2 * (5 * image.label_bytes + 300)

    def finish(self, out: Path, images: Images) -> list[str]:
        """Join all tasks, and write the labeling interface."""
        with replacing(out / self.final_files[0]) as part, part.open("w", encoding="utf-8") as stream:
            stream.write("[\n")
            for index, task in enumerate(self._tasks(out, images)):
                stream.write((",\n" if index else "") + task)
            stream.write("\n]\n")
        write_atomically(out / self.final_files[1], self._interface().encode())
        note = (
            f"Label Studio: paste {out / self.final_files[1]} as the project's labeling interface, then import "
            f"{out / self.final_files[0]}"
        )
        if self.image_url.startswith(LOCAL_FILES):
            note += (
                "; it reads the photographs with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true, "
                "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder that theirs lies in, and a local storage of "
                "theirs in the project"
            )
        return [note]

    def _tasks(self, out: Path, images: Images) -> Iterator[str]:
        return ((out / self.image_file(image.name)).read_text("utf-8") for image in images())

    def _interface(self) -> str:
        palette = voc_palette()
        labels = "".join(
            f'    <Label value={quoteattr(name)} background="#{palette[3 * value : 3 * value + 3].hex()}"/>\n'
            for value, name in self._labels.items()
        )
        return (
            f'<View>\n  <Image name="{TO_NAME}" value="${TO_NAME}" zoom="true"/>\n'
            f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{labels}  </BrushLabels>\n</View>\n'
        )
