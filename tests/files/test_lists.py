"""Names that stay under the root, lists of names, and class lists."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excel_cam.errors import DataError
from excel_cam.files.lists import check_name, drop_image_suffix, read_class_list, read_names
from excel_cam.wording import quoted


def list_file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "name", ["2007_000032", "a/b/c d", "v1.5", "..a", "a..", "...", ".hidden/x", "é", "ab:c", "x y"]
)
def test_plain_names_pass(name: str) -> None:
    check_name(name, "list:1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "the name is empty"),
        ("../x", "leaves the root"),
        ("..", "leaves the root"),
        ("a/../../b", "leaves the root"),
        ("a/..", "leaves the root"),
        ("/etc/passwd", "is absolute or has a drive letter"),
        ("//host/share", "is absolute or has a drive letter"),
        ("C:/x", "is absolute or has a drive letter"),
        ("c:x", "is absolute or has a drive letter"),
        ("..\\x", "holds a backslash"),
        ("\\\\host\\share", "holds a backslash"),
        ("a\0b", "holds a control"),
        ("a\nb", "holds a control"),
        ("a\udcffb", "undecodable"),
        ("a//b", "has an empty or '.' part"),
        ("a/", "has an empty or '.' part"),
        ("./a", "has an empty or '.' part"),
        ("a/.", "has an empty or '.' part"),
    ],
)
def test_names_that_leave_the_root_are_refused(name: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        check_name(name, "list.txt:7")
    message = str(caught.value)
    assert message.startswith("list.txt:7: ")
    assert reason in message
    assert message.isprintable()


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "/", "\\", "C:", "\0", ""])).map("".join) | st.text())
def test_every_name_that_passes_is_written_one_way_and_stays_inside(name: str) -> None:
    try:
        check_name(name, "here")
    except DataError:
        return
    assert os.path.normpath(os.path.join("root", name)) == f"root/{name}"
    assert not name.startswith("../")
    assert not os.path.isabs(name)
    assert name.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/cat.jpg", "a/cat"),
        ("cat.JPEG", "cat"),
        ("v1.5", "v1.5"),
        ("cat", "cat"),
        (".jpg", ".jpg"),
        ("a/.jpg", "a/.jpg"),
    ],
)
def test_only_an_extension_of_an_image_is_dropped(name: str, stem: str) -> None:
    assert drop_image_suffix(name) == stem


def test_names_are_read_each_once_and_in_order(tmp_path: Path) -> None:
    text = "\ufeff# mine\r\n\r\nsub/b.png\r\n  a \r\n./c.jpg\r\nsub/b\r\n2007_000032  1\r\n2007_000039 -1\r\ncat 1\r\n"
    expected = ["sub/b", "a", "c", "2007_000032", "2007_000039", "cat 1"]
    assert read_names(str(list_file(tmp_path, text))) == expected
    assert read_names(io.StringIO(text)) == expected


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("b\na\n"))
    assert read_names("-") == ["b", "a"]


def test_list_errors_name_the_source(tmp_path: Path) -> None:
    path = list_file(tmp_path, "a\n../b\n")
    with pytest.raises(DataError, match=r"list\.txt:2: name '\.\./b' leaves the root"):
        read_names(str(path))
    with pytest.raises(DataError, match=r"list\.txt: no names in this list"):
        read_names(str(list_file(tmp_path, "# nothing\n\n")))
    with pytest.raises(DataError, match=r"list\.txt: this list of names is not UTF-8 text \(byte 2\)"):
        read_names(str(list_file(tmp_path, b"a\n\xff\n")))
    with pytest.raises(DataError, match="gone: this list of names cannot be read: No such file"):
        read_names(str(tmp_path / "gone"))
    with pytest.raises(DataError, match="cannot be read: embedded null byte"):
        read_names("a\0b")
    with pytest.raises(DataError, match="list of names: no names"):
        read_names(io.StringIO(""))
    with pytest.raises(DataError, match="the list of names cannot be read as text"):
        read_names(io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))


def test_class_list_with_and_without_prompt_names(tmp_path: Path) -> None:
    path = list_file(tmp_path, "# pets\ncat\n\ndog : small dog\ntraffic light\n")
    assert read_class_list(path) == (("cat", "dog", "traffic light"), ("cat", "small dog", "traffic light"))


def test_class_list_holds_254_classes_and_no_more(tmp_path: Path) -> None:
    names = [f"c{index}" for index in range(254)]
    assert read_class_list(list_file(tmp_path, "\n".join(names)))[0] == tuple(names)
    with pytest.raises(DataError, match=r"list\.txt:255: more than 254 classes"):
        read_class_list(list_file(tmp_path, "\n".join([*names, "one more"])))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\n\ncat: tabby\n", "list.txt:3: class 'cat' is already at"),
        ("cat\n: x\n", ":2: expected one class per line, 'name' or 'name: prompt name', found ': x'"),
        ("cat:\n", ":1: expected one class per line, 'name' or 'name: prompt name', found 'cat:'"),
        ("cat;dog\n", ":1: class name 'cat;dog' holds ';'"),
        ("c\0t\n", "control character"),
        ("# none\n", ": no classes in this list"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_class_list_errors_name_the_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = list_file(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_class_list(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert expected in message
    assert "\n" not in message


def test_what_cannot_be_shown_is_named_by_its_kind() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert quoted(nested) == "[" * 100 + "…"
    assert quoted(10**5000) == "int too long to show"
    assert quoted("x" * 1000) == "'" + "x" * 99 + "…"
