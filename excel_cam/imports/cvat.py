"""CVAT's "Segmentation mask 1.1", as a task or job is exported: a zip archive, or the folder that it was unpacked to.

labelmap.txt gives each label its colour, in which SegmentationClass/<name>.png has its pixels. A grey PNG holds places
in that file's order instead, from 0, as Datumaro reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import BACKGROUND_NAMES
from excel_cam.errors import DataError
from excel_cam.files.annotations.tree import Tree, open_tree
from excel_cam.files.images.masks import DAMAGE_ERRORS
from excel_cam.files.images.open_image import MASKS, open_image
from excel_cam.files.machine import raise_if_machine
from excel_cam.imports.corrected import Corrected, LabelValues
from excel_cam.wording import Report

_LABEL_MAP = "labelmap.txt"
_MASKS, _SUFFIX = "SegmentationClass/", ".png"
_GREY = ("L", "I", "I;16")


@dataclass(frozen=True)
class _LabelMap:
    """Labels in their order, and (r, g, b) by name where they have a colour."""

    names: tuple[str, ...]
    colours: dict[int, str]


def read_cvat(source: Path, values: LabelValues, report: Report) -> Iterator[Corrected]:
    """The labels of an exported task. Raises `DataError` for damaged files, and labels that are no classes."""
    with open_tree(source) as tree:
        root, label_map = _label_map(tree, source)
        folder = f"{root}{_MASKS}"
        files = [file for file in tree.files if file.startswith(folder) and file.endswith(_SUFFIX)]
        names = {file: file.removeprefix(folder).removesuffix(_SUFFIX) for file in files}
        if not files:
            raise DataError(f'{tree.where(folder)}: no masks there; export the task as "Segmentation mask 1.1"')
        if without := len(_listed(tree, root).difference(names.values())):
            report(f"{without:,} images without any region in CVAT are left as they are")
        for file in files:
            label = _values(tree, file, label_map, values)
            yield Corrected((names[file],), tree.where(file), label)


def _label_map(tree: Tree, source: Path) -> tuple[str, _LabelMap]:
    """The folder that the label map lies in, "" or with / at its end, and the map."""
    found = [file for file in tree.files if PurePosixPath(file).name == _LABEL_MAP]
    if not found:
        raise DataError(f'{source}: no {_LABEL_MAP} in it; export the task from CVAT as "Segmentation mask 1.1"')
    file = min(found, key=lambda file: (file.count("/"), file))
    names, colours = [], {}
    for number, line in enumerate(tree.text(file).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, *fields = line.strip().split(":")
        names.append(name)
        if fields and fields[0]:
            try:
                red, green, blue = (int(part) for part in fields[0].split(","))
                colours[int.from_bytes(bytes((red, green, blue)), "big")] = name
            except ValueError:
                raise DataError(
                    f"{tree.where(file)}:{number}: expected a label as name:red,green,blue::, found {line.strip()!r}"
                ) from None
    colours.setdefault(0, BACKGROUND_NAMES[0])  # black is no region, whether or not the map says so
    return file.removesuffix(_LABEL_MAP), _LabelMap(tuple(names), colours)


def _listed(tree: Tree, root: str) -> set[str]:
    folder = f"{root}ImageSets/Segmentation/"
    lists = [file for file in tree.files if file.startswith(folder) and file.endswith(".txt")]
    return {line.strip() for file in lists for line in tree.text(file).splitlines() if line.strip()}


def _values(tree: Tree, file: str, label_map: _LabelMap, values: LabelValues) -> NDArray[np.uint8]:
    """The (H, W) label values of one mask."""
    where = tree.where(file)
    with tree.path(file) as path:
        try:
            with open_image(path, MASKS) as picture:
                is_grey = picture.mode in _GREY
                pixels = np.asarray(picture if is_grey else picture.convert("RGB"))
        except DAMAGE_ERRORS as error:
            raise_if_machine(error, path)
            raise DataError(f"{where}: expected a mask as CVAT writes it, cannot read it ({error})") from None
    if is_grey:
        names = dict(enumerate(label_map.names))
        keys = pixels.astype(np.int64)
    else:
        names = label_map.colours
        red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
        keys = red << 16 | green << 8 | blue
    found, places = np.unique(keys, return_inverse=True)
    table = np.array([_value(int(key), names, values, where, is_grey) for key in found], np.uint8)
    return table[places.reshape(keys.shape)]


def _value(key: int, names: dict[int, str], values: LabelValues, where: str, is_grey: bool) -> int:
    if key not in names:
        what = f"value {key}" if is_grey else f"colour {','.join(map(str, key.to_bytes(3, 'big')))}"
        raise DataError(f"{where}: {what} is no label of {_LABEL_MAP}; export the task again")
    return values.of(names[key], where)
