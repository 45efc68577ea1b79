"""Pascal Context, ADE20K and Cityscapes on disk: roots, splits, tags out of masks. No model is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from data_trees import TREES, Tree, make_ade20k, make_cityscapes, make_context, strips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from excel_cam.classes import CITYSCAPES_CLASSES, DATASET_CLASSES, IGNORE, MASK_FORMS
from excel_cam.data.masked import find_masked_root, open_masked
from excel_cam.data.source import Source
from excel_cam.data.untagged import open_untagged
from excel_cam.errors import DataError, UsageError
from excel_cam.files.images.mask_folder import MaskFolder

Run = Callable[..., Result]

# labels.py of cityscapesScripts, id by id: (name, trainId); -1 and 255 are not judged.
CITYSCAPES_TABLE = [
    ("unlabeled", 255), ("ego vehicle", 255), ("rectification border", 255), ("out of roi", 255), ("static", 255),
    ("dynamic", 255), ("ground", 255), ("road", 0), ("sidewalk", 1), ("parking", 255), ("rail track", 255),
    ("building", 2), ("wall", 3), ("fence", 4), ("guard rail", 255), ("bridge", 255), ("tunnel", 255), ("pole", 5),
    ("polegroup", 255), ("traffic light", 6), ("traffic sign", 7), ("vegetation", 8), ("terrain", 9), ("sky", 10),
    ("person", 11), ("rider", 12), ("car", 13), ("truck", 14), ("bus", 15), ("caravan", 255), ("trailer", 255),
    ("train", 16), ("motorcycle", 17), ("bicycle", 18),
]  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_images_and_tags_of_the_training_split(tmp_path: Path, name: str) -> None:
    tree = TREES[name](tmp_path)
    said: list[str] = []
    data = open_masked(name, tree.root, None, None, None, said.append)
    assert (data.name, data.root, data.class_names) == (name, tree.root, DATASET_CLASSES[name])
    assert {sample.name: sample.tags for sample in data.samples} == tree.tags
    assert [sample.name for sample in data.samples] == list(tree.tags)
    assert all(sample.image_path.is_file() for sample in data.samples)
    assert data.split == {"ade20k": "training"}.get(name, "train")
    assert data.tags_source == f"the masks of {tree.masks}"
    assert len(said) == 1
    assert said[0].startswith(f"tags: reading 2 masks of {tree.masks}; `excel-cam tags --from")


def test_context_with_its_background_has_the_same_tags(tmp_path: Path) -> None:
    tree = make_context(tmp_path)
    data = open_masked("context60", tree.root, "val", None, None)
    assert [(sample.name, sample.tags) for sample in data.samples] == [("2008_000003", tree.tags["2008_000003"])]
    assert len(data.class_names) == 59


@pytest.mark.parametrize("name", TREES)
def test_where_the_folder_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tree = TREES[name](tmp_path / "data")
    variable = f"EXCEL_CAM_{name.upper()}_ROOT"
    for folder in (tree.root, tree.root.parent):
        assert find_masked_root(name, folder, {}, {}) == (tree.root, "--root")
    assert find_masked_root(name, None, {variable: str(tree.root)}, {}) == (tree.root, variable)
    assert find_masked_root(name, None, {}, {name: tree.root}) == (tree.root, f"[roots] {name}")
    monkeypatch.chdir(tmp_path)
    found, how = find_masked_root(name, None, {}, {})
    assert (tmp_path / found, how) == (tree.root, f"found as ./{found}")
    with pytest.raises(UsageError, match=rf"neither --root nor {variable} is given.*tried.*give it with --root"):
        monkeypatch.chdir(tree.root)
        find_masked_root(name, None, {}, {})


def test_context60_shares_the_folder_of_context(tmp_path: Path) -> None:
    tree = make_context(tmp_path)
    assert find_masked_root("context60", None, {"EXCEL_CAM_CONTEXT_ROOT": str(tmp_path)}, {})[0] == tree.root


def test_ade20k_splits_go_by_other_names_too(tmp_path: Path) -> None:
    root = make_ade20k(tmp_path).root
    for split in ("validation", "val"):
        data = open_masked("ade20k", root, split, None, None)
        assert (data.split, [sample.name for sample in data.samples]) == ("validation", ["ADE_val_00000001"])
    with pytest.raises(UsageError, match="unknown split 'test' of ade20k; choose one of training, validation"):
        open_masked("ade20k", root, "test", None, None)


def test_a_split_whose_truth_is_kept_back_needs_tags(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path).root
    with pytest.raises(DataError, match=r"test: no class in any of its 1 masks.*give the image-level labels with"):
        open_masked("cityscapes", root, "test", None, None)
    tags = tmp_path / "tags.csv"
    tags.write_text("name,classes\nberlin/berlin_000000_000019,road;sky\n")  # as lists have it, without the ending
    sample = open_masked("cityscapes", root, "test", tags, None).samples[0]
    assert (sample.name, sample.tags) == ("berlin/berlin_000000_000019_leftImg8bit", (0, 10))


@pytest.mark.parametrize(
    "entry",
    [
        "bochum/bochum_000000_000313", "bochum/bochum_000000_000313_leftImg8bit.png",
        "ROOT/leftImg8bit/train/bochum/bochum_000000_000313_leftImg8bit.png",
        "leftImg8bit/train/bochum/bochum_000000_000313_leftImg8bit.png "
        "gtFine/train/bochum/bochum_000000_000313_gtFine_labelTrainIds.png",
    ],
)  # fmt: skip
def test_a_list_names_cityscapes_images_with_or_without_their_ending(tmp_path: Path, entry: str) -> None:
    tree = make_cityscapes(tmp_path)
    data = open_masked("cityscapes", tree.root, "train", None, [entry.replace("ROOT", str(tree.root))])
    assert [sample.name for sample in data.samples] == ["bochum/bochum_000000_000313_leftImg8bit"]
    assert data.split is None
    with pytest.raises(DataError, match=r"--list: 1 names are not in .*train, first 'ulm/x'"):
        open_masked("cityscapes", tree.root, "train", None, ["ulm/x"])


def test_missing_masks_lists_and_folders_are_said(tmp_path: Path) -> None:
    ade, context = make_ade20k(tmp_path).root, make_context(tmp_path).root
    (ade / "annotations/training/ADE_train_00000002.png").unlink()
    with pytest.raises(DataError, match=r"00000002.png: no such mask, of which tags are read \(1 of 2 missing\); give"):
        open_masked("ade20k", ade, None, None, None)
    (context / "ImageSets/SegmentationContext/train.txt").unlink()
    with pytest.raises(DataError, match=r"train.txt: no such list of names; mmsegmentation's pascal_context.py"):
        open_masked("context", context, None, None, None)
    with pytest.raises(DataError, match=r"no images of split val; there: train; choose one with --split"):
        cityscapes = make_cityscapes(tmp_path).root
        (cityscapes / "leftImg8bit" / "val").rename(tmp_path / "away")
        (cityscapes / "leftImg8bit" / "test").rename(tmp_path / "away too")
        open_masked("cityscapes", cityscapes, "val", None, None)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("ade20k", 151, r"0\.\.150"), ("context", 60, r"0\.\.59"), ("cityscapes", 34, r"0\.\.33")],
)
def test_a_value_that_the_data_set_does_not_know_is_said(tmp_path: Path, name: str, value: int, expected: str) -> None:
    tree = TREES[name](tmp_path)
    path = MaskFolder(tree.masks, MASK_FORMS[name]).path(next(iter(tree.tags)))
    Image.fromarray(strips((value, 1))).save(path)
    with pytest.raises(DataError, match=rf"{path.name}: expected values {expected} or 255, got {value} at row 0, col"):
        open_masked(name, tree.root, None, None, None)


def test_cityscapes_ids_are_those_of_its_scripts() -> None:
    table = MASK_FORMS["cityscapes"][0].values
    assert table == {number: train_id for number, (_name, train_id) in enumerate(CITYSCAPES_TABLE)}
    judged = [name for name, train_id in CITYSCAPES_TABLE if train_id != 255]
    assert judged == list(CITYSCAPES_CLASSES)


def test_masks_that_the_scripts_of_cityscapes_make_are_read(tmp_path: Path) -> None:
    made = pytest.importorskip(
        "cityscapesscripts.preparation.json2labelImg", reason="cityscapesscripts is not installed"
    )
    from cityscapesscripts.helpers.labels import labels

    city = tmp_path / "ulm"
    city.mkdir()
    strips_of_10 = [
        {"label": label.name, "polygon": [[10 * i, 0], [10 * i + 9, 0], [10 * i + 9, 29], [10 * i, 29]]}
        for i, label in enumerate(labels)
    ]
    polygons = city / "ulm_000000_000019_gtFine_polygons.json"
    polygons.write_text(json.dumps({"imgHeight": 30, "imgWidth": 10 * len(labels), "objects": strips_of_10}))
    for ending, encoding in (("labelIds", "ids"), ("labelTrainIds", "trainIds")):
        made.json2labelImg(str(polygons), str(city / f"ulm_000000_000019_gtFine_{ending}.png"), encoding)
    for form in MASK_FORMS["cityscapes"][:2]:
        mask = MaskFolder(tmp_path, (form,)).read("ulm/ulm_000000_000019_leftImg8bit", 18)
        expected = [IGNORE if label.trainId < 0 else label.trainId for label in labels]
        assert mask[15, 5::10].tolist() == expected


def test_cityscapes_train_ids_and_label_ids_mean_the_same(tmp_path: Path) -> None:
    tree = make_cityscapes(tmp_path)
    forms = MASK_FORMS["cityscapes"]
    for name, tags in tree.tags.items():
        by_id, by_train_id = (MaskFolder(tree.masks, (form,)).read(name, 18) for form in forms[:2])
        assert (by_id == by_train_id).all()
        assert set(np.unique(by_id)) - {IGNORE} == set(tags)
    for path in tree.masks.rglob("*_labelIds.png"):
        path.unlink()
    data = open_masked("cityscapes", tree.root, None, None, None)
    assert {sample.name: sample.tags for sample in data.samples} == tree.tags
    assert MaskFolder(tree.masks, forms).names() == list(tree.tags)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.integers(0, 150), min_size=1, max_size=40))
def test_masks_of_ade20k_are_read_as_reduce_zero_label_reads_them(tmp_path: Path, values: list[int]) -> None:
    mask = np.array([values], np.uint8)
    Image.fromarray(mask).save(tmp_path / "a.png")
    reduced = mask.copy()  # what mmsegmentation's LoadAnnotations does
    reduced[reduced == 0] = 255
    reduced = reduced - 1
    reduced[reduced == 254] = 255
    assert MaskFolder(tmp_path, MASK_FORMS["ade20k"]).read("a", 149).tolist() == reduced.tolist()


def test_images_without_tags_for_a_segmenter(tmp_path: Path) -> None:
    tree: Tree = make_context(tmp_path)
    data, found = open_untagged(Source(dataset="context60", root=tree.root))
    assert ([sample.name for sample in data.samples], data.split, found) == (list(tree.tags), "train", "--root")
    assert {sample.tags for sample in data.samples} == {()}


@pytest.mark.parametrize("name", TREES)
def test_tags_of_masks_by_the_command(tmp_path: Path, excel_cam: Run, name: str) -> None:
    tree = TREES[name](tmp_path)
    out = tmp_path / "tags.jsonl"
    result = excel_cam("tags", "--from", tree.masks, "--dataset", name, "--out", out)
    assert result.exit_code == 0, result.output
    data = open_masked(name, tree.root, None, out, None)
    assert {sample.name: sample.tags for sample in data.samples} == tree.tags
    assert data.tags_source == str(out)
