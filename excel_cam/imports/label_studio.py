"""Label Studio's exports JSON and JSON-MIN: regions by brush, polygon and rectangle.

Of a task with several annotations the one marked as ground truth counts, else the one that was changed last; those that
were cancelled do not. Predictions nobody has looked at are no corrections.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.files.annotations.brush_rle import decode_brush
from excel_cam.files.annotations.outlines import fill_polygon
from excel_cam.files.json_stream import Entry, read_entries
from excel_cam.files.lists import drop_image_suffix
from excel_cam.imports.corrected import Corrected, LabelValues, checked_points, checked_size, is_coordinate
from excel_cam.wording import Report, quoted

NAME_KEY = "excel_cam_name"  # where an export of ours put the label's name
LONGEST_TASK = 64_000_000  # bytes
_LABELS = ("brushlabels", "polygonlabels", "rectanglelabels", "labels")
_UPLOAD_MARK = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file
_REMEDY = "export the project as JSON or JSON-MIN"


def read_label_studio(source: Path, values: LabelValues, report: Report) -> Iterator[Corrected]:
    """The labels of an exported project. Raises `DataError` for another file, and labels that are no classes."""
    untouched, several, others = 0, 0, Counter[str]()
    for entry in read_entries(source, "export of Label Studio", LONGEST_TASK):
        where = entry.where(source)
        task = _task(entry, source, where)
        data = task["data"] if isinstance(task.get("data"), dict) else task
        annotations = _annotations(task, where)
        if not annotations:
            untouched += 1
            continue
        several += len(annotations) > 1
        label = _paint(max(annotations, key=_rank)["result"], values, where, others)
        yield Corrected(_entries(data, where), where, label)
    if untouched:
        report(f"{untouched:,} tasks without an annotation are left as they are: predictions alone are no corrections")
    if several:
        report(f"{several:,} tasks have several annotations: the ground truth, or the one changed last, was taken")
    if others:
        named = ", ".join(f"{count:,} x {kind}" for kind, count in sorted(others.items()))
        report(f"regions that are no areas, or not of a kind that is read, are left out: {named}")


def _task(entry: Entry, source: Path, where: str) -> dict[str, Any]:
    task = entry.parse(source)
    if entry.key or not isinstance(task, dict):
        raise DataError(f"{where}: expected a list of tasks; {_REMEDY}")
    return task


def _annotations(task: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Those that count of a task; of JSON-MIN, which has one, in the form of JSON."""
    if "annotations" not in task and "data" not in task:
        regions = [region for value in task.values() if isinstance(value, list) for region in value]
        return [{"result": [{"value": region, **region} for region in regions if isinstance(region, dict)]}]
    annotations = task.get("annotations", [])
    if not isinstance(annotations, list):
        raise DataError(f"{where}: expected a list of annotations, found {quoted(annotations)}; {_REMEDY}")
    kept = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")]
    if not all(isinstance(one.get("result"), list) for one in kept):
        raise DataError(f"{where}: an annotation without its result; {_REMEDY}")
    return kept


def _rank(annotation: dict[str, Any]) -> tuple[bool, str]:
    return bool(annotation.get("ground_truth")), str(annotation.get("updated_at", ""))


def _entries(data: dict[str, Any], where: str) -> tuple[str, ...]:
    """What a task's data call the image: our own name, else its address, first without the mark of an upload."""
    if isinstance(name := data.get(NAME_KEY), str):
        return (name,)
    texts = [text for text in (data.get("image"), *data.values()) if isinstance(text, str)]
    paths = [path for path in map(_path, texts) if drop_image_suffix(path) != path]
    if not paths:
        raise DataError(f"{where}: no photograph's address among the task's data; {_REMEDY}")
    folder, _, file = paths[0].rpartition("/")
    mark = _UPLOAD_MARK.match(file)
    return (paths[0],) if mark is None else (f"{folder}/{file[mark.end() :]}", paths[0])


def _path(address: str) -> str:
    """The path in an address, from / on: of local files the one behind `d=`, of a bucket that with its name."""
    try:
        parts = urlsplit(address)
    except ValueError:  # text that is no address
        return ""
    if local := parse_qs(parts.query).get("d"):
        return f"/{local[0].lstrip('/')}"
    if parts.scheme and parts.scheme not in ("http", "https"):  # keys of buckets are not escaped
        return f"/{address.partition('://')[2]}"
    return unquote(parts.path)


def _paint(
    regions: list[Any], values: LabelValues, where: str, others: Counter[str]
) -> NDArray[np.uint8] | None:  # fmt: skip
    """The (H, W) label of an annotation's regions, the later over the earlier; None where there are none."""
    label: NDArray[np.uint8] | None = None
    for region in regions:
        content = region.get("value") if isinstance(region, dict) else None
        if not isinstance(content, dict):
            continue
        if not ("rle" in content or "points" in content or {"width", "height"} <= content.keys()):
            others[str(region.get("type", "unknown"))] += 1
            continue
        if region.get("image_rotation"):
            raise DataError(f"{where}: the photograph was turned in Label Studio, which is not read; turn it back")
        size = checked_size(region.get("original_height"), region.get("original_width"), where)
        if label is None:
            label = np.full(size, values.unlabelled, np.uint8)
        elif label.shape != size:
            raise DataError(f"{where}: regions of two sizes in one photograph; {_REMEDY}")
        label[_area(content, size, where)] = values.of(_name(content, where), where)
    return label


def _name(content: dict[str, Any], where: str) -> object:
    names = next((content[key] for key in _LABELS if key in content), None)
    if not isinstance(names, list) or len(names) != 1:
        raise DataError(f"{where}: expected one label for each region, found {quoted(names)}")
    return names[0]


def _area(content: dict[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The (H, W) pixels of a region."""
    if "rle" in content:
        try:
            return decode_brush(content["rle"], size)
        except ValueError as error:
            raise DataError(f"{where}: a brush region cannot be read: {error}; {_REMEDY}") from None
    points = checked_points(content["points"], size[0], where) if "points" in content else _corners(content, where)
    if len(points) < 3:
        raise DataError(f"{where}: a polygon of {len(points)} points")
    # Shares of the image in percent -> pixels, of which the centres are whole numbers.
    height, width = size
    return fill_polygon([(x * width / 100 - 0.5, y * height / 100 - 0.5) for x, y in points], size)


def _corners(content: dict[str, Any], where: str) -> list[tuple[float, float]]:
    """The corners of a rectangle, in percent; it is turned about its first."""
    parts = [content.get(key, 0) for key in ("x", "y", "width", "height", "rotation")]
    if not all(map(is_coordinate, parts)):
        raise DataError(f"{where}: expected a rectangle in numbers, found {quoted(content)}")
    x, y, width, height, rotation = map(float, parts)
    if rotation % 360:
        raise DataError(f"{where}: a turned rectangle, whose corners the export does not have; draw a polygon instead")
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
