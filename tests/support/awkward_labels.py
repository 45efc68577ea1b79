"""Labels with holes, pixels to ignore, folders, spaces and a turned photograph, for tools that show them to people."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from drawn import draw_photograph
from PIL import ExifTags, Image

CLASSES = ("cat", "red panda", "tea pot")
TURNED = "turned"  # its photograph's file lies on its side: EXIF's orientation 6
SIZES = {"a b": (14, 19), "sub/c": (21, 12), "empty": (10, 11), TURNED: (11, 16)}


def scene(name: str) -> np.ndarray:
    """A label: blocks of 3 x 3 pixels of a few values, and single pixels that differ."""
    height, width = SIZES[name]
    if name == "empty":
        return np.zeros((height, width), np.uint8)
    rng = np.random.default_rng(len(name) + height)
    values = np.array([0, 1, 2, 3, 255], np.uint8)
    blocks = values[rng.integers(0, 5, (height // 3 + 1, width // 3 + 1))]
    label = np.repeat(np.repeat(blocks, 3, 0), 3, 1)[:height, :width].copy()
    label[1:8, 1:8] = 1
    label[3:6, 3:6] = 0
    label[4, 4] = 2
    return label


def upright(name: str) -> np.ndarray:
    """A label as tools show it: the turned one a quarter clockwise."""
    return np.rot90(scene(name), -1) if name == TURNED else scene(name)


def make_scenes(tmp_path: Path) -> SimpleNamespace:
    """Folders of labels and photographs, a class list, and the folder to export to."""
    made = SimpleNamespace(
        labels=tmp_path / "labels", images=tmp_path / "photos", classes=tmp_path / "classes.txt", out=tmp_path / "out"
    )
    made.classes.write_text("".join(f"{name}\n" for name in CLASSES))
    for seed, (name, size) in enumerate(SIZES.items()):
        for folder in (made.labels, made.images):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(name)).save(made.labels / f"{name}.png")
        exif = Image.Exif()
        if name == TURNED:
            exif[ExifTags.Base.Orientation] = 6
        draw_photograph(*size, seed).save(made.images / f"{name}.jpg", exif=exif)
    return made


def export_arguments(made: SimpleNamespace, to: str, *more: object) -> list[object]:
    """The command that exports them with their photographs."""
    return [
        "export", "--to", to, "--labels", made.labels, "--classes", made.classes, "--images", made.images, "--out",
        made.out, *more,
    ]  # fmt: skip
