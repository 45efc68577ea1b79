"""`excel-cam import` as a function: what people corrected in a tool → labels in a folder, marked as hand-made.

A label that comes back as it is there stays what it is. One that differs takes the place of a run's label; that of a
hand-made one, or of another program's file, only where the user has said so. One image at a time goes through memory,
and the same import again changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError, OutputError, UsageError
from excel_cam.files.atomic import check_writable
from excel_cam.files.images.masks import mask_names, mask_path, read_mask
from excel_cam.files.images.photographs import stored_orientation, stored_sizes, turn_back
from excel_cam.files.inputs import refuse_inputs
from excel_cam.files.lists import check_name, plain_name
from excel_cam.imports.corrected import Corrected, LabelValues, Reader
from excel_cam.imports.cvat import read_cvat
from excel_cam.imports.label_studio import read_label_studio
from excel_cam.imports.labelme import read_labelme
from excel_cam.imports.tools import TOOLS
from excel_cam.labels.claims import Work, claimed
from excel_cam.labels.folder import class_names_of, has_background_class, photographs_of, required_class_names
from excel_cam.labels.hand_made import hand_made_stamp, record_import, require_same_classes
from excel_cam.labels.png import FoundLabel, find_label, refuse_picture, write_label
from excel_cam.labels.records import refuse_shards
from excel_cam.tags.name_finder import NameFinder
from excel_cam.wording import OVERWRITE_HAND_MADE, Report, first_lines, quoted, size_text

_READERS: dict[str, Reader] = dict(zip(TOOLS, (read_cvat, read_label_studio, read_labelme), strict=True))


@dataclass(frozen=True, kw_only=True)
class Import:
    """What comes from where, and into which folder of labels.

    images: the photographs, where they are at hand. names: only those labels. mark_unchanged: what came back as it was
    becomes hand-made too. overwrite: replace labels of other programs; overwrite_hand_made: hand-made ones.
    """

    tool: str
    source: Path
    out: Path
    values: LabelValues
    images: Path | None = None
    names: frozenset[str] | None = None
    mark_unchanged: bool = False
    overwrite: bool = False
    overwrite_hand_made: bool = False


@dataclass
class Counts:
    """What became of the labels that came. refused: names of those that would have replaced a label in the way.

    corrected: in the place of a label, or now marked as hand-made. new: where there was none.
    """

    corrected: int = 0
    new: int = 0
    unchanged: int = 0
    refused_hand_made: list[str] = field(default_factory=list)
    refused_others: list[str] = field(default_factory=list)


def chosen_classes(out: Path, dataset: str | None, classes: Path | None, report: Report) -> LabelValues:
    """The classes of an import: those of the folder's records, or of a list or data set where it has none.

    Raises `UsageError` where there are none, or the folder's own are others, `OutputError` where those are in shards.
    """
    refuse_shards(out)
    given = required_class_names(out, dataset, classes, report)
    recorded = class_names_of(out, None, None)
    if recorded is not None and recorded != given:
        raise UsageError(f"{out} holds labels of other classes ({first_lines(recorded)}); leave the names out")
    return LabelValues(given, has_background_class(out, dataset))


def known_names(out: Path, images: Path | None) -> set[str]:
    """The names of the labels and photographs there are; raises `DataError` where a folder cannot be read."""
    labels = mask_names(out) if out.is_dir() else []
    return {*labels, *(photographs_of(images, out, labels) if images is not None else ())}


def run_import(request: Import, report: Report, on_label: Callable[[], None] = lambda: None) -> Counts:
    """Bring corrected labels into a folder; returns what became of them. `on_label` is called once for each.

    Raises `DataError` for what cannot be read, or fits no photograph, `OutputError` where the folder is another run's,
    or nothing can be written.
    """
    values = request.values
    require_same_classes(request.out, values.class_names, values.has_background)
    counts = Counts()
    came = _READERS[request.tool](request.source, values, report)
    first = next(came, None)  # what cannot be read at all leaves no folder behind
    if first is None:
        return counts
    check_writable(request.out)
    with claimed({request.out: Work()}) as claims:
        folder = _Folder(request)
        for corrected in chain((first,), came):
            name = folder.name_of(corrected)
            if request.names is None or name in request.names:
                claims.require()
                _bring(folder, name, corrected, counts)
            on_label()
        if count := counts.corrected + counts.new:
            record_import(request.out, values.class_names, values.has_background, _entry(request, count))
    return counts


def _entry(request: Import, count: int) -> dict[str, object]:
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"from": request.tool, "source": str(request.source), "date": when, "labels": count}


class _Folder:
    """The folder that labels come into: which names there are, and what lies there already."""

    def __init__(self, request: Import) -> None:
        self.request = request
        self._finder = NameFinder(self._known, [folder for folder in (request.images, request.out) if folder])
        self._seen: dict[str, str] = {}

    @cached_property
    def _known(self) -> set[str]:
        return {*self.photographs, *mask_names(self.request.out)}

    @cached_property
    def photographs(self) -> Mapping[str, Path]:
        """The photographs by name; none where they are not at hand."""
        request = self.request
        if request.images is None:
            return {}
        return photographs_of(request.images, request.out, mask_names(request.out))

    def name_of(self, corrected: Corrected) -> str:
        """The label that this is of. Raises `DataError` for one without a photograph, or that comes twice."""
        known = (self._finder.find(entry, columns=False) for entry in corrected.entries)
        name = next((name for name in known if name is not None), None)
        if name is None:
            entry = corrected.entries[0]
            # Of an address nobody knows which folders are the name's.
            name = plain_name(entry.rpartition("/")[2] if entry.startswith("/") else entry)
            check_name(name, corrected.where)
        if self.request.images is not None and name not in self.photographs:
            raise DataError(f"{corrected.where}: no photograph {quoted(name)} in {self.request.images}; check --images")
        if name in self._seen:
            raise DataError(
                f"{corrected.where}: the label {quoted(name)} has come from {self._seen[name]} already; remove one"
            )
        self._seen[name] = corrected.where
        return name

    def label_of(self, name: str, corrected: Corrected, found: FoundLabel | None) -> NDArray[np.uint8]:
        """The (H, W) label as it is to lie on disk, as the photograph's file does. Raises `DataError` for another size.

        Photographs tell how they are turned, and their size; without them, the label that is there tells its size.
        """
        photograph = self.photographs.get(name)
        sizes = {found.size} if found is not None and all(found.size) else set()  # a damaged one tells none
        if photograph is not None:
            sizes = stored_sizes(photograph)
        label = corrected.label
        if label is None:
            if not sizes:
                raise DataError(
                    f"{corrected.where}: nothing is in {quoted(name)}, and its size not known; give --images"
                )
            return np.full(min(sizes), self.request.values.unlabelled, np.uint8)
        if photograph is not None:
            label = turn_back(label, stored_orientation(photograph))
        if sizes and label.shape not in sizes:
            what = "its photograph" if photograph is not None else "the label that is there"
            turned = label.shape[::-1] in sizes and photograph is None
            hint = "was the photograph shown turned? give --images" if turned else "check that they belong together"
            raise DataError(
                f"{corrected.where}: a label of {size_text(label.shape)} (H x W), but {what} has "
                f"{size_text(min(sizes))}; {hint}"
            )
        return label


def _bring(folder: _Folder, name: str, corrected: Corrected, counts: Counts) -> None:
    """Write one label, unless it is there as it is, or something is in the way."""
    request = folder.request
    path = mask_path(request.out, name)
    found = find_label(path)
    refuse_picture(path, found)
    refuse_inputs(path, (request.source, Path(corrected.where), folder.photographs.get(name)))
    label = folder.label_of(name, corrected, found)
    values = request.values
    if found is not None and _is_same(path, label, values):
        if found.is_hand_made or not (found.stamp and request.mark_unchanged):
            counts.unchanged += 1
            return
    elif found is not None and found.is_hand_made and not request.overwrite_hand_made:
        counts.refused_hand_made.append(name)
        return
    elif found is not None and not found.stamp and not request.overwrite:
        counts.refused_others.append(name)
        return
    if not counts.corrected + counts.new:  # first the classes: whoever finds the label finds them too
        record_import(request.out, values.class_names, values.has_background)
    write_label(path, label, "L", hand_made_stamp(request.tool))
    counts.corrected += found is not None
    counts.new += found is None


def _is_same(path: Path, label: NDArray[np.uint8], values: LabelValues) -> bool:
    try:
        return np.array_equal(read_mask(path, values.greatest, len(values.class_names)), label)
    except DataError:  # no label at all
        return False


def require_nothing_refused(request: Import, counts: Counts) -> None:
    """Raise `OutputError` where labels that came were left out, for what they would have replaced."""
    for names, what, option in (
        (counts.refused_hand_made, "hand-made labels", OVERWRITE_HAND_MADE),
        (counts.refused_others, "labels of another program", "--overwrite"),
    ):
        if names:
            raise OutputError(
                f"{len(names):,} {what} in {request.out} differ from what came and stay as they are, first "
                f"{mask_path(request.out, names[0])}; {option} replaces them, --list narrows it to some"
            )
