"""The model and the scenes that come with the package: what is shipped, how it is found, that it means something."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ablation import REFERENCE, VARIANTS, centred_blob
from click.testing import Result
from PIL import Image

from excel_cam import ClipModel, Settings, build_text_bank, load_model, read_image, shipped_knowledge
from excel_cam.classes import IGNORE, VOC_CLASSES
from excel_cam.data.dataset import Sample
from excel_cam.data.voc import open_demo
from excel_cam.evaluation.bootstrap import class_counts, mean_iou
from excel_cam.evaluation.scores import confusion_matrix
from excel_cam.files.lists import read_names
from excel_cam.model.words_file import recorded_settings
from excel_cam.run.labeller import Labeller
from excel_cam.settings import ModelChoice
from excel_cam.shipped import DEMO_FOLDER, DEMO_ROOT, DEMO_TRUTH, SHIPPED_MODEL, locate_shipped

MOST_BYTES = 16 * 1024**2
LISTS = DEMO_ROOT / "ImageSets" / "Segmentation"


@pytest.fixture(scope="module")
def demo_model() -> ClipModel:
    return load_model(ModelChoice(SHIPPED_MODEL, device="cpu"))


def settings_of(**changes: Any) -> Settings:
    return dataclasses.replace(Settings(), **recorded_settings(SHIPPED_MODEL) | changes)


# What is shipped


def test_the_model_is_small_and_says_what_it_is() -> None:
    files = list(DEMO_FOLDER.glob(f"{SHIPPED_MODEL}.*"))
    assert {file.name for file in files} == {
        f"{SHIPPED_MODEL}{end}" for end in (".json", ".words.json", ".safetensors")
    }
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    assert "not for photographs" in (DEMO_FOLDER / "MODEL_CARD.md").read_text().lower()
    licences = (DEMO_FOLDER / "LICENCES.md").read_text()
    for family in ("Noto", "Fluent", "Twemoji", "CC-BY 4.0"):
        assert family in licences


def test_scenes_have_exact_masks_and_tags_that_say_what_is_in_them() -> None:
    data = open_demo(None)
    assert len(data.samples) == 48
    for sample in data.samples:
        with Image.open(sample.image_path) as image, Image.open(DEMO_TRUTH / f"{sample.name}.png") as mask:
            assert image.size == mask.size
            assert all(320 <= side <= 500 for side in image.size)
            assert mask.mode == "P"
            values = set(np.unique(np.asarray(mask)).tolist())
        assert values - {0, IGNORE} == {tag + 1 for tag in sample.tags}
    assert {tag for sample in data.samples for tag in sample.tags} == set(range(len(VOC_CLASSES)))


def test_half_of_the_scenes_show_a_family_that_training_never_saw() -> None:
    drawing, family = (read_names(str(LISTS / f"{world}.txt")) for world in ("drawing", "family"))
    assert len(drawing) == len(family) == 24
    assert [sample.name for sample in open_demo(None).samples] == drawing + family


def test_every_word_of_the_knowledge_base_is_known(demo_model: ClipModel) -> None:
    knowledge = shipped_knowledge("voc")
    texts = [*(entry.prompt for entry in knowledge.classes), *knowledge.background]
    assert [word for text in texts for word in demo_model.unknown_words(text)] == []


def test_only_the_demo_model_is_located() -> None:
    choice = ModelChoice("ViT-B-16-quickgelu")
    assert locate_shipped(choice) is choice
    assert locate_shipped(ModelChoice(SHIPPED_MODEL)).weights == DEMO_FOLDER / f"{SHIPPED_MODEL}.safetensors"
    own = ModelChoice(SHIPPED_MODEL, weights=Path("other.safetensors"))
    assert locate_shipped(own) is own


# The command


def test_the_demo_needs_no_other_option_and_says_what_is_next(excel_cam: Callable[..., Result], tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("drawing_000\nfamily_000\n")
    out = tmp_path / "labels of mine"
    result = excel_cam("generate", "--dataset", "demo", "--list", names, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert f"next: excel-cam evaluate --labels '{out}' --dataset demo" in result.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["model"]["name"] == SHIPPED_MODEL
    recorded = recorded_settings(SHIPPED_MODEL)
    for name, value in recorded.items():
        assert record["settings"][name] == {"value": value, "from": f"model {SHIPPED_MODEL}"}
    assert record["settings"]["attention"] == {"value": "svc", "from": "preset paper"}
    result = excel_cam("evaluate", "--labels", out, "--dataset", "demo", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["images"] == 2


def test_an_option_goes_before_what_the_model_records(
    excel_cam: Callable[..., Result], tmp_path: Path, model_arguments: list[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("drawing_001\n")
    common = ("generate", "--dataset", "demo", "--list", names, "--quiet")
    assert excel_cam(*common, "--size", 96, "--out", tmp_path / "a").exit_code == 0
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["settings"]["size"] == {"value": 96, "from": "command line"}
    assert excel_cam(*common, *model_arguments, "--size", 64, "--out", tmp_path / "b").exit_code == 0
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    assert record["model"]["name"] == "tiny-quickgelu"
    assert record["settings"]["clusters"] == {"value": None, "from": "preset paper"}


def test_a_recorded_setting_gives_way_where_it_has_no_meaning(excel_cam: Callable[..., Result], tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("drawing_001\n")
    out = tmp_path / "labels"
    result = excel_cam("generate", "--dataset", "demo", "--list", names, "--attributes", "none", "--out", out)
    assert result.exit_code == 0, result.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["clusters"] == {"value": None, "from": "preset paper"}
    result = excel_cam("generate", "--dataset", "demo", "--attributes", "none", "--clusters", 40, "--out", out)
    assert result.exit_code == 2
    assert "which does not cluster" in result.stderr


def test_only_the_demo_brings_its_truth(excel_cam: Callable[..., Result], tmp_path: Path) -> None:
    result = excel_cam("evaluate", "--labels", tmp_path, "--dataset", "voc")
    assert result.exit_code == 2
    assert "Missing option '--truth'" in result.stderr


# That it means something

SCENES = 16


@pytest.fixture(scope="module")
def scores(demo_model: ClipModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """mIoU of the rows of the ablation, over some scenes of each half."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXCEL_CAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        rows = {
            variant.name: score(labeller_of(demo_model, **variant.changes).label)
            for variant in VARIANTS
            if variant.name in ("q-k", REFERENCE, "CAM", "+ affinity", "without")
        }
    blob = score(lambda photographs, tags: [centred_blob(photographs[0], tags[0])])
    return {**rows, "centred blob": blob}


def some_samples() -> list[Sample]:
    samples = open_demo(None).samples
    return [*samples[: SCENES // 2], *samples[-SCENES // 2 :]]


def labeller_of(model: ClipModel, **changes: Any) -> Labeller:
    settings = settings_of(**changes)
    return Labeller(model, build_text_bank(shipped_knowledge("voc"), model, settings), settings)


def score(label: Callable[[Any, Any], list[Any]]) -> float:
    matrices = []
    for sample in some_samples():
        truth = np.asarray(Image.open(DEMO_TRUTH / f"{sample.name}.png"))
        made = label([read_image(sample.image_path)], [sample.tags])[0]
        matrices.append(confusion_matrix(made, truth, len(VOC_CLASSES), "background"))
    return 100 * float(mean_iou(class_counts(np.sum(matrices, axis=0))))


def test_the_right_class_is_in_the_right_place(scores: dict[str, float]) -> None:
    assert scores[REFERENCE] > scores["centred blob"] + 10
    assert scores[REFERENCE] > scores["q-k"] + 5


def test_no_stage_makes_labels_worse_beyond_noise(scores: dict[str, float]) -> None:
    assert scores["+ affinity"] > scores["CAM"] - 2
    assert scores[REFERENCE] > scores["+ affinity"] - 2
    assert scores[REFERENCE] > scores["without"] - 2


# What the model records, and few sentences


def test_a_recorded_number_of_attributes_fits_few_sentences(excel_cam: Callable[..., Result], tmp_path: Path) -> None:
    photograph = tmp_path / "x.png"
    Image.open(open_demo(None).samples[0].image_path).save(photograph)
    command = ["label", photograph, "--classes", "dog", "--out", tmp_path / "out", "--model", SHIPPED_MODEL]
    result = excel_cam(*command)
    assert result.exit_code == 0, result.stderr
    assert "(1 classes), 20 attributes" in result.stderr
    asked = excel_cam(*command, "--clusters", "40", "--overwrite")
    assert asked.exit_code == 1
    assert "20 sentences, too few for 40 attributes; add sentences or lower --clusters" in asked.stderr
