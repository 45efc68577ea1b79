"""Static Visual Calibration: the image tower's forward pass with a second, calibrated path through its last blocks.

Paper section 3.3, steps 2.2 to 3. This is the only file that touches open_clip's internals on the image side.

CLIP's own attention (q-k) lets patches look at whatever the class token needs, so its patch tokens say little about
where things are. The calibrated path lets every token look at tokens *like itself* instead (q-q, k-k, v-v), reading the
original path and never feeding back into it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excel_cam.errors import ModelError
from excel_cam.method.kernels import can_build

if TYPE_CHECKING:
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

ATTENTION_BLOCKS = 6  # blocks whose attention maps are averaged into A


@dataclass(frozen=True)
class DenseFeatures:
    """What one batch of images leaves behind.

    tokens: (n, 1 + N, D) float32: F of the method, class token first (from the original path), patches row by row.
    attention: (n, 1 + N, 1 + N) float32: A of the method, rows attend to columns.
    """

    tokens: Tensor
    attention: Tensor


@dataclass(frozen=True)
class StaticPass:
    """What the trained half takes from a batch's forward pass without a relation; patches alone, all float32.

    slots: (depth, n, N, width), what the adapter reads, one per block (step 8.1).
    path: (n, 1 + N, width): class token of the original path, patches of the calibrated one, before `ln_post`.
    spread: U, (n, N, width): what each patch has to give to the others, summed over the calibrated blocks (step 9.4).
    attention: (blocks, n, N, N), the last blocks' own maps, first block first (step 11.2); None where not asked for.
    heads: attention heads of a block.
    """

    slots: Tensor
    path: Tensor
    spread: Tensor
    attention: Tensor | None
    heads: int

    def tokens(self, visual: VisionTransformer, relation: Tensor | None = None) -> Tensor:
        """F, (n, 1 + N, D) float32; with a relation R̃, (n, N, N) float32, the dynamic one (step 9.4).

        The calibrated path is a plain sum over blocks, so adding R̃ to each block's correlation adds heads · R̃ · U to
        its end: a second forward pass is not needed.
        """
        path = self.path
        if relation is not None:
            patches = path[:, 1:] + self.heads * (relation @ self.spread)
            path = torch.cat([path[:, :1], patches], dim=1)
        return _project_tokens(visual, path)


@dataclass(frozen=True)
class _Projections:
    """Queries, keys and values of one block, each (n, heads, 1 + N, d)."""

    query: Tensor
    key: Tensor
    value: Tensor

    @property
    def scale(self) -> float:
        return float(self.query.shape[-1]) ** -0.5


def check_image_tower(visual: nn.Module, model_name: str) -> VisionTransformer:
    """Return open_clip's image tower if the method can work on it; raises `ModelError` with the reason if it cannot."""
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer  # takes seconds, here alone

    def refuse(reason: str) -> ModelError:
        return ModelError(
            f"model {model_name} cannot be used: {reason}; choose an open_clip ViT such as ViT-B-16-quickgelu"
        )

    if not isinstance(visual, VisionTransformer):
        raise refuse(f"its image tower is a {type(visual).__name__}, not open_clip's vision transformer")
    if visual.attn_pool is not None or visual.pool_type != "tok":
        raise refuse("its image embedding is pooled from the patches, not taken from a class token")
    if not all(type(block) is ResidualAttentionBlock for block in visual.transformer.resblocks):
        raise refuse("its attention blocks are not CLIP's standard ones")
    if visual.patch_size[0] != visual.patch_size[1]:
        raise refuse(f"its patches are not square ({visual.patch_size[0]} x {visual.patch_size[1]} pixels)")
    return visual


def grid_side(size: float, patch: int) -> int:
    """h = w: the patches a side for an input of about `size` pixels, at least 1 (320, 16 -> 20; 320, 14 -> 23)."""
    return max(1, round(size / patch))


@torch.inference_mode()
def encode_images(
    visual: VisionTransformer, pixels: Tensor, attention: str = "svc", blocks: int = 5, relation: Tensor | None = None
) -> DenseFeatures:
    """Run the calibrated forward pass (steps 2.2 to 3).

    pixels: (n, 3, S, S) float32, normalised, S a multiple of the tower's patch side.
    attention: what the calibrated path attends with in the last `blocks` blocks: `svc` (q-q, k-k and v-v averaged),
        `vv`, `v` (each token keeps its own value, as MaskCLIP does in the last block); `qk` has no calibrated path.
    relation: (n, N, N) float32 added once per head to the patches' intra-correlation in each calibrated block, or None
        (step 9.3).

    The matrix products run in the dtype of the tower's weights; sums, softmaxes and layer norms in float32.
    Raises `ModelError` when the tower has fewer than `blocks` blocks.
    """
    maps: list[Tensor] = []
    original = calibrated = _embed(visual, pixels)
    layers = check_depth(visual, attention, blocks)
    calibrated_from = len(layers) if attention == "qk" else len(layers) - blocks
    for index, block in enumerate(layers):
        if index == calibrated_from:
            calibrated = original
        step = _attend(block, original, index >= calibrated_from, keeps_map(index, layers))
        if index >= calibrated_from:
            correlation = _intra_correlation(step.projections, attention)
            calibrated = calibrated + _attend_alike(block, step.projections.value, correlation, relation)
        if step.attention is not None:
            maps.append(step.attention)
        original = original + step.attended
        if index == len(layers) - 1 and calibrated_from < len(layers):
            original = original[:, :1]  # the original path's patches end here: only its class token is used below
        original = original + _perceive(block, original)

    tokens = original if calibrated_from == len(layers) else torch.cat([original, calibrated[:, 1:]], dim=1)
    return DenseFeatures(tokens=_project_tokens(visual, tokens), attention=torch.stack(maps).mean(dim=0))


@torch.no_grad()
def encode_static(
    visual: VisionTransformer,
    pixels: Tensor,
    blocks: int = 5,
    slots: str = "paper",
    keep_attention: bool = True,
    via_side: int | None = None,
) -> StaticPass:
    """The forward pass of `encode_images` with attention `svc`, and what the trained half takes from it (step 8.1).

    slots: `paper`, what the release's views come to hold, or `outputs`, every block's own output.
    via_side: patches a side that the position grid is resized to before it is resized to the pixels' own (step 13.2).
    The results may enter a graph: they are plain tensors without gradients. Raises `ModelError` as `encode_images`.
    """
    layers = check_depth(visual, "svc", blocks)
    calibrated_from = len(layers) - blocks
    original = calibrated = _embed(visual, pixels, via_side)
    spread = torch.zeros_like(original[:, 1:])
    outputs: list[Tensor] = []
    maps: list[Tensor] = []
    for index, block in enumerate(layers):
        is_calibrated = index >= calibrated_from
        if index == calibrated_from:
            calibrated = original
        step = _attend(block, original, is_calibrated, keep_attention and keeps_map(index, layers))
        if is_calibrated:
            value = step.projections.value
            calibrated = calibrated + _attend_alike(block, value, _intra_correlation(step.projections, "svc"), None)
            spread = spread + _spread(block, value[:, :, 1:])
        if step.attention is not None:
            maps.append(step.attention[:, 1:, 1:])
        original = original + step.attended
        if slots == "paper" and is_calibrated and index > calibrated_from:
            # The release collects views, to which the next block's attention is then added in place.
            outputs[-1] = original[:, 1:]
        original = original + _perceive(block, original)
        outputs.append(original[:, 1:])
    if slots == "paper" and calibrated_from > 0:
        # Its view of the last block that is not calibrated becomes the calibrated path, which starts as that view.
        outputs[calibrated_from - 1] = calibrated[:, 1:]
    return StaticPass(
        slots=torch.stack(outputs),
        path=torch.cat([original[:, :1], calibrated[:, 1:]], dim=1),
        spread=spread,
        attention=torch.stack(maps) if keep_attention else None,
        heads=layers[0].attn.num_heads,
    )


@dataclass(frozen=True)
class _Attended:
    """One block's attention on the original path.

    attended: (n, 1 + N, width) float32, to be added to the tokens. attention: the block's map as step 3 keeps it,
    (n, 1 + N, 1 + N) float32, or None.
    """

    projections: _Projections
    attended: Tensor
    attention: Tensor | None


def _attend(block: ResidualAttentionBlock, tokens: Tensor, is_calibrated: bool, keeps_map: bool) -> _Attended:
    projections = _project(block, tokens)
    query, key, value = projections.query, projections.key, projections.value
    if not keeps_map:
        attended = F.scaled_dot_product_attention(query, key, value)
        return _Attended(projections, _project_out(block, attended), None)
    if _has_kernel_for(query):
        attended, kept = F.scaled_dot_product_attention(query, key, value), _sum_heads(query, key, projections.scale)
    else:
        probabilities = _softmax_products(query, key, projections.scale)
        attended, kept = probabilities.to(value.dtype) @ value, probabilities.sum(dim=1)
    # Heads are summed in calibrated blocks but averaged in the others, as the release has it: the calibrated
    # blocks weigh `heads` times as much in A.
    return _Attended(projections, _project_out(block, attended), kept if is_calibrated else kept / query.shape[1])


def _perceive(block: ResidualAttentionBlock, tokens: Tensor) -> Tensor:
    """What a block's MLP adds to tokens, (n, t, width) float32."""
    return block.ls_2(block.mlp(_layer_norm(block.ln_2, tokens, _dtype(block)))).float()


def keeps_map(index: int, layers: list[ResidualAttentionBlock]) -> bool:
    """Whether the map of a block, counted from 0, is part of A."""
    return index >= len(layers) - ATTENTION_BLOCKS


def check_depth(visual: VisionTransformer, attention: str, blocks: int) -> list[ResidualAttentionBlock]:
    """The tower's blocks; raises `ModelError` where they are fewer than are to be calibrated."""
    layers = list(visual.transformer.resblocks)
    if attention != "qk" and blocks > len(layers):
        raise ModelError(
            f"{blocks} blocks are to be calibrated, but the model has {len(layers)}: lower --calibrated-blocks"
        )
    return layers


def _project_tokens(visual: VisionTransformer, tokens: Tensor) -> Tensor:
    """`ln_post` and the projection: (n, t, width) to (n, t, D), float32."""
    return _layer_norm(visual.ln_post, tokens, torch.float32) @ visual.proj.float()


def _embed(visual: VisionTransformer, pixels: Tensor, via_side: int | None = None) -> Tensor:
    """(n, 3, S, S) pixels to (n, 1 + N, width) float32 tokens that enter the first block (step 2.2)."""
    patches = F.conv2d(pixels.to(visual.conv1.weight.dtype), visual.conv1.weight, stride=visual.conv1.stride).float()
    side = patches.shape[-1]
    tokens = patches.flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.float().expand(len(tokens), 1, -1)
    tokens = torch.cat([class_token, tokens], dim=1) + resized_positions(visual, side, via_side)
    return _layer_norm(visual.ln_pre, tokens, torch.float32)


def resized_positions(visual: VisionTransformer, side: int, via_side: int | None = None) -> Tensor:
    """(1 + side * side, width) position embedding; the class token's row is never resized."""
    positions = visual.positional_embedding.float()
    grid = positions[1:].T.reshape(1, -1, *visual.grid_size)
    for wanted in (side,) if via_side is None else (via_side, side):
        if grid.shape[2:] != (wanted, wanted):
            grid = F.interpolate(grid, size=(wanted, wanted), mode="bilinear", align_corners=False)
    return torch.cat([positions[:1], grid.flatten(2)[0].T])


def _project(block: ResidualAttentionBlock, tokens: Tensor) -> _Projections:
    """The block's own query, key and value projections of ln_1(tokens)."""
    attn = block.attn
    joint = F.linear(_layer_norm(block.ln_1, tokens, _dtype(block)), attn.in_proj_weight, attn.in_proj_bias)
    query, key, value = (part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in joint.chunk(3, dim=-1))
    return _Projections(query, key, value)


def _softmax_products(rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """softmax(rows · columnsᵀ · scale) per head: (n, heads, t, d) twice to (n, heads, t, t) float32."""
    # Scaled before the product, which fp16 might not hold otherwise.
    return torch.softmax((rows * scale) @ columns.transpose(-1, -2), dim=-1, dtype=torch.float32)


def _sum_heads(rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """`_softmax_products` summed over heads: (n, heads, t, d) twice to (n, t, t) float32."""
    if not _has_kernel_for(rows):
        return _softmax_products(rows, columns, scale).sum(dim=1)
    from excel_cam.method.compiled.attention_kernel import sum_heads

    return sum_heads(rows, columns, scale)


def _has_kernel_for(rows: Tensor) -> bool:
    """Whether heads are summed by the fused kernel: in half precision, on a GPU for which it can be built."""
    if rows.device.type != "cuda" or rows.dtype == torch.float32 or not _has_kernel(rows.device):
        return False
    from excel_cam.method.compiled.attention_kernel import fits

    return fits(rows)


@functools.cache
def _has_kernel(device: torch.device) -> bool:
    """Whether it can be built for a CUDA device; tried once. Raises as `can_build` does."""

    def trial() -> Tensor:
        from excel_cam.method.compiled.attention_kernel import sum_heads

        parts = torch.zeros(1, 1, 16, 64, dtype=torch.float16, device=device)
        return sum_heads(parts, parts, 1.0)

    return can_build("attention", device, (8, 0), trial)


def _intra_correlation(projections: _Projections, attention: str) -> Tensor | None:
    """C: (n, 1 + N, 1 + N) float32, summed over heads; None stands for "each token only itself" (attention `v`)."""
    if attention == "v":
        return None
    parts = [projections.value] if attention == "vv" else [projections.query, projections.key, projections.value]
    # One matrix for all heads, their sum and not their mean: as the release has it (step 3).
    total = _sum_heads(parts[0], parts[0], projections.scale)
    for part in parts[1:]:
        total += _sum_heads(part, part, projections.scale)
    return total / len(parts)


def _attend_alike(
    block: ResidualAttentionBlock, value: Tensor, correlation: Tensor | None, relation: Tensor | None
) -> Tensor:
    """What one block adds to the calibrated path: (n, 1 + N, width) float32, no MLP and no layer norm."""
    if correlation is None:
        return _project_out(block, value)
    if relation is not None:
        # The correlation is a sum over heads, so what is added to every head counts as often as there are heads.
        correlation = correlation + value.shape[1] * F.pad(relation, (1, 0, 1, 0))
    attended = correlation.to(value.dtype) @ _join_heads(value)
    return block.ls_1(block.attn.out_proj(attended)).float()


def _spread(block: ResidualAttentionBlock, value: Tensor) -> Tensor:
    """Values, (n, heads, N, d), through the output projection without its bias: (n, N, width) float32 (step 9.4)."""
    return block.ls_1(F.linear(_join_heads(value), block.attn.out_proj.weight)).float()


def _project_out(block: ResidualAttentionBlock, attended: Tensor) -> Tensor:
    """Join the heads, (n, heads, t, d) to (n, t, width), and apply the block's output projection; float32."""
    return block.ls_1(block.attn.out_proj(_join_heads(attended))).float()


def _join_heads(parts: Tensor) -> Tensor:
    """(n, heads, t, d) to (n, t, heads · d)."""
    return parts.transpose(1, 2).flatten(2)


def _layer_norm(norm: nn.Module, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """Layer norm in float32, result in `dtype`; models without `ln_pre` have an identity there."""
    return norm(tokens).to(dtype)


def _dtype(block: ResidualAttentionBlock) -> torch.dtype:
    return block.attn.in_proj_weight.dtype
