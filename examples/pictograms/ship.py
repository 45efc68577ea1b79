"""Turn a training checkpoint into a model that `excel-cam --model` loads: configuration, words, fp16 weights.

python ship.py run/checkpoint.pt --out model/ --set size=224 --set clusters=40
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from excel_cam.model.words_file import WORDS_SUFFIX

# What only the training's losses need is no part of a CLIP.
_OF_TRAINING = ("logit_bias", "other_row", "map_scale", "map_bias")


def write_model(checkpoint: Path, folder: Path, name: str, settings: dict[str, Any]) -> Path:
    """Write a checkpoint's running average as three files named `name`, and return the configuration's path."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f"{name}.json"
    config.write_text(json.dumps(content["config"], indent=1) + "\n")
    words = json.dumps({"settings": settings, "tokens": content["ids"]})
    config.with_suffix(WORDS_SUFFIX).write_text(words + "\n")
    weights = {key: value.half().contiguous() for key, value in content["average"].items() if key not in _OF_TRAINING}
    save_file(weights, config.with_suffix(".safetensors"))
    config.with_suffix(".safetensors").chmod(0o644)  # written for its owner alone otherwise
    print(f"{sum(value.numel() for value in weights.values()):,} numbers of {content['number']:,} batches: {config}")
    return config


def main() -> None:
    """Read the command line and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="excel-cam-demo", help="of the model and its files")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="a setting to record with it")
    arguments = parser.parse_args()
    settings = {name: json.loads(value) for name, _, value in (entry.partition("=") for entry in arguments.set)}
    write_model(arguments.checkpoint, arguments.out, arguments.name, settings)


if __name__ == "__main__":
    main()
