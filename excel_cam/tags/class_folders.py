"""Photographs sorted into one folder per class, as people and ImageNet's tools keep them → image-level labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from excel_cam.errors import DataError
from excel_cam.files.images.image_folder import scan_images
from excel_cam.tags.lookup import ClassLookup, Tags
from excel_cam.wording import first_lines

_BACKGROUND = "background"
_SPLITS = {"train", "val", "valid", "validation", "test", "training", "testing"}  # folders that are no classes


def are_class_folders(root: Path, class_names: Sequence[str] | None) -> bool:
    """Whether a folder holds folders of images alone; with class names, whether these are the folders' names."""
    scan = scan_images(root, required=False)
    folders = {name.partition("/")[0] for name in scan.images if "/" in name}
    if not folders or any("/" not in name for name in scan.images) or next(root.glob("*.xml"), None) is not None:
        return False
    known = None if class_names is None else {name.casefold() for name in class_names} | {_BACKGROUND}
    return known is None or {folder.casefold() for folder in folders} <= known


def tags_of_class_folders(root: Path, class_names: Sequence[str] | None) -> tuple[Tags, tuple[str, ...]]:
    """The tags of the photographs below `root` by the folder there that each lies in, and the classes.

    class_names None: the folders' names, sorted, are the classes. Photographs in a folder called background show none.
    Names are paths below `root` without extension. Raises `DataError` where the folders are no classes.
    """
    scan = scan_images(root)
    scan.check_names(scan.images)
    folders = sorted({name.partition("/")[0] for name in scan.images})
    if class_names is None and {folder.casefold() for folder in folders} <= _SPLITS:
        raise DataError(
            f"{root}: its folders {first_lines(folders)} are splits, not classes; give --from {root / folders[0]}, or "
            "name the classes with --classes"
        )
    shown = [folder for folder in folders if folder.casefold() != _BACKGROUND]
    if not shown:
        raise DataError(f"{root}: a folder for the background alone; expected a folder per class")
    classes = tuple(shown) if class_names is None else tuple(class_names)
    lookup = ClassLookup(classes)
    indices = {folder: lookup.indices([folder], str(root / folder)) if folder in shown else () for folder in folders}
    return {name: indices[name.partition("/")[0]] for name in sorted(scan.images)}, classes
