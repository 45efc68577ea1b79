"""The frozen model: what loads, what is refused and why, and text embeddings equal to open_clip's own."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import reference
import torch
from archives import refusal, save_archive, tensors_equal
from generate_weights import TINY_CONFIG
from gpu import requires_cuda
from torch import Tensor

from excel_cam.errors import ModelError
from excel_cam.method.calibration import check_image_tower, encode_images, grid_side
from excel_cam.model import clip as clip_model
from excel_cam.model.clip import ClipModel, load_model, resolve_device, resolve_precision, unit_rows
from excel_cam.model.weights import quiet_logs
from excel_cam.settings import ModelChoice

TEXTS = [
    "a clean origami cat.",
    "",
    "dog",
    "a clean origami sofa. it has two soft arms and a long back, " * 2,
    "é 雪 ½",
]


@pytest.fixture(scope="module")
def tiny(tiny_model: tuple[Path, Path]) -> ClipModel:
    config, weights = tiny_model
    return load_model(ModelChoice(str(config), weights=weights, device="cpu"))


@pytest.fixture(scope="module")
def own(tiny_model: tuple[Path, Path]) -> Any:
    return open_clips_own(*tiny_model)


@pytest.fixture
def tiny_state(tiny_model: tuple[Path, Path]) -> dict[str, Tensor]:
    return torch.load(tiny_model[1], weights_only=True)


def write_config(folder: Path, name: str, vision: object = None, text: object = None, **changes: object) -> Path:
    """The tiny configuration with changes; `vision` and `text` change single values, or stand for all when no dict."""
    config: dict[str, Any] = copy.deepcopy(TINY_CONFIG) | changes
    for part, values in (("vision_cfg", vision), ("text_cfg", text)):
        if isinstance(values, dict):
            config[part].update(values)
        elif values is not None:
            config[part] = values
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    return path


def random_weights(config: Path) -> Path:
    """Weights that fit a configuration, larger than open_clip's initial values so that all parts leave a trace."""
    open_clip.add_model_config(config)
    logging.disable(logging.WARNING)
    state = open_clip.create_model(config.stem, load_weights=False, pretrained_text=False).state_dict()
    logging.disable(logging.NOTSET)
    generator = torch.Generator().manual_seed(3)
    for tensor in state.values():
        tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    path = config.with_suffix(".pt")
    torch.save(state, path)
    return path


def open_clips_own(config: Path, weights: Path) -> Any:
    """What open_clip itself builds from a configuration and weights that fit it."""
    open_clip.add_model_config(config)
    with quiet_logs():
        towers = open_clip.create_model(config.stem, load_weights=False, pretrained_text=False).eval()
    towers.load_state_dict(torch.load(weights, weights_only=True))
    return towers.requires_grad_(False)


def load(config: Path, **choice: object) -> ClipModel:
    return load_model(ModelChoice(str(config), weights=random_weights(config), device="cpu", **choice))  # type: ignore[arg-type]


def load_refusal(name: object, **choice: object) -> str:
    return refusal(lambda: load_model(ModelChoice(str(name), device="cpu", **choice)))  # type: ignore[arg-type]


# ---- loading


def test_every_weight_is_the_files(
    tiny: ClipModel, tiny_model: tuple[Path, Path], tiny_state: dict[str, Tensor]
) -> None:
    assert tensors_equal(tiny.towers.state_dict(), tiny_state)
    assert tiny.visual is tiny.towers.visual
    assert tiny.fingerprint == hashlib.sha256(tiny_model[1].read_bytes()).hexdigest()
    assert (tiny.name, tiny.weights) == ("tiny-quickgelu", tiny_model[1])
    assert (tiny.device, tiny.precision) == (torch.device("cpu"), "fp32")
    assert (tiny.patch, tiny.context_length) == (16, 77)


def test_the_model_is_frozen(tiny: ClipModel) -> None:
    assert not any(parameter.requires_grad for parameter in tiny.towers.parameters())
    assert not any(module.training for module in tiny.towers.modules())


def test_loading_says_nothing(
    tiny_model: tuple[Path, Path], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    load_model(ModelChoice(str(tiny_model[0]), weights=tiny_model[1], device="cpu"))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    logging.getLogger("open_clip").warning("logging works again")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("spoil", ["missing file", "missing tensor", "bare name", "unknown tag"])
def test_there_is_no_model_without_its_weights(
    tiny_model: tuple[Path, Path], tiny_state: dict[str, Tensor], tmp_path: Path, spoil: str
) -> None:
    path = tmp_path / "weights.pt"
    if spoil == "missing tensor":
        del tiny_state["visual.ln_post.bias"]
        torch.save(tiny_state, path)
    name = "ViT-B-16" if spoil == "bare name" else str(tiny_model[0])
    weights = path if spoil.startswith("missing") else None
    tag = {"bare name": "", "unknown tag": "nothing"}.get(spoil, "openai")
    assert load_refusal(name, pretrained=tag, weights=weights)


def test_openai_archive_in_half_precision(
    tiny_model: tuple[Path, Path], tiny_state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "ViT-tiny.pt"
    save_archive({name: tensor.half() for name, tensor in tiny_state.items()}, path)
    model = load_model(ModelChoice(str(tiny_model[0]), weights=path, device="cpu"))
    assert tensors_equal(
        model.towers.state_dict(), {name: tensor.half().float() for name, tensor in tiny_state.items()}
    )


def test_openai_archive_for_plain_gelu_names_the_right_model(tiny_state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "ViT-tiny.pt"
    save_archive(tiny_state, path)
    config = write_config(tmp_path, "tiny", quick_gelu=False)
    assert load_refusal(config, weights=path) == (
        f"{path}: trained with QuickGELU, but model tiny has plain GELU; use --model tiny-quickgelu"
    )


def test_weights_of_another_shape_name_the_first_tensor(tiny_model: tuple[Path, Path], tmp_path: Path) -> None:
    config = write_config(tmp_path, "wide", {"width": 160})
    assert load_refusal(config, weights=tiny_model[1]) == (
        f"{tiny_model[1]}: the weights do not fit model wide: tensor 'visual.class_embedding' has shape (128,), "
        "expected (160,)"
    )


def test_openais_spelling_of_a_model_name() -> None:
    assert load_refusal("ViT-B/16").endswith("than model ViT-B-16 has; use --model ViT-B-16-quickgelu")


# ---- architectures


@pytest.mark.parametrize(
    ("name", "patch", "trained_grid", "side", "head_width", "blocks", "embed"),
    [
        ("ViT-B-32", 32, 7, 10, 64, 12, 512),
        ("ViT-B-32-quickgelu", 32, 7, 10, 64, 12, 512),
        ("ViT-B-16", 16, 14, 20, 64, 12, 512),
        ("ViT-B-16-quickgelu", 16, 14, 20, 64, 12, 512),
        ("ViT-L-14", 14, 16, 23, 64, 24, 768),
        ("ViT-L-14-quickgelu", 14, 16, 23, 64, 24, 768),
        ("ViT-L-14-336", 14, 24, 23, 64, 24, 768),
        ("ViT-L-14-336-quickgelu", 14, 24, 23, 64, 24, 768),
        ("ViT-H-14", 14, 16, 23, 80, 32, 1024),
        ("ViT-H-14-quickgelu", 14, 16, 23, 80, 32, 1024),
    ],
)
def test_shapes_of_the_built_in_models(
    name: str, patch: int, trained_grid: int, side: int, head_width: int, blocks: int, embed: int
) -> None:
    """On the meta device the towers have shapes but no memory, and the forward pass only works out shapes."""
    registered, config = clip_model._model_config(name)
    assert registered == name
    with torch.device("meta"):
        tower = open_clip.model._build_vision_tower(
            config["embed_dim"], config["vision_cfg"], config.get("quick_gelu", False)
        )
    visual = check_image_tower(tower, name)
    first = visual.transformer.resblocks[0]
    assert visual.patch_size == (patch, patch)
    assert visual.grid_size == (trained_grid, trained_grid)
    assert grid_side(320, patch) == side
    assert first.attn.head_dim == head_width
    assert len(visual.transformer.resblocks) == blocks
    assert type(first.mlp.gelu).__name__ == ("QuickGELU" if name.endswith("quickgelu") else "GELU")
    features = encode_images(visual, torch.empty(2, 3, side * patch, side * patch, device="meta"))
    assert features.tokens.shape == (2, 1 + side * side, embed)
    assert features.attention.shape == (2, 1 + side * side, 1 + side * side)


@pytest.mark.parametrize(
    ("vision", "changes"),
    [
        ({"patch_size": 14, "image_size": 42, "width": 160, "head_width": 80}, {}),
        ({"layers": 3}, {"quick_gelu": False}),
        ({"ls_init_value": 0.1, "layers": 2}, {}),
        ({"no_ln_pre": True, "layers": 2}, {}),
        ({"layers": 2}, {"nonscalar_logit_scale": True}),
        ({"layers": 2}, {"custom_text": True}),
        ({"layers": 2, "output_tokens": True}, {}),
    ],
)
def test_models_of_other_makes_load_and_see_as_open_clip_does(
    tmp_path: Path, vision: dict[str, object], changes: dict[str, object]
) -> None:
    config = write_config(tmp_path, "other", vision, **changes)
    model = load(config)
    assert model.patch == vision.get("patch_size", 16)
    side = model.visual.grid_size[0] * model.patch
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    expected = open_clips_own(config, model.weights).visual(pixels)
    class_token = expected[0] if isinstance(expected, tuple) else expected
    features = encode_images(model.visual, pixels, blocks=2)
    torch.testing.assert_close(features.tokens[:, 0], class_token.detach(), rtol=0, atol=1e-4)
    gelu = model.visual.transformer.resblocks[0].mlp.gelu
    assert isinstance(gelu, torch.nn.GELU) == (changes.get("quick_gelu") is False)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RN50", "its image tower is a ResNet, without class token; choose a ViT such as ViT-B-16-quickgelu"),
        ("RN50x4-quickgelu", "its image tower is a ResNet, without class token"),
        ("ViT-B-16-SigLIP", "its image tower is a timm model; choose a ViT such as ViT-B-16-quickgelu"),
        ("convnext_base", "its image tower is a timm model"),
        ("EVA02-B-16", "its image tower is a timm model"),
        ("roberta-ViT-B-32", "its text side is not CLIP's own; choose e.g. ViT-B-16-quickgelu"),
        ("ViT-H-14-CLIPA", "its text side is not CLIP's own"),
    ],
)
@pytest.mark.parametrize("weights", [None, Path("nowhere.pt")])
def test_built_in_models_that_cannot_work_are_refused_before_weights_are_sought(
    name: str, reason: str, weights: Path | None
) -> None:
    assert load_refusal(name, weights=weights).startswith(f"model {name} cannot be used: {reason}")


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"pool_type": "avg"}, "its image embedding is pooled from the patches, not taken from a class token"),
        ({"attentional_pool": True}, "its image embedding is pooled from the patches, not taken from a class token"),
        ({"qk_norm": True}, "its attention blocks are not CLIP's standard ones"),
        ({"block_type": "custom"}, "its attention blocks are not CLIP's standard ones"),
        ({"patch_size": [16, 8]}, "its patches are not square (16 x 8 pixels)"),
    ],
)
def test_configurations_that_cannot_work_are_refused(tmp_path: Path, vision: dict[str, object], reason: str) -> None:
    config = write_config(tmp_path, "unfit", vision | {"layers": 1})
    assert load_refusal(config, weights=random_weights(config)) == (
        f"model unfit cannot be used: {reason}; choose an open_clip ViT such as ViT-B-16-quickgelu"
    )


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path, "small-vocabulary", {"layers": 1}, {"vocab_size": 1000})
    assert load_refusal(config, weights=random_weights(config)) == (
        "model small-vocabulary cannot be used: its vocabulary has 1000 entries, CLIP's tokenizer 49408; "
        "choose e.g. ViT-B-16-quickgelu"
    )


# ---- names and configuration files


@pytest.mark.parametrize("name", ["ViT-B-17", "", "hf-hub:laion/tiny", "hf-hub:", "local-dir:/nowhere", "local-dir:"])
def test_unknown_model_name(name: str) -> None:
    assert load_refusal(name) == (
        f"model '{name}' is not known to open_clip {open_clip.__version__}; use e.g. ViT-B-16-quickgelu"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "the model configuration cannot be read: No such file or directory"),
        (b"{", "the model configuration cannot be read: it is not JSON: "),
        (b"\xff\xfe{}", "the model configuration cannot be read: it is not UTF-8 text"),
        (b"[]", "not an open_clip model configuration (embed_dim, vision_cfg, text_cfg)"),
        (b'{"embed_dim": 64}', "not an open_clip model configuration (embed_dim, vision_cfg, text_cfg)"),
        (
            b'{"embed_dim": 64, "vision_cfg": 1, "text_cfg": {}}',
            "not an open_clip model configuration (embed_dim, vision_cfg, text_cfg)",
        ),
        (
            b'{"embed_dim": 64, "vision_cfg": {}, "text_cfg": []}',
            "not an open_clip model configuration (embed_dim, vision_cfg, text_cfg)",
        ),
    ],
)
def test_configuration_files_that_are_none(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "model.json"
    if content is not None:
        path.write_bytes(content)
    assert load_refusal(path).startswith(f"{path}: {expected}")


def test_a_folder_as_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.mkdir()
    assert load_refusal(path) == f"{path}: the model configuration cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("vision", "text", "expected"),
    [
        ({"depth": 3}, {}, "unexpected keyword argument 'depth'"),
        ({"patch_size": 0}, {}, "by zero"),
        ({"width": "wide"}, {}, "unsupported operand"),
        ({"pool_type": "max"}, {}, "AssertionError"),
        ({"pos_embed_type": "none"}, {}, "ValueError"),
        ({"head_width": 256}, {}, "num_heads"),
        ({}, {"tokenizer_kwargs": {"language": "en"}}, "unexpected keyword argument 'language'"),
    ],
)
def test_configurations_that_cannot_be_built(
    tiny_model: tuple[Path, Path], tmp_path: Path, vision: dict[str, object], text: dict[str, object], expected: str
) -> None:
    config = write_config(tmp_path, "broken", vision, text)
    told = load_refusal(config, weights=tiny_model[1])
    assert told.startswith("model broken cannot be built: ")
    assert expected in told


# ---- text


def test_the_tokenizer_does_not_depend_on_a_models_name(tmp_path: Path) -> None:
    model = load(write_config(tmp_path, "better-than-siglip", {"layers": 1}, {"tokenizer_kwargs": {"clean": "lower"}}))
    expected = open_clip.get_tokenizer("ViT-B-16-quickgelu")(TEXTS)
    assert torch.equal(model.tokenizer(TEXTS, context_length=77), expected)


def test_texts_equal_open_clips_own_encoding(tiny: ClipModel, own: Any) -> None:
    rows = tiny.encode_texts(TEXTS)
    expected = own.encode_text(tiny.tokenizer(TEXTS))
    assert rows.shape == (len(TEXTS), 64)
    assert (rows.dtype, rows.device) == (torch.float32, torch.device("cpu"))
    torch.testing.assert_close(rows, expected.detach(), rtol=0, atol=1e-5)


def test_texts_equal_the_reference(tiny: ClipModel, tiny_state: dict[str, Tensor]) -> None:
    weights = {name: tensor.numpy() for name, tensor in tiny_state.items() if not name.startswith("visual.")}
    expected = reference.text_tower(weights, tiny.tokenizer(TEXTS).numpy(), heads=2)
    assert np.abs(tiny.encode_texts(TEXTS).double().numpy() - expected).max() < 1e-4


def test_many_texts_are_encoded_in_order(tiny: ClipModel, own: Any) -> None:
    texts = [f"{number} {'cats ' * (number % 50)}" for number in range(131)]
    rows = tiny.encode_texts(texts)
    torch.testing.assert_close(rows, own.encode_text(tiny.tokenizer(texts)), rtol=0, atol=1e-5)
    for index in (0, 63, 64, 130):
        torch.testing.assert_close(rows[index], tiny.encode_texts([texts[index]])[0], rtol=0, atol=1e-5)
    assert torch.equal(rows, tiny.encode_texts(texts))


def test_a_text_as_long_as_the_context_is_read_whole(tiny: ClipModel, own: Any) -> None:
    text = "cat " * 75
    assert tiny.count_tokens(text) == tiny.context_length == 77
    expected = own.encode_text(tiny.tokenizer([text]))
    torch.testing.assert_close(tiny.encode_texts([text]), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(tiny.encode_texts([text]), tiny.encode_texts(["cat " * 74]))


def test_token_counts_include_the_special_tokens(tiny: ClipModel) -> None:
    assert [tiny.count_tokens(text) for text in ("", "cat", "a clean origami cat.")] == [2, 3, 7]
    for text in TEXTS:
        assert tiny.count_tokens(text) == int(tiny.tokenizer([text]).count_nonzero())
    assert tiny.count_tokens("cat " * 76) == 78


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ({"no_causal_mask": True}, {}),
        ({"pool_type": "eos", "eos_id": 49407}, {}),
        ({"pool_type": "last"}, {}),
        ({"proj_bias": True}, {}),
        ({"proj_type": "none"}, {}),
        ({"context_length": 20}, {}),
        ({}, {"custom_text": True}),
        ({"ls_init_value": 0.1}, {"quick_gelu": False}),
    ],
)
def test_other_text_towers_equal_open_clips_own_encoding(
    tmp_path: Path, text: dict[str, object], changes: dict[str, object]
) -> None:
    config = write_config(tmp_path, "other-text", {"layers": 1}, text, **changes)
    model = load(config)
    assert model.context_length == text.get("context_length", 77)
    texts = ["a clean origami cat.", "dog", "a dog on a sofa"]
    own = open_clips_own(config, model.weights)
    expected = own.encode_text(model.tokenizer(texts, context_length=model.context_length))
    torch.testing.assert_close(model.encode_texts(texts), expected.detach(), rtol=0, atol=1e-5)


def test_a_plain_checkpoint_gives_the_same_texts_in_a_text_module_of_its_own(
    tiny: ClipModel, tiny_model: tuple[Path, Path], tmp_path: Path
) -> None:
    config = write_config(tmp_path, "custom-quickgelu", custom_text=True)
    model = load_model(ModelChoice(str(config), weights=tiny_model[1], device="cpu"))
    assert isinstance(model.towers, open_clip.CustomTextCLIP)
    torch.testing.assert_close(model.encode_texts(TEXTS), tiny.encode_texts(TEXTS), rtol=0, atol=1e-5)


def test_unit_rows() -> None:
    assert torch.equal(unit_rows(torch.tensor([[3.0, 4.0], [0.0, -2.0]])), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))


# ---- device and precision


@pytest.fixture
def cuda_devices(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Pretend that the machine has so many CUDA devices."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("count", "device", "expected"),
    [(0, "auto", "cpu"), (0, "cpu", "cpu"), (2, "auto", "cuda"), (2, "cpu", "cpu"), (2, "cuda", "cuda"),
     (2, "cuda:0", "cuda:0"), (2, "cuda:1", "cuda:1")],
)  # fmt: skip
def test_devices_that_are_there(cuda_devices: Callable[[int], None], count: int, device: str, expected: str) -> None:
    cuda_devices(count)
    assert resolve_device(device) == torch.device(expected)


@pytest.mark.parametrize(("place", "expected"), [("0", "cuda:0"), ("1", "cuda:1"), ("2", "cuda:0"), ("x", "cuda")])
def test_processes_of_one_machine_share_its_gpus(
    cuda_devices: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, place: str, expected: str
) -> None:
    cuda_devices(2)
    monkeypatch.setenv("LOCAL_RANK", place)
    assert resolve_device("auto") == torch.device(expected)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    cuda_devices(0)
    assert resolve_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(("count", "device"), [(0, "cuda"), (0, "cuda:0"), (1, "cuda:1"), (2, "cuda:2")])
def test_devices_that_are_not_there(cuda_devices: Callable[[int], None], count: int, device: str) -> None:
    cuda_devices(count)
    assert refusal(lambda: resolve_device(device)) == (
        f"device '{device}' is not there: this machine offers {count} CUDA devices; use --device cpu"
    )


@pytest.mark.parametrize(
    "device",
    [
        "",
        "gpu",
        "mps",
        "cuda:x",
        "cuda:-1",
        "cuda:0:1",
        "cpu:0",
        "CPU",
        "meta",
        " cpu",
        "cpu:",
        "cuda:",
        "cuda:²",
        "cuda:01",
    ],
)
@pytest.mark.parametrize("count", [0, 2])
def test_devices_that_are_not_known(cuda_devices: Callable[[int], None], count: int, device: str) -> None:
    cuda_devices(count)
    assert refusal(lambda: resolve_device(device)) == (
        f"device '{device}' is not known; expected auto, cpu, cuda or cuda:INDEX"
    )


def test_automatic_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("auto", torch.device("cpu")) == "fp32"
    for has_bf16, expected in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_bf16: has)
        assert resolve_precision("auto", torch.device("cuda")) == expected


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_chosen_precision_is_kept_and_unknown_refused(device: str) -> None:
    for precision in ("fp32", "bf16", "fp16"):
        assert resolve_precision(precision, torch.device(device)) == precision
    assert refusal(lambda: resolve_precision("int8", torch.device(device))) == (
        "precision 'int8' is not known; expected auto, fp32, bf16, fp16"
    )


def test_device_and_precision_are_settled_before_weights_are_sought() -> None:
    for choice in (ModelChoice(device="tpu"), ModelChoice(device="cpu", precision="double")):
        assert "is not known" in refusal(lambda choice=choice: load_model(choice))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_low_precision_is_the_image_towers_alone(
    tiny: ClipModel, tiny_model: tuple[Path, Path], precision: str, dtype: torch.dtype
) -> None:
    config, weights = tiny_model
    model = load_model(ModelChoice(str(config), weights=weights, device="cpu", precision=precision))
    assert model.precision == precision
    assert {model.visual.conv1.weight.dtype, model.visual.transformer.resblocks[0].attn.in_proj_weight.dtype} == {dtype}
    assert model.visual.ln_post.weight.dtype == model.visual.positional_embedding.dtype == torch.float32
    assert torch.equal(model.encode_texts(TEXTS), tiny.encode_texts(TEXTS))
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    exact, rounded = (encode_images(tower.visual, pixels).tokens for tower in (tiny, model))
    assert (rounded - exact).norm() / exact.norm() < 0.05


@requires_cuda
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_on_cuda_the_text_tower_stays_on_the_cpu(
    tiny: ClipModel, tiny_model: tuple[Path, Path], precision: str
) -> None:
    config, weights = tiny_model
    model = load_model(ModelChoice(str(config), weights=weights, device="cuda", precision=precision))
    assert model.visual.proj.is_cuda
    assert torch.equal(model.encode_texts(TEXTS), tiny.encode_texts(TEXTS))
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    exact, came = (encode_images(tower.visual, pixels.to(tower.device)).tokens.cpu() for tower in (tiny, model))
    assert (came - exact).norm() / exact.norm() < (1e-4 if precision == "fp32" else 0.05)


def test_errors_are_of_the_projects_own_kind() -> None:
    with pytest.raises(ModelError):
        load_model(ModelChoice("nowhere.json"))
