"""The paper's ablation on any data set with masks in VOC's layout: what each part of the method is worth.

    python examples/ablation.py --root SET --model clip.json --weights clip.safetensors --out ablation.md
    python examples/ablation.py --root SET --only "centred blob"
    python examples/ablation.py --root SET --only "+ affinity" --against CAM

SET holds JPEGImages, SegmentationClass and tags.csv, as examples/pictograms/scenes.py writes them. Every row is mIoU
over the whole set with a 95 % interval: the images are drawn anew, with replacement, 2,000 times (bootstrap), the
same draws for all rows, so that the last column can give the interval of a row's difference to the reference row.
Where SET has a drawings.csv, the drawings are weighted anew instead: an image counts as much as the weights of its
drawings multiplied (product reweighting with exponential weights: Owen and Eckles, Bootstrapping data arrays of
arbitrary order, Annals of Applied Statistics 6, 2012), so that the interval tells how sure the figure is for other
drawings, not only for other scenes of these.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from excel_cam import build_text_bank, load_model, read_image, shipped_knowledge
from excel_cam.classes import VOC_CLASSES
from excel_cam.data.dataset import Sample
from excel_cam.data.voc import open_voc
from excel_cam.evaluation.bootstrap import DRAWS, INTERVAL, class_counts, mean_iou
from excel_cam.evaluation.scores import confusion_matrix
from excel_cam.files.lists import read_names
from excel_cam.model.words_file import recorded_settings
from excel_cam.run.labeller import Labeller
from excel_cam.settings import ModelChoice, Settings

Label = NDArray[np.uint8]
Confusion = NDArray[np.int64]
REFERENCE = "last 5 blocks"


@dataclass(frozen=True)
class Variant:
    """One row: its part of the table, and how it differs from the reference row's settings and precision."""

    part: str
    name: str
    changes: dict[str, Any]
    precision: str = "fp32"


# The reference row is preset `paper` with what is recorded with the model.
VARIANTS = (
    Variant("attention", "q-k", {"attention": "qk"}),
    Variant("attention", "v-v, last 5", {"attention": "vv"}),
    Variant("attention", "last block", {"calibrated_blocks": 1}),
    Variant("attention", REFERENCE, {}),
    Variant("TSE", "without", {"attributes": "none", "clusters": None}),
    *(Variant("TSE", f"B = {count}", {"clusters": count}) for count in (10, 40, 112, 200)),
    Variant("stages", "CAM", {"affinity": False, "refine": "none"}),
    Variant("stages", "+ affinity", {"refine": "none"}),
    Variant("stages", "CAM + PAR, no affinity", {"affinity": False}),
    Variant("stages", "+ affinity without boxes + PAR", {"box_threshold": 0.0}),
    Variant("stages", "+ affinity + CRF", {"refine": "crf"}),
    Variant("views", "+ mirrored", {"flip": True}),
    Variant("views", "+ mirrored, scales 0.75, 1, 1.5", {"flip": True, "scales": (0.75, 1.0, 1.5)}),
    Variant("precision", "bf16 forward", {}, "bf16"),
)


def centred_blob(photograph: Label, tags: Sequence[int]) -> Label:
    """An ellipse of half the image's sides in the middle, cut into one column for each tag."""
    height, width = photograph.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = ((y + 0.5) / height * 2 - 1) ** 2 + ((x + 0.5) / width * 2 - 1) ** 2 < 0.6**2
    return _in_columns(inside, tags)


def colour_saliency(photograph: Label, tags: Sequence[int]) -> Label:
    """Whatever differs in colour from the image's border by more than Otsu's threshold, one column for each tag."""
    smooth = ndimage.gaussian_filter(photograph.astype(np.float64), (3, 3, 0))
    margin = max(1, min(photograph.shape[:2]) // 12)
    edge = np.ones(photograph.shape[:2], bool)
    edge[margin:-margin, margin:-margin] = False
    border = smooth[edge]
    spread = border.std(axis=0) + 5
    distance = np.sqrt((((smooth - border.mean(axis=0)) / spread) ** 2).sum(axis=2))
    return _in_columns(distance > _otsu(distance), tags)


def _otsu(values: NDArray[np.float64]) -> float:
    """The threshold that parts values into two groups as far from each other as can be."""
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[1:] + edges[:-1]) / 2
    below, above = counts.cumsum(), counts[::-1].cumsum()[::-1]
    mean_below = (counts * centres).cumsum() / np.maximum(below, 1)
    mean_above = (counts * centres)[::-1].cumsum()[::-1] / np.maximum(above, 1)
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(edges[1:-1][between.argmax()])


def _in_columns(inside: NDArray[np.bool_], tags: Sequence[int]) -> Label:
    """Give the pixels inside to the tags from left to right, equally many each."""
    label = np.zeros(inside.shape, np.uint8)
    if not tags:
        return label
    shares = inside.sum(axis=0).cumsum()
    column = np.minimum(shares * len(tags) // max(1, int(shares[-1])), len(tags) - 1)
    values = np.array([tag + 1 for tag in tags], np.uint8)[column]
    label[inside] = np.broadcast_to(values, inside.shape)[inside]
    return label


BASELINES: dict[str, Callable[[Label, Sequence[int]], Label]] = {
    "centred blob": centred_blob,
    "colour saliency": colour_saliency,
}


def score(per_image: Confusion) -> float:
    """mIoU in percent of (n, C, C) confusion matrices together, over the classes that occur in truth or label."""
    return float(100 * mean_iou(class_counts(per_image.sum(axis=0))))


def draw_weights(shown: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """(DRAWS, n): how much each image counts, when what the images show, or else the images, are drawn anew.

    shown: names of the drawings of each image; empty for images whose drawings are not known, which count as one of
    their own. Equal input, equal draws. Where drawings are known, the images are not drawn beside them: the weights of
    its drawings make an image vary already, and what is chance about it would count twice.
    """
    rng, count = np.random.default_rng(0), len(shown)
    if not any(shown):
        weights = np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(DRAWS)])
        return weights.astype(np.float64)
    known: list[Sequence[str]] = [names or (f"image {place}",) for place, names in enumerate(shown)]
    places = {name: place for place, name in enumerate(sorted({name for names in known for name in names}))}
    # Weights of mean and variance 1, as counts have, but never 0: a class with few drawings stays in every draw.
    times = rng.exponential(size=(DRAWS, len(places)))
    own = [[places[name] for name in names] for names in known]
    weights = np.stack([times[:, rows].prod(axis=1) for rows in own], axis=1)
    return weights.astype(np.float64)


def bootstrap(per_image: Confusion, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(DRAWS,) mIoU in percent of (n, C, C) images, each counting as often as (DRAWS, n) weights say."""
    counts = class_counts(per_image)
    drawn = (weights @ counts.reshape(len(counts), -1).astype(np.float64)).reshape(-1, *counts.shape[1:])
    return 100 * mean_iou(drawn)


def read_drawings(root: Path, names: Sequence[str]) -> list[list[str]]:
    """The drawings that each image shows, from drawings.csv; none where the set has no such file."""
    path = root / "drawings.csv"
    if not path.is_file():
        return [[] for _ in names]
    with path.open(newline="") as file:
        shown = {row["name"]: row["drawings"].split() for row in csv.DictReader(file)}
    return [shown.get(name, []) for name in names]


def measure(
    samples: Sequence[Sample], truth: Path, labeller: Callable[[Label, Sequence[int]], Label], name: str
) -> Confusion:
    """(images, C, C): one confusion matrix per image."""

    def one(sample: Sample) -> Confusion:
        mask = np.asarray(Image.open(truth / f"{sample.name}.png"))
        label = labeller(read_image(sample.image_path), sample.tags)
        return confusion_matrix(label, mask, len(VOC_CLASSES), "background")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        matrices = list(tqdm(pool.map(one, samples), desc=name, total=len(samples), unit="image", disable=None))
    return np.stack(matrices)


def format_table(
    rows: Sequence[tuple[str, str, Confusion]], shown: Sequence[Sequence[str]] = (), against: str = REFERENCE
) -> str:
    """A Markdown table: part, row, mIoU and its interval, and the interval of its difference to the row `against`.

    shown: what `draw_weights` takes; by default images alone are drawn anew.
    """
    weights = draw_weights(shown or [()] * len(rows[0][2]))
    drawn = {(part, name): bootstrap(matrices, weights) for part, name, matrices in rows}
    reference = next((draws for (_part, name), draws in drawn.items() if name == against), None)
    compared = "the reference" if against == REFERENCE else against
    lines = [f"| part | row | mIoU | 95 % | against {compared} |", "|---|---|---|---|---|"]
    for part, name, matrices in rows:
        draws = drawn[part, name]
        difference = "not measured"
        if reference is not None:
            low, high = np.nanpercentile(draws - reference, INTERVAL)
            difference = "reference" if name == against else f"{low:+.1f} … {high:+.1f}"
        low, high = np.nanpercentile(draws, INTERVAL)
        lines.append(f"| {part} | {name} | {score(matrices):.1f} | {low:.1f} … {high:.1f} | {difference} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Data set in VOC's layout, with masks.")
@click.option("--list", "names_from", help="Only the names in this file.")
@click.option("--limit", type=click.IntRange(1), help="Only the first images.")
@click.option("--model", default=ModelChoice.name, show_default=True, help="As `excel-cam generate` takes it.")
@click.option("--weights", type=click.Path(path_type=Path), help="Its weights file.")
@click.option("--size", type=int, help="Input side instead of the one recorded with the model.")
@click.option("--clusters", type=int, help="B of the reference instead of the one recorded with the model.")
@click.option("--only", multiple=True, help="Only rows of this name; may be repeated.")
@click.option(
    "--against",
    type=click.Choice([*(variant.name for variant in VARIANTS), *BASELINES]),
    default=REFERENCE,
    show_default=True,
    help="The row that all others are compared with.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the table here, instead of printing it.")
def main(
    root: Path, names_from: str | None, limit: int | None, model: str, weights: Path | None, size: int | None,
    clusters: int | None, only: tuple[str, ...], against: str, out: Path | None,
) -> None:  # fmt: skip
    """Measure all rows and print the table."""
    torch.set_num_threads(1)  # images go side by side instead
    names = None if names_from is None else read_names(names_from)
    samples = open_voc(root, "train", root / "tags.csv", names).samples[:limit]
    choice = ModelChoice(model, weights=weights, precision="fp32")
    load = functools.cache(lambda precision: load_model(dataclasses.replace(choice, precision=precision)))
    given = {key: value for key, value in (("size", size), ("clusters", clusters)) if value is not None}
    reference = dataclasses.replace(Settings(), **recorded_settings(model) | given)
    chosen = {*only, against} if only else {*(variant.name for variant in VARIANTS), *BASELINES}
    rows = []
    for variant in VARIANTS:
        if variant.name not in chosen:
            continue
        settings, clip = dataclasses.replace(reference, **variant.changes), load(variant.precision)
        labeller = Labeller(clip, build_text_bank(shipped_knowledge("voc"), clip, settings), settings)
        matrices = measure(samples, root / "SegmentationClass", _one_by_one(labeller), variant.name)
        rows.append((variant.part, variant.name, matrices))
    for name, baseline in BASELINES.items():
        if name in chosen:
            rows.append(("baselines", name, measure(samples, root / "SegmentationClass", baseline, name)))
    table = format_table(rows, read_drawings(root, [sample.name for sample in samples]), against)
    text = f"{len(samples)} scenes of {root.name}, size {reference.size}, B {reference.clusters}\n\n{table}"
    if out is None:
        click.echo(text)
    else:
        out.write_text(text + "\n")


def _one_by_one(labeller: Labeller) -> Callable[[Label, Sequence[int]], Label]:
    return lambda photograph, tags: labeller.label([photograph], [tags])[0]


if __name__ == "__main__":
    main()
