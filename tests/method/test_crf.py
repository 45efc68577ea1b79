"""The dense CRF: its lattice by worked example and brute force, the C++ package, and the command line."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference
from click.testing import Result
from drawn import draw_photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from excel_cam.errors import SettingsError
from excel_cam.method.refinement.crf import dense_crf
from excel_cam.method.refinement.permutohedral import GaussianFilter
from excel_cam.settings import Settings, check_crf_backend

PHOTOGRAPHS = os.environ.get("EXCEL_CAM_PHOTOGRAPHS")  # a folder of .jpg files to compare the backends on
Run = Callable[..., Result]


def soft_maps(height: int, width: int, classes: int, seed: int) -> np.ndarray:
    """(1 + classes, height, width) float32: smooth maps 0..1 as step 6.2 leaves them, background first."""
    coarse = (255 * np.random.default_rng(seed).random((classes, 6, 6))).astype(np.uint8)
    planes = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in coarse]
    maps = np.stack([np.asarray(plane, np.float32) / 255 for plane in planes])
    return np.concatenate([1 - maps.max(axis=0, keepdims=True), maps])


def dense_kernel(points: np.ndarray) -> np.ndarray:
    """(N, N): the Gaussian itself, normalised symmetrically."""
    distances = ((points[:, :, None] - points[:, None]) ** 2).sum(axis=0)
    kernel = np.exp(-distances / 2)
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    return scale[:, None] * kernel * scale


# ---- the lattice


def test_one_dimension_by_hand() -> None:
    """On corners (sqrt(3) / 2 apart) two blurs of 1/2, 1, 1/2 follow each other: 1, 4, 6, 4, 1 quarters; sum 16."""
    points = (np.arange(15, dtype=np.float32) * np.float32(np.sqrt(3) / 2))[None]
    impulse = np.zeros((15, 1), np.float32)
    impulse[7] = 1
    filtered = GaussianFilter(points).apply(impulse)[:, 0]
    expected = np.zeros(15)
    expected[5:10] = np.array([1, 4, 6, 4, 1]) / 16
    np.testing.assert_allclose(filtered, expected, atol=1e-5)


def test_one_point_is_itself() -> None:
    value = np.array([[3.0, -1.0]], np.float32)
    np.testing.assert_allclose(GaussianFilter(np.zeros((5, 1), np.float32)).apply(value), value, rtol=1e-5)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_it_is_near_the_gaussian_itself(dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    points = rng.uniform(0, 3, (dimensions, 400)).astype(np.float32)
    values = rng.random((400, 3)).astype(np.float32)
    ours, exact = GaussianFilter(points).apply(values), dense_kernel(points) @ values
    assert np.abs(ours - exact).max() < 0.12 * exact.max()
    assert np.abs(ours - exact).mean() < 0.03 * exact.mean()


def test_far_points_do_not_mix() -> None:
    points = np.array([[0, 0, 50, 50], [0, 0, -50, -50]], np.float32)
    values = np.array([[1], [3], [10], [20]], np.float32)
    np.testing.assert_allclose(GaussianFilter(points).apply(values)[:, 0], [2, 2, 15, 15], rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 30), st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 1.0, 20.0, 50.0]), st.booleans(),
)  # fmt: skip
def test_weights_are_a_partition(dimensions: int, count: int, seed: int, spread: float, whole: bool) -> None:
    """What symmetric normalisation promises: it maps the square roots of the sums to themselves."""
    points = (np.random.default_rng(seed).normal(0, 1, (dimensions, count)) * spread).astype(np.float32)
    lattice = GaussianFilter(np.rint(points) if whole else points)
    filtered = lattice.apply(np.ones((count, 2), np.float32))
    assert np.isfinite(filtered).all()
    assert (filtered > 0).all()
    assert np.array_equal(filtered[:, 0], filtered[:, 1])
    assert 1 <= lattice.corner_count <= (dimensions + 1) * (count + 3)


def test_points_that_cannot_be_numbered_are_refused() -> None:
    points = np.zeros((5, 2), np.float32)
    points[:, 1] = 1e5
    with pytest.raises(SettingsError, match="lower --working-pixels"):
        GaussianFilter(points)


# ---- the field


def brute_force(pixels: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Mean field with the exact kernels, in double precision; METHOD's numbers once more."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(float)
    smooth = dense_kernel(np.stack([x, y]))
    colour = dense_kernel(np.stack([x / 67, y / 67, *(pixels.reshape(-1, 3).T / 3)]))
    unary = -np.log(np.maximum(maps.reshape(len(maps), -1).astype(float), 1e-5))

    def normalised(energies: np.ndarray) -> np.ndarray:
        powers = np.exp(-(energies - energies.min(axis=0)))
        return powers / powers.sum(axis=0)

    probabilities = normalised(unary)
    for _ in range(10):
        probabilities = normalised(unary - 3 * probabilities @ smooth - 4 * probabilities @ colour)
    return probabilities.reshape(maps.shape)


@pytest.mark.parametrize("seed", range(3))
def test_labels_are_those_of_the_exact_field(seed: int) -> None:
    pixels = np.asarray(draw_photograph(20, 27, seed))
    maps = soft_maps(20, 27, 2, seed)
    (ours,) = dense_crf(pixels, [maps])
    exact = brute_force(pixels, maps)
    assert ours.shape == maps.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.sum(axis=0), 1, atol=1e-5)
    assert np.abs(ours - exact).mean() < 0.03
    best = np.sort(exact, axis=0)
    sure = best[-1] - best[-2] > 0.2
    assert sure.mean() > 0.9
    assert np.mean((ours.argmax(axis=0) == exact.argmax(axis=0))[sure]) > 0.97


def test_colours_part_what_the_maps_do_not() -> None:
    """A map that ends inside an even patch of colour comes to fill the patch, and no more."""
    pixels = np.full((24, 24, 3), 40, np.uint8)
    pixels[4:20, 4:20] = (200, 60, 60)
    map_ = np.full((24, 24), 0.2, np.float32)
    map_[4:20, 4:16] = 0.9
    (ours,) = dense_crf(pixels, [np.stack([1 - map_, map_])])
    inside = np.zeros((24, 24), bool)
    inside[4:20, 4:20] = True
    assert np.array_equal(ours[1] > 0.5, inside)


def test_stacks_are_independent_and_repeatable() -> None:
    pixels = np.asarray(draw_photograph(21, 33, 0))
    first, second = soft_maps(21, 33, 1, 0), soft_maps(21, 33, 3, 1)
    together = dense_crf(pixels, [first, second])
    for maps, probabilities in zip((first, second), together, strict=True):
        assert np.array_equal(dense_crf(pixels, [maps])[0], probabilities)


def test_a_map_of_0_and_a_single_map_are_no_trouble() -> None:
    pixels = np.asarray(draw_photograph(9, 9, 0))
    zero = np.zeros((1, 9, 9), np.float32)
    (nothing,) = dense_crf(pixels, [np.concatenate([1 - zero, zero])])
    assert (nothing[0] > 0.99).all()
    assert (dense_crf(pixels, [zero])[0] == 1).all()


@pytest.mark.parametrize("size", [(60, 80), (61, 83), (1, 30), (30, 1), (7, 5), (1, 1)])
def test_the_package_agrees_on_drawn_photographs(size: tuple[int, int]) -> None:
    pytest.importorskip("pydensecrf", reason="the C++ package (extra `crf`) is not installed")
    pixels = np.asarray(draw_photograph(*size, 3))
    maps = soft_maps(*size, 3, 0)
    (ours,), (theirs,) = dense_crf(pixels, [maps]), dense_crf(pixels, [maps], "pydensecrf2")
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.skipif(PHOTOGRAPHS is None, reason="EXCEL_CAM_PHOTOGRAPHS names no folder of photographs")
def test_the_package_agrees_on_photographs() -> None:
    pytest.importorskip("pydensecrf", reason="the C++ package (extra `crf`) is not installed")
    for seed, path in enumerate(sorted(Path(str(PHOTOGRAPHS)).glob("*.jpg"))[:10]):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        maps = soft_maps(*pixels.shape[:2], 1 + seed % 4, seed)
        (ours,), (theirs,) = dense_crf(pixels, [maps]), dense_crf(pixels, [maps], "pydensecrf2")
        np.testing.assert_allclose(ours, theirs, atol=1e-3, err_msg=str(path))


# ---- the command line


def read_labels(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


@pytest.mark.parametrize("refine", ["crf", "par+crf"])
def test_generate_refines_by_crf_alike_every_time(
    excel_cam: Run, arguments: list[str], tmp_path: Path, refine: str
) -> None:
    first, second, plain = tmp_path / "first", tmp_path / "second", tmp_path / "plain"
    assert excel_cam(*arguments, "--refine", refine, "--out", first).exit_code == 0
    assert excel_cam(*arguments, "--refine", refine, "--batch-size", "2", "--out", second).exit_code == 0
    without_crf = refine.removesuffix("crf").rstrip("+") or "none"
    assert excel_cam(*arguments, "--refine", without_crf, "--out", plain).exit_code == 0
    record = json.loads((first / "run.json").read_text())
    assert record["settings"]["refine"]["value"] == refine
    assert record["settings"]["crf_backend"]["value"] == "numpy"
    assert "pydensecrf2" in record["versions"]
    ours, again, without = read_labels(first), read_labels(second), read_labels(plain)
    assert all(np.array_equal(ours[name], again[name]) for name in ours)
    assert any(not np.array_equal(ours[name], without[name]) for name in ours)


def test_both_backends_make_nearly_the_same_labels_but_are_kept_apart(
    excel_cam: Run, arguments: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("pydensecrf", reason="the C++ package (extra `crf`) is not installed")
    for backend in ("numpy", "pydensecrf2"):
        result = excel_cam(*arguments, "--refine", "crf", "--crf-backend", backend, "--out", tmp_path / backend)
        assert result.exit_code == 0, result.stderr
    ours, theirs = read_labels(tmp_path / "numpy"), read_labels(tmp_path / "pydensecrf2")
    assert sum(np.count_nonzero(ours[name] != theirs[name]) for name in ours) <= 20
    mixed = excel_cam(*arguments, "--refine", "crf", "--crf-backend", "pydensecrf2", "--out", tmp_path / "numpy")
    assert mixed.exit_code == 1
    assert "crf_backend was numpy, now pydensecrf2" in mixed.stderr


def test_a_backend_without_crf_is_a_usage_error(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    result = excel_cam(*arguments, "--crf-backend", "pydensecrf2", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "crf_backend is pydensecrf2; expected numpy with --refine par, which has no CRF" in result.stderr


def test_a_backend_that_is_not_installed_is_said_before_any_work(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    check_crf_backend("numpy")
    crf = ["--refine", "crf", "--crf-backend", "pydensecrf2"]
    photograph = tmp_path / "VOC2012/JPEGImages/2007_000001.jpg"
    for command in (
        [*arguments, *crf, "--out", tmp_path / "out"],
        ["label", photograph, "--classes", "cat", *crf, *arguments[-4:]],
    ):
        result = excel_cam(*command)
        assert result.exit_code == 1
        assert "which is not installed; pip install '.[crf]'" in result.stderr
        assert "model:" not in result.stderr


# ---- the pipeline


@pytest.mark.parametrize("refine", ["crf", "par+crf"])
def test_the_crf_takes_the_maps_of_its_step(
    tiny_model: tuple[Path, Path], refine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`crf` takes step 6.2's maps, `par+crf` PAR's divided by 1.01^20; the image is the photograph's own pixels."""
    from excel_cam import build_text_bank, load_model, shipped_knowledge
    from excel_cam.run import labeller as pipeline
    from excel_cam.run.labeller import Labeller
    from excel_cam.settings import ModelChoice

    config, weights = tiny_model
    model = load_model(ModelChoice(name=str(config), weights=weights, device="cpu"))
    chosen = Settings(size=96, refine=refine)
    bank = build_text_bank(shipped_knowledge("voc"), model, chosen)
    photograph = np.asarray(draw_photograph(60, 97, 0))
    taken: list[np.ndarray] = []

    def spy(pixels: np.ndarray, stacks: list[np.ndarray], backend: str) -> list[np.ndarray]:
        assert np.array_equal(pixels, photograph)
        taken.extend(stacks)
        return dense_crf(pixels, stacks, backend)

    monkeypatch.setattr(pipeline, "dense_crf", spy)
    (label,) = Labeller(model, bank, chosen).label([photograph], [(7, 17)])
    weights_by_name = {name: tensor.numpy() for name, tensor in model.visual.state_dict().items()}
    found = reference.label(photograph, weights_by_name, bank.plain, 20, [7, 17], 96, bank=bank.bank, head_width=32)
    expected = found["cams"] if refine == "crf" else found["par"] / 1.01**20
    np.testing.assert_allclose(taken[0], expected, atol=2e-4)
    (refined,) = dense_crf(photograph, taken)
    assert np.array_equal(label, reference.choose_label(refined, [7, 17]))

    doubtful = dataclasses.replace(chosen, ignore_thresholds=(0.3, 0.7))
    taken.clear()
    (label,) = Labeller(model, bank, doubtful).label([photograph], [(7, 17)])
    assert len(taken) == 2
    assert (taken[0][0] < taken[1][0]).all()
    assert np.array_equal(taken[0][1:], taken[1][1:])
    low, high = (reference.choose_label(planes, [7, 17]) for planes in dense_crf(photograph, taken))
    assert np.array_equal(label, np.where(low == high, low, 255))
    smaller = Labeller(model, bank, doubtful).label_with_maps([photograph], [(7, 17)], [(90, 120)])
    assert smaller[0].label.shape == (90, 120)
