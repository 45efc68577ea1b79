"""Pascal Context, ADE20K and Cityscapes from `generate` to `export`, as a user goes through the commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from data_trees import TREES, Tree
from drawn import draw_photograph
from PIL import Image

from excel_cam.classes import CITYSCAPES_CLASSES, DATASET_CLASSES, IGNORE
from excel_cam.errors import DataError
from excel_cam.knowledge.base import shipped_knowledge, shipped_names
from excel_cam.report.source import open_view

Run = Callable[..., Result]
ALONE = ("context", "ade20k", "cityscapes")


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def own_truth(tree: Tree, name: str) -> np.ndarray:
    """The truth of an image as label values, read here without the program's own tables."""
    if tree.data_set == "cityscapes":
        return read(tree.masks / f"{name.removesuffix('_leftImg8bit')}_gtFine_labelTrainIds.png")
    mask = read(tree.masks / f"{name}.png")
    return np.where(mask == 0, IGNORE, mask - 1)


def mean_iou(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Over (label, truth), truth 255 left out, of the classes that occur in either."""
    label, truth = (np.concatenate([pair[side][pair[1] != IGNORE] for pair in pairs]) for side in (0, 1))
    scores = []
    for value in np.union1d(label, truth):
        inside, wanted = label == value, truth == value
        scores.append((inside & wanted).sum() / (inside | wanted).sum())
    return float(np.mean(scores))


@pytest.fixture
def made(tmp_path: Path, excel_cam: Run, model_arguments: list[str]) -> Callable[[str], tuple[Tree, Path]]:
    """Label the training split of a data set; returns its tree and the folder of labels."""

    def make(name: str) -> tuple[Tree, Path]:
        tree = TREES[name.removesuffix("60")](tmp_path)
        out = tmp_path / "labels"
        given = ["generate", "--dataset", name, "--root", tree.root, "--out", out, "--save-cams", tmp_path / "cams"]
        result = excel_cam(*given, "--size", "64", "--refine", "none", "--attributes", "none", *model_arguments)
        assert result.exit_code == 0, result.output
        return tree, out

    return make


@pytest.mark.parametrize("name", ALONE)
def test_every_pixel_gets_one_of_the_tagged_classes(
    made: Callable[[str], tuple[Tree, Path]], excel_cam: Run, name: str
) -> None:
    tree, labels = made(name)
    for image, tags in tree.tags.items():
        assert set(np.unique(read(labels / f"{image}.png"))) <= set(tags)
    record = json.loads((labels / "run.json").read_text())
    assert record["knowledge"]["background_class"] is False
    assert (record["dataset"]["name"], record["knowledge"]["dataset"]) == (name, name)

    expected = mean_iou([(read(labels / f"{image}.png"), own_truth(tree, image)) for image in tree.tags])
    for given in (["--dataset", name], []):  # by name, or as the run record says
        result = excel_cam("evaluate", "--labels", labels, "--truth", tree.masks, *given, "--json")
        assert result.exit_code == 0, result.output
        scores = json.loads(result.stdout)
        assert scores["mean_iou"] == pytest.approx(expected)
        assert [entry["name"] for entry in scores["classes"]] == list(DATASET_CLASSES[name])
        assert scores["ignore_as"] == "skip"
    against = excel_cam(
        "evaluate", "--labels", labels, "--against", labels, "--truth", tree.masks, "--dataset", name, "--json"
    )
    assert json.loads(against.stdout)["labels"] == scores
    # Labels stand in for the truth, and for masks, as they are: nothing is translated.
    itself = json.loads(
        excel_cam("evaluate", "--labels", labels, "--truth", labels, "--dataset", name, "--json").stdout
    )
    assert (itself["mean_iou"], itself["pixels"]) == (1, 2 * 24 * 36)
    tags = labels.parent / "of-labels.json"
    assert excel_cam("tags", "--from", labels, "--dataset", name, "--out", tags).exit_code == 0
    shown = {image: np.unique(read(labels / f"{image}.png")) for image in tree.tags}
    assert json.loads(tags.read_text()) == {
        image: [DATASET_CLASSES[name][value] for value in values] for image, values in shown.items()
    }


def test_the_table_names_the_first_of_many_absent_classes(
    made: Callable[[str], tuple[Tree, Path]], excel_cam: Run
) -> None:
    tree, labels = made("ade20k")
    text = excel_cam("evaluate", "--labels", labels, "--truth", tree.masks).stdout
    assert re.search(r"\nabsent classes  (\w+, ){19}\w+ and 1[0-9]{2} more \(in neither", text)


def test_context60_has_a_background(made: Callable[[str], tuple[Tree, Path]], excel_cam: Run) -> None:
    tree, labels = made("context60")
    for image, tags in tree.tags.items():
        assert set(np.unique(read(labels / f"{image}.png"))) <= {0, *(tag + 1 for tag in tags)}
    result = excel_cam("evaluate", "--labels", labels, "--truth", tree.masks, "--dataset", "context60", "--json")
    scores = json.loads(result.stdout)
    pairs = [(read(labels / f"{image}.png"), read(tree.masks / f"{image}.png")) for image in tree.tags]
    assert scores["mean_iou"] == pytest.approx(mean_iou(pairs))
    assert [entry["name"] for entry in scores["classes"]][:2] == ["background", "aeroplane"]
    assert len(scores["classes"]) == 60
    result = excel_cam("evaluate", "--labels", labels, "--truth", tree.masks, "--dataset", "context")
    assert result.exit_code == 2
    assert "holds labels with a background class, unlike those of context" in result.stderr


def test_the_page_counts_as_evaluate_does_and_shows_the_files_values(
    tmp_path: Path, made: Callable[[str], tuple[Tree, Path]], excel_cam: Run
) -> None:
    tree, labels = made("cityscapes")
    page, strip = tmp_path / "page.html", tmp_path / "strip.png"
    result = excel_cam(
        "view", labels, "--images", tree.images, "--truth", tree.masks, "--cams", tmp_path / "cams", "--out", page,
        "--strip", strip,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = page.read_text("utf-8")
    pairs = [(read(labels / f"{image}.png"), own_truth(tree, image)) for image in tree.tags]
    assert f"<dt>mean IoU</dt><dd>{100 * mean_iou(pairs):.1f}\u00a0%</dd>" in text
    for value in np.unique(pairs[0][0]):
        assert f'<span class="number">{value}</span> {CITYSCAPES_CLASSES[value]}</span>' in text
    assert "<dt>background</dt>" not in text
    assert "background included" not in text
    assert "A predicted 255 is skipped" in text
    assert Image.open(strip).size[0] > 800


def test_doctor_knows_that_nothing_is_background(
    tmp_path: Path, made: Callable[[str], tuple[Tree, Path]], excel_cam: Run
) -> None:
    tree, labels = made("ade20k")
    tags = tmp_path / "tags.csv"
    excel_cam("tags", "--from", tree.masks, "--dataset", "ade20k", "--out", tags)
    report = json.loads(excel_cam("doctor", labels, "--images", tree.images, "--tags", tags, "--json").stdout)
    assert report["background_share"] is None
    shares = {entry["name"]: entry["share"] for entry in report["classes"] if entry["share"]}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert {finding["code"] for finding in report["findings"]} <= {"unseen-class", "tag-without-pixel"}

    Image.fromarray(np.full((24, 36), 255, np.uint8)).save(labels / "ADE_train_00000001.png")
    Image.fromarray(np.full((24, 36), 149, np.uint8)).save(labels / "ADE_train_00000002.png")
    text = excel_cam("doctor", labels).stdout
    assert "warning  nothing-labelled: 1 labels are 255 from edge to edge" in text
    assert "all-background" not in text
    assert "background" not in text.splitlines()[-1]
    Image.fromarray(np.full((24, 36), 150, np.uint8)).save(labels / "ADE_train_00000002.png")
    assert "out-of-range" in excel_cam("doctor", labels).stdout


def configuration(out: Path) -> dict[str, object]:
    """The names that an exported mmsegmentation configuration sets."""
    found: dict[str, object] = {}
    exec((out / "excel_cam_dataset.py").read_text(), {}, found)
    return found


@pytest.mark.parametrize("name", ["context", "ade20k"])
def test_mmsegmentation_gets_the_labels_back_with_reduce_zero_label(
    tmp_path: Path, made: Callable[[str], tuple[Tree, Path]], excel_cam: Run, name: str
) -> None:
    tree, labels = made(name)
    first = next(iter(tree.tags))
    doubtful = read(labels / f"{first}.png").copy()
    doubtful[:3] = IGNORE
    Image.fromarray(doubtful).save(labels / f"{first}.png")
    out = tmp_path / "out"
    result = excel_cam("export", "--to", "mmseg", "--labels", labels, "--images", tree.images, "--out", out)
    assert result.exit_code == 0, result.output
    assert "keep reduce_zero_label=True" in result.stderr
    for image in tree.tags:
        mask = read(out / "ann_dir" / f"{image}.png").copy()
        mask[mask == 0] = 255  # what LoadAnnotations does
        mask = mask - 1
        mask[mask == 254] = 255
        assert (mask == read(labels / f"{image}.png")).all()
    dataset = configuration(out)["train_dataloader"]["dataset"]  # type: ignore[index]
    assert dataset["reduce_zero_label"] is True
    assert dataset["metainfo"]["classes"] == DATASET_CLASSES[name]
    assert "reduce_zero_label=True),  # 0 is ignored, 1 the first class" in (out / "excel_cam_dataset.py").read_text()


def test_cityscapes_goes_back_to_its_own_file_names(
    tmp_path: Path, made: Callable[[str], tuple[Tree, Path]], excel_cam: Run
) -> None:
    tree, labels = made("cityscapes")
    out = tmp_path / "out"
    result = excel_cam("export", "--to", "mmseg", "--labels", labels, "--images", tree.images, "--out", out)
    assert result.exit_code == 0, result.output
    dataset = configuration(out)["train_dataloader"]["dataset"]  # type: ignore[index]
    assert dataset["reduce_zero_label"] is False
    names = (out / dataset["ann_file"]).read_text().split()
    assert names == ["aachen/aachen_000000_000019", "bochum/bochum_000000_000313"]
    for name in names:  # as BaseSegDataset joins them
        assert (out / dataset["data_prefix"]["img_path"] / (name + dataset["img_suffix"])).is_file()
        mask = read(out / dataset["data_prefix"]["seg_map_path"] / (name + dataset["seg_map_suffix"]))
        assert (mask == read(labels / f"{name}_leftImg8bit.png")).all()
    assert dataset["seg_map_suffix"] == "_gtFine_labelTrainIds.png"
    again = excel_cam("export", "--to", "mmseg", "--labels", labels, "--images", tree.images, "--out", out)
    assert "complete already" in again.stderr
    # What was exported is read as Cityscapes' own.
    scores = excel_cam("evaluate", "--labels", labels, "--truth", out / "ann_dir", "--dataset", "cityscapes", "--json")
    assert json.loads(scores.stdout)["mean_iou"] == 1


def test_other_exports_without_a_background(
    tmp_path: Path, made: Callable[[str], tuple[Tree, Path]], excel_cam: Run
) -> None:
    _tree, labels = made("cityscapes")
    export = ["export", "--labels", labels, "--out", tmp_path / "out", "--to"]
    for trainer in ("irn", "clip-es", "psa"):
        result = excel_cam(*export, trainer, "--cams", tmp_path / "cams")
        assert result.exit_code == 2
        assert (
            f"--to {trainer} needs a background class, and {labels} holds labels without one; choose" in result.stderr
        )
    assert excel_cam(*export, "deeplab").exit_code == 0
    name = "aachen/aachen_000000_000019_leftImg8bit.png"
    assert (read(tmp_path / "out/VOC2012/SegmentationClassAug" / name) == read(labels / name)).all()
    pytest.importorskip("pycocotools", reason="extra coco is not installed")
    from pycocotools import mask as coder

    assert excel_cam(*export, "coco-json").exit_code == 0
    found = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [(entry["id"], entry["name"]) for entry in found["categories"]] == list(enumerate(CITYSCAPES_CLASSES, 1))
    first = read(labels / name)
    drawn = np.full(first.shape, IGNORE)
    for entry in found["annotations"]:
        if entry["image_id"] == found["images"][0]["id"]:
            drawn[coder.decode(entry["segmentation"]) == 1] = entry["category_id"] - 1
    assert (drawn == first).all()


def test_labels_without_a_background_have_no_score_to_sweep(
    tmp_path: Path, made: Callable[[str], tuple[Tree, Path]], excel_cam: Run
) -> None:
    tree, labels = made("ade20k")
    sweep = ["evaluate", "--sweep", "--cams", tmp_path / "cams", "--truth", tree.masks]
    for given in (["--dataset", "ade20k"], ["--labels", labels]):
        result = excel_cam(*sweep, *given)
        assert result.exit_code == 2
        assert "they have no background score to sweep" in result.stderr


def test_the_trained_half_offers_data_sets_with_a_background(tmp_path: Path, excel_cam: Run) -> None:
    for command in ("train", "segment"):
        result = excel_cam(command, "--dataset", "ade20k", "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert re.search(r"'ade20k' is not one of '?voc.*context60.*folder", result.stderr, re.DOTALL)


def test_sentences_of_a_shipped_knowledge_base_by_name(
    tmp_path: Path, excel_cam: Run, model_arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voc").mkdir()  # a name goes before a folder of that name
    (tmp_path / "photos").mkdir()
    draw_photograph(24, 36, 1).save(tmp_path / "photos/a.jpg")
    Path("classes.txt").write_text("dog\ncat\n")
    Path("tags.csv").write_text("name,classes\na,cat\n")
    given = ["--attributes", "none", "--size", "64", "--refine", "none", *model_arguments]
    folder = ["generate", "--dataset", "folder", "--root", "photos", "--classes", "classes.txt", "--tags", "tags.csv"]
    result = excel_cam(*folder, "--kb", "voc", "--out", "labels", *given)
    assert result.exit_code == 0, result.output
    assert json.loads(Path("labels/run.json").read_text())["knowledge"]["dataset"] == "voc"
    assert set(np.unique(read(Path("labels/a.png")))) <= {0, 2}
    result = excel_cam("kb", "build", "--kb", "voc", "--attributes", "none", *model_arguments)
    assert result.exit_code == 0, result.output
    result = excel_cam(*folder, "--kb", "vox", "--out", "other", *given)
    assert result.exit_code == 1
    assert "'vox' is neither a file nor a shipped knowledge base (" in result.stderr
    assert ", ".join(shipped_names()) in result.stderr
    Path("coco").write_text("{}")
    result = excel_cam(*folder, "--kb", "./coco", "--out", "other", *given)
    assert "coco: the knowledge base lacks 'background'" in result.stderr
    Path("config.toml").write_text('[generate]\nkb = "coco"\n')
    result = excel_cam(*folder, "--config", "config.toml", "--out", "third", *given)
    assert result.exit_code == 0, result.output
    assert json.loads(Path("third/run.json").read_text())["knowledge"]["dataset"] == "coco"


def test_label_keeps_a_background_beside_the_classes_of_a_scene(
    tmp_path: Path, excel_cam: Run, model_arguments: list[str]
) -> None:
    draw_photograph(24, 36, 1).save(tmp_path / "a.jpg")
    given = ["--attributes", "none", "--size", "64", "--refine", "none", *model_arguments]
    result = excel_cam("label", tmp_path / "a.jpg", "--classes", "sky,vegetation", "--kb", "cityscapes", *given)
    assert result.exit_code == 0, result.output
    assert "2 classes: 1 sky, 2 vegetation; 0 background" in result.stderr
    assert set(np.unique(read(tmp_path / "a.png"))) <= {0, 1, 2}
    result = excel_cam("label", tmp_path / "a.jpg", "--classes", "vegetation,cat", "--kb", "cityscapes", *given)
    assert "the knowledge base 'cityscapes' has no class cat" in result.stderr


def test_knowledge_of_context_serves_with_and_without_a_background() -> None:
    alone, beside = shipped_knowledge("context"), shipped_knowledge("context60")
    assert (alone.has_background, beside.has_background) == (False, True)
    assert (alone.classes, alone.background) == (beside.classes, beside.background)
    assert beside.label_names == ("background", *alone.label_names)


def test_more_classes_than_a_page_can_tell_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="255 classes; at most 254 can be told apart in a report"):
        open_view(tmp_path, tmp_path, [f"c{n}" for n in range(255)], None, None, None, has_background=False)
