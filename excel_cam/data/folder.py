"""Any folder of images as a data set, with a class list and tags of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from excel_cam.classes import MAX_CLASSES
from excel_cam.data.dataset import DataSet, Sample, require_tags
from excel_cam.errors import DataError
from excel_cam.files.images.image_folder import scan_images
from excel_cam.files.lists import read_class_list
from excel_cam.tags.match import match_names
from excel_cam.tags.name_finder import NameFinder
from excel_cam.tags.read import read_tags
from excel_cam.wording import quoted


def open_folder(
    root: Path,
    classes_file: Path,
    tags_file: Path | None,
    names: Iterable[str] | None,
    *,
    labels_folder: Path | None = None,
    class_limit: int = MAX_CLASSES,
) -> DataSet:
    """The images anywhere under `root`, by name, or those of `names` in their order.

    tags_file None: every image shows all classes. Names with tags but no image become samples too, so that a run
    records them as missing; `labels_folder`, where labels are written, is not searched. class_limit: most classes the
    labels hold.
    Raises DataError for damaged files, two images of one name, images without a line of tags, names that leave the
    root or are in neither, and when there is nothing to label.
    """
    notes: list[str] = []
    class_names, prompt_names = read_class_list(classes_file, class_limit, notes.append)
    scan = scan_images(root, labels_folder)
    source = "--all-classes" if tags_file is None else str(tags_file)
    if tags_file is None:
        tags = dict.fromkeys(scan.images, tuple(range(len(class_names))))
    else:
        tags = match_names(read_tags(tags_file, class_names), scan.images | scan.unread, source)
    known = scan.images.keys() | tags.keys()
    chosen = sorted(known) if names is None else NameFinder(known, [root]).names(names)
    scan.check_names(chosen)
    for name in chosen:
        if name not in scan.images and name not in tags:
            raise DataError(f"--list: {quoted(name)} has neither an image under {root} nor a line in {source}")
    require_tags(chosen, tags, source, "", scan.images.keys() | scan.unread.keys())
    missing = [name for name in chosen if name not in scan.images]
    notes += scan.notes
    if missing:
        notes.append(
            f"{len(missing):,} names in {source} have no image under {root} (first {quoted(missing[0])}); "
            "they are recorded as failed"
        )
    samples = tuple(Sample(name, scan.path(name, root), tags[name]) for name in chosen)
    return DataSet("folder", root, class_names, prompt_names, samples, source, tuple(notes))
