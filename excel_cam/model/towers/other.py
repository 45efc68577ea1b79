"""Models of rarer makes: open_clip itself builds them and reads their texts. Importing it takes seconds."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from excel_cam.errors import ModelError
from excel_cam.model.towers.configuration import register
from excel_cam.model.weights import first_line, quiet_logs


def build_with_open_clip(name: str, config: dict[str, Any]) -> tuple[Any, Any]:
    """open_clip's towers, in evaluation mode, with random weights, and its tokenizer; raises `ModelError`."""
    import open_clip

    with quiet_logs():  # open_clip warns of random weights
        try:
            register(name)
            towers = open_clip.create_model(name, pretrained=None, load_weights=False, pretrained_text=False).eval()
            return towers, open_clip.SimpleTokenizer(**config["text_cfg"].get("tokenizer_kwargs", {}))
        except Exception as error:  # odd values in a configuration lead open_clip into whatever comes
            raise ModelError(f"model {name} cannot be built: {first_line(error)}") from None


def encode_with_open_clip(towers: Any, tokens: Tensor) -> Tensor:
    """(n, t) tokens to (n, D) text embeddings by open_clip's towers, without their padding where it cannot matter."""
    import open_clip

    if not isinstance(towers, open_clip.CLIP) or towers.text_pool_type != "argmax" or towers.attn_mask is None:
        return cast(Tensor, towers.encode_text(tokens))
    length = int(tokens.argmax(dim=-1).max()) + 1
    tokens = tokens[:, :length]
    states = towers.token_embedding(tokens) + towers.positional_embedding[:length]
    states = towers.ln_final(towers.transformer(states, attn_mask=towers.attn_mask[:length, :length]))
    pooled = states[torch.arange(len(tokens)), tokens.argmax(dim=-1)]
    projection = towers.text_projection
    if projection is None:
        return cast(Tensor, pooled)
    return cast(Tensor, projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection)
