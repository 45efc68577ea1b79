"""What the vote of regions is worth on a data set with masks: mIoU before and after, by where the regions come from.

    excel-cam generate --dataset demo --out labels/
    python examples/regions.py --labels labels/ --out regions.md

Two kinds of regions. Such as a segmenter would give that made so and so many mistakes: the connected parts of the
truth, background included or not, of which shares, drawn by seeds, are cut in two by a straight line, joined with a
neighbour, and made thinner at their rims (whose pixels then belong to none). And superpixels of the photographs, which
know nothing of the truth, by scikit-image; without it these rows are left out.

The last column is the 95 % interval of the difference: images drawn anew, the same for both, 2,000 times. Regions out
of the truth show what the rules do with good and bad regions, not what a segmenter's regions are worth.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from superpixels import even_regions, graph_regions
from tqdm import tqdm

from excel_cam import read_image
from excel_cam.classes import VOC_CLASSES
from excel_cam.evaluation.bootstrap import class_counts, draw_counts, interval, mean_iou
from excel_cam.evaluation.scores import confusion_matrix
from excel_cam.files.images.masks import mask_names, read_mask
from excel_cam.files.regions.id_maps import id_regions
from excel_cam.labels.regions.settings import VoteSettings
from excel_cam.labels.regions.vote import vote
from excel_cam.shipped import DEMO_TRUTH

Ids = NDArray[np.integer[Any]]
Label = NDArray[np.uint8]
Harm = Callable[[Ids, int, np.random.Generator], Ids]
SEEDS = 3
THICKEST = 4  # pixels that a rim loses at most


@dataclass(frozen=True)
class Row:
    """One source of regions. divide: (photograph, truth, random numbers) to (H, W) ids. seeds: draws, summed up."""

    name: str
    divide: Callable[[Label, Label, np.random.Generator], Ids]
    seeds: int = 1


def parts_of(truth: Label, background: bool = True) -> Ids:
    """The connected parts of each value of a mask, numbered from 1 on; without `background`, of classes alone."""
    ids = np.zeros(truth.shape, np.int32)
    for value in np.unique(truth).tolist():
        if background or value not in (0, 255):
            parts, _count = ndimage.label(truth == value)
            ids += np.where(parts > 0, parts + ids.max(), 0)
    return ids


def damaged(ids: Ids, harms: Sequence[Harm], share: float, random: np.random.Generator) -> Ids:
    """The regions after mistakes: each suffers each of the harms with this probability, one after the other."""
    for harm in harms:
        numbers = np.unique(ids[ids > 0])
        for number in numbers[random.random(numbers.size) < share].tolist():
            ids = harm(ids, number, random)
    return ids


def _cut(ids: Ids, number: int, random: np.random.Generator) -> Ids:
    """A region in two, along a line through one of its pixels at an angle."""
    rows, columns = np.nonzero(ids == number)
    through, angle = random.integers(rows.size), random.uniform(0, np.pi)
    side = (rows - rows[through]) * np.cos(angle) + (columns - columns[through]) * np.sin(angle) > 0
    result = ids.copy()
    result[rows[side], columns[side]] = ids.max() + 1
    return result


def _joined(ids: Ids, number: int, random: np.random.Generator) -> Ids:
    """A region and one of its neighbours as one."""
    around = ndimage.binary_dilation(ids == number)
    neighbours = [other for other in np.unique(ids[around]).tolist() if other not in (0, number)]
    return np.where(ids == number, random.choice(neighbours), ids) if neighbours else ids


def _thinner(ids: Ids, number: int, random: np.random.Generator) -> Ids:
    """A region without its rim; what is lost belongs to none."""
    inside = ids == number
    kept = ndimage.binary_erosion(inside, iterations=int(random.integers(1, THICKEST + 1)), border_value=1)
    return np.where(inside & ~kept, 0, ids)


def rows() -> Iterator[Row]:
    """The table's rows."""
    every = (_cut, _joined, _thinner)
    for what, background, harms, share in (
        ("truth's parts", True, (), 0.0),
        ("truth's parts, all cut", True, (_cut,), 1.0),
        ("truth's parts, all thinner", True, (_thinner,), 1.0),
        ("truth's parts, 10 % joined", True, (_joined,), 0.1),
        ("truth's parts, 10 % cut, joined, thinner", True, every, 0.1),
        ("truth's parts, 25 % cut, joined, thinner", True, every, 0.25),
        ("truth's parts, 50 % cut, joined, thinner", True, every, 0.5),
        ("truth's objects alone", False, (), 0.0),
        ("truth's objects alone, 50 % cut, joined, thinner", False, every, 0.5),
    ):

        def divide(
            _photograph: Label, truth: Label, random: np.random.Generator,
            background: bool = background, harms: Sequence[Harm] = harms, share: float = share,
        ) -> Ids:  # fmt: skip
            return damaged(parts_of(truth, background), harms, share, random)

        yield Row(what, divide, SEEDS if harms else 1)
    if find_spec("skimage") is None:
        click.echo("scikit-image is not installed: no rows of superpixels", err=True)
        return
    for count in (100, 300, 1000):
        yield Row(f"superpixels, SLIC, {count}", lambda photograph, *_, count=count: even_regions(photograph, count))
    for scale in (50, 100, 300):
        yield Row(
            f"superpixels, felzenszwalb, scale {scale}",
            lambda photograph, *_, scale=scale: graph_regions(photograph, scale),
        )


@dataclass(frozen=True)
class Scene:
    """One image's label before the vote, its truth, photograph and name."""

    name: str
    label: Label
    truth: Label
    photograph: Label


def measured(row: Row, scenes: Sequence[Scene], settings: VoteSettings) -> str:
    """A line of the table: mIoU after, its difference to before with the interval, and the pixels that changed."""
    before, after = [], []
    changed = pixels = 0
    for scene in tqdm(scenes, desc=row.name, leave=False):
        sums = [np.zeros((3, len(VOC_CLASSES) + 1), np.int64) for _ in range(2)]
        for seed in range(row.seeds):
            random = np.random.default_rng([seed, zlib.crc32(scene.name.encode())])
            ids = row.divide(scene.photograph, scene.truth, random)
            voted = vote(scene.label, id_regions(ids, ids.shape, scene.name), settings)
            for total, label in zip(sums, (scene.label, voted), strict=True):
                total += class_counts(confusion_matrix(label, scene.truth, len(VOC_CLASSES), "background"))
            changed, pixels = changed + int(np.count_nonzero(voted != scene.label)), pixels + voted.size
        before.append(sums[0])
        after.append(sums[1])
    first, second = draw_counts([np.stack(after), np.stack(before)])
    spread = interval(mean_iou(first) - mean_iou(second))
    scores = [100 * float(mean_iou(np.sum(counts, axis=0))) for counts in (before, after)]
    return (
        f"| {row.name} | {scores[1]:.1f} | {scores[1] - scores[0]:+.1f} | "
        f"{100 * spread.low:+.1f} … {100 * spread.high:+.1f} | {100 * changed / pixels:.1f} % |"
    )


@click.command()
@click.option("--labels", type=click.Path(path_type=Path), required=True, help="Labels of the data set's scenes.")
@click.option("--root", type=click.Path(path_type=Path), default=DEMO_TRUTH.parent, help="The data set; the demo.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the table to this file.")
@click.option("--only", multiple=True, help="Only the row of this name.")
@click.option("--region-share", type=float, default=VoteSettings.region_share, show_default=True)
@click.option("--component-share", type=float, default=VoteSettings.component_share, show_default=True)
def main(
    labels: Path, root: Path, out: Path | None, only: tuple[str, ...], region_share: float, component_share: float
) -> None:
    """Print a table of mIoU before and after the vote, row by row."""
    settings = VoteSettings(region_share=region_share, component_share=component_share)
    scenes = [
        Scene(
            name, read_mask(labels / f"{name}.png", len(VOC_CLASSES)),
            np.asarray(Image.open(root / "SegmentationClass" / f"{name}.png")),
            read_image(root / "JPEGImages" / f"{name}.jpg"),
        )
        for name in mask_names(labels)
    ]  # fmt: skip
    lines = ["| regions | mIoU | difference | 95 % | changed |", "|---|---|---|---|---|"]
    click.echo("\n".join(lines))
    for row in rows():
        if not only or row.name in only:
            lines.append(measured(row, scenes, settings))
            click.echo(lines[-1])
    if out is not None:
        out.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
