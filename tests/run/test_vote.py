"""`excel-cam vote` as a user sees it: a folder of labels and a folder of regions become another folder of labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import draw_photograph
from numpy.typing import NDArray
from PIL import Image

from excel_cam.files.regions.source import open_regions
from excel_cam.labels.hand_made import hand_made_stamp, record_import
from excel_cam.labels.label_files import LabelFolder
from excel_cam.labels.png import find_label, write_label
from excel_cam.labels.records import write_run
from excel_cam.labels.regions.settings import RegionChoice, VoteSettings
from excel_cam.labels.regions.vote import vote
from excel_cam.run.vote import VoteRequest, run_vote, settle_vote

Run = Callable[..., Result]
NAMES = ("a", "b", "sub/c")
CLASSES = ["cat", "sofa"]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Three labels as a run leaves them, with a block of class 1 or 2 in each."""
    folder = tmp_path / "labels"
    for index, name in enumerate(NAMES):
        label = np.zeros((20 + index, 30), np.uint8)
        label[4:12, 5 : 20 + index] = 1 + index % 2
        label[0, :4] = 255
        write_label(folder / f"{name}.png", label, "L", f"{index}" * 32)
    write_run(folder, {"identity": {"known": {"classes": CLASSES}, "resolved": {}}, "dataset": {"name": "folder"}})
    return folder


@pytest.fixture
def regions(tmp_path: Path, labels: Path) -> Path:
    """An id map of each: a block a little to the side of the label's, and the rest."""
    folder = tmp_path / "regions"
    (folder / "sub").mkdir(parents=True)
    for name in NAMES:
        ids = np.full(np.asarray(Image.open(labels / f"{name}.png")).shape, 300, np.uint16)
        ids[5:14, 7:22] = 2
        Image.fromarray(ids).save(folder / f"{name}.png")
    return folder


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_regions_vote_and_the_same_command_again_changes_nothing(
    excel_cam: Run, tmp_path: Path, labels: Path, regions: Path
) -> None:
    before, out = files(labels), tmp_path / "voted"
    result = excel_cam("vote", labels, "--regions", regions, "--out", out)
    assert result.exit_code == 0
    assert "3 labels in" in result.stderr
    assert "(3 new, 0 kept)" in result.stderr
    assert "% of the pixels of the new ones changed" in result.stderr
    assert result.stdout.splitlines() == [str(out / f"{name}.png") for name in NAMES]
    source = open_regions(regions, NAMES)
    for name in NAMES:
        label = pixels(labels / f"{name}.png")
        voted = pixels(out / f"{name}.png")
        assert np.array_equal(voted, vote(label, source.of(name).read(label.shape), VoteSettings()))
        assert not np.array_equal(voted, label)
    assert files(labels) == before
    made = files(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    again = excel_cam("vote", labels, "--regions", regions, "--out", out)
    assert "(0 new, 3 kept)" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == times
    (out / "b.png").unlink()
    assert "(1 new, 2 kept)" in excel_cam("vote", labels, "--regions", regions, "--out", out).stderr
    assert files(out) == made


def test_the_other_commands_read_the_result_as_any_labels(
    excel_cam: Run, tmp_path: Path, labels: Path, regions: Path
) -> None:
    out, photographs = tmp_path / "voted", tmp_path / "photographs"
    excel_cam("vote", labels, "--regions", regions, "--out", out, "--png-mode", "P")
    (photographs / "sub").mkdir(parents=True)
    for index, name in enumerate(NAMES):
        draw_photograph(20 + index, 30, index).save(photographs / f"{name}.jpg")
    compared = excel_cam("evaluate", "--labels", out, "--against", labels, "--truth", labels)
    assert compared.exit_code == 0
    assert "sofa" in compared.stdout
    assert excel_cam("doctor", out, "--images", photographs).exit_code == 0
    assert excel_cam("view", out, "--images", photographs, "--out", tmp_path / "page.html").exit_code == 0
    export = ("export", "--to", "mmseg", "--labels", out, "--images", photographs, "--out", tmp_path / "mmseg")
    assert excel_cam(*export).exit_code == 0
    again = excel_cam("vote", out, "--regions", regions, "--out", tmp_path / "twice")
    assert again.exit_code == 0
    record = json.loads((out / "run.json").read_text())
    assert record["state"] == "complete"
    assert record["dataset"] == {"name": "folder"}
    assert record["identity"]["known"]["classes"] == CLASSES
    assert record["regions"] == {
        "from": str(regions), "region_share": 0.5, "component_share": 0.85, "fill_ignored": False,
    }  # fmt: skip


@pytest.mark.parametrize("change", ["regions", "label", "settings", "run", "foreign"])
def test_labels_made_otherwise_are_never_mixed(
    excel_cam: Run, tmp_path: Path, labels: Path, regions: Path, change: str
) -> None:
    out, options = tmp_path / "voted", []
    excel_cam("vote", labels, "--regions", regions, "--out", out)
    complaint = f"1 labels in {out} were made otherwise, of other labels or regions"
    if change == "regions":
        Image.fromarray(pixels(regions / "a.png") + np.uint16(1)).save(regions / "a.png")
    elif change == "label":
        write_label(labels / "a.png", 1 - np.minimum(pixels(labels / "a.png"), 1), "L", "f" * 32)
    elif change == "settings":
        options, complaint = ["--region-share", "0.4"], "region_share was 0.5, now 0.4"
    elif change == "run":
        write_run(labels, {"identity": {"known": {"classes": CLASSES, "model": "x"}, "resolved": {}}})
        complaint = "voted_on was"
    else:
        write_label(out / "a.png", pixels(out / "a.png"), "L", None)
    before = files(out)
    refused = excel_cam("vote", labels, "--regions", regions, "--out", out, *options)
    assert refused.exit_code == 1
    assert complaint in refused.stderr
    assert "add --overwrite to replace them" in refused.stderr
    assert files(out) == before
    replaced = excel_cam("vote", labels, "--regions", regions, "--out", out, *options, "--overwrite")
    assert replaced.exit_code == 0
    assert "(3 new, 0 kept)" in replaced.stderr
    assert "(0 new, 3 kept)" in excel_cam("vote", labels, "--regions", regions, "--out", out, *options).stderr


def test_missing_regions_are_refused_before_anything_is_written(
    excel_cam: Run, tmp_path: Path, labels: Path, regions: Path
) -> None:
    out = tmp_path / "voted"
    (regions / "b.png").unlink()
    refused = excel_cam("vote", labels, "--regions", regions, "--out", out)
    assert refused.exit_code == 1
    assert "no regions for 1 of 3 labels, first 'b'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not out.exists()
    assert excel_cam("vote", labels, "--regions", regions, "--out", out, "--allow-missing-regions").exit_code == 0
    assert np.array_equal(pixels(out / "b.png"), pixels(labels / "b.png"))
    # Once they are there the label is another one.
    Image.fromarray(np.ones((21, 30), np.uint8)).save(regions / "b.png")
    assert "1 labels in" in excel_cam("vote", labels, "--regions", regions, "--out", out).stderr
    listed = tmp_path / "list.txt"
    listed.write_text("a\n")
    assert "(0 new, 1 kept)" in excel_cam("vote", labels, "--regions", regions, "--out", out, "--list", listed).stderr


def test_regions_that_do_not_fit_are_failures_of_their_own_labels(
    excel_cam: Run, tmp_path: Path, labels: Path, regions: Path
) -> None:
    out = tmp_path / "voted"
    fitting = (regions / "a.png").read_bytes()
    Image.fromarray(np.ones((30, 20), np.uint8)).save(regions / "a.png")
    write_label(labels / "b.png", np.full((21, 30), 9, np.uint8), "L", "0" * 32)
    failed = excel_cam("vote", labels, "--regions", regions, "--out", out)
    assert failed.exit_code == 3
    assert "a.png: regions of 30 x 20 (H x W), but their label has 20 x 30; they have to lie as" in failed.stderr
    assert "b.png: expected values 0..2 (2 classes) or 255, got 9" in failed.stderr
    assert "1 labels in" in failed.stderr
    assert "2 labels failed, see" in failed.stderr
    reasons = [json.loads(line)["name"] for line in (out / "failed.jsonl").read_text().splitlines()]
    assert reasons == ["a", "b"]
    assert json.loads((out / "run.json").read_text())["state"] == "complete with failures"
    (regions / "a.png").write_bytes(fitting)
    write_label(labels / "b.png", np.ones((21, 30), np.uint8), "L", "0" * 32)
    mended = excel_cam("vote", labels, "--regions", regions, "--out", out)
    assert mended.exit_code == 0
    assert "(2 new, 1 kept)" in mended.stderr
    assert not (out / "failed.jsonl").exists()


def test_hand_made_labels_are_taken_over_as_they_are(
    excel_cam: Run, tmp_path: Path, labels: Path, regions: Path
) -> None:
    out = tmp_path / "voted"
    record_import(labels, tuple(CLASSES), has_background=True)
    write_label(labels / "b.png", np.full((21, 30), 2, np.uint8), "L", hand_made_stamp("cvat"))
    (regions / "b.png").unlink()  # which needs none
    assert excel_cam("vote", labels, "--regions", regions, "--out", out).exit_code == 0
    assert (out / "b.png").read_bytes() == (labels / "b.png").read_bytes()
    assert json.loads((out / "hand-made.json").read_text())["classes"] == CLASSES
    assert "(0 new, 3 kept)" in excel_cam("vote", labels, "--regions", regions, "--out", out).stderr
    # What was corrected after the vote stays too, whatever is overwritten, unless that is what is asked for.
    write_label(out / "a.png", np.ones((20, 30), np.uint8), "L", hand_made_stamp("cvat"))
    corrected = (out / "a.png").read_bytes()
    kept = excel_cam("vote", labels, "--regions", regions, "--out", out, "--overwrite")
    assert "1 hand-made labels stay as they are" in kept.stderr
    assert (out / "a.png").read_bytes() == corrected
    excel_cam("vote", labels, "--regions", regions, "--out", out, "--overwrite-hand-made")
    found = find_label(out / "a.png")
    assert found is not None
    assert not found.is_hand_made


@pytest.mark.parametrize("place", ["labels", "labels/new", "regions", "link"])
def test_what_is_read_is_never_written_to(
    excel_cam: Run, tmp_path: Path, labels: Path, regions: Path, place: str
) -> None:
    (tmp_path / "link").symlink_to(labels)
    before = files(tmp_path)
    refused = excel_cam("vote", labels, "--regions", regions, "--out", tmp_path / place, "--overwrite")
    assert refused.exit_code == 2
    assert "are read; choose another --out" in refused.stderr
    assert files(tmp_path) == before


def test_labels_of_another_program_need_their_classes_named(
    excel_cam: Run, tmp_path: Path, labels: Path, regions: Path
) -> None:
    (labels / "run.json").unlink()
    out, classes = tmp_path / "voted", tmp_path / "classes.txt"
    command = ("vote", labels, "--regions", regions, "--out", out)
    refused = excel_cam(*command)
    assert refused.exit_code == 2
    assert "give them with --dataset or --classes" in refused.stderr
    classes.write_text("cat\nsofa\n")
    assert excel_cam(*command, "--classes", classes).exit_code == 0
    assert json.loads((out / "run.json").read_text())["identity"]["known"]["classes"] == CLASSES
    assert excel_cam("evaluate", "--labels", out, "--truth", labels).exit_code == 0


def test_a_vote_that_is_stopped_leaves_whole_files_and_says_so(tmp_path: Path, labels: Path, regions: Path) -> None:
    out = tmp_path / "voted"
    request = VoteRequest(
        labels=LabelFolder(labels), regions=RegionChoice(path=regions), out=out, class_names=tuple(CLASSES)
    )
    outcomes = run_vote(settle_vote(request), lambda _: None)
    assert next(outcomes).name == "a"
    outcomes.close()
    assert json.loads((out / "run.json").read_text())["state"] == "stopped"
    assert {path.name for path in out.iterdir()} == {"a.png", "run.json"}
    kept = [outcome.kept for outcome in run_vote(settle_vote(request), lambda _: None)]
    assert kept == [True, False, False]
