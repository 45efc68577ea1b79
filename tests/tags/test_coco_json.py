"""COCO's instances JSON: images, categories and what each image shows, without reading polygons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excel_cam.classes import COCO_CATEGORY_IDS, COCO_CLASSES
from excel_cam.errors import DataError
from excel_cam.tags import coco_json
from excel_cam.tags.coco_json import instances_tags, is_instances, read_image_list, read_instances

CATEGORIES = [{"id": number, "name": name} for number, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True)]
SECTIONS: dict[str, Any] = {
    "info": {"description": "five {images}"},
    "images": [
        {"id": 9, "file_name": "COCO_train2014_000000000009.jpg", "width": 640},
        {"id": 25, "file_name": "COCO_train2014_000000000025.jpg"},
        {"id": 30, "file_name": "COCO_train2014_000000000030.jpg"},
    ],
    "annotations": [
        {"segmentation": [[1.5, 2, 3.25], [4, 5]], "iscrowd": 0, "image_id": 9, "category_id": 90, "id": 1},
        {"id": 2, "category_id": 1, "note": "\"image_id\": 30, }", "image_id": 9},
        {"segmentation": {"counts": "a}b\\\"", "size": [2, 3]}, "iscrowd": 1, "category_id": 13, "image_id": 25},
        {"segmentation": {"image_id": 30}, "category_id": 13, "image_id": 25},
    ],
    "categories": CATEGORIES,
}  # fmt: skip
EXPECTED = {
    "COCO_train2014_000000000009": (0, 79),
    "COCO_train2014_000000000025": (11,),  # category 13 is the 12th class: 12 is one of the gaps
    "COCO_train2014_000000000030": (),
}


def written(folder: Path, content: dict[str, Any] | str, **layout: Any) -> Path:
    path = folder / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, **layout))
    return path


def changed(section: str, index: int, **changes: Any) -> dict[str, Any]:
    """The sections with one record changed; a value of `...` removes the key."""
    record = {**SECTIONS[section][index], **changes}
    record = {key: value for key, value in record.items() if value is not ...}
    return {**SECTIONS, section: [*SECTIONS[section][:index], record, *SECTIONS[section][index + 1 :]]}


def refusal(folder: Path, content: dict[str, Any] | str) -> str:
    path = written(folder, content)
    with pytest.raises(DataError) as caught:
        instances_tags(read_instances(path), COCO_CLASSES)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("order", [1, -1])
def test_tags_are_the_same_in_every_layout_and_order(tmp_path: Path, indent: int | None, order: int) -> None:
    sections = {
        key: [dict(list(record.items())[::order]) for record in value] if isinstance(value, list) else value
        for key, value in list(SECTIONS.items())[::order]
    }
    path = written(tmp_path, sections, indent=indent)
    assert instances_tags(read_instances(path), COCO_CLASSES) == EXPECTED
    assert is_instances(path)
    assert read_image_list(path).names == {"COCO_train2014_" + f"{number:012d}": number for number in (9, 25, 30)}


def test_91_ids_become_80_labels() -> None:
    assert len(COCO_CATEGORY_IDS) == len(COCO_CLASSES) == 80
    assert (COCO_CATEGORY_IDS[0], COCO_CATEGORY_IDS[-1]) == (1, 90)
    ids = dict(zip(COCO_CLASSES, COCO_CATEGORY_IDS, strict=True))
    assert (ids["stop sign"], ids["backpack"], ids["toilet"], ids["book"]) == (13, 27, 70, 84)


ANNOTATIONS = st.fixed_dictionaries(
    {"image_id": st.integers(0, 10**12), "category_id": st.integers(1, 90)},
    optional={
        "segmentation": st.lists(st.lists(st.floats(0, 640, width=32), max_size=6), max_size=2)
        | st.fixed_dictionaries({"counts": st.text(max_size=8), "image_id": st.integers(0, 9)}),
        "note": st.text(st.sampled_from('"image_id: 1,{}[]\\'), max_size=16)
        | st.just('"image_id": 3,')
        | st.just("category_id"),
    },
).flatmap(lambda record: st.permutations(list(record.items())).map(dict))


@settings(deadline=None, max_examples=300)
@given(ANNOTATIONS, st.sampled_from([None, 1]))
def test_ids_are_found_without_parsing_as_with_it(annotation: dict[str, Any], indent: int | None) -> None:
    found = coco_json._ids_of_flat_annotation(json.dumps(annotation, indent=indent).encode())
    assert found in (None, (annotation["image_id"], annotation["category_id"]))


def test_a_usual_annotation_is_not_parsed() -> None:
    text = json.dumps(SECTIONS["annotations"][0]).encode()
    assert coco_json._ids_of_flat_annotation(text) == (9, 90)
    for other in (
        b'{"image_id": 1, "image_id": 2, "category_id": 3}',
        b'{"note": "image_id", "image_id": 1, "category_id": 3}',
        b'{"inner": {"image_id": 1}, "category_id": 3}',
    ):
        assert coco_json._ids_of_flat_annotation(other) is None
    for damaged in (text.replace(b"]]", b"]"), text.replace(b"image_id", b"image"), text.replace(b": 9,", b': "9",')):
        assert coco_json._ids_of_flat_annotation(damaged) is None


def test_annotations_of_unlisted_images_are_counted(tmp_path: Path) -> None:
    instances = read_instances(written(tmp_path, {**SECTIONS, "images": SECTIONS["images"][:1]}))
    assert instances_tags(instances, COCO_CLASSES) == {"COCO_train2014_000000000009": (0, 79)}
    assert instances.stray_images == 1


def test_other_categories_are_matched_by_name_with_other_classes(tmp_path: Path) -> None:
    instances = read_instances(written(tmp_path, SECTIONS))
    classes = ("toothbrush", "Person", "stop sign")
    assert list(instances_tags(instances, classes).values()) == [(0, 1), (2,), ()]
    assert instances.class_names == COCO_CLASSES
    with pytest.raises(DataError, match="'stop sign' is not one of the 2 classes"):
        instances_tags(instances, classes[:2])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (changed("images", 1, id=9), "'images' entry 2: image id 9 is listed twice"),
        (changed("images", 1, id="9"), "'images' entry 2: expected a whole number as 'id', found '9'"),
        (changed("images", 1, id=True), "expected a whole number as 'id', found True"),
        (changed("images", 1, file_name=...), "'images' entry 2: expected a text as 'file_name', found None"),
        (changed("images", 1, file_name="../x.jpg"), "'images' entry 2: name '../x.jpg' leaves the root"),
        (
            changed("images", 1, file_name="COCO_train2014_000000000009.png"),
            "images 9 and 25 share the name 'COCO_train2014_000000000009'",
        ),
        (changed("annotations", 2, image_id=...), "'annotations' entry 3: expected a whole number as 'image_id'"),
        (changed("annotations", 3, image_id=...), "'annotations' entry 4: expected a whole number as 'image_id'"),
        (changed("annotations", 0, category_id="cat"), "'annotations' entry 1: expected a whole number as 'category"),
        (changed("annotations", 0, category_id=12), "annotations have category_id 12, which its categories do not"),
        (changed("categories", 16, name="puppy"), "category 18 is 'puppy', which is 'dog' in COCO"),
        (changed("categories", 16, id=12), "category 12 is 'dog', not one of COCO's"),
        (changed("categories", 1, id=1), "'categories' entry 2: category id 1 is listed twice"),
        (changed("categories", 1, name="person"), "category 2 is 'person', which is 'bicycle' in COCO"),
        ({**SECTIONS, "images": []}, "it lists no images"),
        ({**SECTIONS, "images": [1]}, "'images': expected an array of objects"),
        ({**SECTIONS, "annotations": {}}, "'annotations': expected an array of objects"),
        ({**SECTIONS, "images": [{}, 7]}, "expected a whole number as 'id', found None"),
        ({"images": SECTIONS["images"], "categories": CATEGORIES}, "no 'annotations' in it"),
        (json.dumps(SECTIONS)[:-40], "damaged JSON at byte"),
        ([], "no 'images' in it"),
        (json.dumps(SECTIONS).replace('"iscrowd": 0', '"iscrowd" 0').replace("[1.5", "[[1.5"), "not JSON"),
    ],
)
def test_refusals_name_file_and_entry(tmp_path: Path, content: dict[str, Any] | str, expected: str) -> None:
    assert expected in refusal(tmp_path, content)


def test_no_annotation_at_all_is_no_error(tmp_path: Path) -> None:
    instances = read_instances(written(tmp_path, {**SECTIONS, "annotations": []}))
    assert set(instances_tags(instances, COCO_CLASSES).values()) == {()}
