"""Views that are averaged, labels at another size than their photograph's, and class maps on disk."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import Result
from drawn import VOC_TAGS, draw_photograph
from PIL import Image

from excel_cam import ClipModel, Settings, TextBank, load_model
from excel_cam.errors import DataError, SettingsError
from excel_cam.labels.class_maps import read_maps, write_maps
from excel_cam.method.affinity import spread_maps, transition_matrix
from excel_cam.method.calibration import encode_images
from excel_cam.method.cam import class_activation_maps
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.label_map import enlarged_strips, label_map, stack_background, upsample_maps
from excel_cam.method.views import View, average_over_views, chosen_views
from excel_cam.run.labeller import LabelledPhotograph, Labeller
from excel_cam.settings import ModelChoice

SETTINGS = Settings(size=96, refine="none")
PHOTOGRAPH = np.asarray(draw_photograph(60, 97, 3))
TAGS = (1, 2)


@pytest.fixture(scope="module")
def model(tiny_model: tuple[Path, Path]) -> ClipModel:
    config, weights = tiny_model
    return load_model(ModelChoice(name=str(config), weights=weights, device="cpu"))


@pytest.fixture(scope="module")
def bank() -> TextBank:
    text = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return TextBank(tuple("abcdef"), text, np.zeros((64, 0), np.float32), text, 4, Path("none"), False)


def labelled(model: ClipModel, bank: TextBank, **changes: object) -> LabelledPhotograph:
    labeller = Labeller(model, bank, replace(SETTINGS, **changes))  # type: ignore[arg-type]
    return labeller.label_with_maps([PHOTOGRAPH], [TAGS], [(60, 97)])[0]


def test_views_are_every_scale_in_whole_patches_and_its_mirror_image() -> None:
    assert chosen_views(Settings(), 16) == (View(20, False),)
    sides = chosen_views(Settings(scales=(0.75, 1, 1.5), flip=True), 16)
    assert sides == tuple(View(side, mirrored) for side in (15, 20, 30) for mirrored in (False, True))
    assert chosen_views(Settings(scales=(0.73,)), 14) == (View(17, False),)


def test_views_are_turned_back_resized_and_averaged() -> None:
    shown = {View(1, False): [[4.0]], View(2, False): [[0.0, 1.0], [2.0, 3.0]], View(2, True): [[1.0, 0.0], [3.0, 2.0]]}
    mean = average_over_views(tuple(shown), lambda view: torch.tensor([[shown[view]]]), (2, 2))
    torch.testing.assert_close(mean[0, 0], torch.tensor([[4.0, 6.0], [8.0, 10.0]]) / 3)


@pytest.mark.parametrize(("scales", "flip"), [((0.5, 1.0, 1.5), True), ((1.5,), False), ((1.0,), True)])
def test_augmented_maps_are_the_mean_of_views_and_affinity_is_the_base_views(
    model: ClipModel, bank: TextBank, scales: tuple[float, ...], flip: bool
) -> None:
    image = normalise(PHOTOGRAPH, "imagenet")
    text = torch.from_numpy(bank.text).double()
    maps = []
    for scale in scales:
        side = round(96 * scale / 16)
        for mirrored in (False, True) if flip else (False,):
            pixels = resize_to_input(image, 16 * side)
            features = encode_images(model.visual, (pixels.flip(-1) if mirrored else pixels)[None])
            found = class_activation_maps(features.tokens.double(), text)[0].T.reshape(6, side, side)
            found = found.flip(-1) if mirrored else found
            maps.append(F.interpolate(found[None], size=(6, 6), mode="bilinear", align_corners=False)[0])
    base = encode_images(model.visual, resize_to_input(image, 96)[None])
    mean = torch.stack(maps).mean(0)[list(TAGS)]
    expected = spread_maps(mean, transition_matrix(base.attention.double())[0])
    result = labelled(model, bank, scales=scales, flip=flip)
    np.testing.assert_allclose(result.maps, expected, atol=1e-6)
    label = label_map(stack_background(upsample_maps(expected, 60, 97), 1.0), TAGS)
    assert (result.label != label.numpy()).mean() < 1e-3


def test_paper_has_one_view_and_augmentation_changes_its_maps(model: ClipModel, bank: TextBank) -> None:
    plain = labelled(model, bank)
    np.testing.assert_array_equal(labelled(model, bank, scales=(1,), flip=False).maps, plain.maps)
    assert np.abs(labelled(model, bank, flip=True).maps - plain.maps).max() > 1e-4
    assert np.abs(labelled(model, bank, scales=(1.0, 1.5)).maps - plain.maps).max() > 1e-4


@pytest.mark.parametrize(
    "scales", [(), (1.0, 1.0), (0.1,), (5.0,), (float("nan"),), tuple(0.5 + i / 9 for i in range(9))]
)
def test_scales_out_of_range_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="scales is"):
        Settings(scales=scales)


@pytest.mark.parametrize("pixels", [0, 65535, 2**26 + 1])
def test_working_pixels_out_of_range_are_refused(pixels: int) -> None:
    with pytest.raises(SettingsError, match="working_pixels is"):
        Settings(working_pixels=pixels)


@pytest.mark.parametrize("values", [40, 10**9])
def test_strips_together_are_one_enlarged_image(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excel_cam.method.label_map.STRIP_VALUES", values)
    scores = torch.rand((2, 7, 5), generator=torch.Generator().manual_seed(1))
    strips = list(enlarged_strips(scores, 23, 11))
    whole = F.interpolate(scores[None], size=(23, 11), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.cat(strips, dim=1), whole)
    assert len(strips) == (23 if values == 40 else 1)


def test_labels_of_reduced_photographs_come_from_enlarged_scores(model: ClipModel, bank: TextBank) -> None:
    labeller = Labeller(model, bank, SETTINGS)
    small = labeller.label([PHOTOGRAPH], [TAGS])[0]
    large = labeller.label_with_maps([PHOTOGRAPH, PHOTOGRAPH], [TAGS, ()], [(600, 970), (7, 9)])
    assert large[0].label.shape == (600, 970)
    assert (large[0].label[5::10, 5::10] != small).mean() < 0.02
    assert (large[1].label.shape, large[1].maps.shape) == ((7, 9), (0, 6, 6))
    assert not large[1].label.any()


def test_maps_keep_their_scale_within_half_precision(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((4, 5, 5))
    maps *= np.array([1e-9, 1, 1e6, 0])[:, None, None]
    maps[1] += 1000
    write_maps(tmp_path / "a/b.npz", maps, (0, 3, 7, 9), (60, 97), "f" * 32)
    stored = read_maps(tmp_path / "a/b.npz", 20)
    assert (stored.keys, stored.size) == ((0, 3, 7, 9), (60, 97))
    spread = np.ptp(maps, axis=(1, 2))[:, None, None]
    assert (np.abs(stored.maps - maps) <= spread * 2**-11).all()
    with np.load(tmp_path / "a/b.npz") as archive:
        kinds = {name: (archive[name].dtype.name, archive[name].shape) for name in archive.files}
    assert kinds == {
        "keys": ("int64", (4,)), "maps": ("float16", (4, 5, 5)), "low": ("float64", (4,)), "high": ("float64", (4,)),
        "size": ("int64", (2,)),
    }  # fmt: skip


def test_damaged_maps_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 not an archive")
    np.savez(tmp_path / "b.npz", keys=[1], maps=np.zeros((2, 3, 3)), low=[0, 0], high=[1, 1], size=[4, 4])
    for name in ("a.npz", "b.npz", "absent.npz"):
        with pytest.raises(DataError, match=f"{name}: expected class maps as --save-cams writes them"):
            read_maps(tmp_path / name, 20)


def test_saved_maps_belong_to_their_labels(
    tmp_path: Path, voc_root: Path, excel_cam: Callable[..., Result], model_arguments: list[str]
) -> None:
    out, cams = tmp_path / "out", tmp_path / "cams"

    def generate(*more: object) -> Result:
        return excel_cam(
            "generate", "--dataset", "voc", "--root", voc_root, "--split", "train", "--tags", voc_root / "tags.csv",
            "--out", out, "--size", 64, "--refine", "none", "--attributes", "none", "--quiet", *model_arguments, *more,
        )  # fmt: skip

    assert generate().exit_code == 0
    first = generate("--save-cams", cams)
    assert first.exit_code == 0, first.stderr
    assert sorted(path.stem for path in cams.iterdir()) == sorted(VOC_TAGS)
    # The labels follow from the maps by step 6.
    for name in VOC_TAGS:
        stored = read_maps(cams / f"{name}.npz", 20)
        with Image.open(out / f"{name}.png") as image:
            label = np.asarray(image)
        assert label.shape == stored.size
        if stored.keys:
            scores = stack_background(upsample_maps(torch.from_numpy(stored.maps), *stored.size), 1.0)
            assert (label_map(scores, stored.keys).numpy() != label).mean() < 2e-3
        else:
            assert not label.any()
    # Only what is missing is made again, to the same bytes.
    before = {path: path.read_bytes() for folder in (out, cams) for path in folder.glob("2*")}
    (cams / "2007_000002.npz").unlink()
    (out / "2008_000004.png").unlink()
    leftover = cams / f".x.npz.{socket.gethostname().replace('.', '-')}.999999999.part"  # of a run that was killed
    leftover.touch()
    assert generate("--save-cams", cams).exit_code == 0
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads((out / "run.json").read_text())["counts"] == {"images": 6, "labelled": 2, "kept": 4, "failed": 0}
    assert not leftover.exists()
    # Maps made otherwise are not mixed with these.
    (cams / "2007_000001.npz").write_bytes(b"something else")
    refused = generate("--save-cams", cams)
    assert refused.exit_code == 1
    assert "2007_000001.npz: these class maps were made otherwise" in refused.stderr
    assert generate("--save-cams", cams, "--overwrite").exit_code == 0
    assert {path: path.read_bytes() for path in before} == before
