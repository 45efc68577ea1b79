"""Lists of names as exporters, trainers and shells write them: known names first, then what can be stripped."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import VOC_TAGS, draw_photograph
from PIL import Image

from excel_cam.errors import DataError
from excel_cam.files.lists import read_entries, read_names
from excel_cam.tags.lookup import coco_number
from excel_cam.tags.name_finder import NameFinder, read_list

Run = Callable[..., Result]

KNOWN = {"x", "my cat", "my cat 2", "scan.tif", "sub/x", "v1.jpg", "2007_000032", "JPEGImages/y", 'quoted "a"', "7"}


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("x", "x"),
        ("x.png", "x"),
        ("x.JPG", "x"),
        ("./x.jpg", "x"),
        ("scan.tif.jpg", "scan.tif"),
        ("scan.tif", "scan.tif"),
        ("v1.jpg", "v1.jpg"),
        ("v1.jpg.jpg", "v1.jpg"),
        ("/JPEGImages/x.jpg /SegmentationClassAug/x.png", "x"),
        ("JPEGImages/x.jpg SegmentationClass/x.png", "x"),
        ("x.jpg\tx.png", "x"),
        ("x.jpg,x.png", "x"),
        ("x.jpg 3 7", "x"),
        ("my cat.jpg 3 7", "my cat"),
        ("my cat 2", "my cat 2"),
        ("my cat 2.jpg 2", "my cat 2"),
        ("2007_000032  1", "2007_000032"),
        ("2007_000032 -1", "2007_000032"),
        ("x 1", "x"),
        ('"x"', "x"),
        ("'sub/x.jpg'", "sub/x"),
        ('"my cat.jpg"', "my cat"),
        ('quoted "a"', 'quoted "a"'),
        ("/data/VOC2012/JPEGImages/sub/x.jpg", "sub/x"),
        ("images/sub/x.jpg", "sub/x"),
        ("sub\\x.jpg", "sub/x"),
        ("JPEGImages/y.jpg", "JPEGImages/y"),
        ("photos/x.jpg", "x"),
        ("7", "7"),
        ("7 7", "7"),
        ("other/x.jpg", None),
        ("my dog 2", None),
        ("x y", None),
        ("y", None),
    ],
)
def test_an_entry_means_the_least_stripped_known_name(entry: str, name: str | None) -> None:
    assert NameFinder(KNOWN, [Path("photos")]).find(entry) == name


def test_one_spelling_of_marks_stands_for_the_other() -> None:
    composed, parted = unicodedata.normalize("NFC", "caf\u00e9"), unicodedata.normalize("NFD", "caf\u00e9")
    assert NameFinder({parted}).find(f"{composed}.jpg") == parted
    assert NameFinder({composed}).find(parted) == composed
    assert NameFinder({composed, parted}).find(parted) == parted
    assert NameFinder({parted, f"{parted}.", "x"}).find(composed) == parted


def test_a_number_of_coco_stands_for_its_image() -> None:
    finder = NameFinder({"COCO_train2014_000000000009"}, number=coco_number)
    for entry in ("9", "000000000009.jpg", "/train2014/COCO_train2014_000000000009.jpg", "9 3 7", '"9"'):
        assert finder.find(entry) == "COCO_train2014_000000000009"


def test_names_that_differ_in_case_alone_are_hinted_at(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("x\nMy Cat.jpg\n")
    with pytest.raises(DataError) as caught:
        read_list(str(tmp_path / "list.txt"), KNOWN)
    assert str(caught.value) == (
        f"{tmp_path / 'list.txt'}:2: no image 'My Cat'; there is 'my cat', which differs in case: write it so"
    )


def test_unknown_names_stay_plain_and_names_that_leave_the_root_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/JPEGImages/new.jpg /SegmentationClassAug/new.png\nold.jpg 3 7\nnew\n")
    assert read_list(str(tmp_path / "list.txt"), KNOWN) == ["new", "old"]
    (tmp_path / "list.txt").write_text("x\n../y\n")
    with pytest.raises(DataError, match=r"list\.txt:2: name '\.\./y' leaves the root"):
        read_list(str(tmp_path / "list.txt"), KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "a", "path": "labels/a.png"}\n{"name": "b", "path": "labels/b.png"}\n',
        '["a", "b"]',
        '[\n  "a",\n  "b"\n]\n',
        '[{"file_name": "a"}, {"file_name": "b"}]',
        '{\n  "name": "a"\n}\n{\n  "name": "b"\n}\n',
    ],
)
def test_json_gives_its_names(text: str) -> None:
    assert list(read_entries(io.StringIO(text))) == ["a", "b"]


def test_names_may_begin_with_a_bracket() -> None:
    assert read_names(io.StringIO("[1] cat\n{x}.jpg\n")) == ["[1] cat", "{x}"]
    with pytest.raises(DataError, match="list of names:2: expected a name, or an object with one under name"):
        read_names(io.StringIO('{"name": "a"}\n{"id": 3}\n'))


def test_hidden_files_of_macos_are_no_names() -> None:
    assert read_names(io.StringIO("._a.jpg\nsub/._b.jpg\na.jpg\n")) == ["a"]


def test_standard_input_is_utf_8_whatever_the_locale_says(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO("\ufeff猫\r\ncafé\n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="ascii"))
    assert read_names("-") == ["猫", "café"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_names("-")


# ---- every command that has --list

FIRST, SECOND = "2007_000001", "2007_000002"
LISTS = {
    "two columns": "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png\n",
    "name and indices": "{0}.jpg 3 7\n",
    "per class": "{0}  1\n",
    "label names": "{0}.png\n",
    "quoted": '"{0}"\n',
    "JSON lines": '{{"name": "{0}", "classes": {{"cat": 0.5}}}}\n',
    "CRLF": "{0}.jpg\r\n",
}


@pytest.mark.parametrize("form", LISTS)
def test_every_command_reads_the_lists_of_the_field(
    excel_cam: Run, voc_root: Path, arguments: list[str], tmp_path: Path, form: str
) -> None:
    written, labels, truth = tmp_path / "list.txt", tmp_path / "labels", tmp_path / "truth"
    written.write_text("".join(LISTS[form].format(name) for name in (SECOND, FIRST)), newline="")
    truth.mkdir()
    for index, name in enumerate(VOC_TAGS):
        size = (60 + 11 * index, 97 - 7 * index)
        Image.fromarray(np.full(size, 15, np.uint8)).save(truth / f"{name}.png")
    more = ["--out", labels, "--attributes", "none", "--save-cams", tmp_path / "cams"]
    assert excel_cam(*arguments, "--list", written, *more).exit_code == 0
    assert sorted(path.stem for path in labels.glob("*.png")) == [FIRST, SECOND]
    listed = ["--list", written]
    result = excel_cam("evaluate", "--labels", labels, "--truth", truth, "--dataset", "voc", "--json", *listed)
    assert json.loads(result.stdout)["images"] == 2
    swept = ["--sweep", "--cams", tmp_path / "cams", "--powers", "1", "--thresholds", "0.5"]
    assert excel_cam("evaluate", *swept, "--truth", truth, "--dataset", "voc", *listed).exit_code == 0
    for more in (["--to", "deeplab"], ["--to", "irn", "--cams", tmp_path / "cams"]):
        result = excel_cam("export", *more, "--labels", labels, "--out", tmp_path / more[1], *listed)
        assert "2 images in" in result.stderr
    result = excel_cam(
        "view", labels, "--images", voc_root / "JPEGImages", "--out", tmp_path / "r.html", *listed
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    result = excel_cam(
        "tags", "--from", voc_root / "tags.csv", "--dataset", "voc", "--out", tmp_path / "t.csv", *listed
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    names = [line.split(",")[0] for line in (tmp_path / "t.csv").read_text().splitlines()]
    assert names == ["name", SECOND, FIRST]


def test_names_that_end_like_images_are_listed_as_they_are(
    excel_cam: Run, tmp_path: Path, model_arguments: list[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, name in enumerate(("scan.tif.jpg", "scan.jpg")):
        draw_photograph(40, 50, index).save(photos / name)
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "tags.csv").write_text("name,classes\nscan.tif,cat\nscan,\n")
    command = [
        "generate", "--dataset", "folder", "--root", photos, "--classes", tmp_path / "classes.txt",
        "--tags", tmp_path / "tags.csv", "--size", "64", *model_arguments,
    ]  # fmt: skip
    for entry in ("scan.tif", "scan.tif.jpg", "scan.tif.png", f"{photos}/scan.tif.jpg"):
        out = tmp_path / entry.replace("/", "_")
        (tmp_path / "list.txt").write_text(f"{entry}\n")
        assert excel_cam(*command, "--list", tmp_path / "list.txt", "--out", out).exit_code == 0
        assert [path.name for path in out.glob("*.png")] == ["scan.tif.png"]
