"""The calibrated forward pass compiled by OpenVINO (extra `fast`) against torch's: features, labels, refusals."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from small_model import small_model
from torch import nn

from excel_cam import Labeller, ModelChoice, load_model
from excel_cam.errors import ModelError, SettingsError
from excel_cam.method.calibration import encode_images
from excel_cam.method.threads import in_threads
from excel_cam.model.towers.clip_towers import LayerScale
from excel_cam.settings import check_learnt_backend

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra `fast` (openvino) is not installed"
)
Run = Callable[..., Result]
DEMO_SCENES = "drawing_000", "family_003"


@cache
def tower(activation: str = "QuickGELU", has_layer_scale: bool = False, has_ln_pre: bool = True) -> Any:
    """A small image tower of any make that models have."""
    visual = small_model(3).visual
    if not has_ln_pre:
        visual.ln_pre = nn.Identity()
    for block in visual.transformer.resblocks:
        if activation != "QuickGELU":
            block.mlp.gelu = nn.GELU(approximate=activation)
        if has_layer_scale:
            block.ls_1, block.ls_2 = LayerScale(32, 0.7), LayerScale(32, 1.3)
    return visual.requires_grad_(False)


def pixels(side: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, 8 * side, 8 * side, generator=torch.Generator().manual_seed(side))


def assert_alike(visual: Any, inputs: torch.Tensor, side: int, attention: str = "svc", blocks: int = 5) -> None:
    from excel_cam.method.compiled.image_tower import CompiledTower

    expected = encode_images(visual, inputs, attention, blocks)
    found = CompiledTower(visual, side, attention, blocks).encode(inputs)
    for ours, theirs in ((found.tokens, expected.tokens), (found.attention, expected.attention)):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


@needs_openvino
@pytest.mark.parametrize(("attention", "blocks"), [("svc", 5), ("svc", 7), ("vv", 1), ("v", 3), ("qk", 5)])
def test_features_are_those_of_torch_but_for_rounding(attention: str, blocks: int) -> None:
    assert_alike(tower(), pixels(5, count=2), 5, attention, blocks)


@needs_openvino
@pytest.mark.parametrize("make", [("none", False, True), ("tanh", True, True), ("QuickGELU", False, False)])
def test_towers_of_other_makes(make: tuple[str, bool, bool]) -> None:
    assert_alike(tower(*make), pixels(3), 3)


@needs_openvino
def test_an_activation_that_is_not_known_is_told() -> None:
    from excel_cam.method.compiled.image_tower import CompiledTower

    visual = small_model(3).visual
    visual.transformer.resblocks[2].mlp.gelu = nn.ReLU()
    with pytest.raises(ModelError, match="does not know the activation ReLU of this model; leave --backend out"):
        CompiledTower(visual, 3, "svc", 5)
    with pytest.raises(ModelError, match="lower --calibrated-blocks"):
        CompiledTower(visual, 3, "svc", 8)


@needs_openvino
def test_products_are_computed_in_float32_by_as_many_threads_as_torch_has() -> None:
    from excel_cam.method.compiled.image_tower import CompiledTower

    compiled = CompiledTower(tower(), 3, "svc", 5)._compiled
    assert str(compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == torch.get_num_threads()


@needs_openvino
@pytest.mark.parametrize(
    "options", [(), ("--windows", "64"), ("--flip", "--scales", "1,1.5", "--attention", "vv")], ids=str
)
def test_labels_are_those_of_torch(
    excel_cam: Run, arguments: list[str], tmp_path: Path, options: Sequence[str]
) -> None:
    labels = []
    for backend in ("torch", "openvino"):
        out = tmp_path / backend
        result = excel_cam(*arguments, *options, "--backend", backend, "--out", out)
        assert result.exit_code == 0, result.output
        labels.append({path.name: np.asarray(Image.open(path)) for path in out.rglob("*.png")})
    assert_labels_alike(*labels)


@needs_openvino
def test_images_side_by_side_have_a_thread_each_and_one_alone_takes_what_is_there() -> None:
    clip = load_model(ModelChoice("excel-cam-demo", device="cpu", backend="openvino"))
    images = pixels(8, count=5)  # 64 x 64
    expected = encode_images(clip.visual, images)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = in_threads(lambda image: clip.encode_images(image[None]).tokens, list(images))
        ((beside, compiled),) = [item for towers in clip._compiled.values() for item in towers.items()]
        assert (beside, int(compiled._compiled.get_property("NUM_STREAMS"))) == (2, 2)
        alone = clip.encode_images(images[:1]).tokens
    finally:
        torch.set_num_threads(before)
    assert [len(towers) for towers in clip._compiled.values()] == [1]  # no second graph for the last image of a run
    for ours in (torch.cat(found), alone):
        torch.testing.assert_close(ours, expected.tokens[: len(ours)], rtol=1e-4, atol=2e-5)


@needs_openvino
def test_labels_of_the_demo_are_those_of_torch() -> None:
    folder = Path(__file__).parents[2] / "excel_cam" / "demo" / "VOC2012" / "JPEGImages"
    images = {name: folder / f"{name}.jpg" for name in DEMO_SCENES}
    labels = []
    for backend in ("torch", "openvino"):
        labeller = Labeller.from_pretrained(classes=["cat", "car", "dog"], model="excel-cam-demo", backend=backend)  # type: ignore[arg-type]
        labels.append({name: labeller.label(image).label for name, image in images.items()})
    assert_labels_alike(*labels)


def assert_labels_alike(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    assert len(ours) > 0
    equal = sum(int((label == theirs[name]).sum()) for name, label in ours.items())
    assert equal / sum(label.size for label in ours.values()) >= 0.9999


@needs_openvino
def test_labels_of_two_backends_are_not_mixed(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    run = [*arguments, "--out", tmp_path]
    assert excel_cam(*run, "--backend", "openvino").exit_code == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["identity"]["resolved"]["backend"] == record["asked"]["backend"] == "openvino"
    assert record["versions"]["openvino"]
    refused = excel_cam(*run)
    assert refused.exit_code == 1
    assert "backend" in refused.stderr
    kept = excel_cam(*run, "--backend", "openvino")
    assert kept.exit_code == 0
    assert "6 kept" in kept.stdout + kept.stderr


def test_torch_leaves_no_trace_in_what_decides_labels(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    assert excel_cam(*arguments, "--out", tmp_path).exit_code == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert "backend" not in record["asked"]
    assert "openvino" not in record["versions"]
    assert record["identity"]["resolved"].keys() == {"weights", "precision"}


@pytest.fixture
def with_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the library is installed, whether it is or not."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))


@pytest.mark.usefixtures("with_openvino")
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--device", "cuda:0"], "backend is openvino, which computes on the CPU, but device is cuda:0; leave"),
        (["--precision", "bf16"], "backend is openvino, which computes in fp32, but precision is bf16; leave"),
        (["--lvc", "demo"], "backend is openvino, but trained weights (--lvc) need torch; leave --backend out"),
        (["--devices", "cpu,0"], "backend is openvino, which computes on the CPU, but device is cuda:0; leave"),
    ],
)
def test_what_the_backend_cannot_do_is_refused_in_a_line(
    excel_cam: Run, arguments: list[str], tmp_path: Path, options: list[str], line: str
) -> None:
    if "--devices" in options:
        place = arguments.index("--device")
        arguments = arguments[:place] + arguments[place + 2 :]
    result = excel_cam(*arguments, "--backend", "openvino", *options, "--out", tmp_path / "out")
    assert result.exit_code != 0
    assert line in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_told_with_what_installs_it(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    line = "backend is openvino, which is not installed; pip install '.[fast]' in a clone of excel-cam, or leave"
    result = excel_cam(*arguments, "--backend", "openvino", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert line in result.stderr
    with pytest.raises(SettingsError, match="which is not installed"):
        load_model(ModelChoice("excel-cam-demo", backend="openvino"))
    with pytest.raises(SettingsError, match="backend is 'onnx'; expected one of torch, openvino"):
        load_model(ModelChoice("excel-cam-demo", backend="onnx"))  # type: ignore[arg-type]


def test_trained_weights_need_torch() -> None:
    check_learnt_backend("torch")
    with pytest.raises(SettingsError, match="need torch"):
        check_learnt_backend("openvino")
