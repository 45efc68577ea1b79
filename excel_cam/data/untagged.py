"""Images of which nothing is known: the data sets again, without tags, for what needs none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from excel_cam.classes import COCO_CLASSES, VOC_CLASSES
from excel_cam.data.coco import coco_images, default_split, find_coco_root
from excel_cam.data.dataset import DataSet, Sample, checked_names
from excel_cam.data.source import Source
from excel_cam.data.voc import VOC_DEFAULT_SPLIT, find_voc_root, voc_names
from excel_cam.errors import DataError, UsageError
from excel_cam.files.image_folder import scan_images
from excel_cam.files.lists import read_names
from excel_cam.shipped import DEMO_ROOT
from excel_cam.wording import quoted

NO_TAGS = "none"  # what such a data set's `tags_source` is


def open_untagged(source: Source, out: Path | None = None) -> tuple[DataSet, str]:
    """Open the images of a data set without their tags, and say how its root was found.

    Class names are those of voc, coco and demo; a folder has none. Raises `UsageError` or `DataError`.
    """
    if source.dataset == "folder" and source.split is not None:
        raise UsageError("--split: a folder has no splits; narrow it with --list")
    names = read_names(source.names_from) if source.names_from is not None else None
    if source.dataset == "coco":
        root, found = find_coco_root(source.root, os.environ, source.roots.get("coco"))
        split = source.split or default_split(root)
        files, listed_in = coco_images(root, split)
        return _data_set("coco", root, COCO_CLASSES, _narrowed(files, names, listed_in), split, names), found
    if source.dataset == "folder":
        if source.root is None:
            raise UsageError("--dataset folder needs --root")
        scan = scan_images(source.root, out)
        chosen = _narrowed(dict(sorted(scan.images.items())), names, source.root)
        scan.check_names(chosen)
        return _data_set("folder", source.root, (), chosen, None, names), "--root"
    if source.dataset == "demo":
        root, found, split = DEMO_ROOT, "comes with excel-cam", "train"
    else:
        root, found = find_voc_root(source.root, os.environ, source.roots.get("voc"))
        split = source.split or VOC_DEFAULT_SPLIT
    listed = voc_names(root, split) if names is None else checked_names(names)
    files = {name: root / "JPEGImages" / f"{name}.jpg" for name in listed}
    return _data_set(source.dataset, root, VOC_CLASSES, files, split, names), found


def _narrowed(files: dict[str, Path], names: Sequence[str] | None, listed_in: Path) -> dict[str, Path]:
    """The files of `names`, in their order; `DataError` for a name that has none."""
    if names is None:
        return files
    chosen = checked_names(names)
    if unknown := [name for name in chosen if name not in files]:
        raise DataError(f"--list: {len(unknown):,} names are not in {listed_in}, first {quoted(unknown[0])}")
    return {name: files[name] for name in chosen}


def _data_set(
    name: str, root: Path, class_names: tuple[str, ...], files: dict[str, Path], split: str | None,
    names: Sequence[str] | None,
) -> DataSet:  # fmt: skip
    samples = tuple(Sample(image, path, ()) for image, path in files.items())
    notes = () if names is not None or split is None else (f"images: {len(samples):,} of split {split}",)
    return DataSet(name, root, class_names, class_names, samples, NO_TAGS, notes, None if names is not None else split)
