"""`evaluate --sweep`: its labels are those of `generate`, its best setting, its drawing, and every refusal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import Result
from drawn import VOC_TAGS, draw_photograph
from PIL import Image

from excel_cam.errors import DataError
from excel_cam.evaluation.curves import Panel, svg_curves
from excel_cam.evaluation.sweep import choose_sweep, sweep_backgrounds
from excel_cam.labels.class_maps import read_maps, write_maps

Run = Callable[..., Result]
STAMP = "0" * 32
SVG = "{http://www.w3.org/2000/svg}"


def read_label(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def worked_example(folder: Path) -> tuple[Path, Path]:
    """A 1 x 4 image: a cat map of 0, 0.4, 0.8, 1 and its truth, where 0.4 is background. Any width fits any map."""
    cams, truth = folder / "cams", folder / "truth"
    truth.mkdir()
    write_maps(cams / "a.npz", np.array([[[0.0, 0.4, 0.8, 1.0]]]), [0], (1, 4), STAMP)
    Image.fromarray(np.array([[0, 0, 1, 1]], np.uint8)).save(truth / "a.png")
    return cams, truth


def test_worked_example(tmp_path: Path) -> None:
    cams, truth = worked_example(tmp_path)
    request = choose_sweep(cams=cams, truth=truth, class_names=("cat",), powers=(4, 0.2, 1), thresholds=(0.1, 0.5, 0.9))
    assert request.powers == (0.2, 1, 4)
    found = sweep_backgrounds(request)
    # Background 0.6 and 0.2 under 0.4 and 0.8. To the power 0.2: 0.90, 0.72; 1: as they are; 4: 0.13, 0.002.
    assert found.power.mean_iou == pytest.approx((1, 1, (1 / 2 + 2 / 3) / 2))
    # 0.1: 0.4 is taken for cat; 0.5 is right; 0.9 loses the 0.8.
    assert found.threshold.mean_iou == pytest.approx(((1 / 2 + 2 / 3) / 2, 1, (2 / 3 + 1 / 2) / 2))
    assert (found.power.best, found.threshold.best) == (0, 1)
    assert (found.images, found.refined) == (1, False)


@pytest.mark.parametrize("refine", ["none", "par"])
def test_labels_of_the_sweep_are_those_of_generate(
    excel_cam: Run, arguments: list[str], voc_root: Path, tmp_path: Path, refine: str
) -> None:
    """With a run's labels as the truth, the sweep finds them again at the run's own power: 100 %, and best there."""
    photograph = voc_root / "JPEGImages/2007_000001.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photograph).save(photograph, exif=exif, quality=95)  # as a camera held upright stores it
    draw_photograph(300, 330, 1).save(voc_root / "JPEGImages/2007_000002.jpg")  # above --working-pixels
    cams, labels = tmp_path / "cams", tmp_path / "labels"
    made = excel_cam(*arguments, "--refine", refine, "--background-power", "2", "--working-pixels", "70000",
                     "--save-cams", cams, "--out", labels)  # fmt: skip
    assert made.exit_code == 0, made.stderr
    images = ["--images", voc_root / "JPEGImages"] if refine == "par" else []
    curve = tmp_path / "curve.svg"
    result = excel_cam("evaluate", "--sweep", "--cams", cams, "--truth", labels, "--labels", labels, "--dataset", "voc",
                       "--powers", "0.5,1,2,4", "--curve", curve, "--json", *images)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["refined"] is bool(images)
    assert found["images"] == len(VOC_TAGS)
    assert found["background_power"]["best"]["value"] == 2
    scores = {point["value"]: point["mean_iou"] for point in found["background_power"]["curve"]}
    assert scores[2] > 0.99  # saved maps are rounded
    assert scores[1] < 0.98
    assert ElementTree.parse(curve).getroot().tag == f"{SVG}svg"


def test_thresholds_are_those_of_ignore_thresholds(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    """Where both backgrounds agree, `--ignore-thresholds 0.3,0.31` is the label at 0.3."""
    cams, labels = tmp_path / "cams", tmp_path / "labels"
    made = excel_cam(*arguments, "--ignore-thresholds", "0.3,0.31", "--save-cams", cams, "--out", labels,
                     "--refine", "none")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    from excel_cam.evaluation.sweep_labels import swept_labels
    from excel_cam.settings import Settings

    for name in VOC_TAGS:
        label = read_label(labels / f"{name}.png")
        (low,) = swept_labels(read_maps(cams / f"{name}.npz", 20), None, (), (0.3,), Settings())
        sure = label != 255
        assert np.mean(low[sure] == label[sure]) > 0.998


def test_the_table_names_the_best_option(excel_cam: Run, tmp_path: Path) -> None:
    cams, truth = worked_example(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n")
    sweep = ["evaluate", "--sweep", "--cams", cams, "--truth", truth, "--classes", tmp_path / "classes.txt"]
    result = excel_cam(*sweep)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "best      --background-power 0.25: mIoU 100.0 %" in lines
    assert "images    1, not refined; --images adds par" in lines
    assert sum(line.endswith("best") for line in lines) == 2
    (tmp_path / "names.txt").write_text("a\n")
    assert excel_cam(*sweep, "--list", tmp_path / "names.txt").stdout == result.stdout


def test_an_image_without_tags_is_all_background(tmp_path: Path) -> None:
    cams, truth = worked_example(tmp_path)
    write_maps(cams / "a.npz", np.zeros((0, 1, 4)), [], (1, 4), STAMP)
    found = sweep_backgrounds(
        choose_sweep(cams=cams, truth=truth, class_names=("cat",), powers=(1,), thresholds=(0.5,))
    )
    assert found.power.mean_iou == found.threshold.mean_iou == (0.25,)


# ---- refusals


def refusal(**changes: object) -> str:
    with pytest.raises(DataError) as caught:
        sweep_backgrounds(choose_sweep(**changes))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    cams, truth = worked_example(tmp_path)
    images, empty, labels = tmp_path / "images", tmp_path / "empty", tmp_path / "labels"
    for folder in (images, empty, labels):
        folder.mkdir()
    right = {"cams": cams, "truth": truth, "class_names": ("cat",)}
    draw_photograph(4, 4, 0).save(images / "a.jpg")
    assert "a.jpg: this photograph is 4 x 4 (H x W), but its class maps are of an image of 1 x 4" in refusal(
        **right, images=images
    )
    (images / "a.jpg").rename(images / "b.jpg")
    assert "no photograph for 1 of 1 class maps, first 'a'" in refusal(**right, images=images)
    assert f"{labels}: expected a run record" in refusal(**right, labels=labels)
    (labels / "run.json").write_text('{"identity": {"known": {"settings": {"size": 1}}}}')
    assert "run.json: expected the settings of a run, cannot use them (size is 1" in refusal(**right, labels=labels)
    assert f"{empty}: expected class maps" in refusal(**{**right, "cams": empty})
    assert f"{empty / 'a.png'}: no such truth" in refusal(**{**right, "truth": empty})
    assert f"{cams / 'z.npz'}: no such class maps" in refusal(**right, names=["z"])
    assert "leading / or .." in refusal(**right, names=["../cams/a"])
    Image.fromarray(np.full((1, 4), 255, np.uint8)).save(truth / "a.png")
    assert "1 masks and no class in them, only 255" in refusal(**right)
    Image.fromarray(np.zeros((1, 3), np.uint8)).save(truth / "a.png")
    assert f"a.npz: class maps of an image of 1 x 4 (H x W), but its truth {truth / 'a.png'} is 1 x 3" in refusal(
        **right
    )
    Image.fromarray(np.zeros((1, 4), np.uint8)).save(truth / "a.png")
    write_maps(cams / "a.npz", np.zeros((1, 1, 4)), [7], (1, 4), STAMP)
    assert "a.npz: maps of class 8, but there are 1 classes" in refusal(**right)
    (cams / "a.npz").write_bytes(b"damaged")
    assert "a.npz: expected class maps as --save-cams writes them" in refusal(**right)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--powers", "1,0"], "--powers: 0 is not above 0"),
        (["--powers", "nan"], "--powers: nan is not above 0"),
        (["--thresholds", "0.5,1.5"], "--thresholds: 1.5 is not within 0..1"),
        (["--powers", "much"], "'much' is not numbers with commas between"),
        (["--curve", "curve.png"], "--curve: curve.png does not end in .svg"),
    ],
)
def test_options_out_of_range(excel_cam: Run, tmp_path: Path, options: list[str], message: str) -> None:
    cams, truth = worked_example(tmp_path)
    result = excel_cam("evaluate", "--sweep", "--cams", cams, "--truth", truth, "--dataset", "voc", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_labels_without_background_are_not_swept(excel_cam: Run, tmp_path: Path) -> None:
    cams, truth = worked_example(tmp_path)
    (tmp_path / "labels").mkdir()
    record = {"identity": {}, "knowledge": {"background_class": False}}
    (tmp_path / "labels" / "run.json").write_text(json.dumps(record))
    result = excel_cam("evaluate", "--sweep", "--cams", cams, "--truth", truth, "--labels", tmp_path / "labels",
                       "--dataset", "voc")  # fmt: skip
    assert result.exit_code == 2
    assert "they have no background score to sweep" in result.stderr


# ---- the drawing


def test_points_lie_where_their_values_say() -> None:
    panel = Panel("a < b", "x", "y", ((1.0, 10.0), (10.0, 30.0), (100.0, 20.0)), best=1, logarithmic=True)
    root = ElementTree.fromstring(svg_curves([panel, dataclasses.replace(panel, logarithmic=False)]))
    logarithmic, linear = ([tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
                           for line in root.iter(f"{SVG}polyline"))  # fmt: skip
    assert logarithmic[1][0] == pytest.approx((logarithmic[0][0] + logarithmic[2][0]) / 2, abs=0.1)
    assert linear[1][0] - linear[0][0] == pytest.approx((linear[2][0] - linear[0][0]) / 11, abs=0.1)
    assert logarithmic[1][1] < logarithmic[2][1] < logarithmic[0][1]  # upwards is less
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts.count("a < b") == 2
    assert texts.count("30.0 at 10") == 2


def test_one_point_and_a_flat_curve_can_be_drawn() -> None:
    for points in (((1.0, 50.0),), ((0.1, 50.0), (0.2, 50.0))):
        root = ElementTree.fromstring(
            svg_curves([Panel("t", "x", "y", points, 0), Panel("t", "x", "y", points, 0, True)])
        )
        assert len(list(root.iter(f"{SVG}polyline"))) == 2
        assert "nan" not in ElementTree.tostring(root).decode()


def test_the_default_is_marked_where_it_lies_and_only_within_the_curve() -> None:
    points = ((1.0, 10.0), (10.0, 30.0), (100.0, 20.0))
    for default, expected in ((10.0, 1), (200.0, 0), (None, 0)):
        panel = Panel("t", "x", "y", points, best=1, logarithmic=True, default=default)
        root = ElementTree.fromstring(svg_curves([panel]))
        (curve,) = root.iter(f"{SVG}polyline")
        dashed = [line for line in root.iter(f"{SVG}line") if "stroke-dasharray" in line.attrib]
        assert len(dashed) == expected
        if dashed:
            assert dashed[0].attrib["x1"] == curve.attrib["points"].split()[1].split(",")[0]
            assert "default 10" in [text.text for text in root.iter(f"{SVG}text")]


def test_labels_are_swept_with_one_thread_as_a_run_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations that torch shares among threads differ from a run's in their last digit."""
    import torch

    from excel_cam.evaluation import sweep_labels
    from excel_cam.settings import Settings

    cams, _truth = worked_example(tmp_path)
    enlarge, found = sweep_labels.upsample_maps, []

    def counted(*arguments: object) -> torch.Tensor:
        found.append(torch.get_num_threads())
        return enlarge(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep_labels, "upsample_maps", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        sweep_labels.swept_labels(read_maps(cams / "a.npz", 20), None, (1.0,), (), Settings())
        assert (found, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
