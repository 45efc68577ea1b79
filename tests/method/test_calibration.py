"""Static visual calibration against the slow reference, open_clip's own forward pass, and small explicit loops."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import reference
import torch
from gpu import requires_cuda
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted import requires_triton, run_interpreted
from open_clip.model import CLIPVisionCfg, _build_vision_tower, convert_weights_to_lp
from open_clip.transformer import VisionTransformer
from reference import Array
from torch import Tensor

from excel_cam.errors import ModelError
from excel_cam.method import calibration
from excel_cam.method.calibration import DenseFeatures, check_image_tower, encode_images, grid_side

TOKENS, ATTENTION = 1e-4, 5e-5  # the recorded files' tolerances
EMBED = 12  # D


@pytest.fixture(scope="module", autouse=True)
def _round_positions_as_float32() -> Iterator[None]:
    """The position grid is resized at float32 positions, which the reference then rounds to as well."""
    before = reference.POSITION_TYPE
    reference.POSITION_TYPE = np.float32
    yield
    reference.POSITION_TYPE = before


def build_tower(seed: int = 0, quick_gelu: bool = True, **changes: Any) -> VisionTransformer:
    """A small image tower whose every weight leaves a trace: P = 8, trained on a 4 × 4 grid, 7 blocks, 3 heads."""
    shape = {"image_size": 32, "patch_size": 8, "width": 48, "head_width": 16, "layers": 7} | changes
    tower = _build_vision_tower(EMBED, CLIPVisionCfg(**shape), quick_gelu=quick_gelu).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in tower.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("gamma"):
            noise = 0.5 + 0.2 * noise
        elif "ln_" in name and name.endswith("weight"):
            noise = 1 + 0.1 * noise
        elif name.endswith("bias"):
            noise *= 0.1
        elif name.endswith("in_proj_weight"):
            noise *= 1.5 / parameter.shape[1] ** 0.5
        elif name.endswith("weight"):
            noise /= parameter[0].numel() ** 0.5
        elif name == "proj":
            noise /= parameter.shape[0] ** 0.5
        else:
            noise *= 0.5
        parameter.data.copy_(noise)
    return tower.requires_grad_(False)


def draw_pixels(count: int, side: int, seed: int = 0, patch: int = 8) -> Tensor:
    return torch.randn(count, 3, side * patch, side * patch, generator=torch.Generator().manual_seed(1000 + seed))


def arrays(tower: VisionTransformer) -> dict[str, Array]:
    """The tower's weights for the reference, a layer scale multiplied into the linear layer before it."""
    weights = {name: tensor.double().numpy() for name, tensor in tower.state_dict().items()}
    for name in [name for name in weights if name.endswith("gamma")]:
        block, scale, _ = name.rsplit(".", 2)
        linear = f"{block}.{'attn.out_proj' if scale == 'ls_1' else 'mlp.c_proj'}"
        gamma = weights.pop(name)
        weights[f"{linear}.weight"] = gamma[:, None] * weights[f"{linear}.weight"]
        weights[f"{linear}.bias"] = gamma * weights[f"{linear}.bias"]
    return weights


def assert_close(came: Tensor, expected: Array | Tensor, tolerance: float) -> None:
    assert came.dtype == torch.float32
    difference = np.abs(came.cpu().double().numpy() - np.asarray(expected, dtype=np.float64))
    assert came.shape == expected.shape
    assert difference.max() <= tolerance


def assert_as_reference(
    tower: VisionTransformer, pixels: Tensor, blocks: int = 5, quick_gelu: bool = True, positions: Array | None = None
) -> None:
    """Compare tokens and attention of each image; `positions` replaces the tower's position embedding."""
    weights = arrays(tower) | ({} if positions is None else {"positional_embedding": positions})
    features = encode_images(tower, pixels, "svc", blocks)
    heads = tower.transformer.resblocks[0].attn.num_heads
    for index, image in enumerate(pixels.double().numpy()):
        tokens, attention = reference.image_tower(
            weights, image, blocks, head_width=tower.conv1.out_channels // heads, quick_gelu=quick_gelu
        )
        assert_close(features.tokens[index], tokens, TOKENS)
        assert_close(features.attention[index], attention, ATTENTION)


def loop_tower(tower: VisionTransformer, image: Array, kind: str, blocks: int, relation: Array | None = None) -> Array:
    """F of one image, token by token and head by head: what the calibrated path adds is spelt out for each `kind`."""
    weights, names = reference.prepare(arrays(tower))
    heads = tower.transformer.resblocks[0].attn.num_heads
    tokens = reference.embed_patches(image, weights)
    calibrated = tokens
    for index, block in enumerate(names):
        queries, keys, values = reference.project_heads(tokens, weights, block, heads)
        count, width = values[0].shape
        if index >= len(names) - blocks:
            shared = np.zeros((count, count))
            for head in range(heads):
                parts = {"vv": [values], "svc": [queries, keys, values], "v": []}[kind]
                for part in parts:
                    for row in range(count):
                        products = [part[head][row] @ part[head][column] / np.sqrt(width) for column in range(count)]
                        exponents = np.exp(np.array(products) - max(products))
                        shared[row] += exponents / exponents.sum() / len(parts)
            if kind == "v":
                shared = np.eye(count)
            elif relation is not None:
                shared[1:, 1:] += heads * relation  # once per head
            added = np.zeros((count, heads * width))
            for head in range(heads):
                for row in range(count):
                    for column in range(count):
                        added[row, head * width : (head + 1) * width] += shared[row, column] * values[head][column]
            calibrated = calibrated + reference.linear(added, weights, f"{block}.attn.out_proj")
        maps = [reference.similarity(queries[head], keys[head]) for head in range(heads)]
        tokens = tokens + reference.mix_values(maps, values, weights, block)
        tokens = tokens + reference.multilayer_perceptron(tokens, weights, block, quick_gelu=True)
        if index < len(names) - blocks:
            calibrated = tokens
    both = np.concatenate([tokens[:1], calibrated[1:]])
    return reference.layer_norm(both, weights, "ln_post") @ weights["proj"]


def qk_attention(tower: VisionTransformer, image: Array, calibrated: int) -> Array:
    """A of one image: softmax(q kᵀ/√d) of the last 6 blocks, heads summed in the calibrated ones, else averaged."""
    weights, names = reference.prepare(arrays(tower))
    heads = tower.transformer.resblocks[0].attn.num_heads
    tokens = reference.embed_patches(image, weights)
    kept = []
    for index, block in enumerate(names):
        queries, keys, values = reference.project_heads(tokens, weights, block, heads)
        maps = [reference.similarity(queries[head], keys[head]) for head in range(heads)]
        if len(names) - index <= 6:
            kept.append(sum(maps) * (1 if len(names) - index <= calibrated else 1 / heads))
        tokens = tokens + reference.mix_values(maps, values, weights, block)
        tokens = tokens + reference.multilayer_perceptron(tokens, weights, block, quick_gelu=True)
    return np.mean(kept, axis=0)


# ---- against the reference


@pytest.mark.parametrize(
    ("shape", "side", "blocks", "quick_gelu"),
    [
        ({}, 4, 5, True),  # the position grid fits
        ({}, 7, 5, True),  # enlarged
        ({"image_size": 56}, 5, 5, True),  # reduced
        ({"layers": 12}, 4, 5, False),  # GELU
        ({"layers": 9}, 3, 6, True),
        ({"layers": 9}, 3, 9, True),  # every block
        ({}, 1, 5, True),  # a single patch
        ({"patch_size": 14, "image_size": 70, "width": 160, "head_width": 80}, 4, 5, True),  # H/14's head width
        ({"patch_size": 16, "image_size": 64, "width": 64, "head_width": 64}, 5, 2, False),  # one head
        ({"ls_init_value": 0.1}, 4, 5, True),  # layer scale
        ({"mlp_ratio": 4.3637, "head_width": 24}, 4, 5, False),  # g/14's odd width of the MLP
        ({"norm_kwargs": {"eps": 1e-5}, "layers": 6}, 4, 1, True),
    ],
)
def test_tokens_and_attention_equal_the_reference(
    shape: dict[str, Any], side: int, blocks: int, quick_gelu: bool
) -> None:
    tower = build_tower(seed=side, quick_gelu=quick_gelu, **shape)
    assert_as_reference(tower, draw_pixels(1, side, patch=tower.patch_size[0]), blocks, quick_gelu)


@given(
    trained=st.integers(1, 6), side=st.integers(1, 6), layers=st.integers(1, 8), heads=st.integers(1, 3),
    patch=st.sampled_from((4, 7, 16)), seed=st.integers(0, 2**16), data=st.data(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_shape_equals_the_reference(
    trained: int, side: int, layers: int, heads: int, patch: int, seed: int, data: st.DataObject
) -> None:
    blocks = data.draw(st.integers(1, layers))
    tower = build_tower(
        seed, image_size=trained * patch, patch_size=patch, layers=layers, width=24 * heads, head_width=24
    )
    assert_as_reference(tower, draw_pixels(1, side, seed, patch), blocks)


def test_models_trained_on_oblong_images() -> None:
    tower = build_tower(image_size=[32, 48])
    positions = arrays(tower)["positional_embedding"]
    grid = positions[1:].reshape(4, 6, -1).transpose(2, 0, 1)
    resized = reference.bilinear_resize(grid, 5, 5).reshape(len(grid), -1).T  # the reference knows square grids only
    assert_as_reference(tower, draw_pixels(1, 5), positions=np.vstack([positions[:1], resized]))


def test_models_without_a_norm_before_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = reference.layer_norm
    monkeypatch.setattr(reference, "layer_norm", lambda x, w, name: x if name == "ln_pre" else norm(x, w, name))
    assert_as_reference(build_tower(no_ln_pre=True), draw_pixels(2, 5))


def test_patch_dropout_plays_no_part() -> None:
    pixels = draw_pixels(1, 4)
    plain, dropping = (encode_images(build_tower(patch_dropout=rate), pixels) for rate in (0.0, 0.5))
    assert torch.equal(plain.tokens, dropping.tokens)


def test_fewer_than_six_blocks_average_all_their_attention() -> None:
    tower, pixels = build_tower(layers=3), draw_pixels(1, 4)
    assert_as_reference(tower, pixels, blocks=2)
    expected = qk_attention(tower, pixels[0].double().numpy(), calibrated=2)
    assert_close(encode_images(tower, pixels, "svc", 2).attention[0], expected, ATTENTION)


# ---- against open_clip's own forward pass


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"patch_size": 14, "image_size": 56, "width": 160, "head_width": 80, "layers": 2},
        {"ls_init_value": 0.1},
        {"no_ln_pre": True},
        {"layers": 1},
        {"norm_kwargs": {"eps": 1e-3}},
    ],
)
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_qk_is_open_clips_own_forward_pass(shape: dict[str, Any], quick_gelu: bool) -> None:
    tower = build_tower(quick_gelu=quick_gelu, output_tokens=True, **shape)
    pixels = draw_pixels(2, 4, patch=tower.patch_size[0])
    class_token, patches = tower(pixels)
    for blocks in (5, 100):  # the number of blocks plays no part
        features = encode_images(tower, pixels, "qk", blocks)
        assert_close(features.tokens[:, 0], class_token, TOKENS)
        assert_close(features.tokens[:, 1:], patches @ tower.proj, TOKENS)


@pytest.mark.parametrize("attention", ["svc", "vv", "v"])
def test_the_class_token_stays_open_clips(attention: str) -> None:
    tower, pixels = build_tower(), draw_pixels(2, 4)
    features = encode_images(tower, pixels, attention)
    assert_close(features.tokens[:, 0], tower(pixels), TOKENS)
    plain = encode_images(tower, pixels, "qk").tokens
    assert (features.tokens[:, 1:] - plain[:, 1:]).abs().max() > 0.1


def test_attention_of_qk_is_averaged_over_heads_in_every_block() -> None:
    tower, pixels = build_tower(), draw_pixels(1, 4)
    features = encode_images(tower, pixels, "qk")
    assert_close(features.attention[0], qk_attention(tower, pixels[0].double().numpy(), calibrated=0), ATTENTION)
    assert_close(features.attention.sum(dim=-1), torch.ones(1, 17), ATTENTION)


@pytest.mark.parametrize(("layers", "blocks", "row_sum"), [(7, 5, (1 + 5 * 3) / 6), (7, 7, 3), (4, 1, (3 + 3) / 4)])
def test_calibrated_blocks_weigh_as_many_times_as_they_have_heads(layers: int, blocks: int, row_sum: float) -> None:
    features = encode_images(build_tower(layers=layers), draw_pixels(1, 4), "svc", blocks)
    assert_close(features.attention.sum(dim=-1), torch.full((1, 17), row_sum), 1e-4)


@pytest.mark.parametrize("attention", ["svc", "vv", "v"])
def test_the_attention_kept_does_not_depend_on_how_patches_are_calibrated(attention: str) -> None:
    tower, pixels = build_tower(), draw_pixels(1, 4)
    features = encode_images(tower, pixels, attention)
    assert torch.equal(features.attention, encode_images(tower, pixels, "svc").attention)


# ---- against explicit loops


@pytest.mark.parametrize("attention", ["svc", "vv", "v"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_each_attention_equals_its_loop(attention: str, blocks: int) -> None:
    tower, pixels = build_tower(layers=4), draw_pixels(1, 3)
    features = encode_images(tower, pixels, attention, blocks)
    assert_close(features.tokens[0], loop_tower(tower, pixels[0].double().numpy(), attention, blocks), TOKENS)


@pytest.mark.parametrize("attention", ["svc", "vv"])
def test_a_relation_is_added_to_the_patches_correlation_alone(attention: str) -> None:
    tower, pixels = build_tower(layers=4), draw_pixels(2, 3)
    relation = torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(5))
    plain = encode_images(tower, pixels, attention, 3)
    related = encode_images(tower, pixels, attention, 3, relation)
    for index in range(2):
        expected = loop_tower(tower, pixels[index].double().numpy(), attention, 3, relation[index].double().numpy())
        assert_close(related.tokens[index], expected, TOKENS)
    assert torch.equal(related.tokens[:, 0], plain.tokens[:, 0])
    assert torch.equal(related.attention, plain.attention)
    assert (related.tokens - plain.tokens)[:, 1:].abs().amax(dim=-1).min() > 1e-3  # every patch


def test_a_relation_of_zeros_changes_nothing() -> None:
    tower, pixels = build_tower(), draw_pixels(2, 3)
    related = encode_images(tower, pixels, relation=torch.zeros(2, 9, 9))
    assert torch.equal(related.tokens, encode_images(tower, pixels).tokens)


# ---- batches, precisions, devices


@pytest.mark.parametrize("attention", ["svc", "qk", "vv", "v"])
def test_a_batch_is_its_images(attention: str) -> None:
    tower, pixels = build_tower(), draw_pixels(3, 5)
    together = encode_images(tower, pixels, attention)
    for index in range(3):
        alone = encode_images(tower, pixels[index : index + 1], attention)
        assert_close(together.tokens[index], alone.tokens[0], 1e-5)
        assert_close(together.attention[index], alone.attention[0], 1e-5)


def test_the_same_input_gives_the_same_bytes_and_keeps_no_graph() -> None:
    tower, pixels = build_tower().requires_grad_(True), draw_pixels(2, 5)
    before = pixels.clone()
    first, second = (encode_images(tower, pixels) for _ in range(2))
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.attention, second.attention)
    assert not first.tokens.requires_grad
    assert torch.equal(pixels, before)


def relative_difference(came: Tensor, expected: Tensor) -> float:
    return float((came.cpu() - expected).norm() / expected.norm())


def low_precision(tower: VisionTransformer, dtype: torch.dtype) -> VisionTransformer:
    convert_weights_to_lp(tower, dtype)
    return tower


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.005), (torch.bfloat16, 0.04)])
@pytest.mark.parametrize("attention", ["svc", "qk", "vv", "v"])
@pytest.mark.parametrize("shape", [{}, {"ls_init_value": 0.1}, {"no_ln_pre": True}])
def test_low_precision_stays_close(dtype: torch.dtype, tolerance: float, attention: str, shape: dict[str, Any]) -> None:
    pixels = draw_pixels(2, 5)
    exact = encode_images(build_tower(**shape), pixels, attention)
    rounded = encode_images(low_precision(build_tower(**shape), dtype), pixels, attention)
    assert rounded.tokens.dtype == rounded.attention.dtype == torch.float32
    assert 0 < relative_difference(rounded.tokens, exact.tokens) < tolerance
    assert 0 < relative_difference(rounded.attention, exact.attention) < tolerance


def test_large_queries_do_not_overflow_half_precision() -> None:
    """Products of 16 · 90² pass fp16's 65504 before the division by √d brings them back."""
    tower, pixels = build_tower(layers=2), draw_pixels(1, 4)
    for block in tower.transformer.resblocks:
        block.attn.in_proj_weight.zero_()
        block.attn.in_proj_bias.fill_(90.0)
    exact = encode_images(tower, pixels, blocks=1)
    rounded = encode_images(low_precision(tower, torch.float16), pixels, blocks=1)
    assert rounded.tokens.isfinite().all()
    assert relative_difference(rounded.tokens, exact.tokens) < 0.01


@pytest.mark.parametrize("attention", ["svc", "vv", "qk"])
def test_heads_that_a_kernel_sums_give_the_same_features(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the kernel, as torch computes it: what is made of its sums is what is made of all heads' maps."""
    tower, pixels = build_tower(), draw_pixels(2, 5)
    expected = encode_images(tower, pixels, attention)
    calls: list[tuple[int, ...]] = []

    def sum_heads(rows: Tensor, columns: Tensor, scale: float) -> Tensor:
        calls.append(tuple(rows.shape))
        return torch.softmax(rows @ columns.transpose(-1, -2) * scale, dim=-1).sum(dim=1)

    kernel = ModuleType("attention_kernel")
    kernel.__dict__["sum_heads"] = sum_heads
    monkeypatch.setitem(sys.modules, "excel_cam.method.compiled.attention_kernel", kernel)
    monkeypatch.setattr(calibration, "_has_kernel_for", lambda _rows: True)
    came = encode_images(tower, pixels, attention)
    # A's maps of six blocks, and q-q, k-k and v-v of five.
    assert calls == [(2, 3, 26, 16)] * (6 + {"svc": 15, "vv": 5, "qk": 0}[attention])
    assert_close(came.tokens, expected.tokens, 1e-5)
    assert_close(came.attention, expected.attention, 1e-5)


SUM_HEADS_CHECK = """
import contextlib, torch
torch.cuda.device_of = lambda tensor: contextlib.nullcontext()
from excel_cam.method.compiled import attention_kernel
for images, heads, tokens, width in ((2, 3, 50, 64), (1, 2, 17, 16)):
    joint = torch.randn(images, tokens, 3 * heads * width, generator=torch.Generator().manual_seed(tokens)).half()
    query, key, _value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in joint.chunk(3, -1))
    assert attention_kernel.fits(query)
    for rows, columns in ((query, key), (key, key)):
        expected = torch.softmax(rows.float() @ columns.float().transpose(-1, -2) * 0.25, -1).sum(1)
        apart = (attention_kernel.sum_heads(rows, columns, 0.25) - expected).abs().max()
        assert apart < 1e-5, (tokens, apart)
assert not attention_kernel.fits(torch.zeros(1, 1, 1025, 64)) and not attention_kernel.fits(torch.zeros(1, 1, 9, 80))
"""


@pytest.mark.slow
@requires_triton
def test_the_kernel_sums_heads_as_torch_does() -> None:
    """Through Triton's interpreter, which needs no GPU; rows and columns that fill no block, heads side by side."""
    run_interpreted(SUM_HEADS_CHECK)


@requires_cuda
@pytest.mark.parametrize(("tokens", "width"), [(17, 16), (401, 64), (577, 64), (1025, 64), (50, 80)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_heads_are_summed_on_cuda_as_in_float32(tokens: int, width: int, dtype: torch.dtype) -> None:
    """By the kernel, and by torch where there are too many tokens or heads have another width."""
    joint = torch.randn(2, tokens, 9 * width, generator=torch.Generator().manual_seed(tokens)).to("cuda", dtype)
    rows, columns, _values = (part.unflatten(-1, (3, -1)).transpose(1, 2) for part in joint.chunk(3, -1))
    is_fused = calibration._has_kernel_for(rows)
    assert is_fused == (tokens <= 1024 and width != 80)
    came = calibration._sum_heads(rows, columns, width**-0.5)
    expected = torch.softmax(rows.double() @ columns.double().transpose(-1, -2) * width**-0.5, dim=-1).sum(dim=1)
    assert float((came - expected).abs().max()) < (1e-5 if is_fused else 0.05)


def on_cuda(tower: VisionTransformer, pixels: Tensor, attention: str) -> DenseFeatures:
    return encode_images(tower.cuda(), pixels.cuda(), attention)


@requires_cuda
@pytest.mark.parametrize("attention", ["svc", "qk", "vv", "v"])
def test_cuda_in_float32_equals_the_cpu(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    pixels = draw_pixels(3, 5)
    expected, came = encode_images(build_tower(), pixels, attention), on_cuda(build_tower(), pixels, attention)
    assert came.tokens.is_cuda
    assert_close(came.tokens, expected.tokens, TOKENS)
    assert_close(came.attention, expected.attention, ATTENTION)


@requires_cuda
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.005), (torch.bfloat16, 0.04)])
def test_cuda_in_low_precision_stays_close(dtype: torch.dtype, tolerance: float) -> None:
    pixels = draw_pixels(3, 5)
    expected, came = encode_images(build_tower(), pixels), on_cuda(low_precision(build_tower(), dtype), pixels, "svc")
    assert relative_difference(came.tokens, expected.tokens) < tolerance
    assert relative_difference(came.attention, expected.attention) < tolerance


# ---- refusals


@pytest.mark.parametrize("attention", ["svc", "vv", "v"])
def test_more_blocks_than_the_model_has(attention: str) -> None:
    tower, pixels = build_tower(layers=4), draw_pixels(1, 4)
    assert encode_images(tower, pixels, attention, 4).tokens.shape == (1, 17, EMBED)
    with pytest.raises(ModelError) as caught:
        encode_images(tower, pixels, attention, 5)
    assert str(caught.value) == "5 blocks are to be calibrated, but the model has 4: lower --calibrated-blocks"


def test_a_fitting_tower_is_handed_back() -> None:
    tower = build_tower()
    assert check_image_tower(tower, "small") is tower


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"pool_type": "avg"}, "its image embedding is pooled from the patches, not taken from a class token"),
        ({"pool_type": "none"}, "its image embedding is pooled from the patches, not taken from a class token"),
        ({"attentional_pool": True}, "its image embedding is pooled from the patches, not taken from a class token"),
        (
            {"attentional_pool": "parallel"},
            "its image embedding is pooled from the patches, not taken from a class token",
        ),
        ({"block_type": "custom"}, "its attention blocks are not CLIP's standard ones"),
        ({"qk_norm": True}, "its attention blocks are not CLIP's standard ones"),
        ({"scaled_cosine_attn": True}, "its attention blocks are not CLIP's standard ones"),
        ({"scale_heads": True}, "its attention blocks are not CLIP's standard ones"),
        ({"patch_size": [8, 4]}, "its patches are not square (8 x 4 pixels)"),
        ({"layers": [1, 1, 1, 1]}, "its image tower is a ModifiedResNet, not open_clip's vision transformer"),
    ],
)
def test_towers_that_cannot_work_are_refused_with_the_reason(shape: dict[str, Any], reason: str) -> None:
    shape = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2} | shape
    tower = _build_vision_tower(8, CLIPVisionCfg(**shape))
    with pytest.raises(ModelError) as caught:
        check_image_tower(tower, "small")
    assert str(caught.value) == (
        f"model small cannot be used: {reason}; choose an open_clip ViT such as ViT-B-16-quickgelu"
    )


@pytest.mark.parametrize(
    ("size", "patch", "side"),
    [(320, 16, 20), (320, 14, 23), (320, 32, 10), (224, 14, 16), (336, 14, 24), (32, 32, 1), (32, 100, 1), (40, 16, 2)],
)
def test_the_input_is_the_nearest_multiple_of_the_patch(size: int, patch: int, side: int) -> None:
    assert grid_side(size, patch) == side
