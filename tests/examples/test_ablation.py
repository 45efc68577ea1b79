"""examples/ablation.py: its arithmetic by worked example, its baselines, and one run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ablation import (
    bootstrap,
    centred_blob,
    colour_saliency,
    draw_weights,
    format_table,
    main,
    read_drawings,
    score,
)
from click.testing import CliRunner
from drawn import draw_photograph
from PIL import Image

from excel_cam.evaluation.bootstrap import DRAWS
from excel_cam.evaluation.scores import confusion_matrix


def test_confusion_skips_ignored_truth_and_counts_an_ignored_label_as_background() -> None:
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    label = np.array([[0, 1, 255, 2]], np.uint8)
    assert confusion_matrix(label, truth, 2, "background").tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_the_score_is_over_the_classes_that_occur() -> None:
    # background: 6 of 6 + 2 + 0, class 1: 2 of 2 + 2; class 2 occurs nowhere
    assert score(np.array([[[6, 0, 0], [2, 2, 0], [0, 0, 0]]])) == pytest.approx(100 * (6 / 8 + 2 / 4) / 2)


def test_the_bootstrap_draws_images_and_is_repeatable() -> None:
    good, bad = np.diag([5, 5]), np.array([[5, 0], [5, 0]])
    weights = draw_weights([()] * 4)
    assert (weights.sum(axis=1) == 4).all()
    same = bootstrap(np.stack([good] * 4), weights)
    assert same.shape == (DRAWS,)
    assert (same == 100).all()
    mixed = np.stack([good, bad, good, bad])
    assert np.array_equal(bootstrap(mixed, weights), bootstrap(mixed, draw_weights([()] * 4)))
    low, high = np.percentile(bootstrap(mixed, weights), [2.5, 97.5])
    assert low < score(mixed) < high


def test_drawings_are_drawn_anew_where_they_are_known() -> None:
    """Two drawings in 40 scenes: what each counts moves the figure more than which scenes were drawn."""
    good, bad = np.diag([5, 5]), np.array([[5, 0], [5, 0]])
    matrices = np.stack([good, bad] * 20)
    scenes = draw_weights([()] * 40)
    drawings = draw_weights([("good",), ("bad",)] * 20)
    widths = [np.ptp(np.nanpercentile(bootstrap(matrices, weights), [2.5, 97.5])) for weights in (scenes, drawings)]
    assert widths[1] > 1.5 * widths[0]
    weights = draw_weights([("a", "b"), ("a",), ("b",), ()])
    np.testing.assert_allclose(weights[:, 0], weights[:, 1] * weights[:, 2])
    assert weights.mean(axis=0) == pytest.approx([1] * 4, abs=0.1)
    assert weights[:, 1:].var(axis=0) == pytest.approx([1] * 3, abs=0.2)  # an image of unknown drawings varies too
    assert abs(np.corrcoef(weights.T)[3, :3]).max() < 0.1


@pytest.mark.parametrize(("of_drawings", "of_scenes"), [(1, 0), (1, 1), (0, 1)])
def test_intervals_hold_the_truth_as_often_as_they_say(of_drawings: float, of_scenes: float) -> None:
    """Sets of scenes with one to three of 60 drawings; what a scene gives is chance of its drawings and its own."""
    rng = np.random.default_rng(0)
    shown = [rng.choice(60, rng.integers(1, 4), replace=False) for _ in range(150)]
    weights = draw_weights([[str(drawing) for drawing in drawings] for drawings in shown])
    held, widths, means = 0, [], []
    for _ in range(200):
        luck = rng.normal(size=60) * of_drawings
        gives = np.array([luck[drawings].sum() for drawings in shown]) + rng.normal(size=150) * of_scenes
        low, high = np.percentile(weights @ gives / weights.sum(axis=1), [2.5, 97.5])
        held += low <= 0 <= high
        widths.append(high - low)
        means.append(gives.mean())
    assert held >= 180  # 95 % of 200 is 190; less would claim too much
    assert np.mean(widths) < 2 * np.ptp(np.percentile(means, [2.5, 97.5]))  # and these too little


def test_what_scenes_show_is_read_from_their_set(tmp_path: Path) -> None:
    assert read_drawings(tmp_path, ["a"]) == [[]]
    (tmp_path / "drawings.csv").write_text("name,drawings\na,ph:cat noto:1f408\nb,\n")
    assert read_drawings(tmp_path, ["b", "a", "c"]) == [[], ["ph:cat", "noto:1f408"], []]


def test_the_table_gives_differences_to_the_reference() -> None:
    good, bad = np.stack([np.diag([5, 5])] * 3), np.stack([np.array([[5, 0], [5, 0]])] * 3)
    table = format_table([("attention", "last 5 blocks", good), ("stages", "CAM", bad)])
    assert "| attention | last 5 blocks | 100.0 | 100.0 … 100.0 | reference |" in table
    assert "| stages | CAM | 25.0 | 25.0 … 25.0 | -75.0 … -75.0 |" in table
    assert "not measured" in format_table([("stages", "CAM", bad)])
    turned = format_table([("stages", "+ affinity", good), ("stages", "CAM", bad)], against="CAM")
    assert "| 95 % | against CAM |" in turned
    assert "| stages | + affinity | 100.0 | 100.0 … 100.0 | +75.0 … +75.0 |" in turned
    assert "| stages | CAM | 25.0 | 25.0 … 25.0 | reference |" in turned


def test_the_blob_is_in_the_middle_with_a_column_for_each_tag() -> None:
    label = centred_blob(np.zeros((100, 200, 3), np.uint8), [3, 7])
    assert label[50, 60] == 4
    assert label[50, 140] == 8
    assert not label[:15].any()
    assert not label[:, :30].any()
    assert int((label == 4).sum()) == pytest.approx(int((label == 8).sum()), rel=0.05)
    assert not centred_blob(np.zeros((10, 10, 3), np.uint8), []).any()


def test_saliency_finds_what_differs_from_the_border() -> None:
    photograph = np.full((80, 80, 3), 90, np.uint8)
    photograph[20:50, 30:60] = (250, 20, 20)
    label = colour_saliency(photograph, [0])
    assert label[35, 45] == 1
    assert label[5, 5] == 0
    assert (label > 0).mean() == pytest.approx(900 / 6400, rel=0.3)


def test_one_run_over_two_scenes(tmp_path: Path, model_arguments: list[str]) -> None:
    root = tmp_path / "scenes"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name in ("a", "b"):
        draw_photograph(60, 80, len(name)).save(root / "JPEGImages" / f"{name}.jpg")
        Image.new("P", (80, 60), 8).save(root / "SegmentationClass" / f"{name}.png")
    (root / "tags.csv").write_text("name,classes\na,cat\nb,cat\n")
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
    out = tmp_path / "table.md"
    arguments = ["--root", root, "--size", "64", "--only", "centred blob", "--out", out]
    result = CliRunner().invoke(main, [*map(str, arguments), *model_arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    lines = out.read_text().splitlines()
    assert lines[0].startswith("2 scenes of scenes, size 64")
    assert [line.split("|")[2].strip() for line in lines[4:]] == ["last 5 blocks", "centred blob"]
