"""Where tags come from: a file of them, or what they can be made from: VOC's XML, masks, COCO's instances JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import COCO_CATEGORY_IDS, COCO_CLASSES, IGNORE
from excel_cam.errors import DataError, UsageError
from excel_cam.files.images.masks import ClassSearch, mask_names, mask_path, read_mask
from excel_cam.tags.coco_json import instances_tags, is_instances, read_instances
from excel_cam.tags.lookup import Tags
from excel_cam.tags.match import match_coco_names, match_names
from excel_cam.tags.name_finder import NameFinder
from excel_cam.tags.read import read_tags, read_voc_annotations
from excel_cam.wording import quoted


@dataclass(frozen=True)
class TagSet:
    """Tags and the classes they are of."""

    tags: Tags
    class_names: tuple[str, ...]


def gather_tags(source: Path, class_names: Sequence[str] | None, names: Iterable[str] | None) -> TagSet:
    """The tags that a file holds, or that a folder of VOC annotations (.xml) or of class-index masks (.png) shows.

    `class_names` may be left out for an instances JSON, which names its categories. `names` narrows, in its order.
    Names come without the extension of an image. Raises UsageError when the class names are needed, DataError for
    whatever cannot be read, for names without tags, and when there is no image at all.
    """
    if class_names is None:
        found = _instances_with_own_classes(source)
    elif source.is_dir():
        tags = _tags_of_folder(source, class_names, names)
        found = TagSet(tags, tuple(class_names))
    else:
        found = TagSet(read_tags(source, class_names), tuple(class_names))
    tags = match_names(found.tags, (), str(source))
    if names is not None:
        tags = _narrowed(tags, names, found.class_names, source)
    if not tags:
        raise DataError(f"{source}: no images in it; expected tags of at least one")
    return TagSet(tags, found.class_names)


def _instances_with_own_classes(source: Path) -> TagSet:
    if source.is_dir() or source.suffix.lower() != ".json" or not is_instances(source):
        raise UsageError(f"{source}: which classes? give --dataset or --classes (only an instances JSON names its own)")
    instances = read_instances(source)
    official = dict(zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True))
    is_coco = all(official.get(category) == name for category, name in instances.categories.items())
    class_names = COCO_CLASSES if is_coco else instances.class_names
    return TagSet(instances_tags(instances, class_names), class_names)


def _tags_of_folder(folder: Path, class_names: Sequence[str], names: Iterable[str] | None) -> Tags:
    annotations = sorted(path.stem for path in folder.glob("*.xml") if not path.name.startswith("."))
    if annotations:
        asked = annotations if names is None else NameFinder(annotations, [folder]).names(names)
        return read_voc_annotations(folder, asked, class_names)
    masks = mask_names(folder)
    if not masks:
        raise DataError(
            f"{folder}: neither annotations (.xml) nor masks (.png) in this folder; give VOC's Annotations or "
            "SegmentationClass, or a file of tags"
        )
    asked = masks if names is None else sorted({*masks} & {*NameFinder(set(masks), [folder]).names(names)})
    tags, search = {}, ClassSearch()
    for name in asked:
        mask = read_mask(mask_path(folder, name), len(class_names))
        search.add(mask)
        tags[name] = _classes_of_mask(mask)
    if names is None or len(asked) == len({*names}):  # a name without a mask is told first, by `_narrowed`
        search.require(folder)
    return tags


def _classes_of_mask(mask: NDArray[np.integer[Any]]) -> tuple[int, ...]:
    """The classes a mask shows: its values less 1, without background and the value to ignore."""
    return tuple(int(value) - 1 for value in np.flatnonzero(np.bincount(mask.ravel())) if value not in (0, IGNORE))


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
