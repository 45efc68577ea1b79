"""CLIP's tensors by the names that the transformers library gives them → by open_clip's names, exactly.

Only names, the order of the attention's three projections in one matrix, and two transposes differ.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

_TOWERS = {"vision_model": "visual.transformer", "text_model": "transformer"}
_IN_BLOCKS = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # spelled so
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
_BUFFER = "embeddings.position_ids"  # 0, 1, 2, ...: older files hold it
_BLOCK = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_QUERY = re.compile(r"(.+\.self_attn)\.q_proj\.(weight|bias)")


def has_transformers_names(state: dict[str, Tensor]) -> bool:
    """Whether tensors have names of the transformers library."""
    return any(key.startswith(tuple(f"{tower}." for tower in _TOWERS)) for key in state)


def to_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A whole CLIP's tensors by open_clip's names; raises ValueError where a tower is missing or it is no CLIP."""
    for tower, what in (("vision_model", "image tower"), ("text_model", "text tower")):
        if not any(key.startswith(f"{tower}.") for key in state):
            raise ValueError(
                f"holds no {what} ({tower}...); get the weights of the whole CLIP (model.safetensors of its repository)"
            )
    converted: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key in _NAMES:
            converted[_NAMES[key]] = tensor
        elif key in _TRANSPOSED:
            converted[_TRANSPOSED[key]] = tensor.T.contiguous()
        elif block := _BLOCK.fullmatch(key):
            converted |= _of_block(state, key, tensor, block)
        elif not key.endswith(_BUFFER):
            raise ValueError(
                f"is of the transformers library, but no CLIP that is read: it has tensor {key!r}; get an open_clip "
                "checkpoint of the model (open_clip_model.safetensors)"
            )
    return converted


def _of_block(state: dict[str, Tensor], key: str, tensor: Tensor, block: re.Match[str]) -> dict[str, Tensor]:
    """One tensor of a transformer block; queries, keys and values together, with the queries."""
    tower, number, module, kind = block.groups()
    prefix = f"{_TOWERS[tower]}.resblocks.{number}"
    if module in _IN_BLOCKS:
        return {f"{prefix}.{_IN_BLOCKS[module]}.{kind}": tensor}
    if query := _QUERY.fullmatch(key):
        names = [f"{query[1]}.{part}_proj.{kind}" for part in "qkv"]
        if missing := [name for name in names if name not in state]:
            raise ValueError(f"lacks the tensor {missing[0]!r}")
        return {f"{prefix}.attn.in_proj_{kind}": torch.cat([state[name] for name in names])}
    if module in ("self_attn.k_proj", "self_attn.v_proj"):
        return {}
    raise ValueError(f"has the tensor {key!r}, which no block of CLIP has")
