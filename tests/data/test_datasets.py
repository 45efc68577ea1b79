"""Data sets: where VOC is found, and which samples VOC and a folder of images give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from excel_cam.classes import VOC_CLASSES
from excel_cam.data.dataset import Sample
from excel_cam.data.voc import find_voc_root, open_voc
from excel_cam.errors import DataError, UsageError


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A VOC2012 folder with a train list of two images, and no image at all."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    (root / "JPEGImages").mkdir(parents=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n2007_000039\n")
    (root / "tags.csv").write_text("name,classes\n2007_000032,aeroplane;person\n2007_000039.jpg,tvmonitor\nextra,\n")
    return root


def one_hot(*indices: int) -> np.ndarray:
    return np.isin(np.arange(20), indices).astype(np.float32)


def annotate(root: Path, name: str, class_name: str) -> None:
    (root / "Annotations").mkdir(exist_ok=True)
    text = f"<annotation><object><name>{class_name}</name></object></annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text)


def test_a_given_root_may_be_the_folder_the_devkit_or_its_parent(voc: Path) -> None:
    for given in (voc, voc.parent, voc.parent.parent):
        assert find_voc_root(given, {}) == (voc, "--root")
        assert find_voc_root(None, {"EXCEL_CAM_VOC_ROOT": str(given)}) == (voc, "EXCEL_CAM_VOC_ROOT")


def test_root_comes_before_the_variable(voc: Path, tmp_path: Path) -> None:
    assert find_voc_root(voc, {"EXCEL_CAM_VOC_ROOT": str(tmp_path / "other")}) == (voc, "--root")


@pytest.mark.parametrize("under", ["", "data", "datasets"])
@pytest.mark.parametrize("inner", ["VOC2012", "VOCdevkit/VOC2012"])
def test_usual_places_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, under: str, inner: str) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path(under, inner)
    (place / "JPEGImages").mkdir(parents=True)
    assert find_voc_root(None, {"EXCEL_CAM_VOC_ROOT": ""}) == (place, f"found as ./{place.as_posix()}")


def test_every_place_tried_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="neither --root nor EXCEL_CAM_VOC_ROOT") as caught:
        find_voc_root(None, {})
    for place in ("VOC2012", "VOCdevkit/VOC2012", "data/VOC2012", "datasets/VOCdevkit/VOC2012"):
        assert f" {place}" in str(caught.value)
    with pytest.raises(UsageError, match=r"\(--root x\); tried x, x/VOC2012, x/VOCdevkit/VOC2012;"):
        find_voc_root(Path("x"), {})
    # A variable that leads nowhere is said, not passed over for a folder that happens to lie here.
    (tmp_path / "VOC2012" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"\(EXCEL_CAM_VOC_ROOT x\)"):
        find_voc_root(None, {"EXCEL_CAM_VOC_ROOT": "x"})


def test_voc_samples_follow_the_devkit_list(voc: Path) -> None:
    data_set = open_voc(voc, "train", voc / "tags.csv", None)
    assert data_set.samples == (
        Sample("2007_000032", voc / "JPEGImages" / "2007_000032.jpg", (0, 14)),
        Sample("2007_000039", voc / "JPEGImages" / "2007_000039.jpg", (19,)),
    )
    assert (data_set.name, data_set.root, data_set.class_names) == ("voc", voc, VOC_CLASSES)
    assert data_set.tags_source == str(voc / "tags.csv")
    assert any("train.txt" in note for note in data_set.notes)


@pytest.mark.parametrize(
    ("split", "missing", "total"),
    [
        ("train", "1,462", "1,464"),
        ("train_aug", "10,580", "10,582"),
        ("val", "1,449", "1,449"),
        ("trainval", "2,911", "2,913"),
    ],
)
def test_splits_are_shipped_for_a_devkit_without_lists(voc: Path, split: str, missing: str, total: str) -> None:
    (voc / "ImageSets" / "Segmentation" / "train.txt").unlink()
    with pytest.raises(DataError, match=f"no tags for {missing} of {total} images, first '2007_0000.*--split.*--list"):
        open_voc(voc, split, voc / "tags.csv", None)


@pytest.mark.parametrize("stem", ["train_aug", "trainaug"])
def test_train_aug_of_the_devkit_is_found_by_both_names(voc: Path, stem: str) -> None:
    (voc / "ImageSets" / "Segmentation" / f"{stem}.txt").write_text("extra\n")
    assert [sample.name for sample in open_voc(voc, "train_aug", voc / "tags.csv", None).samples] == ["extra"]


def test_trainval_is_train_then_val(voc: Path) -> None:
    lists = voc / "ImageSets" / "Segmentation"
    (lists / "val.txt").write_text("extra\n2007_000032\n")
    names = [sample.name for sample in open_voc(voc, "trainval", voc / "tags.csv", None).samples]
    assert names == ["2007_000032", "2007_000039", "extra"]
    (lists / "trainval.txt").write_text("extra\n")
    assert [sample.name for sample in open_voc(voc, "trainval", voc / "tags.csv", None).samples] == ["extra"]


def test_voc_tags_are_looked_for_in_order(voc: Path) -> None:
    names = ["2007_000032"]
    with pytest.raises(DataError, match=r"cls_labels\.npy, cls_labels_onehot\.npy and Annotations.*--tags"):
        open_voc(voc, "train", None, names)
    sources = []
    annotate(voc, "2007_000032", "cow")
    sources.append((9, str(voc / "Annotations" / "*.xml")))
    for file, index in (("cls_labels_onehot.npy", 3), ("cls_labels.npy", 4)):
        data_set = open_voc(voc, "train", None, names)
        assert (data_set.samples[0].tags, data_set.tags_source) == ((sources[-1][0],), sources[-1][1])
        assert f"tags: {sources[-1][1]}" in data_set.notes
        np.save(voc / file, {"2007_000032": one_hot(index)}, allow_pickle=True)  # type: ignore[arg-type]
        sources.append((index, str(voc / file)))
    assert open_voc(voc, "train", None, names).samples[0].tags == (4,)
    assert open_voc(voc, "train", voc / "tags.csv", names).samples[0].tags == (0, 14)


def test_integer_keys_are_voc_ids(voc: Path) -> None:
    rows = {2007000032: one_hot(14), 2007000039: one_hot(), 2008000002: one_hot(1)}
    np.save(voc / "cls_labels.npy", rows, allow_pickle=True)  # type: ignore[arg-type]
    assert [sample.tags for sample in open_voc(voc, "train", None, None).samples] == [(14,), ()]


def test_annotations_are_read_only_for_the_names_asked_for(voc: Path) -> None:
    annotate(voc, "2007_000039", "tvmonitor")
    assert open_voc(voc, "train", None, ["2007_000039"]).samples[0].tags == (19,)
    with pytest.raises(DataError, match=r"2007_000032\.xml: this annotation cannot be read"):
        open_voc(voc, "train", None, None)


def test_voc_names_narrow_in_their_order_and_may_lie_outside_the_split(voc: Path) -> None:
    data_set = open_voc(voc, "train", voc / "tags.csv", ["extra", "2007_000039", "extra"])
    assert [sample.name for sample in data_set.samples] == ["extra", "2007_000039"]
    with pytest.raises(DataError, match="no tags for 1 of 1 images, first 'other'"):
        open_voc(voc, "train", voc / "tags.csv", ["other"])


def test_voc_refusals(voc: Path) -> None:
    with pytest.raises(UsageError, match="unknown split 'test' of VOC; choose one of train, train_aug, val, trainval"):
        open_voc(voc, "test", None, None)
    with pytest.raises(DataError, match="--list: no names"):
        open_voc(voc, "train", voc / "tags.csv", [])
    with pytest.raises(DataError, match=r"--list: name '\.\./x' leaves the root"):
        open_voc(voc, "train", voc / "tags.csv", ["../x"])
    (voc / "tags.csv").write_text("name,classes\n2007_000032,\n2007_000032.jpg,\n")
    with pytest.raises(DataError, match="'2007_000032' has two lines, with and without extension"):
        open_voc(voc, "train", voc / "tags.csv", None)
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n/b\n")
    with pytest.raises(DataError, match=r"train\.txt:2: name '/b' is absolute or has a drive letter"):
        open_voc(voc, "train", voc / "tags.csv", None)


def test_data_sets_need_no_torch() -> None:
    code = "import sys, excel_cam.data.dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
