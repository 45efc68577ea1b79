"""A first run without any download: drawn photographs, random weights, the real command.

    python examples/first_labels.py first-run/

It writes a small VOC-like folder and random CLIP weights, then labels the photographs exactly as real ones would be.
Because the weights are random the labels mean nothing: this shows the machinery, its files and its messages.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from generate_weights import random_state_dict, write_tiny_config
from PIL import Image, ImageDraw

from excel_cam.cli import cli

TAGS = {"meadow": "cow sheep", "street": "bus car person", "room": "cat sofa tvmonitor", "harbour": "boat person"}


def draw_photograph(seed: int) -> Image.Image:
    """A ground, a sky and a few coloured shapes, 375 × 500 pixels."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (500, 375), tuple(rng.integers(120, 230, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 230, 500, 375), fill=tuple(rng.integers(40, 140, 3).tolist()))
    for _ in range(5):
        left, top, width, height = rng.integers((0, 80, 60, 50), (400, 260, 180, 150)).tolist()
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((left, top, left + width, top + height), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return picture


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default="first-run")
def main(folder: Path) -> None:
    """Make photographs and random weights in FOLDER and label the photographs."""
    images = folder / "VOC2012" / "JPEGImages"
    images.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(TAGS):
        draw_photograph(seed).save(images / f"{name}.jpg")
    (folder / "tags.csv").write_text("name,classes\n" + "".join(f"{name},{tags}\n" for name, tags in TAGS.items()))
    (folder / "names.txt").write_text("\n".join(TAGS) + "\n")
    config = write_tiny_config(folder / "random-tiny.json")
    torch.save(random_state_dict(str(config)), folder / "random-tiny.pt")
    arguments = [
        "generate", "--dataset", "voc", "--root", folder / "VOC2012", "--tags", folder / "tags.csv",
        "--list", folder / "names.txt", "--model", config, "--weights", folder / "random-tiny.pt",
        "--png-mode", "P", "--out", folder / "labels",
    ]  # fmt: skip
    click.echo("$ excel-cam " + " ".join(map(str, arguments)), err=True)
    cli([str(argument) for argument in arguments], prog_name="excel-cam", standalone_mode=False)
    click.echo(
        f"The labels are in {folder / 'labels'}. The weights are random, so they mean nothing.\n"
        "Next: real photographs and weights, as the README's «Your data» says.",
        err=True,
    )


if __name__ == "__main__":
    main()
