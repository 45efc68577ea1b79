"""labelme: one JSON per photograph, beside a link to it, whose polygons give back the label to the pixel.

Shapes are painted in their order, the later over the earlier, as labelme's own conversion to masks does; so what lies
within another region comes after it, background in a hole as `_background_`, pixels of 255 as `__ignore__`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import BACKGROUND_NAMES, IGNORE, IGNORED_NAMES
from excel_cam.errors import DataError
from excel_cam.export.formats import Format, Images, LabelledImage, write_lines
from excel_cam.export.masks import link_to
from excel_cam.files.annotations.outlines import Outline, fill_polygon, regions
from excel_cam.files.atomic import json_line

BACKGROUND, IGNORED = BACKGROUND_NAMES[1], IGNORED_NAMES[1]  # as labelme's own examples call them
_VERSION = "5.0.0"  # of labelme, since which files have been like this


class Labelme(Format):
    """Polygons for labelme."""

    name = "labelme"
    needs_background = False
    upright = True
    edited_in_place = True
    reserved = (BACKGROUND, IGNORED)
    final_files = ("labels.txt",)

    def image_file(self, name: str) -> str:
        """Beside the photograph's link."""
        return f"{name}.json"

    def encode(self, image: LabelledImage) -> bytes:
        """The label's regions as polygons, in the order they are to be painted in."""
        mask = self.mask_of(image)
        names = {0: BACKGROUND, IGNORE: IGNORED, **self.names_of_values}
        shapes: list[dict[str, Any]] = [
            {
                "label": names[value], "points": [list(map(float, point)) for point in outline], "group_id": None,
                "description": "", "shape_type": "polygon", "flags": {},
            }
            for value, outline in painted_outlines(mask, self.has_background)
        ]  # fmt: skip
        height, width = mask.shape
        content = {
            "version": _VERSION, "flags": {}, "shapes": shapes, "imageData": None,
            "imagePath": f"{image.name}{image.suffix}".rpartition("/")[2], "imageHeight": height, "imageWidth": width,
        }  # fmt: skip
        return json_line(content).encode()

    def bytes_of(self, image: LabelledImage) -> int:
        """Corners in decimal digits."""
        return 10 * image.label_bytes + 400

    def check_suffixes(self, suffixes: set[str]) -> None:
        """A photograph beside its JSON must not be one."""
        if ".json" in suffixes:
            raise DataError("--images: photographs that end in .json; rename them")

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write the list of labels for `labelme --labels`."""
        write_lines(out / self.final_files[0], (IGNORED, BACKGROUND, *self.class_names))
        return [f"labelme: open them with `labelme {out} --labels {out / self.final_files[0]} --nodata`"]

    def link_photographs(self, out: Path, photographs: Path | None, images: Images) -> list[str]:
        """Link each photograph beside its JSON, where labelme looks for it."""
        if photographs is None:
            return [f"put or link the photographs beside the .json files in {out}; --images DIR links them"]
        linked = 0
        for image in images():
            file = f"{image.name}{image.suffix}"
            try:
                linked += link_to(out / file, photographs / file)
            except OSError as error:
                return [f"{out / file} could not be linked ({error.strerror}); copy the photographs there"]
        return [f"{linked:,} links to photographs of {photographs}"] if linked else []


def painted_outlines(mask: NDArray[np.uint8], has_background: bool = True) -> list[tuple[int, Outline]]:
    """The (H, W) label as (value, outline) to be filled one after the other, which gives it to the pixel.

    has_background: whether what no outline encloses is 0; else all that is 0 is enclosed.

    Regions are connected by edges, so each lies within another's outline or without, as a whole; one within has the
    smaller outline, and comes later. What is right by then is left out, as background that no outline encloses.
    """
    canvas = np.full(mask.shape, 0 if has_background else -1, np.int16)
    shapes = []
    for region in sorted(regions(mask), key=lambda region: -region.filled):
        top, left = region.origin
        height, width = region.pixels.shape
        inner = region.pixels[1:-1, 1:-1]
        seen = canvas[top + 1 : top + height - 1, left + 1 : left + width - 1]
        if not (seen[inner] == region.value).all():
            outline = region.outline
            shapes.append((region.value, outline))
            within = fill_polygon([(x - left - 1, y - top - 1) for x, y in outline], inner.shape)
            seen[within] = region.value
    return shapes
