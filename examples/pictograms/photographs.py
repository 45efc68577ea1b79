"""Photographs and natural textures as backgrounds, from the packages of `sources.py` and from a folder of one's own.

    python photographs.py --sources sources/ --out run/photographs.npz
    python photographs.py --backgrounds my-photographs/ --out run/own.npz

`photographs.csv` names the pictures: none shows a thing of one of the classes, and each was looked at.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sources import PHOTOGRAPHS

CHOSEN = Path(__file__).parent / "photographs.csv"
SHORT = 480  # pixels of a photograph's shorter side, as kept
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SKY = (110, 160, 220, 255)  # behind landscapes whose sky is cut out
KEY = 0.4  # of full brightness: what a panorama's median becomes


@dataclass(frozen=True)
class Photograph:
    """jpeg: the picture, compressed. words: background words that it shows. world: `seen` or `outside`."""

    jpeg: bytes
    words: tuple[str, ...]
    world: str

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8."""
        return np.asarray(Image.open(io.BytesIO(self.jpeg)))


def _compress(image: Image.Image, words: str, world: str) -> Photograph:
    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, SKY)
        behind.alpha_composite(image)
        image = behind
    image = image.convert("RGB")
    scale = SHORT / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return Photograph(buffer.getvalue(), tuple(words.split()), world)


def _open_panorama(path: Path) -> Image.Image:
    """An OpenEXR picture that a JavaScript module holds, its light made fit for a screen."""
    try:
        import OpenEXR
    except ImportError:
        raise ImportError("panoramas need OpenEXR, which is not installed: pip install openexr") from None

    found = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text("utf-8"))
    if found is None:
        raise ValueError(f"{path}: no picture in it")
    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(base64.b64decode(found[1]))
        file.flush()
        light = OpenEXR.File(file.name).channels()["RGB"].pixels.astype(np.float32)
    light = light / (np.median(light) / KEY + 1e-6)
    screen = (light / (1 + light) * 1.35).clip(0, 1) ** (1 / 2.2)
    return Image.fromarray((255 * screen).astype(np.uint8))


def read_photographs(sources: Path) -> Iterator[Photograph]:
    """The pictures that `photographs.csv` names, in a folder that `sources.py` filled."""
    with CHOSEN.open(newline="") as file:
        for row in csv.DictReader(file):
            path = sources / row["package"] / row["file"]
            if not path.is_file():
                raise FileNotFoundError(f"{path}: not there; fetch it with: python sources.py --into {sources}")
            image = _open_panorama(path) if path.suffix == ".js" else Image.open(path)
            yield _compress(image, row["words"], PHOTOGRAPHS[row["package"]].world)


def read_folder(folder: Path) -> Iterator[Photograph]:
    """All pictures of one's own folder; what they show is not known."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"{folder}: no pictures there ({', '.join(SUFFIXES)})")
    for path in paths:
        yield _compress(Image.open(path), "", "seen")


def save_photographs(path: Path, photographs: list[Photograph]) -> None:
    """Keep photographs in one file (.npz)."""
    heads = np.array([f"{' '.join(p.words)}|{p.world}" for p in photographs])
    arrays: dict[str, Any] = {str(i): np.frombuffer(p.jpeg, np.uint8) for i, p in enumerate(photographs)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, heads=heads, **arrays)
    part.replace(path)


def load_photographs(path: Path) -> list[Photograph]:
    """Photographs as `save_photographs` kept them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; make it with: python photographs.py --sources DIR --out {path}")
    with np.load(path) as stored:
        heads = [head.split("|") for head in stored["heads"].tolist()]
        return [
            Photograph(stored[str(i)].tobytes(), tuple(words.split()), world) for i, (words, world) in enumerate(heads)
        ]


def main() -> None:
    """Collect the pictures into a file that composing and training take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--sources", type=Path, help="folder that sources.py filled")
    given.add_argument(
        "--backgrounds", type=Path, help="folder of photographs of one's own, without the classes in them"
    )
    parser.add_argument("--out", type=Path, required=True, help="photographs.npz to write")
    arguments = parser.parse_args()
    try:
        found = read_photographs(arguments.sources) if arguments.sources else read_folder(arguments.backgrounds)
        photographs = list(found)
    except (OSError, ValueError, ImportError) as error:
        parser.error(str(error))
    save_photographs(arguments.out, photographs)
    outside = sum(photograph.world == "outside" for photograph in photographs)
    print(f"{arguments.out}: {len(photographs)} pictures, {outside} of them for the world outside")


if __name__ == "__main__":
    main()
