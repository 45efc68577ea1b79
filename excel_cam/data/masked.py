"""Pascal Context, ADE20K and Cityscapes as data sets: their images, and tags out of their masks.

These come with masks and nothing else, so image-level labels are read out of the masks, or come from a file of tags.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from excel_cam.classes import DATASET_CLASSES, MASK_FORMS, SPLITS, WITHOUT_BACKGROUND
from excel_cam.data.dataset import DataSet, Sample, require_tags
from excel_cam.data.roots import RootRule, find_root
from excel_cam.errors import DataError, UsageError
from excel_cam.files.images.image_folder import scan_images
from excel_cam.files.images.mask_folder import MaskFolder
from excel_cam.files.lists import read_entries
from excel_cam.tags.gather import tags_of_masks
from excel_cam.tags.lookup import Tags
from excel_cam.tags.match import match_names
from excel_cam.tags.name_finder import NameFinder
from excel_cam.tags.read import read_tags
from excel_cam.wording import Report, quoted


@dataclass(frozen=True)
class _Layout:
    """Where one kind of data set has its files; `{split}` stands for the split's name.

    names: the list of a split's names; "" where every image in its folder is of it.
    """

    root: RootRule
    images: str
    masks: str
    names: str = ""
    remedy: str = ""  # what to do where the list is not there


_CONTEXT = _Layout(
    root=RootRule(
        name="context", variable="EXCEL_CAM_CONTEXT_ROOT", inner=("VOC2010", "VOCdevkit/VOC2010"),
        usual=("VOC2010", "VOCdevkit/VOC2010"),
        is_root=lambda place: os.path.isdir(place / "JPEGImages") and os.path.isdir(place / "SegmentationClassContext"),
        description="VOC2010 folder with JPEGImages and SegmentationClassContext",
    ),
    images="JPEGImages", masks="SegmentationClassContext", names="ImageSets/SegmentationContext/{split}.txt",
    remedy="mmsegmentation's pascal_context.py writes it from trainval_merged.json, with the masks",
)  # fmt: skip
_LAYOUTS = {
    "context": _CONTEXT,
    "context60": _CONTEXT,
    "ade20k": _Layout(
        root=RootRule(
            name="ade20k", variable="EXCEL_CAM_ADE20K_ROOT", inner=("ADEChallengeData2016",),
            usual=("ADEChallengeData2016", "ade/ADEChallengeData2016"),
            is_root=lambda place: any(os.path.isdir(place / "images" / split) for split in SPLITS["ade20k"]),
            description="ADEChallengeData2016 folder with images/training or images/validation",
        ),
        images="images/{split}", masks="annotations/{split}",
    ),
    "cityscapes": _Layout(
        root=RootRule(
            name="cityscapes", variable="EXCEL_CAM_CITYSCAPES_ROOT", inner=("cityscapes", "Cityscapes"),
            usual=("cityscapes", "Cityscapes"), is_root=lambda place: os.path.isdir(place / "leftImg8bit"),
            description="Cityscapes folder with leftImg8bit",
        ),
        images="leftImg8bit/{split}", masks="gtFine/{split}",
    ),
}  # fmt: skip
MASKED = tuple(_LAYOUTS)
_ALSO = {"train": "training", "val": "validation"}  # how other data sets, and their users, call ADE20K's splits


def find_masked_root(
    name: str, root: Path | None, environ: Mapping[str, str], roots: Mapping[str, Path]
) -> tuple[Path, str]:
    """The folder of the data set of that name and how it was found; roots: folders that a config file tells.

    See `find_root` for the order. Raises UsageError, naming every place tried, when there is none.
    """
    rule = _LAYOUTS[name].root
    return find_root(rule, root, environ, roots.get(rule.name))


def open_masked(
    name: str, root: Path, split: str | None, tags_file: Path | None, names: Iterable[str] | None,
    report: Report = lambda _: None,
) -> DataSet:  # fmt: skip
    """The images of a split, its first one where none is asked for, or those of `names` in their order.

    Tags come from `tags_file`, else out of the masks; `report` is told before these are read. Raises UsageError for an
    unknown split, DataError for images or masks that are not there, damaged files, and images without tags.
    """
    split = chosen_split(name, split)
    files, notes = masked_images(name, root, split, names)
    tags, source = _read_tags(name, root, split, tags_file, files, report)
    require_tags(list(files), tags, source, "choose another --split, " if names is None else "")
    untagged = sum(not tags[image] for image in files)
    without = f"; {untagged:,} images have none, and nothing is labelled in them" if untagged else ""
    notes.append(f"tags: {source}{without}")
    samples = tuple(Sample(image, path, tags[image]) for image, path in files.items())
    classes = DATASET_CLASSES[name]
    return DataSet(name, root, classes, classes, samples, source, tuple(notes), split if names is None else None)


def chosen_split(name: str, split: str | None) -> str:
    """The split asked for, by its own name; the first where none is. Raises UsageError for an unknown one."""
    splits = SPLITS[name]
    if split is None:
        return splits[0]
    found = split if split in splits else _ALSO.get(split, split)
    if found not in splits:
        raise UsageError(f"unknown split {quoted(split)} of {name}; choose one of {', '.join(splits)}")
    return found


def masked_images(name: str, root: Path, split: str, names: Iterable[str] | None) -> tuple[dict[str, Path], list[str]]:
    """The files of a split's images by name, or of those of `names`, in order; and lines worth telling the user.

    Raises DataError for a folder or list that is not there, and for names that are not in it.
    """
    layout = _LAYOUTS[name]
    folder = root / layout.images.format(split=split)
    if not os.path.isdir(folder):
        there = [other for other in SPLITS[name] if os.path.isdir(root / layout.images.format(split=other))]
        hint = f"there: {', '.join(there)}; choose one with --split" if there else "unpack its images there"
        raise DataError(f"{folder}: no images of split {split}; {hint}")
    scan = scan_images(folder)
    finder = NameFinder(scan.images, [folder, root], ending=_image_ending(name))
    listed: Iterable[str] = scan.images if names is None else names
    source = folder
    if names is None and layout.names:
        source = root / layout.names.format(split=split)
        if not source.is_file():
            raise DataError(f"{source}: no such list of names; {layout.remedy}")
        listed = read_entries(str(source))
    chosen = sorted(scan.images) if names is None and not layout.names else finder.names(listed)
    scan.check_names(chosen)
    if names is not None and (unknown := [image for image in chosen if image not in scan.images]):
        raise DataError(
            f"--list: {len(unknown):,} names are not in {folder}, first {quoted(unknown[0])}; take them out, or choose "
            "their --split"
        )
    notes = list(scan.notes)
    if names is None:
        notes.append(f"images: {len(chosen):,} of split {split}, from {source}")
    return {image: scan.path(image, folder) for image in chosen}, notes


def _image_ending(name: str) -> str:
    """What the names of a data set's images end in, which lists leave out."""
    return next((form.image_ending for form in MASK_FORMS.get(name, ())), "")


def _read_tags(
    name: str, root: Path, split: str, tags_file: Path | None, files: Mapping[str, Path], report: Report
) -> tuple[Tags, str]:
    """The tags of these images, and where they come from."""
    classes = DATASET_CLASSES[name]
    if tags_file is not None:
        ending = _image_ending(name)
        return match_names(read_tags(tags_file, classes), files, str(tags_file), ending), str(tags_file)
    masks = MaskFolder(root / _LAYOUTS[name].masks.format(split=split), MASK_FORMS.get(name, ()))
    missing = [path for path in map(masks.path, files) if not os.path.isfile(path)]
    if missing:
        raise DataError(
            f"{missing[0]}: no such mask, of which tags are read ({len(missing):,} of {len(files):,} missing); give "
            "the image-level labels with --tags, or narrow with --list"
        )
    report(
        f"tags: reading {len(files):,} masks of {masks}; `excel-cam tags --from {masks} --dataset {name} --out "
        "tags.jsonl`, then --tags tags.jsonl, spares that the next time"
    )
    tags = tags_of_masks(masks, list(files), len(classes), name not in WITHOUT_BACKGROUND, need_class=False)
    if not any(tags.values()):
        raise DataError(
            f"{masks}: no class in any of its {len(tags):,} masks, as in splits whose truth is kept back; give the "
            "image-level labels with --tags, or choose another --split"
        )
    return tags, f"the masks of {masks}"
