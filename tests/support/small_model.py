"""A small image tower, text rows and trained weights, drawn at random: as much of a model as the trained half needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor

from excel_cam.learnt.network import Network, NetworkShape


@dataclass
class SmallModel:
    """Stands for a ClipModel."""

    visual: VisionTransformer
    patch: int
    name: str = "small"
    fingerprint: str = "f" * 64
    precision: str = "fp32"
    backend: str = "torch"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass
class SmallBank:
    """Stands for a TextBank."""

    text: np.ndarray
    foreground: int
    names: tuple[str, ...]
    has_background: bool = True


def small_model(seed: int, *, width: int = 32, heads: int = 2, layers: int = 7, grid: int = 4, embed: int = 12) -> Any:
    """P = 8, trained on a grid × grid of patches; every weight leaves a trace in the result."""
    visual = VisionTransformer(8 * grid, 8, width, layers, heads, 2.0, output_dim=embed, act_layer=QuickGELU).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in visual.named_parameters():
        parameter.data.copy_(_drawn(name, parameter, generator))
    return SmallModel(visual.requires_grad_(False), 8)


def small_bank(seed: int, classes: int, background: int, embed: int = 12) -> Any:
    """Unit rows, foreground first."""
    text = np.random.default_rng(seed).normal(size=(classes + background, embed))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    names = tuple(f"row {index}" for index in range(len(text)))
    return SmallBank(text.astype(np.float32), classes, names)


def small_network(seed: int, model: Any, classes: int, channels: int = 24, blocks: int = 2, heads: int = 3) -> Network:
    """Trained weights of a size at which relations and scores differ from patch to patch."""
    visual = model.visual
    shape = NetworkShape(
        depth=len(visual.transformer.resblocks), width=visual.conv1.out_channels, classes=classes, channels=channels,
        decoder_blocks=blocks, decoder_heads=heads,
    )  # fmt: skip
    network = Network(shape, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        parameter.data.copy_(_drawn(name, parameter, generator))
    return network


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """A module's weights in float64, for the reference."""
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}


def _drawn(name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(parameter.shape, generator=generator)
    if "ln_" in name and name.endswith("weight"):
        return 1 + 0.1 * noise
    if name.endswith("bias"):
        return 0.1 * noise
    if name.endswith("in_proj_weight"):
        return 1.5 * noise / parameter.shape[1] ** 0.5
    if name == "proj":
        return noise / parameter.shape[0] ** 0.5
    if name.endswith("weight"):
        return noise / parameter[0].numel() ** 0.5
    return 0.5 * noise
