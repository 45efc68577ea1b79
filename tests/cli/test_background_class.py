"""Class lists without a background class, and enrichment by a class's own sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from drawn import draw_photograph
from PIL import Image

from excel_cam.classes import IGNORE
from excel_cam.errors import DataError, KnowledgeError, SettingsError
from excel_cam.evaluation.evaluate import evaluate_labels
from excel_cam.files.lists import read_class_list
from excel_cam.knowledge.base import KnowledgeBase, parse_knowledge
from excel_cam.method.enrichment import enrich_rows
from excel_cam.method.label_map import label_map
from excel_cam.model.clip import load_model
from excel_cam.model.text_bank import build_text_bank
from excel_cam.model.text_rows import prompt_rows, sentence_rows
from excel_cam.run.labeller import Labeller
from excel_cam.settings import ModelChoice, Settings

Run = Callable[..., Result]
STUFF = ("sky", "road", "tree")


def knowledge_json(**changes: Any) -> str:
    classes = [{"name": name, "sentences": [f"{name} part {i} is grey" for i in range(5)]} for name in STUFF]
    record = {
        "dataset": "stuff", "template": "a {}.", "classes": classes, "background": ["sky", "water", "wall"],
        "background_class": False, "provenance": {},
    }  # fmt: skip
    return json.dumps({key: value for key, value in (record | changes).items() if value is not None})


def stuff(**changes: Any) -> KnowledgeBase:
    return parse_knowledge(knowledge_json(**changes), "stuff.json")


def test_the_knowledge_base_says_whether_there_is_a_background() -> None:
    base = stuff()
    assert not base.has_background
    assert base.label_names == STUFF
    assert base.background == ("water", "wall")
    assert stuff(background_class=None).has_background
    assert stuff(background_class=True).label_names == ("background", *STUFF)
    with pytest.raises(KnowledgeError, match="background_class: expected true or false, came a text"):
        stuff(background_class="no")


def test_labels_hold_one_class_more_without_background(tmp_path: Path) -> None:
    many = [{"name": f"c{n}", "sentences": []} for n in range(255)]
    assert len(stuff(classes=many).classes) == 255
    with pytest.raises(KnowledgeError, match="255 classes; 8-bit labels hold at most 254"):
        stuff(classes=many, background_class=True)
    with pytest.raises(KnowledgeError, match="256 classes; 8-bit labels hold at most 255"):
        stuff(classes=[*many, {"name": "x", "sentences": []}])
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(f"c{n}" for n in range(255)))
    assert len(read_class_list(path, 255)[0]) == 255
    with pytest.raises(DataError, match="more than 254 classes"):
        read_class_list(path)


def test_label_map_without_background() -> None:
    scores = torch.tensor([[[0.1, 0.9]], [[0.5, 0.2]]])
    assert label_map(scores, [2, 254], has_background=False).tolist() == [[254, 2]]
    assert label_map(scores, [2]).tolist() == [[3, 0]]


def labeller(tiny_model: tuple[Path, Path], base: KnowledgeBase, settings: Settings) -> Labeller:
    model = load_model(ModelChoice(str(tiny_model[0]), weights=tiny_model[1]))
    return Labeller(model, build_text_bank(base, model, settings), settings)


def test_no_background_score_takes_part(tiny_model: tuple[Path, Path]) -> None:
    settings = Settings(size=64)
    image = np.asarray(draw_photograph(40, 56, 3))
    alone = labeller(tiny_model, stuff(), settings)
    one, two, none = alone.label([image] * 3, [[2], [0, 2], []])
    assert np.unique(one).tolist() == [2]
    assert np.unique(two).tolist() == [0, 2]
    assert np.unique(none).tolist() == [IGNORE]
    usual = labeller(tiny_model, replace(stuff(), has_background=True), settings).label([image] * 2, [[0, 2], []])
    assert not usual[1].any()
    # Where the usual labels show a class, the same class wins without the background.
    shown = usual[0] > 0
    assert shown.any()
    assert (usual[0][shown] - 1 == two[shown]).all()


@pytest.mark.parametrize("option", [{"ignore_thresholds": (0.2, 0.5)}, {"background_power": 2.0}])
def test_settings_of_a_background_score_contradict(tiny_model: tuple[Path, Path], option: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"--{next(iter(option)).replace('_', '-')} needs a background score"):
        labeller(tiny_model, stuff(), Settings(size=64, **option))


@pytest.fixture
def folder(tmp_path: Path) -> list[str]:
    """Arguments of `generate` for three photographs, one of them without a tag."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, name in enumerate("abc"):
        draw_photograph(40, 56, index).save(photos / f"{name}.png")
    (tmp_path / "classes.txt").write_text("\n".join(STUFF))
    (tmp_path / "tags.csv").write_text("name,classes\na,sky;tree\nb,road\nc,\n")
    (tmp_path / "kb.json").write_text(knowledge_json())
    return [
        "generate", "--dataset", "folder", "--root", str(photos), "--classes", str(tmp_path / "classes.txt"),
        "--tags", str(tmp_path / "tags.csv"), "--kb", str(tmp_path / "kb.json"), "--out", str(tmp_path / "labels"),
        "--size", "64",
    ]  # fmt: skip


def test_generate_and_evaluate_without_background(
    tmp_path: Path, excel_cam: Run, folder: list[str], model_arguments: list[str]
) -> None:
    result = excel_cam(*folder, "--json", *model_arguments)
    assert result.exit_code == 0, result.output
    labels = tmp_path / "labels"
    values = {name: set(np.unique(np.asarray(Image.open(labels / f"{name}.png"))).tolist()) for name in "abc"}
    assert values == {"a": {0, 2}, "b": {1}, "c": {IGNORE}}
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(line["classes"]) for line in lines] == [{"sky", "tree"}, {"road"}, set()]
    assert lines[2]["ignored"] == 1
    assert json.loads((labels / "run.json").read_text())["knowledge"]["background_class"] is False

    arguments = ["evaluate", "--labels", labels, "--truth", labels, "--classes", tmp_path / "classes.txt"]
    scores = json.loads(excel_cam(*arguments, "--no-background", "--json").stdout)
    assert [entry["name"] for entry in scores["classes"]] == list(STUFF)
    assert (scores["mean_iou"], scores["ignore_as"], len(scores["confusion"])) == (1, "skip", 3)
    result = excel_cam(*arguments)
    assert result.exit_code == 2
    assert "labels without a background class; add --no-background" in result.stderr
    result = excel_cam(*arguments, "--no-background", "--ignore-as", "background")
    assert result.exit_code == 2
    assert "--no-background leaves no class for a predicted 255" in result.stderr

    # Other labels: the same folder is not silently mixed with labels of a base that has a background.
    (tmp_path / "kb.json").write_text(knowledge_json(background_class=True))
    result = excel_cam(*folder, *model_arguments)
    assert result.exit_code == 1
    assert "holds labels made otherwise: knowledge was" in result.stderr


def test_thresholds_are_refused_before_the_model_is_loaded(excel_cam: Run, folder: list[str]) -> None:
    result = excel_cam(*folder, "--ignore-thresholds", "0.2,0.5")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: --ignore-thresholds needs a background score")


def test_evaluate_by_worked_example(tmp_path: Path) -> None:
    label = np.array([[0, 1, 255], [2, 1, 0]], np.uint8)
    truth = np.array([[0, 0, 1], [2, 255, 0]], np.uint8)
    for folder_name, mask in (("labels", label), ("truth", truth)):
        (tmp_path / folder_name).mkdir()
        Image.fromarray(mask).save(tmp_path / folder_name / "a.png")
    result = evaluate_labels(tmp_path / "labels", tmp_path / "truth", STUFF, ignore_as="skip", has_background=False)
    assert result.confusion.tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert result.class_names == STUFF
    assert result.mean_iou == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert result.ignored_share == 1 / 5
    with pytest.raises(SettingsError, match="can only skip 255"):
        evaluate_labels(tmp_path / "labels", tmp_path / "truth", STUFF, has_background=False)
    with pytest.raises(DataError, match=r"expected values 0\.\.1"):
        evaluate_labels(tmp_path / "labels", tmp_path / "truth", STUFF[:2], ignore_as="skip", has_background=False)


def test_own_sentences_are_hunted_by_the_same_rule(tiny_model: tuple[Path, Path]) -> None:
    base = stuff(classes=[*json.loads(knowledge_json())["classes"], {"name": "lava", "sentences": []}])
    settings = Settings(attributes="sentences", keep=0.6, strength=0.7)
    model = load_model(ModelChoice(str(tiny_model[0]), weights=tiny_model[1]))
    bank = build_text_bank(base, model, settings)
    plain, sentences = prompt_rows(base, model), sentence_rows(base, model)
    np.testing.assert_array_equal(bank.bank, sentences.T.astype(np.float32))
    for index in range(3):
        own = sentences[5 * index : 5 * index + 5]
        order = np.argsort(own @ plain[index])[2:]  # the lowest floor(0.4 · 5) are dropped
        weights = np.exp((own @ plain[index])[order])
        mixed = plain[index] + 0.7 * (weights / weights.sum()) @ own[order]
        np.testing.assert_allclose(bank.text[index], mixed / np.linalg.norm(mixed), atol=1e-6)
    np.testing.assert_array_equal(bank.text[3:], bank.plain[3:])  # no sentences, and background words
    clustered = build_text_bank(base, model, Settings(keep=0.6, strength=0.7))
    assert np.abs(clustered.text[:3] - bank.text[:3]).max() > 1e-3
    assert np.abs(clustered.text[3] - bank.text[3]).max() > 1e-3  # clustered attributes are shared by all classes
    np.testing.assert_allclose(
        clustered.text[:4], enrich_rows(plain[:4], clustered.bank.astype(float), 0.6, 0.7), atol=1e-6
    )


def test_sentences_are_averaged_over_the_templates(tiny_model: tuple[Path, Path]) -> None:
    model = load_model(ModelChoice(str(tiny_model[0]), weights=tiny_model[1]))
    first, second = (sentence_rows(stuff(template=template), model) for template in ("a {}.", "the {} outside."))
    both = sentence_rows(stuff(template=["a {}.", "the {} outside."]), model)
    mean = (first + second) / 2
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-12)
    assert np.abs(both - first).max() > 1e-3


@pytest.mark.parametrize("attributes", ["sentences", "none"])
def test_clusters_without_clustering_contradict(attributes: str) -> None:
    with pytest.raises(SettingsError, match=f"none with --attributes {attributes}"):
        Settings(attributes=attributes, clusters=5)


def test_evaluation_without_background_names_all_classes(excel_cam: Run, tmp_path: Path) -> None:
    """Three classes have the values 0 to 2: a 3 is one too many, and there are still three of them."""
    for folder in ("labels", "truth"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((4, 4), 3, np.uint8)).save(tmp_path / folder / "a.png")
    (tmp_path / "classes.txt").write_text("grass\nwater\nsand\n")
    result = excel_cam(
        "evaluate", "--labels", tmp_path / "labels", "--truth", tmp_path / "truth", "--classes",
        tmp_path / "classes.txt", "--no-background",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "expected values 0..2 (3 classes) or 255, got 3" in result.stderr
