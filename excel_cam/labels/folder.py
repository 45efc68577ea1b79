"""A folder of finished labels: what its classes are called, and which photographs belong to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from excel_cam.classes import MASK_FORMS, MAX_CLASSES, MAX_CLASSES_ALONE, NAMED_CLASSES, WITHOUT_BACKGROUND
from excel_cam.errors import DataError, SettingsError, UsageError
from excel_cam.files.images.image_folder import scan_images
from excel_cam.files.images.mask_folder import MaskFolder
from excel_cam.files.images.masks import mask_path
from excel_cam.files.lists import read_class_list
from excel_cam.files.storage import Place
from excel_cam.labels.hand_made import read_hand_made
from excel_cam.labels.records import are_without_background, has_readable_run, read_run, read_runs
from excel_cam.settings import Settings
from excel_cam.wording import Report


def class_names_of(
    labels: Path | Place, dataset: str | None, classes: Path | None, report: Report = lambda _: None
) -> tuple[str, ...] | None:
    """Class names in label order: from a class list, a data set's name, or the records beside the labels.

    None where none of them is there. report is told what was dropped from a class list. Raises `DataError` and
    `OutputError` for damaged files.
    """
    if classes is not None:
        limit = MAX_CLASSES_ALONE if are_without_background(labels) else MAX_CLASSES
        return read_class_list(classes, limit, report)[0]
    if dataset is not None:
        return NAMED_CLASSES[dataset]
    record = read_run(labels)
    names = record["identity"].get("known", {}).get("classes") if record else None
    if isinstance(names, list) and names:
        return tuple(map(str, names))
    hand_made = read_hand_made(labels)
    return None if hand_made is None else hand_made.classes


def required_class_names(
    labels: Path | Place, dataset: str | None, classes: Path | None, report: Report = lambda _: None
) -> tuple[str, ...]:
    """Class names in label order, as `class_names_of` finds them; raises `UsageError` where there are none."""
    names = class_names_of(labels, dataset, classes, report)
    if names is None:
        raise UsageError(f"{labels} has no run.json that names the classes; give them with --dataset or --classes")
    return names


def has_background_class(labels: Path | Place, dataset: str | None = None) -> bool:
    """Whether label 0 is background: by the run record beside the labels, else by a data set's name.

    Raises `UsageError` where the two contradict.
    """
    if not has_readable_run(labels):
        return dataset not in WITHOUT_BACKGROUND
    recorded = not are_without_background(labels)
    if dataset is not None and recorded != (dataset not in WITHOUT_BACKGROUND):
        raise UsageError(
            f"{labels} holds labels {'with' if recorded else 'without'} a background class, unlike those of {dataset}; "
            "give their class names with --classes instead of --dataset"
        )
    return recorded


def truth_masks(truth: Path, labels: Path | Place, dataset: str | None, classes: Path | None) -> MaskFolder:
    """A folder of ground truth, read in the form that the data set of the labels gives its masks.

    The data set is the one that is named, or, unless a class list is given, that of the labels' run record. A folder
    of labels that this program made, where it stands in for the truth, is read as labels are.
    """
    if dataset is None and classes is None and has_readable_run(labels):
        recorded = (read_run(labels) or {}).get("dataset")
        dataset = str(recorded.get("name")) if isinstance(recorded, dict) else None
    forms = () if dataset is None or has_readable_run(truth) else MASK_FORMS.get(dataset, ())
    return MaskFolder(truth, forms)


def run_identity(labels: Path | Place) -> dict[str, object] | None:
    """What the labels in a folder were made with, from their run record; None where there is none."""
    record = read_run(labels)
    return None if record is None else dict(record["identity"])


def settings_of_run(labels: Path | Place) -> Settings:
    """The settings that the labels in a folder were made with; raises `DataError` where its run record has none."""
    runs = read_runs(labels)
    if not runs:
        raise DataError(f"{labels}: expected a run record (run.json) beside the labels, found none; check --labels")
    file, record = next(iter(runs.items()))
    path = labels.child(file) if isinstance(labels, Place) else labels / file
    try:
        recorded = record["identity"]["known"]["settings"].items()
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in recorded}
        return Settings(**values)
    except (SettingsError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: expected the settings of a run, cannot use them ({error}); make the labels again, or leave "
            "--labels out"
        ) from None


def photographs_of(images: Path, labels: Path | None, names: Iterable[str]) -> dict[str, Path]:
    """Every photograph under `images` by name; labels and overlays that lie among them are left out.

    labels: their folder, None where they are no files of their own. names: those of the labels. Raises `DataError`
    where two photographs share a name or the folder cannot be read.
    """
    among = labels is not None and images.resolve() == labels.resolve()
    scan = scan_images(images, None if among else labels)
    photographs = dict(scan.images)
    clashes = dict(scan.clashes)
    if labels is not None and among:
        for name in names:
            label = labels / f"{name}.png"
            others = [path for path in clashes.pop(name, (photographs.get(name, label),)) if path != label]
            if others:
                photographs[name] = others[0]
            else:
                photographs.pop(name, None)
    for name in photographs:
        if name in clashes:
            first, second = clashes[name]
            raise DataError(f"{first} and {second} would share the label '{name}'; rename or move one of them")
    return photographs


def require_photographs(photographs: Mapping[str, Path], names: Sequence[str], images: Path, what: str) -> None:
    """Raise `DataError` where one of the images named has no photograph. what: what the names are of, in the plural."""
    missing = [name for name in names if name not in photographs]
    if missing:
        raise DataError(
            f"{images}: no photograph for {len(missing):,} of {len(names):,} {what}, first '{missing[0]}'; "
            "check --images or narrow with --list"
        )


# What a folder may lack -> the ending of its files, and what to do about it.
_REMEDIES = {
    "label": (".png", "make it with `excel-cam generate`, or narrow with --list"),
    "truth": (".png", "check --truth, or name the images that have a truth with --list"),
    "class maps": (".npz", "run `excel-cam generate` again with --save-cams, or narrow with --list"),
}


def require_files(folder: Path | MaskFolder, names: Sequence[str], what: str) -> None:
    """Raise `DataError` where one of the images named has no file in a folder of `what`: label, truth or class maps."""
    suffix, remedy = _REMEDIES[what]
    if isinstance(folder, MaskFolder):
        paths = [folder.path(name) for name in names]
    else:
        paths = [mask_path(folder, name, suffix) for name in names]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise DataError(f"{missing[0]}: no such {what} ({len(missing):,} of {len(names):,} missing); {remedy}")
