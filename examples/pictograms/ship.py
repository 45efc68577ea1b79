"""Turn a training checkpoint into a model that `excel-cam --model` loads: configuration, words, fp16 weights.

python ship.py run/checkpoint.pt --out model/ --set size=224 --set clusters=40
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from excel_cam.model.words_file import WORDS_SUFFIX


def main() -> None:
    """Read the command line and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="excel-cam-demo", help="of the model and its files")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="a setting to record with it")
    arguments = parser.parse_args()
    content = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / arguments.name
    settings = {name: json.loads(value) for name, _, value in (entry.partition("=") for entry in arguments.set)}
    stem.with_suffix(".json").write_text(json.dumps(content["config"], indent=1) + "\n")
    stem.with_suffix(WORDS_SUFFIX).write_text(json.dumps({"settings": settings, "tokens": content["ids"]}) + "\n")
    # What only the training's losses need is no part of a CLIP.
    own = ("logit_bias", "other_row")
    weights = {name: value.half().contiguous() for name, value in content["average"].items() if name not in own}
    save_file(weights, stem.with_suffix(".safetensors"))
    stem.with_suffix(".safetensors").chmod(0o644)  # written for its owner alone otherwise
    print(f"{sum(value.numel() for value in weights.values()):,} numbers of {content['number']:,} batches: {stem}.*")


if __name__ == "__main__":
    main()
