"""What a newcomer does in the first hour, in the order they do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import draw_photograph
from PIL import Image

Run = Callable[..., Result]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three photographs, one of them in a folder of its own, and one a PNG."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index, name in enumerate(("a.jpg", "b.JPG", "more/c.png")):
        draw_photograph(30 + index, 40, index).save(folder / name)
    return folder


@pytest.fixture
def options(model_arguments: list[str]) -> list[str]:
    return [*model_arguments, "--size", "64", "--refine", "none"]


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return result.stderr.splitlines()


def test_labels_beside_photographs_are_no_photographs(
    excel_cam: Run, photos: Path, options: list[str], tmp_path: Path
) -> None:
    assert excel_cam("label", photos / "a.jpg", photos / "b.JPG", "--classes", "cat,sofa", *options).exit_code == 0
    assert (photos / "a.png").exists()
    assert (photos / "a.overlay.jpg").exists()
    (tmp_path / "classes.txt").write_text("cat\nsofa\n")
    (tmp_path / "tags.csv").write_text("name,classes\na,cat\nb,cat\nmore/c,sofa\n")
    for out in ("labels", "again"):  # the second time the first folder of labels lies among the photographs, too
        command = [
            "generate", "--dataset", "folder", "--root", photos, "--classes", tmp_path / "classes.txt",
            "--tags", tmp_path / "tags.csv", "--out", photos / out, *options,
        ]  # fmt: skip
        assert any(line.startswith("3 labels") for line in lines(excel_cam(*command)))
        assert sorted(path.relative_to(photos / out).as_posix() for path in (photos / out).rglob("*.png")) == [
            "a.png", "b.png", "more/c.png",
        ]  # fmt: skip
    (names := tmp_path / "names.txt").write_text("a\nb\n")
    for labels in (photos, photos / "labels"):
        given = ["--images", photos, "--classes", tmp_path / "classes.txt", "--list", names]
        assert "2 images" in str(lines(excel_cam("view", labels, *given, "--out", tmp_path / f"{labels.name}.html")))
        export = ["export", "--to", "deeplab", "--labels", labels, *given[2:], "--out", tmp_path / f"to-{labels.name}"]
        assert "2 images" in str(lines(excel_cam(*export)))
    found = excel_cam("doctor", photos / "labels", "--images", photos, "--classes", tmp_path / "classes.txt").output
    assert "no-label" not in found
    assert "no-photograph" not in found


def test_the_same_class_names_get_the_same_sentences_everywhere(
    excel_cam: Run, photos: Path, options: list[str], tmp_path: Path
) -> None:
    classes = "red panda,cat,Traffic Light"
    (tmp_path / "classes.txt").write_text(classes.replace(",", "\n"))
    names = ["a", "b", "more/c"]
    (tmp_path / "tags.csv").write_text("name,classes\n" + "".join(f"{n},{classes.replace(',', ';')}\n" for n in names))
    single = ["label", photos / "a.jpg", "--classes", classes, "--out", tmp_path / "single", *options]
    assert "prompts alone, without sentences: red panda" in lines(excel_cam(*single))
    many = [
        "generate", "--dataset", "folder", "--root", photos, "--classes", tmp_path / "classes.txt",
        "--tags", tmp_path / "tags.csv", "--out", tmp_path / "many", *options,
    ]  # fmt: skip
    said = lines(excel_cam(*many))
    assert "sentences of VOC's and COCO's knowledge bases for 2 of 3 classes; by prompts alone: red panda" in said
    with Image.open(tmp_path / "single" / "a.png") as one, Image.open(tmp_path / "many" / "a.png") as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
