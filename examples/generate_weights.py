"""Write random weights for a CLIP architecture, in OpenAI's layout: for trying the machinery, not for labels.

    python examples/generate_weights.py --model ViT-B-16-quickgelu --out weights.pt

Labels made with such weights mean nothing. Real weights come with `--pretrained openai`.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import open_clip
import torch
from torch import Tensor

from excel_cam.model.weights import quiet_logs

TINY_CONFIG = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 7, "width": 128, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def write_tiny_config(path: Path) -> Path:
    """Write the configuration of a CLIP small enough to label a photograph in a blink."""
    path.write_text(json.dumps(TINY_CONFIG))
    return path


def random_state_dict(model: str, seed: int = 0) -> dict[str, Tensor]:
    """Random float32 tensors by name for an open_clip model name or configuration file.

    Larger than usual initial values, so that attention, biases and norms all leave a trace in the result.
    """
    if model.endswith(".json"):
        open_clip.add_model_config(model)
        model = Path(model).stem
    generator = torch.Generator().manual_seed(seed)
    with quiet_logs():  # open_clip warns of weights that are random, as these are meant to be
        state = open_clip.create_model(model, pretrained=None).state_dict()
    for name, tensor in state.items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith(("ln_1.weight", "ln_2.weight", "ln_pre.weight", "ln_post.weight", "ln_final.weight")):
            state[name] = 1 + 0.1 * noise
        elif name.endswith("in_proj_weight"):
            state[name] = 1.5 * noise / tensor.shape[1] ** 0.5
        elif name.endswith("bias"):
            state[name] = 0.1 * noise
        elif tensor.ndim >= 2 or name.endswith("class_embedding"):
            fan_in = tensor[0].numel() if name.endswith(".weight") else tensor.shape[0]
            state[name] = 0.5 * noise if "embedding" in name else noise / fan_in**0.5
    return state


@click.command()
@click.option("--model", default="ViT-B-16-quickgelu", show_default=True, help="open_clip name or configuration file.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(model: str, seed: int, out: Path) -> None:
    """Write random weights for MODEL, in OpenAI's layout, to OUT."""
    torch.save(random_state_dict(model, seed), out)
    click.echo(f"{out}: random weights for {model}; labels made with them mean nothing")


if __name__ == "__main__":
    main()
