"""`--windows` as a user meets it: against the slow reference, beside photographs without any, what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference
import reference_windows
import torch
from click.testing import Result
from drawn import draw_photograph
from PIL import Image
from text_rows import voc_bank

from excel_cam import ClipModel, Settings, TextBank
from excel_cam.errors import SettingsError
from excel_cam.labels.class_maps import read_maps
from excel_cam.run.labeller import Labeller
from excel_cam.run.windows.maps import lay_on

Run = Callable[..., Result]
SETTINGS = Settings(size=64, refine="none")
PANORAMA = np.asarray(draw_photograph(70, 150, 4))
TAGS = (0, 7, 14)


@pytest.fixture(scope="module")
def bank(model: ClipModel) -> TextBank:
    return voc_bank(model, SETTINGS)


def labelled(model: ClipModel, bank: TextBank, photograph: np.ndarray = PANORAMA, **changes: object) -> tuple:
    labeller = Labeller(model, bank, dataclasses.replace(SETTINGS, **changes))  # type: ignore[arg-type]
    (found,) = labeller.label_with_maps([photograph], [TAGS], [photograph.shape[:2]])
    return found.label, found.maps, found.input_size


@pytest.mark.parametrize(("side", "grid"), [(64, (4, 9)), (40, (7, 15)), (100, (4, 6))])
def test_maps_are_those_of_the_reference(
    model: ClipModel, bank: TextBank, monkeypatch: pytest.MonkeyPatch, side: int, grid: tuple[int, int]
) -> None:
    monkeypatch.setattr(reference, "POSITION_TYPE", np.float32)
    label, maps, input_size = labelled(model, bank, windows=side)
    weights = {name: tensor.numpy() for name, tensor in model.visual.state_dict().items()}
    rows = reference.enrich(bank.plain, bank.bank, 20)
    expected = reference_windows.refined_maps(
        PANORAMA, weights, rows, list(TAGS), size=64, patch=16, pixels=side, head_width=32
    )
    assert maps.shape == (3, *grid)
    assert input_size == (16 * grid[0], 16 * grid[1])
    np.testing.assert_allclose(maps, expected, atol=2e-4 * expected.max())
    stacked = reference.label_maps(expected, *PANORAMA.shape[:2])
    best = np.sort(stacked, axis=0)
    clear = best[-1] - best[-2] > 5e-3
    assert (label == reference.choose_label(stacked, list(TAGS)))[clear].all()


@pytest.mark.parametrize("changes", [{"windows": 150}, {"windows": 400}, {"windows": "auto", "size": 112}])
def test_one_window_over_the_photograph_is_the_photograph(
    model: ClipModel, bank: TextBank, changes: dict[str, object]
) -> None:
    plain = labelled(model, bank, **{name: changes[name] for name in changes if name == "size"})
    found = labelled(model, bank, **changes)
    assert np.array_equal(found[0], plain[0])
    assert np.array_equal(found[1], plain[1])
    assert found[2] is plain[2] is None


def test_auto_is_for_long_photographs_alone() -> None:
    assert lay_on((60, 96), "auto", side=4, patch=16) is None
    grid = lay_on((97, 60), "auto", side=4, patch=16)
    assert grid is not None
    assert (grid.pixels, grid.height, grid.width) == (64, 6, 4)
    assert lay_on((60, 96), 64, side=4, patch=16) is not None
    assert lay_on((5000, 5000), "off", side=4, patch=16) is None


def test_views_each_have_windows_and_are_averaged(model: ClipModel, bank: TextBank) -> None:
    """Maps of a mirrored photograph are the mirrored maps, where both are views; the grid is the base view's."""
    views = {"windows": 75, "scales": (0.5, 1.5), "flip": True, "affinity": False}
    _label, maps, input_size = labelled(model, bank, **views)
    _label, mirrored, _size = labelled(model, bank, np.ascontiguousarray(PANORAMA[:, ::-1]), **views)
    assert input_size == (16 * maps.shape[1], 16 * maps.shape[2]) == (64, 128)
    np.testing.assert_allclose(mirrored[..., ::-1], maps, atol=1e-5)
    alone = [labelled(model, bank, **views | {"scales": (scale,)})[1] for scale in (0.5, 1.5)]
    np.testing.assert_allclose(np.mean(alone, axis=0), maps, atol=1e-9)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_windows_go_through_in_bounded_batches_whatever_the_group(
    model: ClipModel, bank: TextBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator: small photographs together, a windowed one by itself, so many of its windows at a time."""
    photographs = [PANORAMA[:60, :60], PANORAMA[:, :90], PANORAMA, PANORAMA[:64, :64]]
    labeller = Labeller(model, bank, dataclasses.replace(SETTINGS, windows="auto"))
    alone = labeller.label(photographs, [TAGS] * 4)
    encode, batches = labeller.encode, []
    monkeypatch.setattr(labeller, "_goes_one_by_one", lambda: False)
    labeller.windows_together = 3

    def counted(inputs: torch.Tensor) -> object:
        batches.append(len(inputs))
        return encode(inputs)

    monkeypatch.setattr(labeller, "encode", counted)
    together = labeller.label(photographs, [TAGS] * 4)
    assert batches == [2, 1, 3, 1, 1]  # the whole photograph between: its tokens are needed first
    for first, second in zip(alone, together, strict=True):
        assert (first != second).mean() < 1e-3

    def small_memory(inputs: torch.Tensor) -> object:
        if len(inputs) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return counted(inputs)

    monkeypatch.setattr(labeller, "encode", small_memory)
    labeller.batch_limit = 1
    batches.clear()
    halved = labeller.label([PANORAMA], [TAGS])
    assert labeller.windows_together == 1
    assert set(batches) == {1}
    assert (halved[0] != alone[2]).mean() < 1e-3


@pytest.mark.parametrize("value", [7, 9000, 64.0, True, "on", "320", None])
def test_values_that_mean_nothing_are_refused(value: object) -> None:
    with pytest.raises(SettingsError, match=r"windows is .*; expected auto, off, or a side of 32 to 8192 pixels"):
        Settings(windows=value)  # type: ignore[arg-type]


def test_labels_without_windows_are_identified_as_before() -> None:
    assert "windows" not in Settings().group("image")
    assert Settings(windows="auto").group("image")["windows"] == "auto"


def test_generate_with_windows(excel_cam: Run, arguments: list[str], voc_root: Path, tmp_path: Path) -> None:
    draw_photograph(70, 300, 1).save(voc_root / "JPEGImages/2007_000002.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    draw_photograph(200, 80, 2).save(voc_root / "JPEGImages/2007_000001.jpg", exif=exif, quality=95)
    plain, out, cams = tmp_path / "plain", tmp_path / "out", tmp_path / "cams"
    assert excel_cam(*arguments, "--out", plain).exit_code == 0
    command = [*arguments, "--windows", "auto", "--out", out, "--save-cams", cams]
    made = excel_cam(*command)
    assert made.exit_code == 0, made.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["windows"] == {"value": "auto", "from": "command line"}
    changed = set()
    for path in sorted(plain.glob("2*.png")):
        before, after = (np.asarray(Image.open(folder / path.name)) for folder in (plain, out))
        assert before.shape == after.shape
        if (before != after).any():
            changed.add(path.stem)
    assert changed == {"2007_000001", "2007_000002", "2008_000005", "2009_000006"}  # those longer than 96 pixels
    assert read_maps(cams / "2007_000002.npz", 20).maps.shape[1:] == (4, 19)
    turned = read_maps(cams / "2007_000001.npz", 20)
    assert (turned.size, turned.maps.shape[1:], turned.input_size) == ((200, 80), (12, 5), (192, 80))
    assert "6 kept" in excel_cam(*command).stderr
    refused = excel_cam(*arguments, "--windows", "64", "--out", out)
    assert refused.exit_code == 1
    assert "windows was auto, now 64" in refused.stderr
    # The sweep finds the labels again, guided by what the windows saw.
    sweep = excel_cam("evaluate", "--sweep", "--cams", cams, "--truth", out, "--labels", out, "--dataset", "voc",
                      "--powers", "0.5,1", "--images", voc_root / "JPEGImages", "--json")  # fmt: skip
    assert sweep.exit_code == 0, sweep.stderr
    points = {point["value"]: point["mean_iou"] for point in json.loads(sweep.stdout)["background_power"]["curve"]}
    assert points[1] > 0.99


def test_label_with_windows_and_what_is_refused(
    excel_cam: Run, arguments: list[str], model_arguments: list[str], tmp_path: Path
) -> None:
    photo = tmp_path / "street.png"
    Image.fromarray(PANORAMA).save(photo)
    command = ["label", photo, "--classes", "cat,dog", "--out", tmp_path / "labels", "--size", 64, *model_arguments]
    command += ["--refine", "none", "--attributes", "none"]
    made = excel_cam(*command, "--windows", "64")
    assert made.exit_code == 0, made.stderr
    assert np.asarray(Image.open(tmp_path / "labels/street.png")).shape == (70, 150)
    for value, expected in (
        ("big", "'big' is neither auto nor off nor a whole number of pixels"),
        ("7", "windows is 7; expected auto, off, or a side of 32 to 8192 pixels"),
    ):
        refused = excel_cam(*command, "--windows", value, "--overwrite")
        assert refused.exit_code == 2
        assert expected in refused.stderr
    learnt = excel_cam("generate", "--dataset", "demo", "--lvc", "demo", "--windows", "auto", "--out", tmp_path / "l")
    assert learnt.exit_code == 1
    assert "--windows is auto; the trained half has its own views and needs off" in learnt.stderr
