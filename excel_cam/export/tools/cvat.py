"""CVAT's "Segmentation mask 1.1": a folder to be packed and uploaded to a task, as its documentation describes it.

labelmap.txt                     name:red,green,blue:: per label; background first
ImageSets/Segmentation/…         one list of names, default.txt
SegmentationClass/<name>.png     each pixel in its label's colour
SegmentationObject/<name>.png    each pixel in its object's colour: one object per class and image
"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from excel_cam.classes import BACKGROUND_NAMES, IGNORE, IGNORED_NAMES, voc_palette
from excel_cam.errors import DataError
from excel_cam.export.formats import Format, Images, LabelledImage, write_lines
from excel_cam.export.masks import png_bytes
from excel_cam.files.atomic import json_bytes, write_atomically

_FOLDERS = ("ImageSets", "SegmentationClass", "SegmentationObject")
_PALETTE = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)


class CVAT(Format):
    """Masks for CVAT; pixels of 255 become a label of their own, so that they come back."""

    name = "cvat"
    needs_background = False
    upright = True
    reserved = (BACKGROUND_NAMES[0], IGNORED_NAMES[0])
    final_files = ("labelmap.txt", "ImageSets/Segmentation/default.txt", "cvat_labels.json")

    @property
    def _colours(self) -> NDArray[np.uint8]:
        """(256, 3) colours of label values; black is that of pixels that are no object, whatever label 0 is."""
        shown = _PALETTE.copy()
        if not self.has_background:
            shown[: self.greatest + 1] = _PALETTE[1 : self.greatest + 2]
        return shown

    def image_file(self, name: str) -> str:
        """The mask of labels."""
        return f"SegmentationClass/{name}.png"

    def file_beside(self, name: str) -> str:
        """The mask of objects."""
        return f"SegmentationObject/{name}.png"

    def encode(self, image: LabelledImage) -> bytes:
        """Each label's colour, RGB: a palette would be read as values by some, as colours by others."""
        return png_bytes(Image.fromarray(self._colours[self.mask_of(image)]))

    def encode_beside(self, image: LabelledImage) -> bytes:
        """Each class's colour by its place among those of the image; without objects, background would be one."""
        mask = self.mask_of(image)
        values, places = np.unique(mask, return_inverse=True)
        first = 0 if self.has_background and values[0] == 0 else 1
        return png_bytes(Image.fromarray(_PALETTE[places.reshape(mask.shape) + first]))

    def bytes_of(self, image: LabelledImage) -> int:
        """Two masks in colours."""
        return 4 * image.label_bytes

    def check_name(self, name: str) -> None:
        """Lines are stripped, and those that begin with # left out."""
        super().check_name(name)
        if name != name.strip() or name.startswith("#"):
            raise DataError(f"name '{name}' begins with # or a space, or ends with one; CVAT's list loses it, rename")

    def check_classes(self) -> None:
        """Fields of the label map are parted by colons."""
        super().check_classes()
        if self.greatest + (not self.has_background) >= IGNORE:
            raise DataError(
                f"{len(self.class_names)} classes leave no colour for pixels to ignore; CVAT cannot tell them"
            )
        for name in self.class_names:
            if ":" in name or name.startswith("#"):
                raise DataError(f"class '{name}' holds a colon or begins with #, CVAT's label map cannot name it")

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write the label map, the list of names, and the labels for the task's constructor."""
        labels = {name: self._colours[value] for value, name in self.names_of_values.items()}
        labels = {BACKGROUND_NAMES[0]: _PALETTE[0], **labels, IGNORED_NAMES[0]: _PALETTE[IGNORE]}
        colours = {name: [int(part) for part in colour] for name, colour in labels.items()}
        lines = (f"{name}:{','.join(map(str, colour))}::" for name, colour in colours.items())
        write_lines(out / self.final_files[0], ["# label:color_rgb:parts:actions", *lines])
        write_lines(out / self.final_files[1], (image.name for image in images()))
        constructor = [
            {"name": name, "color": "#" + bytes(colour).hex(), "attributes": []}
            for name, colour in colours.items()
            if name != BACKGROUND_NAMES[0]
        ]
        write_atomically(out / self.final_files[2], json_bytes(constructor))
        packed = " ".join((self.final_files[0], *_FOLDERS))
        return [
            f"CVAT: make a task of the photographs with the labels of {out / self.final_files[2]} (constructor, Raw), "
            'then upload annotations as "Segmentation mask 1.1"; to pack them: '
            f"(cd {shlex.quote(str(out))} && python3 -m zipfile -c annotations.zip {packed})"
        ]
