"""What a newcomer does in the first hour, in the order they do it."""

from __future__ import annotations

import os
import re
import shlex
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


def test_photographs_in_a_folder_per_class_need_no_list(
    excel_cam: Run, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets = tmp_path / "pets"
    for index, name in enumerate(("cat/1.jpg", "cat/old/2.jpg", "Dog/1.jpg", "background/3.jpg")):
        (pets / name).parent.mkdir(parents=True, exist_ok=True)
        draw_photograph(30, 40, index).save(pets / name)
    monkeypatch.chdir(tmp_path)
    said = lines(excel_cam("tags", "--from", "pets", "--out", "tags.csv"))
    assert "written: tags.csv: 4 images, 2 classes, 1 images without any" in said
    assert "written: classes.txt: Dog, cat" in said
    assert (tmp_path / "tags.csv").read_text().split() == [
        "name,classes", "Dog/1,Dog", "background/3,", "cat/1,cat", "cat/old/2,cat",
    ]  # fmt: skip
    # What is said to be next works as it stands.
    following = next(line for line in said if line.startswith("next: excel-cam "))
    words = shlex.split(following.removeprefix("next: excel-cam "))
    assert excel_cam(*words, *options).exit_code == 0
    assert (tmp_path / "labels" / "cat" / "old" / "2.png").exists()
    # The same with a class list, whatever the case of the folders; and without one where another is in the way.
    (tmp_path / "mine.txt").write_text("CAT\ndog\nhorse\n")
    assert excel_cam("tags", "--from", "pets", "--classes", "mine.txt", "--out", "two.csv").exit_code == 0
    assert "cat/1,CAT" in (tmp_path / "two.csv").read_text()
    (tmp_path / "classes.txt").write_text("horse\n")
    result = excel_cam("tags", "--from", "pets", "--out", "three.csv")
    assert result.exit_code == 1
    assert "classes.txt is there already, with other classes" in result.stderr
    assert not (tmp_path / "three.csv").exists()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.jpg", "cat/b.jpg"], "which classes? give --dataset or --classes"),
        (["a.png"], "which classes? give --dataset or --classes"),
        (["train/cat/a.jpg", "val/cat/b.jpg"], "its folders train, val are splits, not classes"),
        (["1: one/a.jpg"], "a list would not tell these classes"),
        (["background/a.jpg"], "a folder for the background alone"),
    ],
)
def test_folders_that_are_no_classes(excel_cam: Run, tmp_path: Path, files: list[str], expected: str) -> None:
    for index, name in enumerate(files):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        draw_photograph(30, 40, index).save(tmp_path / "pets" / name)
    result = excel_cam("tags", "--from", tmp_path / "pets", "--out", tmp_path / "tags.csv")
    assert result.exit_code in (1, 2)
    assert expected in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets"]


def test_without_tags_there_is_a_way_on(excel_cam: Run, folder_command: list[object], tmp_path: Path) -> None:
    at = folder_command.index("--tags")
    without = [*folder_command[:at], *folder_command[at + 2 :], "--out", tmp_path / "labels"]
    result = excel_cam(*without)
    assert result.exit_code == 2
    assert "excel-cam tags --from" in result.stderr
    assert "--all-classes" in result.stderr
    assert excel_cam(*without, "--all-classes").exit_code == 0
    (tmp_path / "all.csv").write_text("name,classes\n" + "".join(f"{n},cat;sofa\n" for n in ("a", "b", "more/c")))
    told = [*without[:-2], "--tags", tmp_path / "all.csv", "--out", tmp_path / "told"]
    assert excel_cam(*told).exit_code == 0
    for name in ("a", "b", "more/c"):
        assert (tmp_path / f"labels/{name}.png").read_bytes() == (tmp_path / f"told/{name}.png").read_bytes()
    assert "instead of --tags" in excel_cam(*told, "--all-classes").stderr


def test_tags_made_for_other_images_say_so(excel_cam: Run, folder_command: list[object], tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("name,classes\nIMG_0001,cat\nIMG_0002,sofa\n")
    line = excel_cam(*folder_command, "--out", tmp_path / "labels").stderr.splitlines()[-1]
    assert "first 'a'; none of the file's 2 names, first 'IMG_0001', is an image here; add lines" in line


def test_tags_of_voc_made_for_other_images_say_so(excel_cam: Run, voc_root: Path, model_arguments: list[str]) -> None:
    (tags := voc_root / "other.csv").write_text("name,classes\nIMG_0001,cat\n")
    result = excel_cam(
        "generate", "--dataset", "voc", "--root", voc_root, "--split", "train", "--tags", tags,
        "--out", voc_root / "labels", *model_arguments,
    )  # fmt: skip
    assert "none of the file's 1 names, first 'IMG_0001', is an image here" in result.stderr


@pytest.mark.parametrize("damage", ["", "[]", '{"name": "x"}', '{"name": 3, "resolved": {}}', "[" * 5000, "\\0"])
def test_a_damaged_memory_of_the_model_is_no_condition(
    excel_cam: Run, photos: Path, options: list[str], damage: str
) -> None:
    command = ["label", photos / "a.jpg", "--classes", "cat", *options]
    assert excel_cam(*command).exit_code == 0
    for path in (Path(os.environ["EXCEL_CAM_CACHE"]) / "models").iterdir():
        path.write_text(damage)
    again = excel_cam(*command)
    assert again.exit_code == 0
    assert again.stdout.strip().endswith("(kept)")
