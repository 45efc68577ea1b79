"""Images of which nothing is known: the data sets again, without tags, for what needs none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from excel_cam.classes import COCO_CLASSES, DATASET_CLASSES, VOC_CLASSES
from excel_cam.data.coco import coco_images, default_split, find_coco_root
from excel_cam.data.dataset import DataSet, Sample
from excel_cam.data.masked import MASKED, chosen_split, find_masked_root, masked_images
from excel_cam.data.source import Source
from excel_cam.data.voc import VOC_DEFAULT_SPLIT, find_voc_root, voc_images
from excel_cam.errors import DataError, UsageError
from excel_cam.files.images.image_folder import scan_images
from excel_cam.files.lists import read_entries
from excel_cam.shipped import DEMO_ROOT
from excel_cam.tags.lookup import coco_number
from excel_cam.tags.name_finder import NameFinder
from excel_cam.wording import quoted

NO_TAGS = "none"  # what such a data set's `tags_source` is


def open_untagged(source: Source, out: Path | None = None) -> tuple[DataSet, str]:
    """Open the images of a data set without their tags, and say how its root was found.

    Class names are those of the data set; a folder has none. Raises `UsageError` or `DataError`.
    """
    if source.dataset == "folder" and source.split is not None:
        raise UsageError("--split: a folder has no splits; narrow it with --list")
    names = read_entries(source.names_from) if source.names_from is not None else None
    if source.dataset == "coco":
        root, found = find_coco_root(source.root, os.environ, source.roots.get("coco"))
        split = source.split or default_split(root)
        files, listed_in = coco_images(root, split)
        finder = NameFinder(files, number=coco_number)
        return _data_set("coco", root, COCO_CLASSES, _narrowed(files, finder, names, listed_in), split, names), found
    if source.dataset in MASKED:
        root, found = find_masked_root(source.dataset, source.root, os.environ, source.roots)
        split = chosen_split(source.dataset, source.split)
        files, notes = masked_images(source.dataset, root, split, names)
        return _data_set(source.dataset, root, DATASET_CLASSES[source.dataset], files, split, names, notes), found
    if source.dataset == "folder":
        if source.root is None:
            raise UsageError("--dataset folder needs --root")
        scan = scan_images(source.root, out)
        files = dict(sorted(scan.images.items()))
        chosen = _narrowed(files, NameFinder(files, [source.root]), names, source.root)
        scan.check_names(chosen)
        return _data_set("folder", source.root, (), chosen, None, names, scan.notes), "--root"
    if source.dataset == "demo":
        root, found, split = DEMO_ROOT, "comes with excel-cam", "train"
    else:
        root, found = find_voc_root(source.root, os.environ, source.roots.get("voc"))
        split = source.split or VOC_DEFAULT_SPLIT
    files, notes = voc_images(root, split, names)
    return _data_set(source.dataset, root, VOC_CLASSES, files, split, names, notes), found


def _narrowed(
    files: dict[str, Path], finder: NameFinder, names: Iterable[str] | None, listed_in: Path
) -> dict[str, Path]:
    """The files of `names`, in their order; `DataError` for a name that has none."""
    if names is None:
        return files
    chosen = finder.names(names)
    if unknown := [name for name in chosen if name not in files]:
        raise DataError(f"--list: {len(unknown):,} names are not in {listed_in}, first {quoted(unknown[0])}")
    return {name: files[name] for name in chosen}


def _data_set(
    name: str, root: Path, class_names: tuple[str, ...], files: dict[str, Path], split: str | None,
    names: Iterable[str] | None, notes: Iterable[str] = (),
) -> DataSet:  # fmt: skip
    samples = tuple(Sample(image, path, ()) for image, path in files.items())
    chosen_split = None if names is not None else split
    return DataSet(name, root, class_names, class_names, samples, NO_TAGS, tuple(notes), chosen_split)
