"""Image-level labels from CSV, numpy dictionaries and VOC annotations."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excel_cam.errors import DataError
from excel_cam.tags.read import read_tags, read_voc_annotations

CLASSES = ("cat", "dog", "Horse")


def csv_file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "tags.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def npy_file(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "cls_labels.npy"
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]
    return path


def refusal(path: Path, class_names: tuple[str, ...] = CLASSES) -> str:
    with pytest.raises(DataError) as caught:
        read_tags(path, class_names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_csv_classes_become_ascending_indices_each_once(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "name,classes\na,Horse;cat;cat\nsub/b,\nc, dog  cat \n./d,DOG;horse;\n")
    assert read_tags(path, CLASSES) == {"a": (0, 2), "sub/b": (), "c": (0, 1), "d": (1, 2)}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_of_any_editor(tmp_path: Path, mark: str, line_end: str) -> None:
    text = mark + line_end.join(["Name, Classes", '"a, b",cat', "", "é,dog"])
    assert read_tags(csv_file(tmp_path, text), CLASSES) == {"a, b": (0,), "é": (1,)}


def test_csv_columns_are_found_by_name(tmp_path: Path) -> None:
    assert read_tags(csv_file(tmp_path, "width,classes,name\n5,dog,a\n"), CLASSES) == {"a": (1,)}


def test_spaces_separate_only_when_no_class_name_has_one(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "name,classes\na,traffic light; cat\nb,cat dog\n")
    message = refusal(path, ("cat", "dog", "traffic light"))
    assert message.startswith(f"{path}:3: 'cat dog' is not one of the 3 classes")


def test_a_class_is_matched_as_written_before_its_case_is_ignored(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "name,classes\na,Cat\nb,cat\n")
    assert read_tags(path, ("cat", "Cat")) == {"a": (1,), "b": (0,)}
    assert "'CAT' is not one of the 2 classes (nearest: cat, Cat)" in refusal(
        csv_file(tmp_path, "name,classes\na,CAT\n"), ("cat", "Cat")
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,classes\na,cat\nb,hrose\n", ":3: 'hrose' is not one of the 3 classes (nearest: Horse)"),
        ("name,classes\na,zzz\n", ":2: 'zzz' is not one of the 3 classes (they begin cat, dog, Horse)"),
        ("name\na\n", ":1: expected the header 'name,classes', found 'name'"),
        ("name;classes\na;cat\n", ":1: expected the header 'name,classes', found 'name;classes'"),
        ("name,classes,name\na,cat,a\n", ":1: expected the header"),
        ("", ":1: expected the header 'name,classes', found ''"),
        ("name,classes\na,cat,dog\n", ":2: expected 2 columns, found 3"),
        ("name,classes\na\n", ":2: expected 2 columns, found 1"),
        ("name;classes\na;cat\n", "columns are parted by commas, here by ';': save the table with commas"),
        ("name\tclasses\na\tcat\n", "columns are parted by commas, here by '\\t'"),
        ("name,classes\na;cat\n", ":2: expected 2 columns, found 1; separate classes with ';', and leave them empty"),
        ("name,classes\na,cat,,dog\n", ":2: expected 2 columns, found 4"),
        ("name,classes\n,cat\n", ":2: the name is empty"),
        ("name,classes\n../a,cat\n", ":2: name '../a' leaves the root"),
        ('name,classes\n"a\nb",cat\n', "holds a control"),
        ('name,classes\n"a"b,cat\n', ":2: not a line of CSV"),
        (b"name,classes\n\xff,cat\n", "not UTF-8 text (byte 13)"),
        ("name,classes\na,cat\n".encode("utf-16"), "not UTF-8 text (byte 0)"),
    ],
)
def test_csv_errors_name_file_and_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = csv_file(tmp_path, text)
    message = refusal(path)
    assert message.startswith(str(path))
    assert expected in message


def test_a_format_without_reader_and_a_missing_file(tmp_path: Path) -> None:
    assert "tags are read from .csv, .json, .jsonl, .npy files, not .xlsx" in refusal(tmp_path / "tags.xlsx")
    assert "not this one" in refusal(tmp_path / "tags")
    assert "gone.csv: this tags file cannot be read: No such file" in refusal(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "Is a directory" in refusal(tmp_path / "folder.csv")


@settings(deadline=None)
@given(
    st.binary(max_size=80) | st.text(max_size=80).map(lambda text: ("name,classes\n" + text).encode("utf-8", "replace"))
)
def test_any_bytes_are_tags_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = csv_file(tmp_path_factory.getbasetemp(), content)
    try:
        assert all(name for name in read_tags(path, CLASSES))
    except DataError as error:
        assert "\n" not in str(error)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\.:"), min_size=1)
TAGS = st.dictionaries(NAMES, st.frozensets(st.integers(0, 2)).map(lambda indices: tuple(sorted(indices))))


@settings(deadline=None)
@given(TAGS)
def test_csv_and_npy_agree_with_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, tags: dict[str, tuple[int, ...]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    stream = io.StringIO()
    csv.writer(stream).writerows(
        [("name", "classes"), *((name, ";".join(CLASSES[i] for i in indices)) for name, indices in tags.items())]
    )
    assert read_tags(csv_file(folder, stream.getvalue()), CLASSES) == tags
    rows = {name: np.isin(np.arange(3), indices).astype(np.float32) for name, indices in tags.items()}
    assert read_tags(npy_file(folder, rows), CLASSES) == tags


def test_npy_keys_of_every_kind_are_names(tmp_path: Path) -> None:
    row = np.array([1, 0, 1], np.float32)
    keys = {2007000032: "2007_000032", np.int64(2011003276): "2011_003276", "x": "x", b"y": "y", np.str_("a/z"): "a/z"}
    assert read_tags(npy_file(tmp_path, dict.fromkeys(keys, row)), CLASSES) == dict.fromkeys(keys.values(), (0, 2))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"a": np.zeros(4)}, "key 'a': expected an array of 3 values, one per class, found shape (4,)"),
        ({"a": np.zeros((1, 3))}, "key 'a': expected an array of 3 values, one per class, found shape (1, 3)"),
        ({"a": [0, 1, 1]}, "key 'a': expected an array of 3 values, one per class, found list"),
        ({"a": np.array([0, 0.5, 1])}, "key 'a': expected only 0 and 1, one per class, found [0.0, 0.5, 1.0]"),
        ({"a": np.array([0, np.nan, 1])}, "key 'a': expected only 0 and 1"),
        ({"a": np.array(["0", "1", "1"])}, "key 'a': expected only 0 and 1"),
        ({7: np.zeros(3)}, "key 7: expected a name, or a number such as 2007000032"),
        ({True: np.zeros(3)}, "key True: expected a name"),
        ({(1, 2): np.zeros(3)}, "key of type tuple: expected a name"),
        ({10**5000: np.zeros(3)}, "key of type int: expected a name"),
        ({b"\xff": np.zeros(3)}, "the name is not UTF-8 text"),
        ({"/a": np.zeros(3)}, "key '/a': name '/a' is absolute or has a drive letter"),
        ({2007000032: np.zeros(3), "2007_000032": np.zeros(3)}, "holds '2007_000032' twice"),
        (np.zeros((2, 3)), "expected a dictionary"),
    ],
)
def test_npy_errors_name_file_and_key(tmp_path: Path, content: object, expected: str) -> None:
    path = npy_file(tmp_path, content)
    message = refusal(path)
    assert message.startswith(str(path))
    assert expected in message


def annotation(tmp_path: Path, text: str | bytes, name: str = "a") -> Path:
    path = tmp_path / f"{name}.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_annotations_count_difficult_objects_and_no_parts(tmp_path: Path) -> None:
    annotation(
        tmp_path,
        "<annotation><filename>a.jpg</filename><object><name>Horse</name><difficult>1</difficult>"
        "<part><name>head</name></part></object><object><name>cat</name></object><object><name>cat</name></object>"
        "</annotation>",
    )
    annotation(tmp_path, "<annotation/>", "b")
    annotation(tmp_path, "<annotation/>", "unasked")
    assert read_voc_annotations(tmp_path, ["b", "a"], CLASSES) == {"b": (), "a": (0, 2)}


BOMB = '<!DOCTYPE annotation [<!ENTITY x "xxxx">]><annotation><object><name>&x;</name></object></annotation>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<annotation><object>", "not a readable VOC annotation"),
        ("", "not a readable VOC annotation"),
        (b'<?xml version="1.0" encoding="nonsense"?><annotation/>', "not a readable VOC annotation"),
        (BOMB, "declares a DOCTYPE"),
        (BOMB.encode("utf-16"), "declares a DOCTYPE"),
        ("<html/>", "expected a VOC <annotation>, found 'html'"),
        (
            "<annotation><object><name>dgo</name></object></annotation>",
            "'dgo' is not one of the 3 classes (nearest: dog)",
        ),
        ("<annotation><object/></annotation>", "'' is not one of the 3 classes"),
    ],
)
def test_annotation_errors_name_the_file(tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = annotation(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_voc_annotations(tmp_path, ["a"], CLASSES)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert expected in message
    assert "\n" not in message


def test_a_missing_annotation_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.xml: this annotation cannot be read: No such file .*--tags"):
        read_voc_annotations(tmp_path, ["a"], CLASSES)
