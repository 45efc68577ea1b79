"""Writing tags: what is written reads back the same, in every form, here and by plain numpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excel_cam.classes import COCO_CLASSES, VOC_CLASSES
from excel_cam.errors import OutputError, UsageError
from excel_cam.tags.lookup import Tags, coco_number, name_of_number, number_of_name
from excel_cam.tags.match import match_coco_names
from excel_cam.tags.read import read_tags
from excel_cam.tags.write import check_tags_path, write_tags

SUFFIXES = (".csv", ".json", ".jsonl", ".npy")
# Names of images and classes as people have them, awkward ones included.
NAME_PARTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\:"), min_size=1)
NAMES = st.lists(NAME_PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map("/".join)
CLASS_LISTS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters=";"), min_size=1)
    .map(str.strip)
    .filter(bool),
    min_size=1,
    max_size=5,
    unique=True,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_every_form_turns_into_every_other_and_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    class_names = tuple(data.draw(CLASS_LISTS))
    present = st.frozensets(st.integers(0, len(class_names) - 1)).map(lambda indices: tuple(sorted(indices)))
    tags: Tags = data.draw(st.dictionaries(NAMES, present, max_size=5))
    folder = tmp_path_factory.getbasetemp()
    for first in SUFFIXES:
        write_tags(folder / f"first{first}", tags, class_names)
        found = read_tags(folder / f"first{first}", class_names)
        assert found == tags
        assert list(found) == list(tags)
        for second in SUFFIXES:
            write_tags(folder / f"second{second}", found, class_names)
            assert read_tags(folder / f"second{second}", class_names) == tags


VOC_NAMES = st.tuples(st.integers(1000, 9999), st.integers(0, 999_999)).map(lambda ids: f"{ids[0]}_{ids[1]:06d}")
COCO_NAMES = st.tuples(st.sampled_from(["", "COCO_train2014_", "COCO_val2014_"]), st.integers(0, 10**12 - 1)).map(
    lambda parts: f"{parts[0]}{parts[1]:012d}"
)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(VOC_NAMES, st.just((0, 19)), max_size=4))
def test_whole_numbers_stand_for_names_of_voc(tmp_path_factory: pytest.TempPathFactory, tags: Tags) -> None:
    path = tmp_path_factory.getbasetemp() / "cls_labels.npy"
    write_tags(path, tags, VOC_CLASSES)
    assert {type(key) for key in np.load(path, allow_pickle=True).item()} <= {int}
    assert read_tags(path, VOC_CLASSES) == tags


@settings(deadline=None, max_examples=40)
@given(st.lists(COCO_NAMES, max_size=4, unique_by=coco_number).map(lambda names: dict.fromkeys(names, (3, 79))))
def test_whole_numbers_stand_for_names_of_coco(tmp_path_factory: pytest.TempPathFactory, tags: Tags) -> None:
    path = tmp_path_factory.getbasetemp() / "cls_labels.npy"
    write_tags(path, tags, COCO_CLASSES)
    assert match_coco_names(read_tags(path, COCO_CLASSES), tags, "") == tags


@pytest.mark.parametrize(
    ("name", "voc", "coco"),
    [
        ("2007_000032", 2007000032, None),
        ("0007_000032", None, None),
        ("COCO_train2014_000000000009", None, 9),
        ("000000000009", None, 9),
        ("2007_000032.jpg", None, None),
        ("sub/000000000009", None, None),
        ("cat", None, None),
        ("1234567890123", None, None),
    ],
)
def test_numbers_of_names(name: str, voc: int | None, coco: int | None) -> None:
    assert (number_of_name(name, VOC_CLASSES), number_of_name(name, COCO_CLASSES)) == (voc, coco)


def test_names_of_numbers() -> None:
    assert name_of_number(2007000032, VOC_CLASSES) == "2007_000032"
    assert name_of_number(9, VOC_CLASSES) is None
    assert name_of_number(9, COCO_CLASSES) == "000000000009"
    assert name_of_number(10**12, COCO_CLASSES) is name_of_number(-1, COCO_CLASSES) is None


def test_plain_numpy_reads_the_dictionaries_as_the_trainers_do(tmp_path: Path) -> None:
    tags = {"2007_000032": (0, 14), "2007_000039": ()}
    for file_name, kind in (("cls_labels.npy", int), ("cls_labels_onehot.npy", str)):
        write_tags(tmp_path / file_name, tags, VOC_CLASSES)
        rows = np.load(tmp_path / file_name, allow_pickle=True).item()
        assert list(rows) == ([2007000032, 2007000039] if kind is int else list(tags))
        first, second = rows.values()
        assert first.dtype == np.float32
        assert first.shape == (20,)
        assert np.flatnonzero(first).tolist() == [0, 14]
        assert not second.any()


def test_keys_are_chosen_by_file_name_or_said(tmp_path: Path) -> None:
    tags = {"2007_000032": (0,)}
    for file_name, keys, expected in (
        ("cls_labels.npy", None, 2007000032),
        ("cls_labels.npy", "str", "2007_000032"),
        ("other.npy", None, "2007_000032"),
        ("other.npy", "int", 2007000032),
    ):
        write_tags(tmp_path / file_name, tags, VOC_CLASSES, keys)
        assert list(np.load(tmp_path / file_name, allow_pickle=True).item()) == [expected]


def test_what_a_form_cannot_tell_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no whole number stands for 'cat_1'.*--keys str"):
        write_tags(tmp_path / "cls_labels.npy", {"cat_1": ()}, VOC_CLASSES)
    with pytest.raises(OutputError, match=r"two images have the number 9, the second is '000000000009'"):
        write_tags(tmp_path / "cls_labels.npy", {"COCO_val2014_000000000009": (), "000000000009": ()}, COCO_CLASSES)
    with pytest.raises(OutputError, match=r"CSV cannot tell the class 'a;b'; write \.json instead"):
        write_tags(tmp_path / "t.csv", {"x": (0,)}, ("a;b",))
    with pytest.raises(OutputError, match=r"CSV cannot tell the name ' x'; write \.json instead"):
        write_tags(tmp_path / "t.csv", {" x": (0,)}, ("a",))
    assert list(tmp_path.iterdir()) == []


def test_other_forms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"t\.xlsx: tags are written to \.csv, \.json, \.jsonl and \.npy files"):
        check_tags_path(tmp_path / "t.xlsx", None)
    with pytest.raises(UsageError, match=r"--keys int: only \.npy files"):
        check_tags_path(tmp_path / "t.csv", "int")


def test_tags_need_no_torch() -> None:
    code = "import sys, excel_cam.tags.write, excel_cam.tags.gather; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
