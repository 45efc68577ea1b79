"""Small trees in the official layouts of Pascal Context, ADE20K and Cityscapes, with drawn photographs and masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from drawn import draw_photograph
from PIL import Image

SIZE = (24, 36)  # (H, W) of every photograph
# What the four strips of a photograph's truth are, top to bottom, as indices of classes; None: nothing that is judged.
STRIPS = {"first": (0, 1, None, 3), "second": (2, 2, None, 5)}


@dataclass(frozen=True)
class Tree:
    """A data set on disk. names: of the images of its first split, in their order, with their class indices."""

    data_set: str
    root: Path
    images: Path
    masks: Path
    tags: dict[str, tuple[int, ...]]


def strips(values: tuple[int, ...]) -> np.ndarray:
    """(H, W) uint8: each value a strip of the height."""
    return np.repeat(np.array(values, np.uint8), SIZE[0] // len(values))[:, None].repeat(SIZE[1], 1)


def classes_of(strip: tuple[int | None, ...]) -> tuple[int, ...]:
    """The classes of a photograph's strips, ascending."""
    return tuple(sorted({index for index in strip if index is not None}))


def _save(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def _photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_photograph(*SIZE, seed).save(path)


def make_context(parent: Path) -> Tree:
    """VOC2010 with Pascal Context's masks as mmsegmentation converts them: 0 is background, 1..59 the classes."""
    root = parent / "VOCdevkit" / "VOC2010"
    names = {"first": "2008_000002", "second": "2008_000003"}
    for seed, (key, name) in enumerate(names.items()):
        _photograph(root / "JPEGImages" / f"{name}.jpg", seed)
        values = tuple(0 if index is None else index + 1 for index in STRIPS[key])
        _save(root / "SegmentationClassContext" / f"{name}.png", strips(values))
    _photograph(root / "JPEGImages" / "2008_000009.jpg", 9)  # of VOC2010, but not of Context
    lists = root / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2008_000002\n2008_000003\n")
    (lists / "val.txt").write_text("2008_000003\n")
    tags = {name: classes_of(STRIPS[key]) for key, name in names.items()}
    return Tree("context", root, root / "JPEGImages", root / "SegmentationClassContext", tags)


def make_ade20k(parent: Path) -> Tree:
    """ADEChallengeData2016: 0 is what belongs to none of the 150 classes, 1..150 are the classes."""
    root = parent / "ADEChallengeData2016"
    tags = {}
    for split, name, key in (
        ("training", "ADE_train_00000001", "first"), ("training", "ADE_train_00000002", "second"),
        ("validation", "ADE_val_00000001", "second"),
    ):  # fmt: skip
        _photograph(root / "images" / split / f"{name}.jpg", int(name[-1]))
        values = tuple(0 if index is None else index + 1 for index in STRIPS[key])
        _save(root / "annotations" / split / f"{name}.png", strips(values))
        if split == "training":
            tags[name] = classes_of(STRIPS[key])
    return Tree("ade20k", root, root / "images/training", root / "annotations/training", tags)


CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17)  # label ids of the first six train ids


def make_cityscapes(parent: Path, train_ids: bool = True) -> Tree:
    """Cityscapes: label ids, and the train ids that its scripts make of them; the test split's masks hold nothing."""
    root = parent / "cityscapes"
    tags = {}
    for seed, (split, name, key) in enumerate((
        ("train", "aachen/aachen_000000_000019", "first"), ("train", "bochum/bochum_000000_000313", "second"),
        ("val", "frankfurt/frankfurt_000000_000294", "second"), ("test", "berlin/berlin_000000_000019", "test"),
    )):  # fmt: skip
        _photograph(root / "leftImg8bit" / split / f"{name}_leftImg8bit.png", seed)
        strip = STRIPS.get(key, (None,) * 4)
        masks = root / "gtFine" / split
        ids = tuple(3 if index is None else CITYSCAPES_IDS[index] for index in strip)  # 3: out of roi, not judged
        _save(masks / f"{name}_gtFine_labelIds.png", strips(ids))
        _save(masks / f"{name}_gtFine_instanceIds.png", strips((1, 2, 3, 4)))
        Image.new("RGBA", SIZE[::-1]).save(masks / f"{name}_gtFine_color.png")
        (masks / f"{name}_gtFine_polygons.json").write_text("{}")
        if train_ids:
            values = tuple(255 if index is None else index for index in strip)
            _save(masks / f"{name}_gtFine_labelTrainIds.png", strips(values))
        if split == "train":
            tags[f"{name}_leftImg8bit"] = classes_of(strip)
    return Tree("cityscapes", root, root / "leftImg8bit/train", root / "gtFine/train", tags)


TREES = {"context": make_context, "ade20k": make_ade20k, "cityscapes": make_cityscapes}
