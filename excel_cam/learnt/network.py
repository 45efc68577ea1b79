"""The weights that are trained: adapter (step 8) and decoder (step 10), in float32, on frozen features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MLP_RATIO = 4
QUICK_GELU = 1.702  # x · logistic(1.702 x), as in CLIP's own blocks


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What decides the weights' shapes. depth, width: CLIP's blocks and token width. classes: K, without background."""

    depth: int
    width: int
    classes: int
    channels: int = 256
    decoder_blocks: int = 3
    decoder_heads: int = 8


class SlotProjection(nn.Module):
    """What one block's tokens become: linear, ReLU, linear (step 8.2)."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, channels)
        self.proj_2 = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, N, width) to (n, N, C)."""
        return self.proj_2(F.relu(self.proj(tokens)))


class Adapter(nn.ModuleDict):
    """One projection per block, under its number, then `fuse`: from CLIP's slots to the features Z (step 8.2)."""

    def __init__(self, depth: int, width: int, channels: int) -> None:
        super().__init__({str(index): SlotProjection(width, channels) for index in range(depth)})
        self["fuse"] = nn.Linear(depth * channels, channels)

    def forward(self, slots: Tensor, factors: Tensor | None = None) -> Tensor:
        """Z: (depth, n, N, width) to (n, N, C).

        factors: (n, C), what each image's channels are multiplied with while training (step 8.3); 0 drops one.
        """
        projected = [self[str(index)](tokens) for index, tokens in enumerate(slots)]
        features = self["fuse"](torch.cat(projected, dim=-1))
        return features if factors is None else features * factors[:, None]


class SelfAttention(nn.Module):
    """Multi-head self-attention, its weights named as in CLIP's blocks."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, N, C) to (n, N, C)."""
        joint = F.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in joint.chunk(3, dim=-1))
        # Spelt out: the fused kernels' gradients differ from run to run on CUDA, and N is small.
        attention = torch.softmax(query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2), dim=-1)
        return self.out_proj((attention @ value).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """A block's MLP, with QuickGELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(channels, MLP_RATIO * channels)
        self.c_proj = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, N, C) to (n, N, C)."""
        hidden = self.c_fc(tokens)
        return self.c_proj(hidden * torch.sigmoid(QUICK_GELU * hidden))


class DecoderBlock(nn.Module):
    """x += attention(ln_1(x)), x += mlp(ln_2(x)); norms with ε = 1e-5."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(channels)
        self.ln_2 = nn.LayerNorm(channels)
        self.attn = SelfAttention(channels, heads)
        self.mlp = Perceptron(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, N, C) to (n, N, C)."""
        tokens = tokens + self.attn(self.ln_1(tokens))
        return tokens + self.mlp(self.ln_2(tokens))


class Decoder(nn.ModuleDict):
    """Blocks under their numbers, then `pred`: from Z to class scores on the patch grid (step 10)."""

    def __init__(self, shape: NetworkShape) -> None:
        blocks = {str(i): DecoderBlock(shape.channels, shape.decoder_heads) for i in range(shape.decoder_blocks)}
        super().__init__(blocks)
        self.blocks = shape.decoder_blocks
        self["pred"] = nn.Linear(shape.channels, 1 + shape.classes)

    def forward(self, features: Tensor, side: int) -> Tensor:
        """Z, (n, N, C), to scores (n, 1 + K, side, side), background first; N = side²."""
        for index in range(self.blocks):
            features = self[str(index)](features)
        return self["pred"](features).transpose(1, 2).unflatten(2, (side, side))


class Network(nn.Module):
    """Adapter and decoder. The start is PyTorch's own, except where step 10 says otherwise, and decided by `seed`."""

    def __init__(self, shape: NetworkShape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay his own
            torch.manual_seed(seed)
            self.adapter = Adapter(shape.depth, shape.width, shape.channels)
            self.decoder = Decoder(shape)
