"""Write composed scenes as a data set in VOC's layout, with exact masks and image-level tags.

    python scenes.py --drawings run/drawings.npz --out set/ --count 300 --world seen --seed 1
    python scenes.py --drawings run/drawings.npz --photographs run/photographs.npz --out set/ --world outside

Worlds: `seen` (drawings that training saw), `drawing` (held out with all of nearly their shape), `family` (Twemoji, of
which training saw nothing), `demo` (half of each of the last two), `outside` (families that training saw nothing of;
a third of the scenes each before photographs that training did not see, before plain ones, and with clutter).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from backgrounds import Background
from compose import CLASSES, Composer, Scene, Style, paint_pool, photograph_pool
from drawings import Drawing, load_drawings
from photographs import Photograph, load_photographs
from PIL import Image

from excel_cam.classes import IGNORE, voc_palette

SIDES = (320, 500)  # pixels, least and most


def chosen_drawings(drawings: list[Drawing], world: str) -> list[Drawing]:
    """The drawings of a world; things and clutter of the same families, or of training where these have none."""
    own = [d for d in drawings if d.world == world]
    if world in ("seen", "family"):
        return own
    families = {d.family for d in own}
    loose = [d for d in drawings if d.name not in CLASSES and d.family in families]
    return [d for d in own if d.name in CLASSES] + loose


def compose_set(
    drawings: list[Drawing], world: str, count: int, seed: int, photographs: Sequence[Photograph] = ()
) -> Iterator[Scene]:
    """`count` scenes; every class comes first in its turn. Small pieces of objects that no tag names become 255."""
    rng = np.random.default_rng((seed, *world.encode()))
    own = [p for p in photographs if p.world == ("outside" if world == "outside" else "seen")]
    pool = paint_pool(rng, max(40, count // 2), 500)
    pictures = photograph_pool(rng, own, max(40, count // 2) if own else 0, (), 500)
    composer = Composer(chosen_drawings(drawings, world), pool, Style(), pictures)
    styles = [composer.style]
    if world == "outside":
        plain = [Background(np.full((64, 64, 3), rng.integers(0, 256, 3), np.uint8), ()) for _ in range(40)]
        styles = [Style(clutter=0), Style(clutter=0), Style(clutter=5)]
    order = np.concatenate([rng.permutation(composer.classes) for _ in range(count // len(composer.classes) + 1)])
    done = 0
    while done < count:
        height, width = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, 2))
        composer.style = styles[done % len(styles)]
        if world == "outside":
            composer.photographic = float(done % 3 == 0)
            composer.backgrounds = plain if done % 3 == 1 else pool
        scene = composer.compose(rng, height, width, int(order[done]))
        if order[done] not in scene.classes:
            continue  # its first object is hidden: another try
        untagged = ~np.isin(scene.mask, [0, *(index + 1 for index in scene.classes)])
        scene.mask[untagged] = IGNORE
        done += 1
        yield scene


def write_set(
    out: Path, worlds: dict[str, int], drawings: list[Drawing], seed: int, photographs: Sequence[Photograph] = ()
) -> None:
    """Write JPEGImages, SegmentationClass, tags.csv, drawings.csv and lists: train (all), and one for each world."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    tags, names, shown = ["name,classes"], {}, ["name,drawings"]
    for world, count in worlds.items():
        names[world] = [f"{world}_{index:03d}" for index in range(count)]
        for name, scene in zip(names[world], compose_set(drawings, world, count, seed, photographs), strict=True):
            Image.fromarray(scene.pixels).save(out / "JPEGImages" / f"{name}.jpg", quality=88)
            mask = Image.fromarray(scene.mask)
            mask.putpalette(voc_palette())
            mask.save(out / "SegmentationClass" / f"{name}.png", optimize=True)
            shown.append(f"{name},{' '.join(sorted(scene.drawings))}")
            tags.append(f"{name},{' '.join(CLASSES[index] for index in sorted(scene.classes))}")
    (out / "tags.csv").write_text("\n".join(tags) + "\n")
    (out / "drawings.csv").write_text("\n".join(shown) + "\n")
    lists = out / "ImageSets" / "Segmentation"
    for world, own in {"train": [n for group in names.values() for n in group], **names}.items():
        (lists / f"{world}.txt").write_text("\n".join(own) + "\n")


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", type=Path, required=True, help="drawings.npz, as drawings.py writes it")
    parser.add_argument("--photographs", type=Path, help="as photographs.py writes it: backgrounds of some scenes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--world", choices=["seen", "drawing", "family", "demo", "outside"], required=True)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--seed", type=int, default=48)
    arguments = parser.parse_args()
    half = arguments.count // 2
    worlds = {arguments.world: arguments.count}
    if arguments.world == "demo":
        worlds = {"drawing": arguments.count - half, "family": half}
    try:
        drawings = load_drawings(arguments.drawings)
        photographs = load_photographs(arguments.photographs) if arguments.photographs else []
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if arguments.world == "outside" and not photographs:
        parser.error("--world outside: its photographs come with --photographs FILE")
    write_set(arguments.out, worlds, drawings, arguments.seed, photographs)


if __name__ == "__main__":
    main()
