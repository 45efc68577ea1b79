"""Ultralytics YOLO: semantic masks and segment text files beside one another, each with its YAML.

images/        a link to the photographs; train.txt lists those that have a label
masks/         `yolo semantic`: PNGs of label values, 255 ignored
labels/        `yolo segment`: a line `class x y x y …` per region, as shares of width and height
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from excel_cam.errors import DataError
from excel_cam.export.formats import Images, LabelledImage, write_lines
from excel_cam.export.masks import MaskFormat
from excel_cam.files.annotations.outlines import regions
from excel_cam.files.atomic import write_atomically

_PIXEL_CENTRE = 0.5  # the loader cuts x * width off to whole pixels: from a centre there is room to both sides


class Ultralytics(MaskFormat):
    """Both kinds of Ultralytics' data sets. Its loader swaps the last folder `images` in a path for `masks`, `labels`.

    So the photographs are listed one by one: a folder would be looked for behind its link, where no masks lie.
    """

    name = "ultralytics"
    upright = True
    folder = "masks"
    photograph_folder = "images"
    final_files = ("train.txt", "semantic.yaml", "segment.yaml")

    def file_beside(self, name: str) -> str:
        """The text file of regions."""
        return f"labels/{name}.txt"

    def encode_beside(self, image: LabelledImage) -> bytes:
        """A line per region, its class from 0, its corners as shares of the image's size."""
        mask = self.mask_of(image)
        height, width = mask.shape
        lines = []
        for region in regions(mask, list(self.names_of_values)):
            corners = (
                f"{(x + _PIXEL_CENTRE) / width:.6f} {(y + _PIXEL_CENTRE) / height:.6f}" for x, y in region.cut_outline
            )
            lines.append(f"{region.value - self.has_background} {' '.join(corners)}\n")
        return "".join(lines).encode()

    def bytes_of(self, image: LabelledImage) -> int:
        """The mask, and corners in decimal digits."""
        return 6 * image.label_bytes

    def check_name(self, name: str) -> None:
        """Its list is read line by line, stripped, and the last folder `images` of a path is swapped."""
        super().check_name(name)
        if "images" in PurePosixPath(name).parts[:-1]:
            raise DataError(
                f"name '{name}' has a folder called images, which Ultralytics would swap; rename the folder"
            )
        if name != name.strip() or "./" in name:
            raise DataError(f"name '{name}' holds './', or a space at an end, which Ultralytics' list loses; rename it")

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write the list of photographs and a YAML for each task."""
        write_lines(out / self.final_files[0], (f"./images/{image.name}{image.suffix}" for image in images()))
        semantic = _yaml("semantic", self.label_names, f"masks_dir: {self.folder}\n")
        write_atomically(out / self.final_files[1], semantic.encode())
        write_atomically(out / self.final_files[2], _yaml("segment", self.class_names).encode())
        return [
            "ultralytics: polygons cannot have holes: theirs are cut open, by a line there and back; pixels of 255 are "
            f"ignored in {self.folder}/ and in no line of labels/"
        ]


def _yaml(task: str, names: tuple[str, ...], more: str = "") -> str:
    listed = "".join(f"  {index}: {json.dumps(name, ensure_ascii=False)}\n" for index, name in enumerate(names))
    return (
        f"# Pseudo-labels from excel-cam for Ultralytics: yolo {task} train data=THIS_FILE\n"
        "# val is to be images that people have labelled; for want of them, those of training stand here.\n"
        f"train: train.txt\nval: train.txt\n{more}names:\n{listed}"
    )
