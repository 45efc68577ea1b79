"""Two label sets against one truth: the bootstrap by worked example, the table, `--against` and `--expect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from excel_cam.errors import DataError
from excel_cam.evaluation.bootstrap import DRAWS, class_counts, class_iou, draw_counts, interval, mean_iou
from excel_cam.evaluation.compare import compare_labels, format_comparison

Run = Callable[..., Result]
CLASSES = ("cat", "sofa")


def save(folder: Path, name: str, values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(folder / f"{name}.png")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Labels that find the cat in every image, others that miss it in every second, and the truth, of 8 images."""
    labels, other, truth = (tmp_path / name for name in ("labels", "other", "truth"))
    for index in range(8):
        save(truth, f"{index}", [[0, 0, 1, 1], [0, 0, 1, 1]])
        save(labels, f"{index}", [[0, 0, 1, 1], [0, 0, 1, 0]])
        save(other, f"{index}", [[0, 0, 1, 1], [0, 0, 1, 0]] if index % 2 else [[0, 0, 0, 0], [0, 0, 0, 0]])
    (tmp_path / "classes.txt").write_text("cat\nsofa\n")
    return labels, other, truth


@pytest.fixture
def command(folders: tuple[Path, Path, Path], tmp_path: Path) -> list[object]:
    labels, _, truth = folders
    return ["evaluate", "--labels", labels, "--truth", truth, "--classes", tmp_path / "classes.txt"]


# ---- the bootstrap


def test_counts_are_all_that_iou_needs() -> None:
    confusion = np.array([[6, 1, 0], [2, 3, 0], [0, 0, 0]])
    counts = class_counts(confusion)
    assert counts.tolist() == [[6, 3, 0], [7, 5, 0], [8, 4, 0]]  # hits, true, labelled
    np.testing.assert_allclose(class_iou(counts), [6 / 9, 3 / 6, np.nan])
    assert mean_iou(counts) == pytest.approx((6 / 9 + 3 / 6) / 2)  # the third class occurs nowhere
    assert np.isnan(mean_iou(np.zeros((3, 2), int)))


def test_draws_are_paired_and_repeatable() -> None:
    counts = np.random.default_rng(0).integers(1, 50, (7, 3, 4)).astype(np.uint32)
    first, second = draw_counts([counts, counts])
    assert first.shape == (DRAWS, 3, 4)
    assert np.array_equal(first, second)
    assert np.array_equal(draw_counts([counts])[0], first)
    assert not np.array_equal(draw_counts([counts], seed=1)[0], first)
    # The first draw, by hand: the same generator's first seven images.
    drawn = np.random.default_rng(0).integers(7, size=7)
    assert np.array_equal(first[0], counts[drawn].sum(axis=0))


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    """The mean of n draws deviates by s / sqrt(n): hits of 100 true and labelled pixels, all in one class."""
    hits = np.random.default_rng(1).integers(0, 100, 400)
    counts = np.stack([hits, np.full(400, 100), np.full(400, 100)], axis=1)[:, :, None]
    (drawn,) = draw_counts([counts])
    spread = interval(drawn[:, 0, 0] / 400)
    expected = 1.96 * hits.std() / 20
    assert (spread.high - spread.low) / 2 == pytest.approx(expected, rel=0.08)
    assert (spread.high + spread.low) / 2 == pytest.approx(hits.mean(), abs=0.3)


def test_undefined_draws_are_left_out() -> None:
    assert interval(np.array([np.nan, 1.0, 1.0])).low == 1
    assert np.isnan(interval(np.array([np.nan])).high)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 10**6))
def test_a_mean_iou_is_within_0_and_1(images: int, classes: int, seed: int) -> None:
    confusions = np.random.default_rng(seed).integers(0, 4, (images, classes, classes))
    (drawn,) = draw_counts([class_counts(confusions)])
    means = mean_iou(drawn)
    defined = means[~np.isnan(means)]
    assert ((defined >= 0) & (defined <= 1)).all()


# ---- the comparison


def test_worked_example(folders: tuple[Path, Path, Path]) -> None:
    labels, other, truth = folders
    result = compare_labels(labels, other, truth, CLASSES)
    # Labels, per image: background 4 / 5, cat 3 / 4. Others: 4 of 8 images without a cat.
    assert result.first.iou[:2] == pytest.approx([4 / 5, 3 / 4])
    assert result.second.iou[:2] == pytest.approx([32 / (20 + 32), 12 / 32])
    assert result.class_gaps[:2] == pytest.approx([4 / 5 - 32 / 52, 3 / 8])
    assert 0 < result.difference.low < result.first.mean_iou - result.second.mean_iou < result.difference.high
    assert np.isnan(result.class_differences[2].low)  # no sofa anywhere
    text = format_comparison(result)
    assert text.splitlines()[2].split()[:4] == ["cat", "75.0", "37.5", "+37.5"]
    assert "the interval leaves 0 out" in text
    as_json = json.loads(json.dumps(result.to_json_dict(), allow_nan=False))
    assert as_json["mean_iou"]["difference"] == pytest.approx(result.first.mean_iou - result.second.mean_iou)
    assert as_json["classes"][2] == {"name": "sofa", "difference": None, "low": None, "high": None}
    assert as_json["against"]["images"] == 8


def test_labels_against_themselves_do_not_differ(folders: tuple[Path, Path, Path]) -> None:
    labels, _, truth = folders
    result = compare_labels(labels, labels, truth, CLASSES)
    assert (result.difference.low, result.difference.high) == (0, 0)
    assert "no difference is certain: the interval holds 0" in format_comparison(result)


def test_by_gap_the_class_that_loses_most_is_first(folders: tuple[Path, Path, Path]) -> None:
    labels, other, truth = folders
    rows = format_comparison(compare_labels(other, labels, truth, CLASSES), by_gap=True).splitlines()[1:4]
    assert [row.split()[0] for row in rows] == ["cat", "background", "sofa"]


def test_labels_the_other_set_lacks_are_an_error_and_more_of_its_own_are_said(
    folders: tuple[Path, Path, Path],
) -> None:
    labels, other, truth = folders
    save(other, "more", [[0]])
    result = compare_labels(labels, other, truth, CLASSES)
    assert result.other_only == 1
    assert "1 more labels in the other set: not compared" in format_comparison(result)
    (other / "3.png").unlink()
    with pytest.raises(DataError, match=r"3\.png: no such label"):
        compare_labels(labels, other, truth, CLASSES)
    (truth.parent / "empty").mkdir()
    with pytest.raises(DataError, match="expected label PNGs"):
        compare_labels(truth.parent / "empty", other, truth, CLASSES)
    with pytest.raises(DataError, match="expected at least one name"):
        compare_labels(labels, other, truth, CLASSES, [])


# ---- the command line


def test_against_on_the_command_line(excel_cam: Run, command: list[object], folders: tuple[Path, Path, Path]) -> None:
    table = excel_cam(*command, "--against", folders[1])
    assert table.exit_code == 0, table.stderr
    assert "mIoU        77.5 %, against 49.5 %" in table.stdout
    as_json = json.loads(excel_cam(*command, "--against", folders[1], "--json").stdout)
    assert as_json["draws"] == DRAWS
    by_gap = excel_cam(*command, "--against", folders[1], "--sort", "gap")
    assert by_gap.stdout.splitlines()[1].startswith("background")


def test_labels_of_another_kind_are_refused(
    excel_cam: Run, command: list[object], folders: tuple[Path, Path, Path]
) -> None:
    (folders[1] / "run.json").write_text('{"identity": {}, "knowledge": {"background_class": false}}')
    result = excel_cam(*command, "--against", folders[1])
    assert result.exit_code == 2
    assert f"{folders[1]} holds labels without a background class; add --no-background" in result.stderr


def test_sort_by_gap_puts_the_weakest_class_first(excel_cam: Run, command: list[object]) -> None:
    rows = excel_cam(*command, "--sort", "gap").stdout.splitlines()
    assert rows[0].split()[-1] == "gap"
    assert [row.split()[0] for row in rows[1:4]] == ["cat", "background", "sofa"]
    assert [row.split()[-1] for row in rows[1:4]] == ["-2.5", "+2.5", "-"]


@pytest.mark.parametrize(("expect", "within", "status"), [(77.5, 0.1, 0), (77.0, 0.5, 0), (77.0, 0.4, 1), (80, 2, 1)])
def test_expect(excel_cam: Run, command: list[object], expect: float, within: float, status: int) -> None:
    result = excel_cam(*command, "--expect", expect, "--within", within)
    assert result.exit_code == status
    assert "mIoU            77.5 %" in result.stdout
    if status:
        (line,) = result.stderr.splitlines()
        assert line == f"Error: mIoU is 77.5 %, expected {expect:g} within {within:g} (difference {77.5 - expect:+.2f})"


def test_an_undefined_mean_is_never_as_expected(
    excel_cam: Run, command: list[object], folders: tuple[Path, Path, Path]
) -> None:
    for index in range(8):
        save(folders[0], f"{index}", [[255] * 4] * 2)
    result = excel_cam(*command, "--ignore-as", "skip", "--expect", 0, "--within", 100)
    assert result.exit_code == 1
    assert "mIoU is - %, expected 0" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--within", "1"], "--within says how far from --expect; give both"),
        (["--sort", "gap", "--json"], "--sort is the order of the table"),
        (["--cams", "cams"], "--cams has no meaning without --sweep"),
        (["--curve", "curve.svg"], "--curve has no meaning without --sweep"),
        (["--sweep"], "--sweep needs --cams"),
        (["--sweep", "--cams", "cams", "--against", "x"], "--against has no meaning with --sweep"),
        (["--sweep", "--cams", "cams", "--ignore-as", "skip"], "--ignore-as has no meaning with --sweep"),
    ],
)
def test_what_would_be_asked_in_vain_is_refused(
    excel_cam: Run, command: list[object], options: list[str], message: str
) -> None:
    result = excel_cam(*command, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_labels_are_needed(excel_cam: Run, command: list[object]) -> None:
    result = excel_cam("evaluate", *command[3:])
    assert result.exit_code == 2
    assert "Missing option '--labels'" in result.stderr
