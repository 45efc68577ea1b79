"""What windows are worth on large photographs with small things in them: `--windows` against squeezing, measured.

    python examples/windows.py --out windows.md
    python examples/windows.py --scenes 2 --save pictures/

Scenes of 1,000 x 1,500 and 500 x 4,000 pixels are composed from the cut-outs of the demo's 48 scenes, which training
never saw: small things, of 5 to 15 % of the shorter side, and one or two large ones, on painted backgrounds. Every row
labels the same scenes with the demo model and prints mIoU on all things and on the small ones alone (large ones are
left out then), each with the 95 % interval of its difference to squeezing by paired bootstrap over scenes, and windows,
seconds a scene, and the peak memory of the process, which is the row's own.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from excel_cam.classes import IGNORE, VOC_CLASSES
from excel_cam.evaluation.bootstrap import class_counts, draw_counts, interval, mean_iou
from excel_cam.evaluation.scores import confusion_matrix
from excel_cam.shipped import DEMO_ROOT

SIZES = ((1000, 1500), (500, 4000))  # (H, W)
SMALL, LARGE = (0.05, 0.15), (0.35, 0.6)  # longest side of things, in shares of the scene's shorter side
SMALL_THINGS = 9
CLASSES_SHOWN = 3
LEAST_SIDE = 60  # pixels of a cut-out: smaller ones are not worth enlarging
FULL = 2**21  # --working-pixels that keep both sizes as they are

# Row -> settings. The demo model's own input is 256 pixels a side, so that windows of 256 are not scaled.
ROWS: dict[str, dict[str, Any]] = {
    "squeezed": {"working_pixels": FULL},
    "`--windows auto`, at 1 megapixel": {"windows": "auto"},
    "`--windows auto`": {"windows": "auto", "working_pixels": FULL},
    "`--windows 512`": {"windows": 512, "working_pixels": FULL},
}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class CutOut:
    """A thing cut out of a scene: (h, w, 4) uint8 RGBA, and its 0-based class."""

    pixels: Pixels
    index: int


@dataclass(frozen=True)
class Scene:
    """pixels: (H, W, 3) uint8. mask: (H, W) uint8 label values. is_large: (H, W) bool. tags: 0-based classes."""

    pixels: Pixels
    mask: Pixels
    is_large: NDArray[np.bool_]
    tags: tuple[int, ...]


def cut_outs() -> list[CutOut]:
    """The largest piece of each class in each of the demo's scenes."""
    found = []
    for path in sorted((DEMO_ROOT / "SegmentationClass").glob("*.png")):
        mask = np.asarray(Image.open(path))
        pixels = np.asarray(Image.open(DEMO_ROOT / "JPEGImages" / f"{path.stem}.jpg").convert("RGB"))
        for value in np.unique(mask[(mask > 0) & (mask != IGNORE)]):
            pieces, count = ndimage.label(mask == value)
            sizes = ndimage.sum_labels(pieces > 0, pieces, range(1, count + 1))
            largest = 1 + int(np.argmax(sizes))
            box = ndimage.find_objects(pieces)[largest - 1]
            piece = pieces[box] == largest
            if max(piece.shape) < LEAST_SIDE:
                continue
            alpha = np.asarray(Image.fromarray(255 * piece.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7)))
            found.append(CutOut(np.dstack([pixels[box], alpha]), int(value) - 1))
    return found


def compose(things: Sequence[CutOut], size: tuple[int, int], seed: int) -> Scene:
    """One scene of (H, W) pixels: every class shown by small things, one or two of them by a large one as well."""
    rng = np.random.default_rng(seed)
    pixels, mask = _background(rng, size), np.zeros(size, np.uint8)
    is_large, taken = np.zeros(size, bool), np.zeros(size, bool)
    classes = rng.choice(len(VOC_CLASSES), CLASSES_SHOWN, replace=False)
    wanted = [(int(index), LARGE) for index in classes[: rng.integers(1, 3)]]
    wanted += [(int(classes[place % CLASSES_SHOWN]), SMALL) for place in range(SMALL_THINGS)]
    for index, (least, most) in wanted:
        own = [thing for thing in things if thing.index == index]
        thing = own[int(rng.integers(len(own)))]
        longest = min(size) * np.exp(rng.uniform(np.log(least), np.log(most)))
        _paste(rng, thing, float(longest), pixels, mask, taken, is_large if most == LARGE[1] else None)
    return Scene(pixels, mask, is_large, tuple(sorted(int(value) - 1 for value in np.unique(mask) if value)))


def _background(rng: np.random.Generator, size: tuple[int, int]) -> Pixels:
    """A colour that changes from top to bottom, on every other scene with noise of three sizes over it."""
    height, width = size
    top, bottom = rng.uniform(60, 230, 3), rng.normal(0, 25, 3)
    image = (top + bottom * np.linspace(0, 1, height)[:, None, None]) * np.ones((1, width, 1))
    if rng.random() < 0.5:
        for cell, strength in ((200, 30), (50, 20), (4, 12)):
            grid = rng.random((max(2, height // cell), max(2, width // cell)), dtype=np.float32)
            noise = np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
            image += strength * (noise[..., None] - 0.5) * 2
    return image.clip(0, 255).astype(np.uint8)


def _paste(
    rng: np.random.Generator, thing: CutOut, longest: float, pixels: Pixels, mask: Pixels,
    taken: NDArray[np.bool_], is_large: NDArray[np.bool_] | None,
) -> None:  # fmt: skip
    """Paste a thing, perhaps mirrored, where nothing is yet; left out where no place is found."""
    height, width = thing.pixels.shape[:2]
    scale = longest / max(height, width)
    h, w = max(2, round(height * scale)), max(2, round(width * scale))
    drawn = np.asarray(Image.fromarray(thing.pixels).resize((w, h), Image.Resampling.LANCZOS)).astype(np.float32)
    drawn = drawn[:, :: -1 if rng.random() < 0.5 else 1]
    margin = 8
    for _ in range(50):
        y, x = int(rng.integers(mask.shape[0] - h)), int(rng.integers(mask.shape[1] - w))
        if not taken[max(0, y - margin) : y + h + margin, max(0, x - margin) : x + w + margin].any():
            break
    else:
        return
    here, alpha = (slice(y, y + h), slice(x, x + w)), drawn[..., 3:] / 255
    pixels[here] = (pixels[here] * (1 - alpha) + drawn[..., :3] * alpha).astype(np.uint8)
    mask[here][alpha[..., 0] > 0.5] = thing.index + 1
    taken[here] = True
    if is_large is not None:
        is_large[here] = True


def scenes(size: tuple[int, int], count: int) -> Iterator[Scene]:
    """The scenes of one size; equal count, equal scenes."""
    things = cut_outs()
    return (compose(things, size, 1000 * size[0] + 500 + seed) for seed in range(count))


@dataclass(frozen=True)
class Result:
    """confusion: (scenes, C, C) of all things and of small ones. windows: a scene. seconds: a scene. peak: bytes."""

    confusion: dict[str, NDArray[np.int64]]
    windows: int
    seconds: float
    peak: int


def measure(size: tuple[int, int], count: int, settings: dict[str, Any], name: str, pictures: Path | None) -> Result:
    """Label the scenes of one size with the demo model; the pictures are photographs with the labels over them."""
    import torch

    from excel_cam import Labeller
    from excel_cam.files.images.photographs import reduced_size
    from excel_cam.run.windows.maps import lay_on

    torch.set_num_threads(1)
    labeller = Labeller.from_pretrained(dataset="demo", settings=settings)
    chosen, patch = labeller.settings, labeller.model.patch
    width, height = reduced_size(size[::-1], chosen.working_pixels) or size[::-1]
    grid = lay_on((height, width), chosen.windows, chosen.size // patch, patch)
    found: dict[str, list[NDArray[np.int64]]] = {"all": [], "small": []}
    seconds = []
    for place, scene in enumerate(scenes(size, count)):
        started = time.monotonic()
        result = labeller.label(Image.fromarray(scene.pixels), [VOC_CLASSES[tag] for tag in scene.tags])
        seconds.append(time.monotonic() - started)
        for part, mask in (("all", scene.mask), ("small", np.where(scene.is_large, IGNORE, scene.mask))):
            found[part].append(confusion_matrix(result.label, mask, len(VOC_CLASSES), "background"))
        if pictures is not None:
            result.overlay().save(pictures / f"{size[1]}-{place}-{name.strip('`-').replace(' ', '-')}.jpg")
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux
    confusion = {part: np.stack(matrices) for part, matrices in found.items()}
    return Result(confusion, 0 if grid is None else grid.count, float(np.median(seconds)), peak)


def table(size: tuple[int, int], results: dict[str, Result]) -> Iterator[str]:
    """Markdown lines of one size's rows, the first of which the others are compared with."""
    yield f"| {size[1]:,} x {size[0]:,} | mIoU, all | difference | mIoU, small | difference | windows | time | memory |"
    yield "|---|---|---|---|---|---|---|---|"
    reference = next(iter(results.values()))
    for name, result in results.items():
        cells = [name]
        for part in ("all", "small"):
            counts, squeezed = (class_counts(one.confusion[part]) for one in (result, reference))
            cells.append(f"{100 * mean_iou(counts.sum(axis=0)):.1f}")
            ours, theirs = draw_counts([counts, squeezed])
            between = interval(100 * (mean_iou(ours) - mean_iou(theirs)))
            cells.append("" if result is reference else f"{between.low:+.1f} … {between.high:+.1f}")
        cells += [str(result.windows or "none"), f"{result.seconds:.1f} s", f"{result.peak / 1e9:.2f} GB"]
        yield f"| {' | '.join(cells)} |"


@click.command(help=__doc__)
@click.option("--scenes", "count", type=click.IntRange(2), default=12, show_default=True, help="Scenes of each size.")
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)), help="Only these rows, beside the first.")
@click.option("--save", "pictures", type=click.Path(path_type=Path), help="Folder for pictures of the labels.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the tables here too.")
def main(count: int, only: tuple[str, ...], pictures: Path | None, out: Path | None) -> None:
    """Measure every row in a process of its own and print the tables."""
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    rows = {name: settings for name, settings in ROWS.items() if not only or name in (*only, next(iter(ROWS)))}
    lines: list[str] = []
    for size in SIZES:
        results = {}
        for name, settings in rows.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                results[name] = pool.submit(measure, size, count, settings, name, pictures).result()
            click.echo(f"{size[1]} x {size[0]}, {name}: done", err=True)
        lines += [*table(size, results), ""]
        click.echo("\n".join([*table(size, results), ""]))
    if out is not None:
        out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
