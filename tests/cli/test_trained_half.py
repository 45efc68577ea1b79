"""`train`, `generate --lvc` and `segment` as a user meets them: one short training, and what is made with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn import VOC_TAGS, draw_photograph
from PIL import Image

Run = Callable[..., Result]

SHORT = (
    "--steps", 6, "--warm-up", 1, "--batch", 2, "--channels", 16, "--decoder-blocks", 1, "--decoder-heads", 2,
    "--radius", 2, "--checkpoint-every", 2, "--workers", 1,
)  # fmt: skip


@pytest.fixture
def data(voc_root: Path, model_arguments: list[str]) -> list[str]:
    """The drawn data set and the tiny model, as options."""
    return ["--dataset", "voc", "--root", str(voc_root), "--split", "train", "--device", "cpu", *model_arguments]


@pytest.fixture
def learn(excel_cam: Run, data: list[str], voc_root: Path) -> Run:
    def run(*more: object) -> Result:
        return excel_cam("train", *data, "--tags", voc_root / "tags.csv", "--size", "64", *SHORT, *more)

    return run


@pytest.fixture
def trained(learn: Run, tmp_path: Path) -> Path:
    out = tmp_path / "lvc"
    result = learn("--out", out)
    assert result.exit_code == 0, result.stderr
    return out


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_training_says_what_it_wrote_and_what_to_do_next(learn: Run, voc_root: Path, tmp_path: Path) -> None:
    truth = voc_root / "SegmentationClass"
    truth.mkdir()
    for name in list(VOC_TAGS)[:2]:
        with Image.open(voc_root / "JPEGImages" / f"{name}.jpg") as photograph:
            mask = np.zeros(photograph.size[::-1], np.uint8)
        mask[:20, :20] = 8
        Image.fromarray(mask).save(truth / f"{name}.png")
    result = learn("--out", tmp_path / "lvc", "--truth", truth, "--plot", tmp_path / "curve.svg")
    assert result.exit_code == 0, result.stderr
    assert "readout mIoU" in result.stderr
    assert "next: excel-cam generate --lvc" in result.stderr
    readouts = [json.loads(line) for line in (tmp_path / "lvc" / "readout.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in readouts] == [2, 4, 6]
    steps = [json.loads(line)["step"] for line in (tmp_path / "lvc" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(6))
    drawing = (tmp_path / "curve.svg").read_text()
    assert all(title in drawing for title in ("Segmentation loss", "Diversity loss", "Readout"))


def test_the_same_command_goes_on_to_the_same_bytes(
    learn: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after its third step, the run goes on from the checkpoint after the second."""
    from excel_cam.learnt.training.learner import Learner

    advance, stopped = Learner.advance, tmp_path / "stopped"

    def interrupted(self: Learner, batch: object, step: int) -> object:
        if step == 3:
            raise KeyboardInterrupt
        return advance(self, batch, step)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "advance", interrupted)
    assert learn("--out", stopped).exit_code == 130
    assert not (stopped / "adapter.safetensors").exists()
    monkeypatch.setattr(Learner, "advance", advance)
    assert learn("--out", stopped).exit_code == 0
    assert (stopped / "adapter.safetensors").read_bytes() == (trained / "adapter.safetensors").read_bytes()


def test_other_choices_into_a_folder_of_training_are_refused(learn: Run, trained: Path) -> None:
    result = learn("--out", trained, "--seed", 3)
    assert result.exit_code == 1
    assert "seed 0, now 3" in result.stderr
    again = learn("--out", trained)  # finished: nothing left to do
    assert again.exit_code == 0


def test_labels_with_a_learnt_calibration_are_other_labels_and_never_mixed(
    excel_cam: Run, arguments: list[str], trained: Path, tmp_path: Path
) -> None:
    plain, learnt = tmp_path / "plain", tmp_path / "learnt"
    excel_cam(*arguments, "--out", plain)
    first = excel_cam(*arguments, "--out", learnt, "--lvc", trained, "--save-cams", tmp_path / "cams")
    assert first.exit_code == 0, first.stderr
    assert bytes_of(plain) != bytes_of(learnt)
    assert len(list((tmp_path / "cams").glob("*.npz"))) == len(VOC_TAGS)
    record = json.loads((learnt / "run.json").read_text())
    assert record["adapter"]["sha256"] == record["identity"]["known"]["adapter"]
    before = bytes_of(learnt)
    again = excel_cam(*arguments, "--out", learnt, "--lvc", trained / "adapter.safetensors")
    assert "6 kept" in again.stderr
    assert bytes_of(learnt) == before
    mixed = excel_cam(*arguments, "--out", plain, "--lvc", trained)
    assert mixed.exit_code == 1
    assert "adapter was absent" in mixed.stderr


def test_segment_needs_no_tags_and_goes_on(
    excel_cam: Run, data: list[str], voc_root: Path, trained: Path, tmp_path: Path
) -> None:
    (voc_root / "tags.csv").unlink()
    out = tmp_path / "seg"
    command = ["segment", *data, "--lvc", trained, "--scales", "1,1.5", "--out", out]
    result = excel_cam(*command, "--json")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["name"] for line in lines] == list(VOC_TAGS)
    for name in VOC_TAGS:
        with (
            Image.open(out / f"{name}.png") as label,
            Image.open(voc_root / "JPEGImages" / f"{name}.jpg") as photograph,
        ):
            assert label.size == photograph.size
            assert np.asarray(label).max() <= 20
    before = bytes_of(out)
    (out / "2007_000002.png").unlink()
    again = excel_cam(*command)
    assert "1 new, 5 kept" in again.stderr
    assert bytes_of(out) == before
    other = excel_cam(*command, "--no-flip")
    assert other.exit_code == 1
    assert "flip was true, now false" in other.stderr


def test_segment_takes_photographs_like_label(
    excel_cam: Run, model_arguments: list[str], trained: Path, tmp_path: Path
) -> None:
    photograph = tmp_path / "street.jpg"
    draw_photograph(70, 90, 3).save(photograph)
    command = ["segment", photograph, "--lvc", trained, "--device", "cpu", *model_arguments]
    result = excel_cam(*command)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(str(tmp_path / "street.png"))
    assert (tmp_path / "street.overlay.jpg").exists()
    assert "(kept)" in excel_cam(*command).stdout
    refined = excel_cam(*command, "--refine", "crf", "--out", tmp_path / "crf", "--json")
    assert json.loads(refined.stdout)["path"] == str(tmp_path / "crf" / "street.png")


def test_shares_of_a_segmentation_give_the_whole(
    excel_cam: Run, data: list[str], trained: Path, tmp_path: Path
) -> None:
    command = ["segment", *data, "--lvc", trained, "--scales", "1"]
    for share in ("0/2", "1/2"):
        assert excel_cam(*command, "--out", tmp_path / "shares", "--shard", share).exit_code == 0
    assert excel_cam(*command, "--out", tmp_path / "whole").exit_code == 0
    assert bytes_of(tmp_path / "shares") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("command", "complaint", "code"),
    [
        (["segment", "--dataset", "demo", "--out", "o"], "--lvc is missing", 2),
        (["segment", "--lvc", "nowhere"], "give photographs, or a data set with --dataset", 2),
        (["segment", "--dataset", "demo", "--lvc", "nowhere"], "--out is missing", 2),
        (["segment", "--dataset", "demo", "--lvc", "nowhere", "--out", "o"], "nowhere: no trained weights there", 1),
        (["segment", "a.jpg", "--lvc", "nowhere"], "nowhere", 1),
        (["segment", "a.jpg", "--lvc", "x", "--split", "val"], "--split goes with --dataset", 2),
        (["generate", "--dataset", "demo", "--lvc", "nowhere", "--out", "o"], "nowhere: no trained weights there", 1),
        (["train", "--dataset", "demo", "--out", "o", "--dynamic-from", "soon"], "neither a step", 2),
        (["train", "--dataset", "demo", "--out", "o", "--plot", "a.png"], "does not end in .svg", 2),
    ],
)
def test_what_cannot_be_is_one_line(excel_cam: Run, command: list[str], complaint: str, code: int) -> None:
    with CliRunner().isolated_filesystem():
        Path("a.jpg").write_bytes(b"")
        result = excel_cam(*command)
    assert result.exit_code == code
    assert complaint in result.stderr.splitlines()[-1]


def test_an_adapter_of_another_model_is_refused_by_name(
    excel_cam: Run, trained: Path, voc_root: Path, tmp_path: Path
) -> None:
    result = excel_cam(
        "segment", "--dataset", "voc", "--root", voc_root, "--split", "train", "--lvc", trained, "--model",
        "excel-cam-demo", "--out", tmp_path / "seg",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "choose the model it was trained on" in result.stderr
