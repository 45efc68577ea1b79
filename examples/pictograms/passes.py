"""The towers' forward passes with gradients, along the paths by which the method reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip import CLIP
from torch import Tensor

from excel_cam.method.calibration import ATTENTION_BLOCKS

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # as preset `paper` normalises
CALIBRATED = 5  # last blocks whose calibrated path is trained too


@dataclass(frozen=True)
class Seen:
    """What a batch of images leaves behind (`excel_cam.method.calibration` without gradients).

    images: (n, D) embeddings, by the same arithmetic as open_clip's. tokens: (n, 1 + N, D), class token first, then the
    patches of the calibrated path, each channel divided by its norm over the tokens, as the patch-text CAM takes them.
    attention: (n, N, N), the blocks' own attention between patches, weighed as the affinity takes it.
    """

    images: Tensor
    tokens: Tensor
    attention: Tensor

    @property
    def patches(self) -> Tensor:
        """(n, N, D): the tokens without the class token."""
        return self.tokens[:, 1:]


def encode_pixels(visual: Any, pixels: Tensor) -> Seen:
    """The images' forward pass, both paths, from (n, 3, H, W) uint8 pixels of any side that patches divide."""
    patch, width = visual.patch_size[0], visual.conv1.weight.shape[0]
    mean, deviation = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (MEAN, STD))
    pixels = (pixels.float() - mean) / deviation
    patches = pixels.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5)
    count, rows, columns = patches.shape[:3]
    tokens = F.linear(patches.reshape(count, rows * columns, -1), visual.conv1.weight.reshape(width, -1))
    positions = visual.positional_embedding
    if visual.grid_size != (rows, columns):
        grid = positions[1:].T.reshape(1, width, *visual.grid_size)
        grid = F.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=False)
        positions = torch.cat([positions[:1], grid.flatten(2)[0].T])
    tokens = torch.cat([visual.class_embedding.to(tokens.dtype).expand(count, 1, -1), tokens], dim=1)
    tokens = visual.ln_pre(tokens + positions.to(tokens.dtype))
    blocks, attention = list(visual.transformer.resblocks), []
    for block in blocks[:-CALIBRATED]:
        parts = _project(block, tokens)
        attention.append(_chances(*parts[:2])[:, :, 1:, 1:].mean(dim=1))
        tokens = tokens + _attend(block, *parts)
        tokens = tokens + block.mlp(block.ln_2(tokens))
    calibrated = tokens
    for block in blocks[-CALIBRATED:]:
        parts = _project(block, tokens)
        attention.append(_chances(*parts[:2])[:, :, 1:, 1:].sum(dim=1))
        calibrated = calibrated + _attend_alike(block, *parts)
        if block is blocks[-1]:
            tokens, parts = tokens[:, :1], (parts[0][:, :, :1], *parts[1:])
        tokens = tokens + _attend(block, *parts)
        tokens = tokens + block.mlp(block.ln_2(tokens))
    joint = (visual.ln_post(torch.cat([tokens, calibrated[:, 1:]], dim=1)) @ visual.proj).float()
    kept = torch.stack(attention[-ATTENTION_BLOCKS:]).mean(dim=0)
    return Seen(joint[:, 0], joint / joint.norm(dim=1, keepdim=True), kept.float())


def encode_words(towers: CLIP, words: Tensor) -> Tensor:
    """The text embedding; as long as the longest text, not the full context."""
    length = words.shape[1]
    states = towers.token_embedding(words) + towers.positional_embedding[:length]
    for block in towers.transformer.resblocks:
        states = states + _attend(block, *_project(block, states), towers.attn_mask[:length, :length])
        states = states + block.mlp(block.ln_2(states))
    return towers.ln_final(states)[torch.arange(len(words)), words.argmax(dim=-1)] @ towers.text_projection


def _project(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (n, heads, tokens, width of a head)."""
    attention = block.attn
    mixed = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = mixed.unflatten(2, (3, attention.num_heads, attention.head_dim)).permute(2, 0, 3, 1, 4)
    return query, key, value


def _attend(block: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    # Spelt out: for so few tokens faster to train on a CPU than the fused attention.
    chances = _chances(query, key, mask).to(value.dtype)
    return block.attn.out_proj((chances @ value).transpose(1, 2).flatten(2))


def _chances(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """(n, heads, tokens, tokens): how much each token attends to each."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return (scores if mask is None else scores + mask).softmax(dim=-1)


def _attend_alike(block: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    alike = [_chances(part, part).sum(dim=1) for part in (query, key, value)]
    correlation = (alike[0] + alike[1] + alike[2]) / 3
    attended = correlation.to(value.dtype)[:, None] @ value
    return block.attn.out_proj(attended.transpose(1, 2).flatten(2))
