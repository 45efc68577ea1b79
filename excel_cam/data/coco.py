"""COCO as a data set: where it is found, and which images and tags a split gives. Masks are never looked at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from excel_cam.classes import COCO_CLASSES, SPLITS
from excel_cam.data.dataset import DataSet, Sample, require_tags
from excel_cam.data.roots import RootRule, find_root
from excel_cam.errors import DataError, UsageError
from excel_cam.files.images.image_folder import scan_images
from excel_cam.tags.coco_json import Instances, instances_tags, read_image_list, read_instances
from excel_cam.tags.lookup import Tags, coco_number
from excel_cam.tags.match import match_coco_names
from excel_cam.tags.name_finder import NameFinder, composed
from excel_cam.tags.read import read_tags
from excel_cam.wording import quoted

COCO_ROOT_VARIABLE = "EXCEL_CAM_COCO_ROOT"
COCO_SPLITS = SPLITS["coco"]
COCO_DEFAULT_SPLIT = "train2014"  # what the paper and its field train on


def _is_coco(place: Path) -> bool:
    return os.path.isdir(place / "annotations") or bool(_splits_present(place))


_COCO_ROOT = RootRule(
    name="coco", variable=COCO_ROOT_VARIABLE, inner=("COCO", "coco"), usual=("COCO", "coco"), is_root=_is_coco,
    description=f"COCO folder, with annotations or {', '.join(COCO_SPLITS)}",
)  # fmt: skip


def find_coco_root(root: Path | None, environ: Mapping[str, str], configured: Path | None = None) -> tuple[Path, str]:
    """The COCO folder (the one that holds `annotations` or a split's images) and how it was found.

    `root` (`--root`) comes first, then EXCEL_CAM_COCO_ROOT in `environ`, then `configured`, from a config file; each
    may be the folder or its parent. Without any, COCO and coco are looked for under `.`, `data` and `datasets`.
    Raises UsageError, naming every place tried, when there is none.
    """
    return find_root(_COCO_ROOT, root, environ, configured)


@dataclass(frozen=True)
class _Split:
    """The images of a split and the tags read for them."""

    files: dict[str, Path]  # name of an image -> its file
    listed_in: Path
    tags: Tags
    notes: tuple[str, ...]


def default_split(root: Path) -> str:
    """The split to take where none is asked for: train2014, or the only one whose images are there."""
    there = _splits_present(root)
    return there[0] if len(there) == 1 else COCO_DEFAULT_SPLIT


def open_coco(root: Path, split: str, tags_file: Path | None, names: Iterable[str] | None) -> DataSet:
    """The images of a COCO split, or those of `names` in their order.

    Images and tags come from annotations/instances_<split>.json. `tags_file` replaces its tags; then, without that
    JSON, the images are those in the split's folder. An image's name is its file name without extension; in `names`
    and `tags_file` its number is enough. Raises UsageError for an unknown split, DataError for a split that is not
    there, damaged files, names that are not in the split, and images without tags.
    """
    if split not in COCO_SPLITS:
        raise UsageError(f"unknown split {quoted(split)} of COCO; choose one of {', '.join(COCO_SPLITS)}")
    folder = _image_folder(root, split)
    annotations = root / "annotations" / f"instances_{split}.json"
    found = _annotated(folder, annotations) if tags_file is None else _tagged(folder, annotations, tags_file)
    chosen = list(found.files) if names is None else _chosen_names(names, found)
    tags_source = str(tags_file or annotations)
    require_tags(chosen, found.tags, tags_source, "choose another --split, " if names is None else "")
    notes = list(found.notes)
    if names is None:
        notes.append(f"images: {len(chosen):,} of split {split}, from {found.listed_in}")
    untagged = sum(not found.tags[name] for name in chosen)
    without = f"; {untagged:,} images have none and become all background" if untagged else ""
    notes.append(f"tags: {tags_source}{without}")
    samples = tuple(Sample(name, found.files[name], found.tags[name]) for name in chosen)
    chosen_split = split if names is None else None
    return DataSet("coco", root, COCO_CLASSES, COCO_CLASSES, samples, tags_source, tuple(notes), chosen_split)


def coco_images(root: Path, split: str) -> tuple[dict[str, Path], Path]:
    """The images of a split by name, and where they are listed: in its instances JSON, else in its folder."""
    if split not in COCO_SPLITS:
        raise UsageError(f"unknown split {quoted(split)} of COCO; choose one of {', '.join(COCO_SPLITS)}")
    folder = _image_folder(root, split)
    return _listed(folder, root / "annotations" / f"instances_{split}.json")


def _listed(folder: Path, annotations: Path) -> tuple[dict[str, Path], Path]:
    if annotations.is_file():
        return _files(read_image_list(annotations), folder), annotations
    return _scanned(folder), folder


def _annotated(folder: Path, annotations: Path) -> _Split:
    """A split as its instances JSON has it."""
    if not annotations.is_file():
        raise DataError(f"{annotations}: no such file; fetch COCO's annotations, or give the tags with --tags")
    instances = read_instances(annotations)
    stray = instances.stray_images
    notes = (f"{stray:,} images with annotations are not listed; they are left out",) if stray else ()
    return _Split(_files(instances, folder), annotations, instances_tags(instances, COCO_CLASSES), notes)


def _tagged(folder: Path, annotations: Path, tags_file: Path) -> _Split:
    """A split with the user's own tags; its images from the JSON where there is one, else from the folder."""
    files, listed_in = _listed(folder, annotations)
    return _Split(files, listed_in, match_coco_names(read_tags(tags_file, COCO_CLASSES), files, str(tags_file)), ())


def _files(instances: Instances, folder: Path) -> dict[str, Path]:
    files = {name: folder / instances.file_names[image] for name, image in instances.names.items()}
    if all(path.name.isascii() for path in files.values()):
        return files
    spelt = {composed(path.name): path for path in folder.iterdir()}  # as this file system writes letters with marks
    return {
        name: path if path.name.isascii() or path.exists() else spelt.get(composed(path.name), path)
        for name, path in files.items()
    }


def _chosen_names(names: Iterable[str], found: _Split) -> list[str]:
    chosen = NameFinder(found.files, number=coco_number).names(names)
    if unknown := [name for name in chosen if name not in found.files]:
        raise DataError(
            f"--list: {len(unknown):,} names are not in {found.listed_in}, first {quoted(unknown[0])}; take them out, "
            "or choose their --split"
        )
    return chosen


def _image_folder(root: Path, split: str) -> Path:
    """Where the images of a split are; DataError when they are not there."""
    places = _places_of(root, split)
    for place in places:
        if os.path.isdir(place):
            return place
    there = _splits_present(root)
    hint = f"there: {', '.join(there)}; choose one with --split" if there else "unpack COCO's images there"
    raise DataError(f"{root}: no images of split {split}; looked for {' and '.join(map(str, places))}; {hint}")


def _places_of(root: Path, split: str) -> tuple[Path, Path]:
    return root / split, root / "images" / split


def _splits_present(root: Path) -> list[str]:
    return [split for split in COCO_SPLITS if any(os.path.isdir(place) for place in _places_of(root, split))]


def _scanned(folder: Path) -> dict[str, Path]:
    """The images in a folder by name, in the order of names."""
    scan = scan_images(folder)
    scan.check_names(scan.images)
    return dict(sorted(scan.images.items()))
