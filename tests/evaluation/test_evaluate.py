"""Evaluation: a worked example, an independent per-pixel implementation, and every refusal."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import draw_photograph
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from excel_cam.classes import voc_palette
from excel_cam.errors import DataError, SettingsError
from excel_cam.evaluation.evaluate import evaluate_labels, format_evaluation
from excel_cam.evaluation.scores import Evaluation, IgnoreAs
from excel_cam.files.images.masks import mask_names
from excel_cam.labels.class_maps import write_maps

CLASSES = ("cat", "sofa", "train")

# The worked example; three pixels are special:
#   truth          label
#   0  0  255      0  1  1      top right: truth 255, skipped whatever the label
#   1  1  0        1  1  255    middle right: labelled 255 where the truth is background
#   2  2  1        2  0  255    bottom right: labelled 255 where the truth is cat
TRUTH = [[0, 0, 255], [1, 1, 0], [2, 2, 1]]
LABEL = [[0, 1, 1], [1, 1, 255], [2, 0, 255]]


def save(folder: Path, name: str, values: object, mode: str = "L") -> Path:
    """Write values as `folder/name.png`: 8-bit grey (L), VOC palette (P) or 16-bit grey (I;16)."""
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.array(values, np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        picture.putpalette(voc_palette())
    picture.save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Label and truth folders holding the worked example as image `a`."""
    labels, truth = tmp_path / "labels", tmp_path / "truth"
    save(labels, "a", LABEL)
    save(truth, "a", TRUTH)
    return labels, truth


def refusal(labels: Path, truth: Path, names: list[str] | None = None) -> str:
    """The one-line text of the DataError that this evaluation must raise."""
    with pytest.raises(DataError) as caught:
        evaluate_labels(labels, truth, CLASSES, names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- scores


def test_worked_example_with_255_as_background(folders: tuple[Path, Path]) -> None:
    result = evaluate_labels(*folders, CLASSES)
    # Eight pixels count; both labels of 255 become 0:
    #   truth 0: labelled 0, 1, 0    truth 1: labelled 1, 1, 0    truth 2: labelled 2, 0
    assert result.confusion.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert result.confusion.dtype == np.int64
    # background: 2 hits, 3 true, 4 labelled -> IoU 2 / (3 + 4 - 2); cat: 2 / (3 + 3 - 2); sofa: 1 / (2 + 1 - 1)
    np.testing.assert_allclose(result.iou, [2 / 5, 2 / 4, 1 / 2, math.nan])
    np.testing.assert_allclose(result.precision, [2 / 4, 2 / 3, 1 / 1, math.nan])
    np.testing.assert_allclose(result.recall, [2 / 3, 2 / 3, 1 / 2, math.nan])
    assert result.mean_iou == pytest.approx((0.4 + 0.5 + 0.5) / 3)  # train occurs nowhere and is left out
    assert result.pixel_accuracy == 5 / 8
    assert (result.pixels, result.ignored_pixels, result.ignored_share) == (8, 2, 2 / 8)
    assert result.class_names == ("background", *CLASSES)
    assert (result.images, result.truth_without_label) == (1, 0)


def test_worked_example_with_255_skipped(folders: tuple[Path, Path]) -> None:
    result = evaluate_labels(*folders, CLASSES, ignore_as="skip")
    # Six pixels count: truth 0: labelled 0, 1    truth 1: labelled 1, 1    truth 2: labelled 2, 0
    assert result.confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    # background: 1 / (2 + 2 - 1); cat: 2 / (2 + 3 - 2); sofa: 1 / (2 + 1 - 1)
    np.testing.assert_allclose(result.iou, [1 / 3, 2 / 3, 1 / 2, math.nan])
    assert result.pixel_accuracy == 4 / 6
    assert (result.pixels, result.ignored_pixels, result.ignored_share) == (8, 2, 2 / 8)  # the same either way


def test_class_labelled_but_never_true_lowers_the_mean(tmp_path: Path) -> None:
    save(tmp_path / "labels", "a", [[0, 0, 0, 2, 1]])
    save(tmp_path / "truth", "a", [[0, 0, 0, 0, 1]])
    result = evaluate_labels(tmp_path / "labels", tmp_path / "truth", CLASSES)
    np.testing.assert_allclose(result.iou, [3 / 4, 1, 0, math.nan])
    assert np.isnan(result.recall[2])
    assert result.precision[2] == 0
    assert result.mean_iou == 7 / 12


def naive_evaluation(pairs: list[tuple[np.ndarray, np.ndarray]], ignore_as: str) -> dict[str, object]:
    """The same scores pixel by pixel from sets of positions, sharing no code and no confusion matrix."""
    judged = ignored = right = counted = 0
    true_at: dict[int, set[tuple[int, int, int]]] = {c: set() for c in range(len(CLASSES) + 1)}
    labelled_at: dict[int, set[tuple[int, int, int]]] = {c: set() for c in range(len(CLASSES) + 1)}
    for image, (label, truth) in enumerate(pairs):
        for row in range(truth.shape[0]):
            for column in range(truth.shape[1]):
                expected, got = int(truth[row, column]), int(label[row, column])
                if expected == 255:
                    continue
                judged += 1
                if got == 255:
                    ignored += 1
                    if ignore_as == "skip":
                        continue
                    got = 0
                counted += 1
                right += expected == got
                true_at[expected].add((image, row, column))
                labelled_at[got].add((image, row, column))
    iou = [len(true_at[c] & labelled_at[c]) / n if (n := len(true_at[c] | labelled_at[c])) else None for c in true_at]
    present = [value for value in iou if value is not None]
    return {
        "iou": iou,
        "precision": [len(true_at[c] & labelled_at[c]) / n if (n := len(labelled_at[c])) else None for c in true_at],
        "recall": [len(true_at[c] & labelled_at[c]) / n if (n := len(true_at[c])) else None for c in true_at],
        "mean_iou": sum(present) / len(present) if present else None,
        "pixel_accuracy": right / counted if counted else None,
        "ignored_share": ignored / judged if judged else None,
        "counts": [judged, ignored],
    }


@st.composite
def mask_pairs(draw: st.DrawFn) -> list[tuple[np.ndarray, np.ndarray]]:
    """One to three (label, truth) pairs of sizes that differ between images, values in 0..3 and 255."""
    pairs = []
    for _ in range(draw(st.integers(1, 3))):
        height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        values = st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=height * width, max_size=height * width)
        label, truth = (np.array(draw(values), np.uint8).reshape(height, width) for _ in range(2))
        pairs.append((label, truth))
    return pairs


@given(pairs=mask_pairs(), ignore_as=st.sampled_from(["background", "skip"]))
def test_equals_the_naive_implementation(pairs: list[tuple[np.ndarray, np.ndarray]], ignore_as: IgnoreAs) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        labels, truth = Path(scratch) / "labels", Path(scratch) / "truth"
        for index, (label_mask, truth_mask) in enumerate(pairs):
            save(labels, str(index), label_mask, "P" if index == 1 else "L")
            save(truth, str(index), truth_mask)
        if all(set(np.unique(truth_mask)) <= {0, 255} for _, truth_mask in pairs):
            with pytest.raises(DataError, match="and no class in them, only "):
                evaluate_labels(labels, truth, CLASSES, ignore_as=ignore_as)
            return
        result = evaluate_labels(labels, truth, CLASSES, ignore_as=ignore_as)
    as_json = json.loads(json.dumps(result.to_json_dict(), allow_nan=False))
    expected = naive_evaluation(pairs, ignore_as)
    for score in ("iou", "precision", "recall"):
        assert [row[score] for row in as_json["classes"]] == pytest.approx(expected[score])
    for score in ("mean_iou", "pixel_accuracy", "ignored_share"):
        assert as_json[score] == pytest.approx(expected[score])
    assert [as_json["pixels"], as_json["ignored_pixels"]] == expected["counts"]
    assert as_json["images"] == len(pairs)
    format_evaluation(result)


def test_truth_against_itself_is_perfect(folders: tuple[Path, Path]) -> None:
    truth = folders[1]
    result = evaluate_labels(truth, truth, CLASSES)
    assert (result.mean_iou, result.pixel_accuracy, result.ignored_share) == (1, 1, 0)
    assert result.iou[:3].tolist() == [1, 1, 1]
    assert np.isnan(result.iou[3])


# ---- files


@pytest.mark.parametrize("mode", ["P", "I;16"])
def test_palette_and_16_bit_masks_equal_8_bit_grey(folders: tuple[Path, Path], tmp_path: Path, mode: str) -> None:
    grey = evaluate_labels(*folders, CLASSES)
    path = save(tmp_path / "other", "a", LABEL, mode)
    save(tmp_path / "other_truth", "a", TRUTH, mode)
    with Image.open(path) as picture:
        assert picture.mode in (mode, "I")  # older Pillow opens a 16-bit PNG as I
    other = evaluate_labels(tmp_path / "other", tmp_path / "other_truth", CLASSES)
    assert other.to_json_dict() == grey.to_json_dict()


def test_names_are_found_in_sub_folders_and_hidden_files_are_skipped(folders: tuple[Path, Path]) -> None:
    labels, truth = folders
    for folder in folders:
        save(folder, "b/c.d", LABEL)
    (labels / ".a.png").write_bytes(b"half a file")
    (labels / "a.png.tmp").write_bytes(b"half a file")
    save(labels, ".hidden/x", LABEL)
    (labels / "run.json").write_text("{}")
    assert mask_names(labels) == ["a", "b/c.d"]
    calls: list[np.ndarray] = []
    result = evaluate_labels(labels, truth, CLASSES, on_image=calls.append)
    assert result.images == len(calls) == 2
    assert np.array_equal(sum(calls), result.confusion)


def test_truth_without_label_is_counted_unless_names_are_given(folders: tuple[Path, Path]) -> None:
    save(folders[1], "b", TRUTH)
    save(folders[1], "c", TRUTH)
    result = evaluate_labels(*folders, CLASSES)
    assert (result.images, result.truth_without_label) == (1, 2)
    assert "2 more truth masks have no label" in format_evaluation(result)
    named = evaluate_labels(*folders, CLASSES, names=["a"])
    assert (named.images, named.truth_without_label) == (1, 0)
    assert "no label" not in format_evaluation(named)


def test_names_narrow_and_repeats_count_once(folders: tuple[Path, Path]) -> None:
    alone = evaluate_labels(*folders, CLASSES)
    save(folders[0], "b", LABEL)  # has no truth; harmless when it is not named
    named = evaluate_labels(*folders, CLASSES, names=["a", "a"])
    assert named.to_json_dict() == alone.to_json_dict()


# ---- output


def test_json_has_null_for_undefined(folders: tuple[Path, Path]) -> None:
    result = evaluate_labels(*folders, CLASSES)
    text = json.dumps(result.to_json_dict(), allow_nan=False)
    assert "NaN" not in text
    as_json = json.loads(text)
    assert as_json["classes"][3] == {"name": "train", "iou": None, "precision": None, "recall": None}
    assert as_json["classes"][0]["name"] == "background"
    assert as_json["ignore_as"] == "background"
    assert as_json["confusion"] == result.confusion.tolist()


def test_nothing_counted_is_undefined_not_zero(tmp_path: Path) -> None:
    save(tmp_path / "labels", "a", [[255, 1]])
    save(tmp_path / "truth", "a", [[1, 255]])
    result = evaluate_labels(tmp_path / "labels", tmp_path / "truth", CLASSES, ignore_as="skip")
    as_json = json.loads(json.dumps(result.to_json_dict(), allow_nan=False))
    assert as_json["mean_iou"] is as_json["pixel_accuracy"] is None
    assert as_json["ignored_share"] == 1
    assert "mIoU            - %" in format_evaluation(result)


def test_table_says_scores_and_how_255_counted(folders: tuple[Path, Path]) -> None:
    lines = format_evaluation(evaluate_labels(*folders, CLASSES)).splitlines()
    assert lines == [
        "class       IoU %  precision %  recall %",
        "background   40.0         50.0      66.7",
        "cat          50.0         66.7      66.7",
        "sofa         50.0        100.0      50.0",
        "train           -            -         -",
        "",
        "mIoU            46.7 % (mean of the 3 of 4 classes that occur in truth or labels)",
        "pixel accuracy  62.5 %",
        "labelled 255    25.0 % of the pixels, counted as background",
        "images          1 (8 pixels, truth 255 skipped)",
        "absent classes  train (in neither truth nor labels)",
    ]
    skipped = format_evaluation(evaluate_labels(*folders, CLASSES, ignore_as="skip"))
    assert "labelled 255    25.0 % of the pixels, skipped" in skipped


def test_evaluation_can_be_built_by_hand() -> None:
    perfect = Evaluation(np.diag([3, 1]).astype(np.int64), ("background", "cat"), 1, 4, 0, "background")
    assert perfect.mean_iou == perfect.pixel_accuracy == 1
    assert "absent" not in format_evaluation(perfect)


# ---- refusals


def test_label_without_truth(folders: tuple[Path, Path]) -> None:
    labels, truth = folders
    save(labels, "b", LABEL)
    save(labels, "c", LABEL)
    text = refusal(labels, truth)
    assert text.startswith(f"{truth / 'b.png'}: no such truth")
    assert "2 of 3 missing" in text
    assert "--list" in text


def test_named_image_without_label(folders: tuple[Path, Path]) -> None:
    labels, truth = folders
    save(truth, "b", TRUTH)
    text = refusal(labels, truth, ["a", "b"])
    assert text.startswith(f"{labels / 'b.png'}: no such label")
    assert "generate" in text


def test_no_labels(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty", folders[1]).startswith(f"{tmp_path / 'empty'}: expected label PNGs")
    assert "expected at least one name" in refusal(*folders, [])


def test_folder_that_is_none(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere", folders[1])
    assert "Not a directory" in refusal(folders[0] / "a.png", folders[1])
    assert str(tmp_path / "nowhere" / "a.png") in refusal(folders[0], tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../truth/a", "/a", "b/../../a"])
def test_name_that_leaves_the_folder(folders: tuple[Path, Path], name: str) -> None:
    assert repr(name) in refusal(*folders, [name])


@pytest.mark.parametrize(("side", "value"), [(0, 4), (0, 254), (1, 4), (1, 17)])
def test_value_out_of_range(folders: tuple[Path, Path], side: int, value: int) -> None:
    # The value sits where the truth is 255: it is refused all the same.
    save(folders[side], "a", [[0, 0, value], [0, 0, 0], [0, 0, value]])
    text = refusal(*folders)
    assert text.startswith(f"{folders[side] / 'a.png'}: expected values 0..3 (3 classes) or 255, got {value} at")
    assert "row 0, column 2 (2 such pixels)" in text


def test_16_bit_value_out_of_range(folders: tuple[Path, Path]) -> None:
    save(folders[0], "a", [[0, 0, 0], [0, 257, 0], [0, 0, 0]], "I;16")
    assert "got 257 at row 1, column 1" in refusal(*folders)


def test_sizes_that_differ(folders: tuple[Path, Path]) -> None:
    labels, truth = folders
    save(labels, "a", [[0, 0, 0], [1, 1, 1]])
    text = refusal(labels, truth)
    assert f"{labels / 'a.png'}: label is 2 x 3 (H x W)" in text
    assert f"{truth / 'a.png'} is 3 x 3" in text


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_coloured_picture(folders: tuple[Path, Path], mode: str) -> None:
    Image.new(mode, (3, 3)).save(folders[0] / "a.png")
    text = refusal(*folders)
    assert text.startswith(f"{folders[0] / 'a.png'}: ")
    assert f"mode {mode}" in text
    assert "save it again" in text


def test_one_bit_picture(folders: tuple[Path, Path]) -> None:
    Image.new("1", (3, 3)).save(folders[1] / "a.png")
    text = refusal(*folders)
    assert text.startswith(f"{folders[1] / 'a.png'}: ")
    assert "1-bit" in text


def test_damaged_mask(folders: tuple[Path, Path]) -> None:
    path = save(folders[0], "a", np.random.default_rng(0).integers(0, 4, (64, 64)))
    whole = path.read_bytes()
    jpeg = folders[0].parent / "picture.jpg"
    Image.new("L", (3, 3)).save(jpeg)
    for content in (b"", b"not a picture", whole[:40], whole[: len(whole) // 2], jpeg.read_bytes()):
        path.write_bytes(content)
        text = refusal(*folders)
        assert text.startswith(f"{path}: expected a PNG of class indices, cannot read it (")


@pytest.mark.parametrize("count", [0, 255])
def test_class_count_out_of_range(folders: tuple[Path, Path], count: int) -> None:
    with pytest.raises(DataError, match=f"expected 1 to 254 classes besides background, got {count}"):
        evaluate_labels(*folders, [str(index) for index in range(count)])


def test_unknown_ignore_as(folders: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsError, match="expected one of background, skip, got 'keep'"):
        evaluate_labels(*folders, CLASSES, ignore_as="keep")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "said"), [((0, 255), "only 0 and 255"), ((0,), "only 0"), ((255,), "only 255")], ids=str
)
def test_masks_without_a_class_give_no_figure_no_tags_and_no_remedy(
    excel_cam: Callable[..., Result], tmp_path: Path, values: tuple[int, ...], said: str
) -> None:
    """Binary masks in the place of truth or labels: everything agrees, and none of it means anything."""
    truth, labels, images, cams = (tmp_path / name for name in ("truth", "labels", "images", "cams"))
    for name in ("a", "b"):
        save(truth, name, np.resize(np.array(values, np.uint8), (20, 30)))
        save(labels, name, np.resize(np.array([0, 1], np.uint8), (20, 30)))
        images.mkdir(exist_ok=True)
        draw_photograph(20, 30, 0).save(images / f"{name}.jpg")
        write_maps(cams / f"{name}.npz", np.random.default_rng(0).random((1, 3, 3)), (0,), (20, 30), "0" * 32)
    common = ("--truth", truth, "--dataset", "voc")
    for command in (
        ("evaluate", "--labels", labels, *common),
        ("evaluate", "--labels", truth, *common),
        ("evaluate", "--labels", labels, "--against", truth, *common),
        ("evaluate", "--sweep", "--cams", cams, *common),
        ("tags", "--from", truth, "--dataset", "voc", "--out", tmp_path / "tags.csv"),
        ("view", labels, "--images", images, *common, "--out", tmp_path / "page.html"),
    ):
        result = excel_cam(*command)
        assert result.exit_code == 1
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
        assert f"{truth}: 2 masks and no class in them, {said}; binary masks" in line
        assert "mIoU" not in result.stdout
    assert not (tmp_path / "tags.csv").exists()
    result = excel_cam("doctor", truth, "--dataset", "voc")
    assert result.exit_code == 1
    assert f"no-class: 1 folder of labels without a class in any of them\n         {said}\n" in result.stdout
    assert "binary masks" in result.stdout
    assert not {"background-power", "ignore-thresholds", "spelling"} & set(result.stdout.replace("--", " ").split())
