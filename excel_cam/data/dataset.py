"""What is to be labelled: the images of PASCAL VOC, or of any folder, each with its image-level labels.

Masks are never looked at. Whether VOC's images are there is not looked at either: a run records those it cannot open.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from excel_cam.classes import MAX_CLASSES, VOC_CLASSES
from excel_cam.data.roots import RootRule, find_root
from excel_cam.errors import DataError, UsageError
from excel_cam.files.image_folder import scan_images
from excel_cam.files.lists import check_name, drop_image_suffix, quoted, read_class_list, read_names
from excel_cam.shipped import DEMO_ROOT
from excel_cam.tags.lookup import Tags
from excel_cam.tags.read import read_tags, read_voc_annotations

VOC_ROOT_VARIABLE = "EXCEL_CAM_VOC_ROOT"
VOC_DEFAULT_SPLIT = "train_aug"
VOC_TAG_FILES = ("cls_labels.npy", "cls_labels_onehot.npy")
# Split -> the names that its list may have in ImageSets/Segmentation; SBD's train_aug is spelled both ways.
VOC_SPLITS = {"train": ("train",), "train_aug": ("train_aug", "trainaug"), "val": ("val",), "trainval": ("trainval",)}


@dataclass(frozen=True)
class Sample:
    """One image to label."""

    name: str  # path under the root, with '/', without extension; also the label's name
    image_path: Path  # the file may be missing
    tags: tuple[int, ...]  # 0-based class indices, ascending, each once; may be empty


@dataclass(frozen=True)
class DataSet:
    """The images to label, in order, and what their classes are called."""

    name: str  # 'voc', 'coco', 'demo' or 'folder'
    root: Path
    class_names: tuple[str, ...]  # label order: the class at index i has label i + 1
    prompt_names: tuple[str, ...]  # what the text encoder is told, one per class
    samples: tuple[Sample, ...]  # at least one; names are unique
    tags_source: str  # the file or files that the tags come from
    notes: tuple[str, ...]  # lines worth telling the user
    split: str | None = None  # the split the images are of, None where they were named


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


def open_voc(root: Path, split: str, tags_file: Path | None, names: Sequence[str] | None) -> DataSet:
    """The images of a VOC2012 folder: those of `split`, or those of `names` in their order.

    Splits come from the devkit's own lists, else from the ids shipped here; tags from `tags_file`, else
    cls_labels.npy or cls_labels_onehot.npy in `root`, else Annotations/*.xml. `names` may lie outside the split.
    Raises UsageError for an unknown split, DataError for missing or damaged lists and tags, names that leave the
    root, and images without tags.
    """
    if split not in VOC_SPLITS:
        raise UsageError(f"unknown split {quoted(split)} of VOC; choose one of {', '.join(VOC_SPLITS)}")
    notes = []
    if names is None:
        chosen, list_source = _read_voc_split(root, split)
        notes.append(f"images: {len(chosen):,} of split {split}, from {list_source}")
    else:
        chosen = checked_names(names)
    tags, tags_source = _read_voc_tags(root, tags_file, chosen)
    notes.append(f"tags: {tags_source}")
    require_tags(chosen, tags, tags_source, "choose another --split, " if names is None else "")
    images = root / "JPEGImages"
    samples = tuple(Sample(name, images / f"{name}.jpg", tags[name]) for name in chosen)
    chosen_split = split if names is None else None
    return DataSet("voc", root, VOC_CLASSES, VOC_CLASSES, samples, tags_source, tuple(notes), chosen_split)


def open_demo(names: Sequence[str] | None) -> DataSet:
    """The 48 composed scenes that come with the package, in VOC's layout, or those of `names` in their order."""
    data = open_voc(DEMO_ROOT, "train", DEMO_ROOT / "tags.csv", names)
    return dataclasses.replace(data, name="demo")


def open_folder(
    root: Path,
    classes_file: Path,
    tags_file: Path,
    names: Sequence[str] | None,
    *,
    labels_folder: Path | None = None,
    class_limit: int = MAX_CLASSES,
) -> DataSet:
    """The images anywhere under `root`, by name, or those of `names` in their order.

    Names with tags but no image become samples too, so that a run records them as missing; `labels_folder`, where
    labels are written, is not searched. class_limit: most classes the labels hold.
    Raises DataError for damaged files, two images of one name, images without a line of tags, names that leave the
    root or are in neither, and when there is nothing to label.
    """
    class_names, prompt_names = read_class_list(classes_file, class_limit)
    scan = scan_images(root, labels_folder)
    tags = match_names(read_tags(tags_file, class_names), scan.images, str(tags_file))
    chosen = sorted(scan.images.keys() | tags.keys()) if names is None else checked_names(names)
    scan.check_names(chosen)
    for name in chosen:
        if name not in scan.images and name not in tags:
            raise DataError(f"--list: {quoted(name)} has neither an image under {root} nor a line in {tags_file}")
    require_tags(chosen, tags, str(tags_file), "")
    missing = [name for name in chosen if name not in scan.images]
    notes = list(scan.notes)
    if missing:
        notes.append(
            f"{len(missing):,} names in {tags_file} have no image under {root} (first {quoted(missing[0])}); "
            "they are recorded as failed"
        )
    samples = tuple(Sample(name, scan.images.get(name, root / f"{name}.jpg"), tags[name]) for name in chosen)
    return DataSet("folder", root, class_names, prompt_names, samples, str(tags_file), tuple(notes))


def _read_voc_split(root: Path, split: str) -> tuple[list[str], str]:
    """The names of a split and where they come from."""
    for stem in VOC_SPLITS[split]:
        path = root / "ImageSets" / "Segmentation" / f"{stem}.txt"
        if path.is_file():
            return read_names(str(path)), str(path)
    if split == "trainval":
        (train, train_source), (val, val_source) = (_read_voc_split(root, part) for part in ("train", "val"))
        return list(dict.fromkeys(train + val)), f"{train_source} and {val_source}"
    shipped = importlib.resources.files("excel_cam") / "data_lists" / f"voc_{split}.txt"
    with shipped.open(encoding="utf-8") as stream:
        return read_names(stream), "the ids that come with excel-cam"


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


def checked_names(names: Sequence[str]) -> list[str]:
    """`names`, each once and in order, after the rule for names; DataError for one that breaks it, or for none."""
    for name in names:
        check_name(name, "--list")
    if not names:
        raise DataError("--list: no names in this list; expected one per line")
    return list(dict.fromkeys(names))


def match_names(tags: Tags, known: Container[str], source: str) -> Tags:
    """`tags` by the names of images: where a name is not `known` as it stands, an image's extension is dropped."""
    matched: Tags = {}
    for written, classes in tags.items():
        name = written if written in known else drop_image_suffix(written)
        if name in matched:
            raise DataError(f"{source}: {quoted(name)} has two lines, with and without extension; keep one of them")
        matched[name] = classes
    return matched


def require_tags(names: Sequence[str], tags: Tags, source: str, advice: str) -> None:
    """DataError when a name has no tags: an image without classes has to be said, not guessed."""
    untagged = [name for name in names if name not in tags]
    if untagged:
        raise DataError(
            f"{source}: no tags for {len(untagged):,} of {len(names):,} images, first {quoted(untagged[0])}; add lines "
            f"(with empty classes for none), {advice}or narrow with --list"
        )
