"""Where tags come from: a file of them, or what they can be made from: VOC's XML, masks, COCO's instances JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import COCO_CATEGORY_IDS, COCO_CLASSES, IGNORE, MaskForm
from excel_cam.errors import DataError, UsageError
from excel_cam.files.images.mask_folder import MaskFolder
from excel_cam.files.images.masks import ClassSearch, value_counts
from excel_cam.tags.class_folders import are_class_folders, tags_of_class_folders
from excel_cam.tags.coco_json import instances_tags, is_instances, read_instances
from excel_cam.tags.lookup import Tags
from excel_cam.tags.match import match_coco_names, match_names
from excel_cam.tags.name_finder import NameFinder
from excel_cam.tags.predicted import Predicted, read_predicted
from excel_cam.tags.read import read_tags, read_voc_annotations
from excel_cam.wording import quoted

_THREADS = 4  # that decode masks


@dataclass(frozen=True)
class TagSet:
    """Tags and the classes they are of."""

    tags: Tags
    class_names: tuple[str, ...]
    predicted: Predicted | None = None  # scores, where a file says that its tags were predicted


def gather_tags(
    source: Path, class_names: Sequence[str] | None, names: Iterable[str] | None, forms: tuple[MaskForm, ...] = (),
    has_background: bool = True,
) -> TagSet:  # fmt: skip
    """The tags that a file holds, or that a folder shows: VOC annotations (.xml), class-index masks (.png), or a folder
    of photographs per class.

    forms: of the masks, where they are not as labels are. has_background: whether a label of 0 is background.
    `class_names` may be left out for an instances JSON, which names its categories, and for folders named by class.
    `names` narrows, in its order. Names come without the extension of an image. Raises UsageError when the class names
    are needed, DataError for whatever cannot be read, for names without tags, and when there is no image at all.
    """
    if source.is_dir() and are_class_folders(source, class_names):
        found = TagSet(*tags_of_class_folders(source, class_names))
    elif class_names is None:
        found = _instances_with_own_classes(source)
    elif source.is_dir():
        tags = _tags_of_folder(MaskFolder(source, forms), class_names, names, has_background)
        found = TagSet(tags, tuple(class_names))
    else:
        read = read_tags(source, class_names)
        found = TagSet(read, tuple(class_names), read_predicted(source, class_names))
    tags = match_names(found.tags, (), str(source))
    if names is not None:
        tags = _narrowed(tags, names, found.class_names, source)
    if not tags:
        raise DataError(f"{source}: no images in it; expected tags of at least one")
    return TagSet(tags, found.class_names, found.predicted)


def _instances_with_own_classes(source: Path) -> TagSet:
    if source.is_dir() or source.suffix.lower() != ".json" or not is_instances(source):
        raise UsageError(
            f"{source}: which classes? give --dataset or --classes (only an instances JSON, and folders of photographs "
            "called as their classes, name their own)"
        )
    instances = read_instances(source)
    official = dict(zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True))
    is_coco = all(official.get(category) == name for category, name in instances.categories.items())
    class_names = COCO_CLASSES if is_coco else instances.class_names
    return TagSet(instances_tags(instances, class_names), class_names)


def _tags_of_folder(
    masks: MaskFolder, class_names: Sequence[str], names: Iterable[str] | None, has_background: bool
) -> Tags:
    folder = masks.folder
    annotations = sorted(path.stem for path in folder.glob("*.xml") if not path.name.startswith("."))
    if annotations:
        asked = annotations if names is None else NameFinder(annotations, [folder]).names(names)
        return read_voc_annotations(folder, asked, class_names)
    known = masks.names()
    if not known:
        raise DataError(
            f"{folder}: neither annotations (.xml) nor masks (.png) in this folder; give VOC's Annotations or "
            "SegmentationClass, or a file of tags"
        )
    asked = known if names is None else sorted({*known} & {*NameFinder(set(known), [folder]).names(names)})
    # A name without a mask is told first, by `_narrowed`.
    return tags_of_masks(masks, asked, len(class_names), has_background, names is None or len(asked) == len({*names}))


def tags_of_masks(
    masks: MaskFolder, names: Sequence[str], class_count: int, has_background: bool, need_class: bool = True
) -> Tags:
    """The classes that the masks of these images show, by name; several masks are decoded at a time.

    need_class: whether one of them has to hold a class. Raises `DataError` for masks that are not there, cannot be read
    or hold other values, and where none holds the class it has to.
    """
    greatest, least = class_count - (not has_background), int(has_background)

    def values_of(name: str) -> NDArray[np.integer[Any]]:
        return np.flatnonzero(value_counts(masks.read(name, greatest, class_count)))

    tags, search = {}, ClassSearch(has_background)
    pool = ThreadPoolExecutor(_THREADS)
    try:
        for name, values in zip(names, pool.map(values_of, names), strict=True):
            search.add(values)
            tags[name] = tuple(int(value) - least for value in values if value >= least and value != IGNORE)
    finally:
        pool.shutdown(cancel_futures=True)
    if need_class:
        search.require(masks.folder)
    return tags


def _narrowed(tags: Tags, entries: Iterable[str], class_names: Sequence[str], source: Path) -> Tags:
    """The tags of a list's entries, in their order; DataError for names without any."""
    if tuple(class_names) == COCO_CLASSES:  # as the list has them: one number, several names
        names = NameFinder((), [source]).names(entries)
        tags = match_coco_names(tags, set(names), str(source))
    else:
        names = NameFinder(tags, [source]).names(entries)
    if missing := [name for name in names if name not in tags]:
        raise DataError(f"--list: {len(missing):,} names are not in {source}, first {quoted(missing[0])}")
    return {name: tags[name] for name in names}
