"""From labels to a trained segmenter: a compact network learns from label PNGs alone, and is measured on true masks.

    excel-cam generate --dataset demo --out labels/
    python examples/train_segmenter.py --labels labels/ --out segmenter/
    python examples/train_segmenter.py --root SET --labels labels/ --out segmenter/ --held-out OTHER

SET and OTHER are in VOC's layout with masks, as examples/pictograms/scenes.py writes them; the scenes that come with
excel-cam if --root is left out. Without --held-out every fourth image is kept from training and measured apart. Label
value 255 is left out of the loss. The network sees no tags; true masks are read only to measure. It starts from random
weights, so that what it knows, it knows from the labels; a real segmenter would start from pretrained ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from excel_cam import evaluate_labels
from excel_cam.classes import IGNORE, VOC_CLASSES, voc_palette
from excel_cam.files.lists import read_names
from excel_cam.shipped import DEMO_ROOT

STRIDE = 16  # of the deepest features
Pixels = NDArray[np.uint8]


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, dilation, dilation, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.shortcut(x))


class Segmenter(nn.Module):
    """An encoder of strides 4, 8 and 16, dilated at the end, and a decoder that adds the finer features back."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(), Residual(width, width, 2)
        )
        self.middle = Residual(width, 2 * width, 2)
        self.deep = nn.Sequential(
            Residual(2 * width, 4 * width, 2), Residual(4 * width, 4 * width), Residual(4 * width, 4 * width, 1, 2)
        )
        self.from_deep = nn.Conv2d(4 * width, 2 * width, 1)
        self.from_middle = nn.Sequential(Residual(2 * width, 2 * width), nn.Conv2d(2 * width, width, 1))
        self.last = nn.Sequential(Residual(width, width), nn.Conv2d(width, classes, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, h, w) float32 of about unit variance, sides multiples of 16, to (n, classes, h, w) logits."""
        fine = self.stem(pixels)
        middle = self.middle(fine)
        middle = middle + F.interpolate(self.from_deep(self.deep(middle)), scale_factor=2.0, mode="bilinear")
        fine = fine + F.interpolate(self.from_middle(middle), scale_factor=2.0, mode="bilinear")
        return F.interpolate(self.last(fine), size=pixels.shape[-2:], mode="bilinear")


def read_pair(root: Path, labels: Path, name: str) -> tuple[Pixels, Pixels]:
    """One image (h, w, 3) and its label (h, w)."""
    image = np.asarray(Image.open(root / "JPEGImages" / f"{name}.jpg").convert("RGB"))
    return image, np.asarray(Image.open(labels / f"{name}.png"))


def augmented(rng: np.random.Generator, image: Pixels, label: Pixels, side: int) -> tuple[NDArray[np.float32], Pixels]:
    """A crop of side x side at a random scale, mirrored half the time, in other light; outside the image is ignored."""
    scale = side / min(image.shape[:2]) * np.exp(rng.uniform(np.log(0.8), np.log(2.0)))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    pixels: NDArray[np.float32] = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), np.float32)
    values = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    rows, columns = max(0, side - size[1]), max(0, side - size[0])
    pixels = np.pad(pixels, ((0, rows), (0, columns), (0, 0)), mode="edge")
    values = np.pad(values, ((0, rows), (0, columns)), constant_values=IGNORE)
    y, x = (int(rng.integers(extent - side + 1)) for extent in values.shape)
    pixels, values = pixels[y : y + side, x : x + side], values[y : y + side, x : x + side]
    if rng.random() < 0.5:
        pixels, values = pixels[:, ::-1], values[:, ::-1]
    light = rng.uniform(0.7, 1.3) * np.exp(rng.normal(0, 0.1, 3))
    return _scaled(pixels * light.astype(np.float32) + np.float32(rng.normal(0, 15))), values


def _scaled(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return (pixels.clip(0, 255).transpose(2, 0, 1) / 255 - 0.5) * 4


def train(
    pairs: Sequence[tuple[Pixels, Pixels]], steps: int, batch: int, side: int, width: int, seed: int
) -> Segmenter:
    """A segmenter trained with cross-entropy, AdamW and a one-cycle learning rate; the same for the same seed."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Segmenter(len(VOC_CLASSES) + 1, width).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps, pct_start=0.1)
    progress = tqdm(range(steps), desc="training", unit="step", disable=None)
    for _ in progress:
        drawn = [pairs[index] for index in rng.integers(len(pairs), size=batch)]
        chosen = [augmented(rng, image, label, side) for image, label in drawn]
        pixels = torch.from_numpy(np.stack([image for image, _ in chosen]))
        values = torch.from_numpy(np.stack([label for _, label in chosen]).astype(np.int64))
        logits = network(pixels.contiguous(memory_format=torch.channels_last))
        # A batch may hold nothing but 255, whose mean would be NaN.
        loss = F.cross_entropy(logits, values, ignore_index=IGNORE, reduction="sum")
        loss = loss / (values != IGNORE).sum().clamp(min=1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    return network.eval()


@torch.inference_mode()
def predict(network: Segmenter, image: Pixels, side: int) -> Pixels:
    """(h, w) label values of an (h, w, 3) image, seen with its shorter side at 1.25 times the crops' side."""
    factor = 1.25 * side / min(image.shape[:2])
    height, width = (max(1, round(extent * factor / STRIDE)) * STRIDE for extent in image.shape[:2])
    pixels = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    logits = network(torch.from_numpy(_scaled(pixels))[None])
    logits = F.interpolate(logits, size=image.shape[:2], mode="bilinear")
    return np.asarray(logits[0].argmax(dim=0).to(torch.uint8))


def measure(network: Segmenter, root: Path, names: Sequence[str], out: Path, side: int) -> float:
    """Write predictions for the images named and return their mIoU in percent."""
    out.mkdir(parents=True, exist_ok=True)
    for name in tqdm(names, desc=f"predicting {out.name}", unit="image", disable=None):
        label = Image.fromarray(
            predict(network, np.asarray(Image.open(root / f"JPEGImages/{name}.jpg").convert("RGB")), side)
        )
        label.putpalette(voc_palette())
        label.save(out / f"{name}.png")
    return miou(out, root, names)


def miou(labels: Path, root: Path, names: Sequence[str]) -> float:
    """mIoU in percent of the labels of the images named."""
    return evaluate_labels(labels, root / "SegmentationClass", VOC_CLASSES, names).mean_iou * 100


def _names(root: Path) -> list[str]:
    return read_names(str(root / "ImageSets" / "Segmentation" / "train.txt"))


@click.command(help=__doc__)
@click.option("--labels", type=click.Path(path_type=Path, exists=True), required=True, help="Label PNGs to learn from.")
@click.option("--root", type=click.Path(path_type=Path, exists=True), default=DEMO_ROOT, help="The images' data set.")
@click.option("--held-out", type=click.Path(path_type=Path, exists=True), help="A data set to measure on apart.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the network and predictions.")
@click.option("--steps", type=click.IntRange(1), default=1500, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=16, show_default=True, help="Crops in one step.")
@click.option("--side", type=click.IntRange(32), default=128, show_default=True, help="Side of the crops, in pixels.")
@click.option("--width", type=click.IntRange(4), default=32, show_default=True, help="Channels of the first layer.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(
    labels: Path, root: Path, held_out: Path | None, out: Path, steps: int, batch: int, side: int, width: int, seed: int
) -> None:
    """Train, predict, and print a table."""
    names = _names(root)
    learnt = names if held_out else [name for place, name in enumerate(names) if place % 4]
    apart = _names(held_out) if held_out else names[::4]
    started = time.monotonic()
    network = train(
        [read_pair(root, labels, name) for name in learnt], steps, batch, side // STRIDE * STRIDE, width, seed
    )
    minutes = (time.monotonic() - started) / 60
    out.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), out / "segmenter.pt")
    rows = [
        ("the labels learnt from", learnt, miou(labels, root, learnt)),
        ("the segmenter, on the images learnt from", learnt, measure(network, root, learnt, out / "learnt", side)),
        ("the segmenter, on images held out", apart, measure(network, held_out or root, apart, out / "held_out", side)),
    ]
    if not held_out:
        rows.append(("labels of the images held out", apart, miou(labels, root, apart)))
    size = sum(parameter.numel() for parameter in network.parameters())
    click.echo(f"{size:,} parameters, {steps:,} steps of {batch} crops of {side} pixels: {minutes:.1f} min\n")
    click.echo("| what | images | mIoU |\n|---|---|---|")
    for what, chosen, value in rows:
        click.echo(f"| {what} | {len(chosen)} | {value:.1f} |")


if __name__ == "__main__":
    main()
