"""PASCAL VOC 2012 as a data set, and the demo, which has its layout. Masks are never looked at.

Images that are not there are no fault here: a run records those it cannot open.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from excel_cam.classes import SPLITS, VOC_CLASSES
from excel_cam.data.dataset import DataSet, Sample, require_tags
from excel_cam.data.roots import RootRule, find_root
from excel_cam.errors import DataError, UsageError
from excel_cam.files.images.image_folder import ImageScan, scan_images
from excel_cam.files.lists import read_entries
from excel_cam.shipped import DEMO_ROOT
from excel_cam.tags.lookup import Tags
from excel_cam.tags.match import match_names
from excel_cam.tags.name_finder import NameFinder
from excel_cam.tags.read import read_tags, read_voc_annotations
from excel_cam.wording import quoted

VOC_ROOT_VARIABLE = "EXCEL_CAM_VOC_ROOT"


VOC_DEFAULT_SPLIT = "train_aug"


VOC_TAG_FILES = ("cls_labels.npy", "cls_labels_onehot.npy")


# Split -> the names that its list may have in ImageSets/Segmentation; SBD's train_aug is spelled both ways.
VOC_SPLITS = {split: (split,) for split in SPLITS["voc"]} | {"train_aug": ("train_aug", "trainaug")}


_VOC_ROOT = RootRule(
    name="voc", variable=VOC_ROOT_VARIABLE, inner=("VOC2012", "VOCdevkit/VOC2012"),
    usual=("VOC2012", "VOCdevkit/VOC2012"), is_root=lambda place: os.path.isdir(place / "JPEGImages"),
    description="VOC2012 folder with JPEGImages",
)  # fmt: skip


def find_voc_root(root: Path | None, environ: Mapping[str, str], configured: Path | None = None) -> tuple[Path, str]:
    """The VOC2012 folder (the one that holds JPEGImages) and how it was found.

    `root` (`--root`) comes first, then EXCEL_CAM_VOC_ROOT in `environ`, then `configured`, from a config file; each may
    be the VOC2012 folder, VOCdevkit or its parent. Without any, VOC2012 and VOCdevkit/VOC2012 are looked for under
    `.`, `data` and `datasets`.
    Raises UsageError, naming every place tried, when there is none.
    """
    return find_root(_VOC_ROOT, root, environ, configured)


def open_voc(root: Path, split: str, tags_file: Path | None, names: Iterable[str] | None) -> DataSet:
    """The images of a VOC2012 folder: those of `split`, or those of `names` in their order.

    Splits come from the devkit's own lists, else from the ids shipped here; tags from `tags_file`, else
    cls_labels.npy or cls_labels_onehot.npy in `root`, else Annotations/*.xml. `names` may lie outside the split.
    Raises UsageError for an unknown split, DataError for missing or damaged lists and tags, names that leave the
    root, and images without tags.
    """
    files, notes = voc_images(root, split, names)
    chosen = list(files)
    tags, tags_source = _read_voc_tags(root, tags_file, chosen)
    notes.append(f"tags: {tags_source}")
    require_tags(chosen, tags, tags_source, "choose another --split, " if names is None else "")
    samples = tuple(Sample(name, path, tags[name]) for name, path in files.items())
    chosen_split = split if names is None else None
    return DataSet("voc", root, VOC_CLASSES, VOC_CLASSES, samples, tags_source, tuple(notes), chosen_split)


def voc_images(root: Path, split: str, names: Iterable[str] | None) -> tuple[dict[str, Path], list[str]]:
    """The files of a split's images by name, or of those of `names`, in order; and lines worth telling the user.

    Raises UsageError for an unknown split, DataError for a missing or damaged list and names that cannot be.
    """
    if split not in VOC_SPLITS:
        raise UsageError(f"unknown split {quoted(split)} of VOC; choose one of {', '.join(VOC_SPLITS)}")
    images = root / "JPEGImages"
    scan = scan_images(images, required=False)
    finder = NameFinder(scan.images | scan.unread, [images, root])
    notes = list(scan.notes)
    if names is None:
        entries, list_source = _read_voc_split(root, split)
        chosen = finder.names(entries)
        notes.append(f"images: {len(chosen):,} of split {split}, from {list_source}")
    else:
        chosen = finder.names(names)
    return {name: _image_path(scan, name, images) for name in chosen}, notes


def _image_path(scan: ImageScan, name: str, folder: Path) -> Path:
    """The file of an image: `.jpg`, as VOC's own are, before other endings; DataError where two others share a name."""
    if name in scan.clashes and os.path.isfile(folder / f"{name}.jpg"):
        return folder / f"{name}.jpg"
    scan.check_names([name])
    return scan.path(name, folder)


def open_demo(names: Iterable[str] | None) -> DataSet:
    """The 48 composed scenes that come with the package, in VOC's layout, or those of `names` in their order."""
    data = open_voc(DEMO_ROOT, "train", DEMO_ROOT / "tags.csv", names)
    return dataclasses.replace(data, name="demo")


def _read_voc_split(root: Path, split: str) -> tuple[dict[str, str], str]:
    """The entries of a split's list and where they come from."""
    for stem in VOC_SPLITS[split]:
        path = root / "ImageSets" / "Segmentation" / f"{stem}.txt"
        if path.is_file():
            return read_entries(str(path)), str(path)
    if split == "trainval":
        (train, train_source), (val, val_source) = (_read_voc_split(root, part) for part in ("train", "val"))
        return train | val, f"{train_source} and {val_source}"
    shipped = importlib.resources.files("excel_cam") / "data_lists" / f"voc_{split}.txt"
    with shipped.open(encoding="utf-8") as stream:
        return read_entries(stream), "the ids that come with excel-cam"


def _read_voc_tags(root: Path, tags_file: Path | None, names: Sequence[str]) -> tuple[Tags, str]:
    """The tags of at least those `names` that have any, and where they come from."""
    candidates = [tags_file] if tags_file else [root / file for file in VOC_TAG_FILES if (root / file).is_file()]
    if candidates:
        source = str(candidates[0])
        return match_names(read_tags(candidates[0], VOC_CLASSES), set(names), source), source
    annotations = root / "Annotations"
    if not annotations.is_dir():
        raise DataError(
            f"{root}: no image-level labels; looked for {', '.join(VOC_TAG_FILES)} and Annotations/*.xml there; "
            "give them with --tags"
        )
    return read_voc_annotations(annotations, names, VOC_CLASSES), str(annotations / "*.xml")
