"""Write composed scenes as a data set in VOC's layout, with exact masks and image-level tags.

    python scenes.py --drawings run/drawings.npz --out set/ --count 300 --world seen --seed 1

Worlds: `seen` (drawings that training saw), `drawing` (held out of Noto and Fluent 3D), `family` (Twemoji, of which
training saw nothing), `demo` (half of each of the last two).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from compose import CLASSES, Composer, Scene, Style, paint_pool
from drawings import Drawing, load_drawings
from PIL import Image

from excel_cam.classes import IGNORE, voc_palette

SIDES = (320, 500)  # pixels, least and most
SHOWN_FAMILIES = ("noto", "fluent")  # of which unseen drawings are taken


def chosen_drawings(drawings: list[Drawing], world: str) -> list[Drawing]:
    """The drawings of a world; things and clutter of the same families."""
    if world == "seen":
        return [d for d in drawings if d.world == "seen"]
    if world == "family":
        return [d for d in drawings if d.world == "family"]
    own = [d for d in drawings if d.family in SHOWN_FAMILIES]
    return [d for d in own if d.world == "drawing" or d.name not in CLASSES]


def compose_set(drawings: list[Drawing], world: str, count: int, seed: int) -> Iterator[Scene]:
    """`count` scenes; every class comes first in its turn. Small pieces of objects that no tag names become 255."""
    rng = np.random.default_rng((seed, *world.encode()))
    composer = Composer(chosen_drawings(drawings, world), paint_pool(rng, max(40, count // 2), 500), Style())
    order = np.concatenate([rng.permutation(len(CLASSES)) for _ in range(count // len(CLASSES) + 1)])
    done = 0
    while done < count:
        height, width = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, 2))
        scene = composer.compose(rng, height, width, int(order[done]))
        if order[done] not in scene.classes:
            continue  # its first object is hidden: another try
        untagged = ~np.isin(scene.mask, [0, *(index + 1 for index in scene.classes)])
        scene.mask[untagged] = IGNORE
        done += 1
        yield scene


def write_set(out: Path, worlds: dict[str, int], drawings: list[Drawing], seed: int) -> None:
    """Write JPEGImages, SegmentationClass, tags.csv and lists: train (all), and one for each world."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    tags, names = ["name,classes"], {}
    for world, count in worlds.items():
        names[world] = [f"{world}_{index:03d}" for index in range(count)]
        for name, scene in zip(names[world], compose_set(drawings, world, count, seed), strict=True):
            Image.fromarray(scene.pixels).save(out / "JPEGImages" / f"{name}.jpg", quality=88)
            mask = Image.fromarray(scene.mask)
            mask.putpalette(voc_palette())
            mask.save(out / "SegmentationClass" / f"{name}.png", optimize=True)
            tags.append(f"{name},{' '.join(CLASSES[index] for index in sorted(scene.classes))}")
    (out / "tags.csv").write_text("\n".join(tags) + "\n")
    lists = out / "ImageSets" / "Segmentation"
    for world, own in {"train": [n for group in names.values() for n in group], **names}.items():
        (lists / f"{world}.txt").write_text("\n".join(own) + "\n")


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", type=Path, required=True, help="drawings.npz, as training writes it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--world", choices=["seen", "drawing", "family", "demo"], required=True)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--seed", type=int, default=48)
    arguments = parser.parse_args()
    half = arguments.count // 2
    worlds = {arguments.world: arguments.count}
    if arguments.world == "demo":
        worlds = {"drawing": arguments.count - half, "family": half}
    write_set(arguments.out, worlds, load_drawings({}, None, arguments.drawings), arguments.seed)


if __name__ == "__main__":
    main()
