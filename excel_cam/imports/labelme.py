"""labelme's JSON files, painted as labelme's own conversion to masks paints them: later shapes over earlier ones.

Polygons, turned rectangles among them, rectangles, circles and masks are areas; lines and points are not.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.files.annotations.outlines import fill_ellipse, fill_polygon, fill_rectangle
from excel_cam.files.annotations.tree import OneFile, Tree, open_tree, temporary_file
from excel_cam.files.images.masks import DAMAGE_ERRORS
from excel_cam.files.images.open_image import MASKS, open_image
from excel_cam.files.json_file import read_json
from excel_cam.files.machine import raise_if_machine
from excel_cam.imports.corrected import Corrected, LabelValues, checked_points, checked_size
from excel_cam.wording import Report, quoted

_SUFFIX = ".json"
_LARGEST_RADIUS = 100_000.0  # pixels
_POLYGONS = ("polygon", "oriented_rectangle")
_NO_AREAS = ("line", "linestrip", "point", "points")


def read_labelme(source: Path, values: LabelValues, report: Report) -> Iterator[Corrected]:
    """The labels of a folder of JSON files, of an archive of one, or of one such file.

    Raises `DataError` for damaged files, and labels that are no classes.
    """
    others, found = Counter[str](), 0
    is_file = source.suffix == _SUFFIX and source.is_file()
    with open_tree(source) if not is_file else nullcontext(OneFile(source)) as tree:
        for file in [file for file in tree.files if file.endswith(_SUFFIX)]:
            content = _content(tree, file)
            if content is not None:
                found += 1
                label = _paint(content, values, tree.where(file), others)
                yield Corrected(_entries(content, file), tree.where(file), label)
    if not found:
        raise DataError(f"{source}: no JSON file of labelme in it")
    if others:
        named = ", ".join(f"{count:,} x {kind}" for kind, count in sorted(others.items()))
        report(f"shapes that are no areas are left out: {named}")


def _content(tree: Tree, file: str) -> dict[str, Any] | None:
    """What a JSON file holds; None where it is not labelme's."""
    with tree.path(file) as path:
        content = read_json(path, "file of labelme", remedy="save it again in labelme", expected=None)
    if not (isinstance(content, dict) and "imagePath" in content and isinstance(content.get("shapes"), list)):
        return None
    return content


def _entries(content: dict[str, Any], file: str) -> tuple[str, ...]:
    """The JSON file's own name, which is the photograph's; else the photograph's, beside it."""
    folder, _, _own = file.rpartition("/")
    photograph = str(content["imagePath"]).replace("\\", "/").rpartition("/")[2]
    return file.removesuffix(_SUFFIX), f"{folder}/{photograph}".lstrip("/")


def _paint(
    content: dict[str, Any], values: LabelValues, where: str, others: Counter[str]
) -> NDArray[np.uint8]:  # fmt: skip
    """The (H, W) label of a file's shapes."""
    size = checked_size(content.get("imageHeight"), content.get("imageWidth"), where)
    label = np.full(size, values.unlabelled, np.uint8)
    for number, shape in enumerate(content["shapes"], start=1):
        place = f"{where}: shape {number:,}"
        if not isinstance(shape, dict):
            raise DataError(f"{place}: expected an object, found {quoted(shape)}; save it again in labelme")
        kind = shape.get("shape_type") or "polygon"
        if kind in _NO_AREAS:
            others[kind] += 1
            continue
        label[_area(kind, shape, size, place)] = values.of(shape.get("label"), place)
    return label


def _area(kind: object, shape: dict[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The (H, W) pixels of a shape."""
    points = checked_points(shape.get("points"), size[0], where)
    if kind in _POLYGONS and len(points) > 2:
        return fill_polygon(points, size)
    if len(points) == 2:
        (x, y), (other_x, other_y) = points
        if kind == "mask":
            return _pasted(shape.get("mask"), (int(y), int(x)), size, where)
        if kind == "rectangle":
            return fill_rectangle((min(x, other_x), min(y, other_y), max(x, other_x), max(y, other_y)), size)
        if kind == "circle":
            radius = math.hypot(other_x - x, other_y - y)
            if radius > _LARGEST_RADIUS:  # what draws it has no end for much larger ones
                raise DataError(f"{where}: a circle of radius {radius:,.0f} is not read")
            return fill_ellipse((x - radius, y - radius, x + radius, y + radius), size)
    raise DataError(f"{where}: a {quoted(kind)} of {len(points)} points is not read")


def _pasted(text: object, corner: tuple[int, int], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """A mask, a PNG in base64, whose first pixel lies at (row, column) `corner`."""
    try:
        content = base64.b64decode(text if isinstance(text, str) else "", validate=True)
        with temporary_file(content, ".png") as path, open_image(path, MASKS) as picture:
            pixels = np.asarray(picture.convert("L")) > 0
    except (binascii.Error, *DAMAGE_ERRORS) as error:
        raise_if_machine(error, Path(where))
        raise DataError(f"{where}: its mask cannot be read ({error}); save it again in labelme") from None
    area = np.zeros(size, bool)
    top, left = corner
    height, width = pixels.shape
    if top < 0 or left < 0 or top + height > size[0] or left + width > size[1]:
        raise DataError(f"{where}: its mask leaves the image")
    area[top : top + height, left : left + width] = pixels
    return area
