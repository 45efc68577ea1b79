"""COCO as a data set: where it is found, its layouts and names, and what its tags come from."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import draw_photograph

from excel_cam.classes import COCO_CATEGORY_IDS, COCO_CLASSES
from excel_cam.data.coco import COCO_SPLITS, default_split, find_coco_root, open_coco
from excel_cam.data.dataset import Sample
from excel_cam.errors import DataError, UsageError

CATEGORIES = [{"id": number, "name": name} for number, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True)]
SHOWN = {9: (1, 90), 25: (17,), 30: ()}  # image id -> category ids
NAMES_2014 = [f"COCO_train2014_{number:012d}" for number in SHOWN]
NAMES_2017 = [f"{number:012d}" for number in SHOWN]


def make_coco(root: Path, split: str, under: str = "") -> Path:
    """A COCO folder with three drawn photographs of a split."""
    prefix = f"COCO_{split}_" if "2014" in split else ""
    folder = root / under / split
    folder.mkdir(parents=True)
    images = []
    for number in SHOWN:
        file_name = f"{prefix}{number:012d}.jpg"
        images.append({"id": number, "file_name": file_name})
        draw_photograph(48 + number, 64, number).save(folder / file_name)
    annotations = [
        {"segmentation": [[1.5, 2.5]], "image_id": image, "category_id": category, "iscrowd": category % 2}
        for image, categories in SHOWN.items()
        for category in categories
    ]
    (root / "annotations").mkdir(exist_ok=True)
    sections = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(sections))
    return root


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return make_coco(tmp_path / "COCO", "train2014")


def test_a_given_root_may_be_the_folder_or_its_parent(coco: Path) -> None:
    for given in (coco, coco.parent):
        assert find_coco_root(given, {}) == (coco, "--root")
        assert find_coco_root(None, {"EXCEL_CAM_COCO_ROOT": str(given)}) == (coco, "EXCEL_CAM_COCO_ROOT")
        assert find_coco_root(None, {}, given) == (coco, "[roots] coco")
    assert find_coco_root(coco, {"EXCEL_CAM_COCO_ROOT": "other"}) == (coco, "--root")
    assert find_coco_root(None, {"EXCEL_CAM_COCO_ROOT": str(coco)}, Path("other")) == (coco, "EXCEL_CAM_COCO_ROOT")


@pytest.mark.parametrize("place", ["COCO", "data/coco", "datasets/COCO"])
@pytest.mark.parametrize("inner", ["annotations", "images/val2014", "train2017"])
def test_usual_places_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, inner: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(place, inner).mkdir(parents=True)
    assert find_coco_root(None, {}) == (Path(place), f"found as ./{place}")


def test_every_place_tried_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="neither --root nor EXCEL_CAM_COCO_ROOT") as caught:
        find_coco_root(None, {})
    assert "tried COCO, coco, data/COCO, data/coco, datasets/COCO, datasets/coco;" in str(caught.value)
    with pytest.raises(UsageError, match=r"\(EXCEL_CAM_COCO_ROOT x\); tried x, x/COCO, x/coco;"):
        find_coco_root(None, {"EXCEL_CAM_COCO_ROOT": "x"})


@pytest.mark.parametrize("split", COCO_SPLITS)
@pytest.mark.parametrize("under", ["", "images"])
def test_every_split_and_layout(tmp_path: Path, split: str, under: str) -> None:
    root = make_coco(tmp_path, split, under)
    data_set = open_coco(root, split, None, None)
    prefix = f"COCO_{split}_" if "2014" in split else ""
    names = [f"{prefix}{number:012d}" for number in SHOWN]
    files = [root / under / split / f"{name}.jpg" for name in names]
    assert data_set.samples == tuple(map(Sample, names, files, [(0, 79), (15,), ()]))
    assert (data_set.name, data_set.class_names, data_set.split) == ("coco", COCO_CLASSES, split)
    assert data_set.notes[-1].endswith("1 images have none and become all background")


def test_the_split_is_train2014_or_the_only_one_there(tmp_path: Path, coco: Path) -> None:
    assert default_split(coco) == "train2014"
    assert default_split(tmp_path / "nothing") == "train2014"
    make_coco(coco, "val2017")
    assert default_split(coco) == "train2014"
    assert default_split(make_coco(tmp_path / "other", "val2017", "images")) == "val2017"


def test_a_split_that_is_not_there(coco: Path) -> None:
    with pytest.raises(
        DataError, match=r"no images of split val2017; looked for \S+ and \S+; there: train2014; choose"
    ):
        open_coco(coco, "val2017", None, None)
    with pytest.raises(UsageError, match="unknown split 'train' of COCO; choose one of train2014, val2014"):
        open_coco(coco, "train", None, None)
    (coco / "val2017").mkdir()
    with pytest.raises(DataError, match=r"instances_val2017\.json: no such file; .*--tags"):
        open_coco(coco, "val2017", None, None)


def test_tags_of_a_file_replace_those_of_the_json(coco: Path) -> None:
    tags = coco / "tags.csv"
    tags.write_text("name,classes\n9,dog\nCOCO_train2014_000000000025,\n000000000030.jpg,cat;dog\n")
    data_set = open_coco(coco, "train2014", tags, None)
    assert [(sample.name, sample.tags) for sample in data_set.samples] == list(
        zip(NAMES_2014, [(16,), (), (15, 16)], strict=True)
    )
    assert data_set.tags_source == str(tags)
    # Without the JSON the folder's listing has to do.
    (coco / "annotations" / "instances_train2014.json").unlink()
    listed = open_coco(coco, "train2014", tags, None)
    assert listed.samples == data_set.samples
    tags.write_text("name,classes\n9,dog\n")
    with pytest.raises(DataError, match="no tags for 2 of 3 images, first 'COCO_train2014_000000000025'"):
        open_coco(coco, "train2014", tags, None)
    tags.write_text("name,classes\n9,dog\n000000000009,cat\n")
    with pytest.raises(DataError, match="'COCO_train2014_000000000009' is there twice, in two spellings"):
        open_coco(coco, "train2014", tags, None)


def test_whole_numbers_of_a_dictionary_are_image_ids(coco: Path) -> None:
    rows = {number: np.isin(np.arange(80), [number]).astype(np.float32) for number in SHOWN}
    np.save(coco / "cls_labels.npy", rows, allow_pickle=True)  # type: ignore[arg-type]
    data_set = open_coco(coco, "train2014", coco / "cls_labels.npy", None)
    assert [sample.tags for sample in data_set.samples] == [(9,), (25,), (30,)]


def test_names_narrow_in_their_order_and_by_number(coco: Path) -> None:
    data_set = open_coco(coco, "train2014", None, ["30", "COCO_train2014_000000000009", "000000000009"])
    assert [sample.name for sample in data_set.samples] == [NAMES_2014[2], NAMES_2014[0]]
    assert data_set.split is None
    with pytest.raises(DataError, match=r"--list: 1 names are not in \S+json, first '000000000031'"):
        open_coco(coco, "train2014", None, ["000000000031"])


def test_annotations_of_unlisted_images_are_told(coco: Path) -> None:
    path = coco / "annotations" / "instances_train2014.json"
    sections = json.loads(path.read_text())
    path.write_text(json.dumps({**sections, "images": sections["images"][1:]}))
    assert open_coco(coco, "train2014", None, None).notes[0].startswith("1 images with annotations are not listed")


def test_generate_needs_only_the_root(
    tmp_path: Path, excel_cam: Callable[..., Result], model_arguments: list[str]
) -> None:
    root, out = make_coco(tmp_path / "COCO", "val2017"), tmp_path / "labels"
    run = ["generate", "--dataset", "coco", "--root", root, "--out", out, "--refine", "none", *model_arguments]
    result = excel_cam(*run)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.stem for path in out.glob("*.png")) == NAMES_2017
    record = json.loads((out / "run.json").read_text())
    assert (record["dataset"]["name"], record["dataset"]["split"]) == ("coco", "val2017")
    assert record["knowledge"]["dataset"] == "coco"
    assert "80 classes), 224 attributes" in result.stderr
    evaluated = excel_cam("evaluate", "--labels", out, "--truth", out, "--dataset", "coco")
    assert evaluated.exit_code == 0
    assert "toothbrush" in evaluated.stdout


def test_a_root_that_is_none_is_a_matter_of_usage(tmp_path: Path, excel_cam: Callable[..., Result]) -> None:
    result = excel_cam("generate", "--dataset", "coco", "--root", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert str(tmp_path / "COCO") in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--dataset", "coco", "--classes", "x.txt"), "--classes: the classes of coco are fixed"),
        (("--dataset", "folder", "--split", "val"), "--split: a folder has no splits"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    tmp_path: Path, excel_cam: Callable[..., Result], arguments: tuple[str, ...], expected: str
) -> None:
    result = excel_cam("generate", *arguments, "--root", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert expected in result.stderr


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_with_marks_are_found_in_either_spelling(coco: Path, listed: str, stored: str) -> None:
    """A JSON that was written on Linux, photographs that were unpacked on macOS, and the other way round."""
    annotations = coco / "annotations" / "instances_train2014.json"
    content = json.loads(annotations.read_text())
    for entry in content["images"]:
        path = coco / "train2014" / entry["file_name"]
        name = f"é{entry['id']}.jpg"
        path.rename(path.with_name(unicodedata.normalize(stored, name)))
        entry["file_name"] = unicodedata.normalize(listed, name)
    annotations.write_text(json.dumps(content))
    data = open_coco(coco, "train2014", None, None)
    assert len(data.samples) == len(SHOWN)
    assert all(sample.image_path.is_file() for sample in data.samples)
