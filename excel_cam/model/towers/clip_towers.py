"""CLIP's image and text tower as modules of our own, with the parameters' names and the arithmetic of open_clip's.

They cover the configurations of CLIP's usual make, byte for byte; `covers` says which. open_clip builds all others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

# What a configuration may say here, with open_clip's defaults.
_VISION = {"image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "head_width": 64}
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
_FACTORS = {"mlp_ratio", "ls_init_value"}
# What is larger was not meant, and open_clip finds the words for it.
_LARGEST = 1 << 20  # of any size
_MOST_LAYERS = 256


def covers(config: Mapping[str, Any]) -> bool:
    """Whether `ClipTowers` is what open_clip would build: class token, causal text, pooled at its end."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not (
        config.keys() <= {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
        and vision.keys() <= _VISION.keys() | _FACTORS | {"no_ln_pre"}
        and text.keys() <= _TEXT.keys() | _FACTORS
        and all(type(flag) is bool for flag in (config.get("quick_gelu", False), vision.get("no_ln_pre", False)))
    ):
        return False
    image, words = _VISION | vision, _TEXT | text
    sizes = [config["embed_dim"], *(image[key] for key in _VISION), *(words[key] for key in _TEXT)]
    factors = [part[key] for part in (vision, text) for key in _FACTORS & part.keys()]
    return (
        all(type(size) is int and 1 <= size <= _LARGEST for size in sizes)
        and all(type(factor) in (int, float) and 0 < factor <= _MOST_LAYERS for factor in factors)
        and max(image["layers"], words["layers"]) <= _MOST_LAYERS
        and image["patch_size"] <= image["image_size"]
        and image["width"] % image["head_width"] == 0
        and words["width"] % words["heads"] == 0
    )


class QuickGELU(nn.Module):
    """OpenAI's activation: x · sigmoid(1.702 · x)."""

    def forward(self, states: Tensor) -> Tensor:
        """Of any shape."""
        return states * torch.sigmoid(1.702 * states)


class LayerScale(nn.Module):
    """A factor for each channel of what a block adds."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), float(initial)))

    def forward(self, states: Tensor) -> Tensor:
        """(..., width) to the same."""
        return states * self.gamma


class _Unset:
    """A part whose parameters are not given initial values: weights replace them all, and drawing them takes longer."""

    def reset_parameters(self) -> None:
        """Do nothing."""

    _reset_parameters = reset_parameters  # its name in an attention


class _Linear(_Unset, nn.Linear):
    pass


class _Convolution(_Unset, nn.Conv2d):
    pass


class _Embedding(_Unset, nn.Embedding):
    pass


class _Attention(_Unset, nn.MultiheadAttention):
    pass


class Block(nn.Module):
    """Attention, then an MLP, each behind a layer norm and added to what came in."""

    def __init__(self, width: int, heads: int, part: Mapping[str, Any], activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        inner, scale = int(width * part.get("mlp_ratio", 4.0)), part.get("ls_init_value")

        def layer_scale() -> nn.Module:
            return nn.Identity() if scale is None else LayerScale(width, scale)

        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads, batch_first=True)
        self.ls_1 = layer_scale()
        self.ln_2 = nn.LayerNorm(width)
        layers = (("c_fc", _Linear(width, inner)), ("gelu", activation()), ("c_proj", _Linear(inner, width)))
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ls_2 = layer_scale()

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(n, t, width) to the same; mask: (t, t) added to the attention's scores."""
        normed = self.ln_1(states)
        attended = self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        states = states + self.ls_1(attended)
        return cast(Tensor, states + self.ls_2(self.mlp(self.ln_2(states))))


class Transformer(nn.Module):
    """Blocks, one after the other."""

    def __init__(
        self, width: int, layers: int, heads: int, part: Mapping[str, Any], activation: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([Block(width, heads, part, activation) for _ in range(layers)])

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(n, t, width) to the same; mask: (t, t)."""
        for block in self.resblocks:
            states = block(states, mask)
        return states


class ImageTower(nn.Module):
    """The image tower's parts; `method.calibration` computes with them."""

    def __init__(self, vision: Mapping[str, Any], embed_dim: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        sizes = _VISION | dict(vision)
        width, patch, side = sizes["width"], sizes["patch_size"], sizes["image_size"] // sizes["patch_size"]
        self.patch_size, self.grid_size = (patch, patch), (side, side)
        self.conv1 = _Convolution(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(side * side + 1, width))
        self.ln_pre = nn.Identity() if vision.get("no_ln_pre") else nn.LayerNorm(width)
        heads = width // sizes["head_width"]
        self.transformer = Transformer(width, sizes["layers"], heads, vision, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, embed_dim))


class ClipTowers(nn.Module):
    """Both towers, without values until weights are put in; see `build_towers`."""

    attn_mask: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        activation = QuickGELU if config.get("quick_gelu") else nn.GELU
        text = _TEXT | config["text_cfg"]
        self.context_length, self.vocab_size = text["context_length"], text["vocab_size"]
        self.visual = ImageTower(config["vision_cfg"], config["embed_dim"], activation)
        self.transformer = Transformer(text["width"], text["layers"], text["heads"], config["text_cfg"], activation)
        self.token_embedding = _Embedding(text["vocab_size"], text["width"])
        self.positional_embedding = nn.Parameter(torch.empty(text["context_length"], text["width"]))
        self.ln_final = nn.LayerNorm(text["width"])
        self.text_projection = nn.Parameter(torch.empty(text["width"], config["embed_dim"]))
        self.logit_scale = nn.Parameter(torch.empty([]))
        # Each token sees itself and those before it.
        mask = torch.full((self.context_length,) * 2, float("-inf")).triu_(1)
        self.register_buffer("attn_mask", mask, persistent=False)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(n, t) int64, each text's end its greatest number, to (n, D) float32."""
        states = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        mask = self.attn_mask[: tokens.shape[1], : tokens.shape[1]]
        states = self.ln_final(self.transformer(states, mask))
        return cast(Tensor, states[torch.arange(len(tokens)), tokens.argmax(dim=-1)] @ self.text_projection)


def build_towers(config: Mapping[str, Any]) -> ClipTowers:
    """Towers on the CPU in float32, in evaluation mode; their parameters hold nothing: weights have to replace all."""
    return ClipTowers(config).eval()
