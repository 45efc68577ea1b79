"""What a newcomer does in the first hour, in the order they do it."""

from __future__ import annotations

import os
import re
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


def test_a_folder_is_labelled_and_its_labels_keep_their_places(
    excel_cam: Run, photos: Path, options: list[str], tmp_path: Path
) -> None:
    command = ["label", photos, "--classes", "cat,sofa", "--out", tmp_path / "out", *options]
    said = lines(excel_cam(*command))
    assert "2 classes: 1 cat, 2 sofa; 0 background" in said
    written = ["a.overlay.jpg", "a.png", "b.overlay.jpg", "b.png", "more/c.overlay.jpg", "more/c.png"]
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")) == written
    assert excel_cam("label", photos / "a.jpg", photos / "b.JPG", *command[2:4], *options).exit_code == 0
    again = excel_cam("label", photos, *command[2:])  # labels beside the photographs are no photographs
    assert all(line.endswith("(kept)") for line in again.stdout.splitlines())
    assert len(again.stdout.splitlines()) == 3


def test_a_second_time_nothing_is_loaded(
    excel_cam: Run, photos: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["label", photos / "a.jpg", photos / "b.JPG", "--classes", "cat,sofa", *options]
    first = excel_cam(*command)
    with monkeypatch.context() as patch:
        patch.setattr("excel_cam.model.clip.load_model", lambda _: pytest.fail("loaded"))
        again = excel_cam(*command)
    assert again.stdout == "".join(f"{line} (kept)\n" for line in first.stdout.splitlines())
    # Whatever else decides labels has the model asked again.
    (photos / "a.overlay.jpg").unlink()
    assert [line.endswith("(kept)") for line in excel_cam(*command).stdout.splitlines()] == [True, True]
    assert (photos / "a.overlay.jpg").exists()
    assert "made with other" in excel_cam(*command, "--background-power", "2").stderr
    draw_photograph(50, 20, 9).save(photos / "a.jpg")
    os.utime(photos / "a.jpg", ns=(2 * 10**18, 2 * 10**18))
    assert [line.endswith("(kept)") for line in excel_cam(*command).stdout.splitlines()] == [False, True]


@pytest.mark.parametrize(
    ("name", "hint"), [("a.jpeg", "did you mean '{photos}/a.jpg'?"), ("nowhere/a.jpg", "there is no folder")]
)
def test_a_typo_in_a_path_is_told_before_the_model_is_loaded(
    excel_cam: Run, photos: Path, name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("excel_cam.model.clip.load_model", lambda _: pytest.fail("loaded"))
    result = excel_cam("label", photos / name, "--classes", "cat")
    assert result.exit_code == 2
    assert hint.format(photos=photos) in result.stderr
    assert "no such file" in result.stderr


def test_what_was_understood_of_classes_is_said(excel_cam: Run, photos: Path, options: list[str]) -> None:
    for classes in ("cat; sofa", "cat;sofa"):
        result = excel_cam("label", photos / "a.jpg", "--classes", classes, *options)
        assert result.exit_code == 2
        assert "put commas between classes, such as cat,sofa" in result.stderr.replace("\n", " ").replace("  ", " ")
    said = lines(excel_cam("label", photos / "a.jpg", "--classes", "cat sofa", *options))
    assert "'cat sofa' is one class here; for several put commas between: --classes cat,sofa" in said
    assert "1 class: 1 cat sofa; 0 background" in said
    said = lines(excel_cam("label", photos / "b.JPG", "--classes", "potted plant,traffic light", *options))
    assert not any("for several" in line for line in said)


@pytest.fixture
def folder_command(photos: Path, options: list[str], tmp_path: Path) -> list[object]:
    """What labels the photographs as a data set of one's own, less --out."""
    (tmp_path / "classes.txt").write_text("cat\nsofa\n")
    (tmp_path / "tags.csv").write_text("name,classes\na,cat\nb,cat;sofa\nmore/c,sofa\n")
    return [
        "generate", "--dataset", "folder", "--root", photos, "--classes", tmp_path / "classes.txt",
        "--tags", tmp_path / "tags.csv", *options,
    ]  # fmt: skip


def test_a_dry_run_says_what_is_left_and_writes_nothing(
    excel_cam: Run, photos: Path, folder_command: list[object], tmp_path: Path
) -> None:
    out, cams = tmp_path / "new" / "labels", tmp_path / "cams"
    command = [*folder_command, "--out", out, "--save-cams", cams]
    result = excel_cam(*command, "--dry-run")
    assert result.exit_code == 0, result.stderr
    first, second, third = result.stdout.splitlines()
    assert first == "dry run: 3 images, 0 done, 3 to label"
    assert re.fullmatch(r"about \d+ s on cpu: [0-9.e-]+ s an image, by 2 of them .*", second)
    assert re.fullmatch(r"about .* to write, of which class maps .*; .* free there", third)
    assert not out.parent.exists()
    assert not cams.exists()
    assert excel_cam(*command).exit_code == 0
    assert excel_cam(*command, "--dry-run").stdout == "dry run: 3 images, 3 done, 0 to label\n"
    assert excel_cam(*command, "--dry-run", "--overwrite").stdout.startswith("dry run: 3 images, 0 done, 3 to label")
    otherwise = excel_cam(*command, "--dry-run", "--background-power", "2").stdout
    assert "3 to label, 3 of them with a label made otherwise" in otherwise
    for photograph in photos.rglob("*.*"):
        photograph.write_bytes(b"")
    assert "none of the images tried could be read" in excel_cam(*command, "--dry-run", "--overwrite").stdout
