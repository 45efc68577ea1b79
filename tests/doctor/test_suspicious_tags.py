"""Tags that look wrong: planted ones are named, by scores and by class maps, and right ones are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from excel_cam.doctor.tags import judge_by_scores
from excel_cam.labels.class_maps import write_maps
from excel_cam.tags.scores import PhotographScores, writing_scores

Run = Callable[..., Result]
NAMES = [f"image{index}" for index in range(8)]
CLASSES = ("cat", "dog")


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    """Eight labels: four cats, four dogs; scores and class maps that agree with their tags."""
    (labels := tmp_path / "labels").mkdir()
    (cams := tmp_path / "cams").mkdir()
    tags = {name: [int(place >= 4)] for place, name in enumerate(NAMES)}
    for name, (index,) in tags.items():
        mask = np.zeros((20, 20), np.uint8)
        mask[3:9, 2 : 4 + int(name[-1])] = index + 1
        Image.fromarray(mask).save(labels / f"{name}.png")
        write_maps(cams / f"{name}.npz", np.linspace(0.1, 0.9, 16).reshape(1, 4, 4), (index,), (20, 20), "0" * 32)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    scores = {name: [0.001, 0.001] for name in NAMES}
    for place, name in enumerate(NAMES):
        scores[name][tags[name][0]] = 0.6 + 0.03 * (place % 4)
    return SimpleNamespace(root=tmp_path, labels=labels, cams=cams, tags=tags, scores=scores)


def examine(excel_cam: Run, made: SimpleNamespace, *more: object) -> dict[str, list[str]]:
    """The findings by code, of tags and scores as they are now."""
    rows = [f"{name},{';'.join(CLASSES[index] for index in indices)}" for name, indices in made.tags.items()]
    (made.root / "tags.csv").write_text("\n".join(["name,classes", *rows]) + "\n")
    found = [PhotographScores(name, "", np.array(scores)) for name, scores in made.scores.items()]
    with writing_scores(made.root / "a.scores.jsonl", "x", CLASSES, found):
        pass
    result = excel_cam("doctor", made.labels, "--classes", made.root / "classes.txt", "--tags",
                       made.root / "tags.csv", *more, "--json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record: dict[str, Any] = json.loads(result.stdout)
    return {finding["code"]: finding["examples"] for finding in record["findings"]}


def test_tags_that_fit_are_passed_in_silence(excel_cam: Run, made: SimpleNamespace) -> None:
    assert examine(excel_cam, made, "--scores", made.root / "a.scores.jsonl", "--cams", made.cams) == {}


def test_planted_errors_are_named(excel_cam: Run, made: SimpleNamespace) -> None:
    made.tags["image1"] = [0, 1]  # there is no dog: of the cats' photographs it has the least of one
    made.scores["image1"][1] = 0.0005
    made.tags["image7"] = []  # the surest dog of all
    found = examine(excel_cam, made, "--scores", made.root / "a.scores.jsonl")
    assert found["tag-without-support"] == ["image1 (dog)"]
    assert found["class-there-untagged"] == ["image7 (dog)"]


def test_an_empty_class_map_supports_nothing(excel_cam: Run, made: SimpleNamespace) -> None:
    made.tags["image2"] = [0, 1]
    maps = np.stack([np.linspace(0.1, 0.9, 16).reshape(4, 4), np.full((4, 4), 0.004)])
    write_maps(made.cams / "image2.npz", maps, (0, 1), (20, 20), "0" * 32)
    assert examine(excel_cam, made, "--cams", made.cams)["tag-without-support"] == ["image2 (dog)"]
    # Found by both, it is told once.
    made.scores["image2"][1] = 0.0005
    both = examine(excel_cam, made, "--cams", made.cams, "--scores", made.root / "a.scores.jsonl")
    assert both["tag-without-support"] == ["image2 (dog)"]


def test_a_class_that_scores_low_everywhere_is_no_suspicion() -> None:
    scores = {name: np.array([0.9, 0.001 * (place + 1)]) for place, name in enumerate(NAMES)}
    tags = {name: (0, 1) if place >= 4 else (0,) for place, name in enumerate(NAMES)}
    assert judge_by_scores(tags, scores) == []  # the dogs' scores are small, but theirs are the greatest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scores", "classes.txt"], "--scores needs --tags, which it is held against"),
        (["--cams", "cams"], "--cams needs --tags"),
        (["--tags", "tags.csv", "--scores", "classes.txt"], "classes.txt:1: expected a line of tag scores"),
        (["--tags", "tags.csv", "--cams", "empty"], "no class maps (.npz) of any of the 8 images; check --cams"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    excel_cam: Run, made: SimpleNamespace, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine(excel_cam, made)
    monkeypatch.chdir(made.root)
    (made.root / "empty").mkdir()
    result = excel_cam("doctor", made.labels, "--classes", "classes.txt", *options)
    assert result.exit_code in (1, 2)
    assert message in result.stderr


def test_scores_of_other_classes_are_refused(excel_cam: Run, made: SimpleNamespace) -> None:
    examine(excel_cam, made)
    result = excel_cam("doctor", made.labels, "--dataset", "voc", "--tags", made.root / "tags.csv", "--scores",
                       made.root / "a.scores.jsonl")  # fmt: skip
    assert result.exit_code == 1
    assert "scores of 2 classes, beginning cat, but the labels have 20, beginning aeroplane" in result.stderr
