"""Whatever a tool's file holds, it is read or refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from excel_cam.errors import DataError
from excel_cam.imports.corrected import LabelValues
from excel_cam.imports.cvat import read_cvat
from excel_cam.imports.label_studio import read_label_studio
from excel_cam.imports.labelme import read_labelme

VALUES = LabelValues(("cat", "tea pot"))
scalars = st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.sampled_from(["cat", "", "a.jpg", "AAAA"])
KEYS = (
    "value", "rle", "points", "brushlabels", "polygonlabels", "rectanglelabels", "x", "y", "width", "height",
    "rotation", "original_width", "original_height", "image_rotation", "type", "result", "annotations", "data", "image",
    "shapes", "shape_type", "label", "mask", "imagePath", "imageHeight", "imageWidth", "was_cancelled",
)  # fmt: skip
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)
sizes = st.fixed_dictionaries({"original_width": st.just(5), "original_height": st.just(4)})
regions = st.builds(
    lambda size, content, more: {**size, "value": content, **more},
    sizes,
    st.dictionaries(st.sampled_from(KEYS), values, max_size=5),
    st.dictionaries(st.sampled_from(KEYS), values, max_size=2),
)
tasks = st.builds(
    lambda result, data: {"data": {"image": "a.jpg"} | data, "annotations": [{"result": result}]},
    st.lists(regions, max_size=3),
    st.dictionaries(st.sampled_from(KEYS), values, max_size=2),
)
shapes = st.dictionaries(st.sampled_from(["label", "points", "shape_type", "mask"]), values)
fuzzed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(reader: Any, path: Path) -> None:
    try:
        for corrected in reader(path, VALUES, lambda _: None):
            assert corrected.label is None or set(corrected.label.ravel()) <= {0, 1, 2, 255}
    except DataError as error:
        assert str(path) in str(error)


@fuzzed
@given(content=st.lists(tasks | values, max_size=2) | values)
def test_label_studio(tmp_path: Path, content: object) -> None:
    path = tmp_path / "project.json"
    path.write_text(json.dumps(content))
    read(read_label_studio, path)


@fuzzed
@given(content=st.lists(shapes | values, max_size=3), more=st.dictionaries(st.sampled_from(KEYS), values, max_size=2))
def test_labelme(tmp_path: Path, content: list[object], more: dict[str, object]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"imagePath": "a.jpg", "imageHeight": 4, "imageWidth": 5, "shapes": content} | more))
    read(read_labelme, path)


@fuzzed
@given(
    lines=st.lists(st.sampled_from(["cat:1,2,3::", "cat", ":", "a:b:c:d", "cat:1,2::", "#", "x:-1,0,0::", "é:9,9,9"]))
)
def test_cvat(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
    (tmp_path / "SegmentationClass" / "a.png").write_bytes(b"no PNG")
    (tmp_path / "labelmap.txt").write_text("\n".join(lines), "utf-8")
    with pytest.raises(DataError):
        list(read_cvat(tmp_path, VALUES, lambda _: None))
