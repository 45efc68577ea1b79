"""Class lists as other tools write them: read without shifting a class, or refused with the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from drawn import draw_photograph

from excel_cam.classes import MAX_CLASSES_ALONE
from excel_cam.errors import DataError
from excel_cam.files.lists import read_class_list

CAT_DOG = ("cat", "dog")


def read(tmp_path: Path, text: str, limit: int = 254) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    path, notes = tmp_path / "classes.txt", list[str]()
    path.write_bytes(text.encode())
    names, prompts = read_class_list(path, limit, notes.append)
    return names, prompts, notes


@pytest.mark.parametrize(
    "text",
    [
        "# label:color_rgb:parts:actions\r\nbackground:0,0,0::\r\ncat:128,0,0::\r\ndog:0,128,0:head,tail:\r\n",
        "0 background\n1 cat\n2 dog\n",
        "0\tbackground\r\n1\tcat\r\n2\tdog\r\n",
        "1: cat\n2: dog\n",
        "0: cat\n1: dog\n",
        "2: dog\n1: cat\n",
        "1. cat\n2. dog\n",
        "1) cat\n2) dog\n",
        "cat,1\ndog,2\n",
        "background;0\ncat;1\ndog;2\n",
        "cat=0\ndog=1\n",
        "cat 128 0 0\ndog 0 128 0\n",
        "128 0 0 cat\n0 128 0 dog\n",
        "0 background 0 0 0\n1 cat 128 0 0\n2 dog 0 128 0\n",
        "cat #800000\ndog #008000\n",
        "0 background\n1 cat\n2 dog\n255 void\n",
        "__ignore__\n_background_\ncat\ndog\n",
        "BACKGROUND\ncat\ndog\n",
        "name\ncat\ndog\n",
        "classes:\ncat\ndog\n",
        "id,name,color\n0,background,#000000\n1,cat,#ff0000\n2,dog,#00ff00\n",
        "supercategory;name;id\nanimal;cat;1\nanimal;dog;2\n",
        '"background"\n"cat"\n"dog"\n',
        "'cat',\n'dog',\n",
        "- cat\n- dog\n",
        '["background", "cat", "dog"]',
        "['cat', 'dog']\n",
        '[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog", "supercategory": "animal"}]',
        '{"categories": [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}], "images": []}',
        '{"id2label": {"0": "background", "1": "cat", "2": "dog"}}',
        '{"dog": 1, "cat": 0}',
        "path: ../data\nnc: 2\nnames:\n  0: cat  # tabby\n  1: 'dog'\ntrain: images\n",
        "train: images\nnames: ['cat', \"dog\"]\nnc: 2\n",
        "names: {0: cat, 1: dog}\n",
        "names:\n- cat\n- dog\n",
    ],
)
def test_the_forms_of_tools_give_their_classes(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text)[:2] == (CAT_DOG, CAT_DOG)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1 euro\n2 euro\n", ("1 euro", "2 euro")),
        ("7 up\ncoke\n", ("7 up", "coke")),
        ("7 up\n", ("7 up",)),
        ("class 1\nclass 2\n", ("class 1", "class 2")),
        ("0\n1\n2\n", ("0", "1", "2")),
        ("red-brick, old\nwood\n", ("red-brick, old", "wood")),
        ("dog (small)\ncat\n", ("dog (small)", "cat")),
    ],
)
def test_names_that_hold_numbers_stay_whole(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    assert read(tmp_path, text) == (names, names, [])


def test_a_prompt_name_stays_beside_a_number(tmp_path: Path) -> None:
    assert read(tmp_path, "0: cat: tabby\n1: dog\n")[:2] == (CAT_DOG, ("tabby", "dog"))


def test_what_is_dropped_is_said_with_the_first_label(tmp_path: Path) -> None:
    (note,) = read(tmp_path, "0 background\n1 cat\n2 dog\n")[2]
    assert note == (
        f"{tmp_path / 'classes.txt'}: dropped the numbers, the line of the background; 2 classes, label 1 is 'cat'"
    )


def test_without_a_background_class_every_line_is_a_class(tmp_path: Path) -> None:
    assert read(tmp_path, "background\ncat\n", MAX_CLASSES_ALONE)[0] == ("background", "cat")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 person\n3 car\n", ":2: number 3 of 'car', expected 2"),
        ("0: cat\n0: dog\n", ":2: number 0 of 'dog', expected 1"),
        ("0 background\n1 cat\ndog\n2 bird\n", ":3: found 'dog' where other lines are like '0 background'"),
        ("cat,1\ndog\nbird,2\n", ":2: found 'dog' where other lines are like 'cat,1'"),
        ("cat\ndog\nbird: 3\n", ":3: a number beside a name"),
        ("cat\ndog,7\nbird\ncow\n", ":2: a number beside a name"),
        ("cat\nbackground\ndog\n", ":2: 'background' between classes"),
        ("cat\nvoid\ndog\n", ":2: 'void' between classes"),
        ("item {\n  id: 1\n  name: 'cat'\n}\n", ":1: expected one class per line"),
        ("<classes>\n<name>cat</name>\n", ":1: expected one class per line"),
        ("cat,dog,bird\n", ":1: expected one class per line"),
        ("names:\n  - name: cat\n    id: 1\n", ":2: found 'name: cat'; expected one class per line"),
        ('["cat",\n "dog"', ":2: not JSON"),
        ("[1, 2]", ", entry 1: expected a class name"),
        ("[" * 100_000, "nested too deep"),
        ("id,name\n1,cat\nx,dog\n", ":3: expected 2 columns as the header has"),
        ("background\n", ": no classes in this list"),
    ],
)
def test_other_forms_are_refused_with_their_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'classes.txt'}{expected}") or expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_of_a_list_with_a_background_line_do_not_shift(
    excel_cam: Callable[..., Result], tmp_path: Path, model_arguments: list[str]
) -> None:
    (tmp_path / "photos").mkdir()
    draw_photograph(40, 50, 1).save(tmp_path / "photos" / "a.jpg")
    (tmp_path / "tags.csv").write_text("name,classes\na,cat\n")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\n")
    (tmp_path / "plain.txt").write_text("cat\n")
    labels = {}
    for name in ("labelmap", "plain"):
        result = excel_cam(
            "generate", "--dataset", "folder", "--root", tmp_path / "photos", "--tags", tmp_path / "tags.csv",
            "--classes", tmp_path / f"{name}.txt", "--out", tmp_path / name, "--size", 64, *model_arguments,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert ("the line of the background" in result.stderr) == (name == "labelmap")
        labels[name] = (tmp_path / name / "a.png").read_bytes()
    assert labels["labelmap"] == labels["plain"]


def test_label_takes_a_background_among_its_classes_for_no_class(
    excel_cam: Callable[..., Result], tmp_path: Path, model_arguments: list[str]
) -> None:
    draw_photograph(40, 50, 1).save(tmp_path / "a.jpg")
    result = excel_cam(
        "label", tmp_path / "a.jpg", "--classes", "background,cat", "--size", 64, "--attributes", "none",
        *model_arguments,
    )  # fmt: skip
    assert "1 class: 1 cat; 0 background\n" in result.stderr
    assert "dropped the line of the background" in result.stderr
    assert excel_cam("label", tmp_path / "a.jpg", "--classes", "background", *model_arguments).exit_code == 2
