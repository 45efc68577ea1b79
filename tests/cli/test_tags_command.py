"""`excel-cam tags` as a person uses it: from annotations, masks and files to the file a trainer wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from excel_cam.classes import COCO_CLASSES, VOC_CLASSES, voc_palette
from excel_cam.tags.read import read_tags

Run = Callable[..., Result]


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    folder = tmp_path / "Annotations"
    folder.mkdir()
    for name, classes in (("2007_000032", ("aeroplane", "person", "person")), ("2007_000039", ("tvmonitor",))):
        objects = "".join(f"<object><name>{item}</name></object>" for item in classes)
        (folder / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return folder


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    folder = tmp_path / "SegmentationClass"
    folder.mkdir()
    for name, values in (("2007_000032", (0, 1, 255, 15)), ("2007_000039", (20, 20, 0, 0)), ("2007_000042", (0, 255))):
        picture = Image.fromarray(np.array([values], np.uint8))
        picture.putpalette(voc_palette())
        picture.save(folder / f"{name}.png")
    return folder


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    path = tmp_path / "instances.json"
    sections = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 7, "category_id": 30}, {"image_id": 7, "category_id": 10}],
        "categories": [{"id": 30, "name": "tea pot"}, {"id": 10, "name": "red panda"}],
    }
    path.write_text(json.dumps(sections))
    return path


def refused(result: Result, exit_code: int) -> str:
    assert result.exit_code == exit_code
    assert result.stdout == ""
    return result.stderr.strip().splitlines()[-1]


def test_annotations_become_the_file_that_trainers_ask_for(excel_cam: Run, annotations: Path, tmp_path: Path) -> None:
    out = tmp_path / "cls_labels.npy"
    result = excel_cam("tags", "--from", annotations, "--dataset", "voc", "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    following = f"next: excel-cam generate --dataset voc --tags {out} --out labels/"
    assert result.stderr.splitlines() == [f"written: {out}: 2 images, 20 classes", following]
    rows = np.load(out, allow_pickle=True).item()
    assert {key: np.flatnonzero(row).tolist() for key, row in rows.items()} == {2007000032: [0, 14], 2007000039: [19]}


def test_masks_say_what_they_show(excel_cam: Run, masks: Path, tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    result = excel_cam("tags", "--from", masks, "--dataset", "voc", "--out", out)
    assert result.stderr.startswith(f"written: {out}: 3 images, 20 classes, 1 images without any\nnext: ")
    assert read_tags(out, VOC_CLASSES) == {"2007_000032": (0, 14), "2007_000039": (19,), "2007_000042": ()}


def test_an_instances_json_names_its_own_classes(excel_cam: Run, instances: Path, tmp_path: Path) -> None:
    assert excel_cam("tags", "--from", instances, "--out", tmp_path / "t.json", "--quiet").stderr == ""
    assert json.loads((tmp_path / "t.json").read_text()) == {"a": ["red panda", "tea pot"], "b": []}
    (tmp_path / "classes.txt").write_text("tea pot\nred panda\n")
    arguments = ("--classes", tmp_path / "classes.txt", "--out", tmp_path / "t.npy")
    assert excel_cam("tags", "--from", instances, *arguments).exit_code == 0
    rows = np.load(tmp_path / "t.npy", allow_pickle=True).item()
    assert rows["a"].tolist() == [1, 1]


def test_coco_is_known_by_its_categories(excel_cam: Run, instances: Path, tmp_path: Path) -> None:
    sections = json.loads(instances.read_text())
    sections["categories"] = [{"id": 10, "name": "traffic light"}, {"id": 31, "name": "handbag"}]
    sections["annotations"][0]["category_id"] = 31
    instances.write_text(json.dumps(sections))
    excel_cam("tags", "--from", instances, "--out", tmp_path / "t.npy")
    row = np.load(tmp_path / "t.npy", allow_pickle=True).item()["a"]
    assert len(row) == 80
    assert [COCO_CLASSES[i] for i in np.flatnonzero(row)] == ["traffic light", "handbag"]


def test_a_list_narrows_in_its_order(excel_cam: Run, masks: Path, annotations: Path, tmp_path: Path) -> None:
    (annotations / "2007_000032.xml").write_text("damaged, but not asked for")
    for source in (masks, annotations):
        arguments = ("--from", source, "--dataset", "voc", "--list", "-", "--overwrite", "--out", tmp_path / "t.csv")
        assert excel_cam("tags", *arguments, input="2007_000039.jpg\n").exit_code == 0
        assert (tmp_path / "t.csv").read_text() == "name,classes\n2007_000039,tvmonitor\n"
    arguments = ("--from", masks, "--dataset", "voc", "--list", "-", "--out", tmp_path / "u.csv")
    result = excel_cam("tags", *arguments, input="2007_000042\n2007_000099\n")
    assert "--list: 1 names are not in" in refused(result, 1)
    assert "first '2007_000099'" in result.stderr


def test_a_list_of_numbers_finds_the_names_of_coco(excel_cam: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,classes\nCOCO_val2014_000000000042,cat\nCOCO_val2014_000000000073,dog\n")
    arguments = ("--from", tmp_path / "t.csv", "--dataset", "coco", "--list", "-", "--out", tmp_path / "u.csv")
    assert excel_cam("tags", *arguments, input="73\n").exit_code == 0
    assert (tmp_path / "u.csv").read_text() == "name,classes\n73,dog\n"


def test_extensions_of_images_are_dropped(excel_cam: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,classes\n2007_000032.jpg,cat\n")
    arguments = ("tags", "--from", tmp_path / "t.csv", "--dataset", "voc", "--out")
    assert excel_cam(*arguments, tmp_path / "cls_labels.npy").exit_code == 0
    assert list(np.load(tmp_path / "cls_labels.npy", allow_pickle=True).item()) == [2007000032]
    (tmp_path / "t.csv").write_text("name,classes\n2007_000032.jpg,cat\n2007_000032,cat\n")
    assert "two lines, with and without extension" in refused(excel_cam(*arguments, tmp_path / "u.npy"), 1)


def test_a_file_that_is_there_is_kept_unless_told(excel_cam: Run, instances: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    out.write_text("precious")
    assert "is there already; add --overwrite" in refused(excel_cam("tags", "--from", instances, "--out", out), 1)
    assert out.read_text() == "precious"
    assert excel_cam("tags", "--from", instances, "--out", out, "--overwrite").exit_code == 0
    assert out.read_text().startswith("name,classes")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "expected"),
    [
        (("--from", "t.csv", "--out", "u.json"), 2, "t.csv: which classes? give --dataset or --classes"),
        (("--from", "t.json", "--out", "u.json"), 2, "t.json: which classes?"),
        (("--from", "empty", "--out", "u.json"), 2, "empty: which classes?"),
        (("--from", "t.csv", "--dataset", "voc", "--classes", "c", "--out", "u.csv"), 2, "either --dataset or --class"),
        (("--from", "t.csv", "--dataset", "voc", "--out", "u.txt"), 2, "tags are written to .csv, .json, .jsonl and"),
        (("--from", "t.csv", "--dataset", "voc", "--out", "u.csv", "--keys", "str"), 2, "--keys str: only .npy files"),
        (("--from", "empty", "--dataset", "voc", "--out", "u.csv"), 1, "neither annotations (.xml) nor masks (.png)"),
        (("--from", "gone", "--dataset", "voc", "--out", "u.csv"), 1, "gone: tags are read from .csv, .json, .jsonl"),
        (("--from", "gone.csv", "--dataset", "voc", "--out", "u.csv"), 1, "gone.csv: this tags file cannot be read"),
        (("--from", "gone.json", "--out", "u.csv"), 1, "gone.json: this tags file cannot be read: No such file"),
        (("--from", "t.csv", "--dataset", "coco", "--out", "cls_labels.npy"), 1, "no whole number stands for 'x'"),
        (("--from", "none.csv", "--dataset", "voc", "--out", "u.csv"), 1, "none.csv: no images in it"),
        (("--from", "t.csv", "--dataset", "voc", "--out", "t.csv/u.csv"), 1, "u.csv cannot be written: "),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    excel_cam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], exit_code: int,
    expected: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("name,classes\nx,cat\n")
    (tmp_path / "none.csv").write_text("name,classes\n")
    (tmp_path / "t.json").write_text('{"x": ["cat"]}')
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert expected in refused(excel_cam("tags", *arguments), exit_code)
    assert sorted(tmp_path.rglob("*")) == before
