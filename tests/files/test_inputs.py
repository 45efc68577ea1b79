"""No command replaces what it reads, or a picture that is no label, whatever `--overwrite` says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import Result
from exports import arguments, contents, make_sources
from PIL import Image

from excel_cam.errors import OutputError
from excel_cam.files.inputs import lies_in, refuse_inputs

Run = Callable[..., Result]


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    return make_sources(tmp_path)


def refused(run: Run, folder: Path, *command: object) -> str:
    """The one line that a command ends with; every file below `folder` is as it was."""
    before = contents(folder)
    result = run(*command)
    assert result.exit_code in (1, 2), result.output
    assert contents(folder) == before
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    return line


@pytest.mark.parametrize(
    ("to", "place"),
    [
        ("deeplab", "VOC2012/SegmentationClassAug"), ("mmseg", "ann_dir"), ("irn", "."), ("clip-es", "voc-cams"),
        ("psa", "."), ("coco-json", ".coco-json-parts"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by_link", [False, True])
def test_an_export_into_its_own_sources(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path, to: str, place: str, by_link: bool
) -> None:
    moved = made.out / place
    moved.parent.mkdir(parents=True, exist_ok=True)
    if by_link and place != ".":
        moved.symlink_to(made.labels, target_is_directory=True)
    else:
        if moved.is_dir():
            moved.rmdir()
        made.labels.rename(moved)
        made.labels = moved
    line = refused(excel_cam, tmp_path, *arguments(made, to, "--overwrite"))
    assert "would pass for labels, or replace them" in line


def test_an_export_over_its_photographs(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    photographs = made.out / "ann_dir"
    photographs.mkdir(parents=True)
    for path in made.images.iterdir():
        with Image.open(path) as picture:
            picture.save(photographs / f"{path.stem}.png")
    line = refused(excel_cam, tmp_path, *arguments(made, "mmseg", "--images", photographs, "--overwrite"))
    assert "would replace what it is made from" in line


def test_an_export_below_the_folder_of_the_photographs_goes_on(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path
) -> None:
    made.out = made.images / "export"
    command = arguments(made, "deeplab", "--images", made.images)
    assert excel_cam(*command).exit_code == 0
    whole = contents(made.out)
    (made.out / "VOC2012" / "SegmentationClassAug" / "2011_003276.png").unlink()
    assert excel_cam(*command).exit_code == 0
    assert excel_cam(*command, "--overwrite").exit_code == 0
    assert contents(made.out) == whole


def test_tags_over_their_source(excel_cam: Run, tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("name,classes\na,cat\n")
    (tmp_path / "same.csv").symlink_to("tags.csv")
    (tmp_path / "classes.csv").write_text("cat\n")
    for out in ("tags.csv", "same.csv", "classes.csv"):
        line = refused(
            excel_cam, tmp_path, "tags", "--from", tmp_path / "tags.csv", "--classes", tmp_path / "classes.csv",
            "--out", tmp_path / out, "--overwrite",
        )  # fmt: skip
        assert "stays as it is, also with --overwrite" in line


def test_a_strip_over_what_it_shows(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    truth, photographs = tmp_path / "truth", tmp_path / "pictures"
    photographs.mkdir()
    for path in made.images.iterdir():
        with Image.open(path) as picture:
            picture.save(photographs / f"{path.stem}.png")
    truth.mkdir()
    for path in made.labels.iterdir():
        (truth / path.name).write_bytes(path.read_bytes())
    for folder in (truth, photographs):
        line = refused(
            excel_cam, tmp_path, "view", made.labels, "--images", photographs, "--truth", truth, "--dataset", "voc",
            "--strip", folder / "2011_003276.png", "--overwrite",
        )  # fmt: skip
        assert "stays as it is, also with --overwrite" in line


def test_a_knowledge_base_over_its_class_list_and_answers(excel_cam: Run, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("kayak\n")
    (tmp_path / "answers.jsonl").write_text('{"class": "kayak", "sentences": ["it has a pointed bow."]}\n')
    for out in ("classes.txt", "answers.jsonl"):
        line = refused(
            excel_cam, tmp_path, "kb", "write", "--classes", tmp_path / "classes.txt", "--answers",
            tmp_path / "answers.jsonl", "--at-least", "1", "--out", tmp_path / out, "--overwrite",
        )  # fmt: skip
        assert "stays as it is" in line


def test_a_bank_over_its_knowledge_base(excel_cam: Run, tmp_path: Path) -> None:
    base = tmp_path / "my.json"
    base.write_text('{"dataset": "my", "template": "a {}.", "classes": [{"name": "cat", "sentences": []}]}')
    assert "choose another --bank" in refused(excel_cam, tmp_path, "kb", "build", "--kb", base, "--bank", base)


def test_labels_over_the_truth(excel_cam: Run, voc_root: Path, model_arguments: list[str]) -> None:
    names = [path.stem for path in (voc_root / "JPEGImages").iterdir()]
    (tags := voc_root / "tags.csv").write_text("name,classes\n" + "".join(f"{name},cat\n" for name in names))
    for out in ("SegmentationClass", "SegmentationClass/mine", "SegmentationObject"):
        (voc_root / "SegmentationClass").mkdir(exist_ok=True)
        (voc_root / "SegmentationObject").mkdir(exist_ok=True)
        line = refused(
            excel_cam, voc_root, "generate", "--dataset", "voc", "--root", voc_root, "--split", "train",
            "--tags", tags, "--out", voc_root / out, "--overwrite", *model_arguments,
        )  # fmt: skip
        assert "the data set's own masks" in line


@pytest.mark.parametrize("kind", ["colours", "jpeg", "grey with alpha"])
def test_a_label_over_another_picture(excel_cam: Run, tmp_path: Path, model_arguments: list[str], kind: str) -> None:
    photograph = tmp_path / "IMG_1.jpg"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(photograph)
    other = tmp_path / "IMG_1.png"  # another picture, or the same scene without loss
    if kind == "jpeg":
        other.write_bytes(photograph.read_bytes())
    else:
        Image.new("RGB" if kind == "colours" else "LA", (40, 30)).save(other)
    line = refused(excel_cam, tmp_path, "label", photograph, "--classes", "dog", "--overwrite", *model_arguments)
    assert f"{other}: a label would replace this picture" in line


def test_where_a_file_lies(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("folder")
    assert lies_in(tmp_path / "link" / "inner" / "new" / "file", tmp_path / "folder")
    assert lies_in(tmp_path / "folder" / "file", tmp_path / "link")
    assert not lies_in(tmp_path / "file", tmp_path / "folder")
    assert not lies_in(tmp_path / "file", tmp_path / "nowhere")
    assert not lies_in(tmp_path / "folder2" / "file", tmp_path / "folder")
    refuse_inputs(tmp_path / "folder" / "not there", [tmp_path / "folder", None])
    hard = tmp_path / "folder" / "hard"
    (tmp_path / "original").write_text("x")
    os.link(tmp_path / "original", hard)
    with pytest.raises(OutputError, match="read by this command"):
        refuse_inputs(hard, [tmp_path / "original"])
