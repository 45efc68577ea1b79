"""Image-level labels from JSON, JSON Lines and arrays of records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from excel_cam.classes import COCO_CLASSES
from excel_cam.errors import DataError
from excel_cam.tags.read import read_tags

CLASSES = ("cat", "dog", "Horse")


def file_with(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, content, allow_pickle=True)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def refusal(path: Path, class_names: tuple[str, ...] = CLASSES) -> str:
    with pytest.raises(DataError) as caught:
        read_tags(path, class_names)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_json_by_name_with_class_names_and_indices(tmp_path: Path) -> None:
    content = {"a": ["Horse", "cat", "cat"], "./sub/é": [], "c": [1, "0", "DOG"], "images": ["dog"]}
    expected = {"a": (0, 2), "sub/é": (), "c": (0, 1), "images": (1,)}
    assert read_tags(file_with(tmp_path, "t.json", content), CLASSES) == expected
    assert read_tags(file_with(tmp_path, "t.JSON", json.dumps(content, indent=2)), CLASSES) == expected
    assert read_tags(file_with(tmp_path, "t.json", "{}"), CLASSES) == {}


def test_json_lines_and_a_json_array_hold_the_same_records(tmp_path: Path) -> None:
    records = [{"name": "a", "classes": ["dog"], "width": 3}, {"classes": [2, 0], "name": "./b"}]
    expected = {"a": (1,), "b": (0, 2)}
    lines = "\ufeff" + "\r\n\n".join(json.dumps(record) for record in records)
    for path in (
        file_with(tmp_path, "t.jsonl", lines),
        file_with(tmp_path, "t.json", records),
        file_with(tmp_path, "t.npy", np.array(records)),
    ):
        assert read_tags(path, CLASSES) == expected


def test_rows_of_one_image_are_merged(tmp_path: Path) -> None:
    rows = [
        {"name": "a", "classes": ["Horse"]}, {"name": "b", "classes": []}, {"name": "a", "classes": ["cat"]},
        {"name": "./a", "classes": [2]},
    ]  # fmt: skip
    lines = "\n".join(json.dumps(row) for row in rows)
    for path in (file_with(tmp_path, "t.json", rows), file_with(tmp_path, "t.jsonl", lines)):
        assert read_tags(path, CLASSES) == {"a": (0, 2), "b": ()}


def test_records_of_objects_gather_by_image_with_the_ids_of_coco(tmp_path: Path) -> None:
    records = [
        {"image_id": 9, "category_id": 90, "bbox": [1, 2, 3, 4]},
        {"image_id": 25, "category_id": 13},
        {"image_id": 9, "category_id": 1},
        {"image_id": "COCO_val2014_000000000042", "category_id": 1},
    ]
    expected = {"000000000009": (0, 79), "000000000025": (11,), "COCO_val2014_000000000042": (0,)}
    for name in ("t.json", "t.npy"):
        assert read_tags(file_with(tmp_path, name, records), COCO_CLASSES) == expected
    lines = "\n".join(map(json.dumps, records))
    assert read_tags(file_with(tmp_path, "t.jsonl", lines), COCO_CLASSES) == expected
    table = np.array([(9, 90), (25, 13), (9, 1)], [("image_id", "i8"), ("category_id", "u1")])
    assert read_tags(file_with(tmp_path, "t.npy", table), COCO_CLASSES) == {
        "000000000009": (0, 79), "000000000025": (11,),
    }  # fmt: skip


def test_an_instances_json_is_read_as_tags(tmp_path: Path) -> None:
    sections = {
        "info": {},
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "sub/b.png"}],
        "annotations": [{"image_id": 1, "category_id": 5}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 7, "name": "unused"}],
    }
    assert read_tags(file_with(tmp_path, "t.json", sections), CLASSES) == {"a": (1,), "sub/b": ()}


def test_an_index_is_an_index_only_where_no_class_has_that_name(tmp_path: Path) -> None:
    path = file_with(tmp_path, "t.csv", "name,classes\na,2\nb,0;cat\n")
    assert read_tags(path, CLASSES) == {"a": (2,), "b": (0,)}
    assert read_tags(path, ("cat", "2", "dog")) == {"a": (1,), "b": (0,)}
    assert refusal(file_with(tmp_path, "t.csv", "name,classes\na,\nb,3\n")) == (
        ":3: class index 3 is out of range; indices of the 3 classes are 0..2"
    )


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.json", '{\n"a": ["cat"],\n"b": ["hrose"]}', ":3: 'b': 'hrose' is not one of the 3 classes (nearest: Horse"),
        ("t.json", '{"a": "cat"}', ":1: 'a': expected a list of classes such as [\"cat\"], found 'cat'"),
        ("t.json", {"a": {"classes": ["cat"]}}, ":1: 'a': expected a list of classes"),
        ("t.json", {"a": [{"name": "cat"}]}, ":1: 'a' entry 1: expected a class name or a 0-based index, found an"),
        ("t.json", {"b": ["cat"], "a": [{"name": "x", "classes": []}]}, ":1: 'a' entry 1: expected a class name or a"),
        ("t.json", '{\n"\\x": []}', ":2 (byte 2): not JSON: Invalid"),
        ("t.json", {"a": [0, 1, 0]}, ":1: 'a': a row of 0 and 1, one per class; list the classes themselves"),
        ("t.json", {"a": [1.5]}, ":1: 'a': expected a class name or a 0-based index, found 1.5"),
        ("t.json", {"a": [True]}, ":1: 'a': expected a class name or a 0-based index, found True"),
        ("t.json", {"a": [-1]}, ":1: 'a': class index -1 is out of range"),
        ("t.json", '{"a": ["cat"],\n "a": []}', ":2: 'a': 'a' is already on line 1; keep one of them"),
        ("t.json", {"../a": []}, ":1: '../a': name '../a' leaves the root"),
        ("t.json", '{"a": [1' + "0" * 5000 + "]}", ":1: 'a' (byte 6): not JSON: Exceeds the limit"),
        ("t.json", '{"a": ["cat"]', ":1: damaged JSON at byte 13: expected a key in double quotes, ',' or '}', found"),
        ("t.json", "name,classes", ":1: damaged JSON at byte 0: expected a JSON object or array, found 'n'"),
        ("t.json", ["a"], ":1: entry 1: expected a record with 'name' and 'classes', found 'a'"),
        ("t.jsonl", '{"name": "a", "classes": []}\n\n{"name": 3, "classes": []}', ":3: expected a text as 'name'"),
        ("t.jsonl", '{"name": "a"}', ":1: expected a record with 'name' and 'classes', or 'image_id' and"),
        ("t.jsonl", '{"name": "a", "classes": []}\n{"name": "a"', ":2: not a line of JSON: "),
        ("t.jsonl", "[" * 100_000, ":1: not a line of JSON: maximum recursion depth exceeded"),
        ("t.jsonl", '{"name": "a", "classes": "cat"}', ":1: expected a list of classes"),
        ("t.jsonl", '{"image_id": 1, "category_id": 1}', ":1: expected a text as 'name', found 1"),
        ("t.jsonl", '{"image_id": "a", "category_id": 1}', ":1: 'category_id' is read with COCO's classes only"),
        ("t.npy", [{"name": "a", "classes": np.array([1.5])}], ", record 1: expected a class name or a 0-based index"),
        ("t.npy", [{"name": "a", "classes": []}, {"classes": []}], ", record 2: expected a record with 'name' and"),
        ("t.npy", np.zeros(2, [("a", "O")]), ": damaged or truncated array"),
    ],
)  # fmt: skip
def test_errors_name_file_and_line(tmp_path: Path, name: str, content: Any, expected: str) -> None:
    assert refusal(file_with(tmp_path, name, content)).startswith(expected)


@pytest.mark.parametrize("category", [12, 0, 91, True, "1", None, 10**400])
def test_only_ids_of_coco_are_categories(tmp_path: Path, category: Any) -> None:
    record = {"image_id": 1, "category_id": category}
    assert "is not one of COCO's 80 category ids" in refusal(file_with(tmp_path, "t.json", [record]), COCO_CLASSES)


def test_a_file_that_announces_more_rows_than_it_has(tmp_path: Path) -> None:
    path = file_with(tmp_path, "t.npy", np.zeros(3, [("image_id", "i8"), ("category_id", "i8")]))
    path.write_bytes(path.read_bytes().replace(b"(3,)", b"(9,)"))
    assert refusal(path, COCO_CLASSES).startswith(": damaged or truncated array (buffer is smaller")


def test_arrays_within_records_are_lists(tmp_path: Path) -> None:
    records = np.array(
        [{"name": "a", "classes": np.array([0, 2])}, {"name": "b", "classes": np.array(["dog"], object)}]
    )
    assert read_tags(file_with(tmp_path, "t.npy", records), CLASSES) == {"a": (0, 2), "b": (1,)}
