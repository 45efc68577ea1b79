"""`excel-cam label` as a function: a few photographs and the classes in them → a label and an overlay beside each.

The pipeline and the settings are those of `generate`; there is no data set, no tags file and no run record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE
from excel_cam.errors import ImageError, OutputError, UsageError
from excel_cam.files.masks import read_mask
from excel_cam.files.photographs import read_photograph
from excel_cam.labels.identity import Identity, known_identity, resolved_identity
from excel_cam.labels.overlay import OVERLAY_SUFFIX, overlay_name, overlay_picture, write_overlay
from excel_cam.labels.png import class_shares, read_stamp, write_label
from excel_cam.labels.records import check_writable
from excel_cam.run.photo_classes import ClassChoice, without_borrowed_attributes
from excel_cam.settings import ModelChoice, Settings, check_crf_backend
from excel_cam.wording import Report

if TYPE_CHECKING:
    from excel_cam.run.labeller import Labeller


@dataclass(frozen=True)
class Place:
    """A photograph and where its label and its overlay go."""

    photograph: Path
    label: Path
    overlay: Path


@dataclass(frozen=True)
class PhotoOutcome:
    """What became of one photograph: the share of its pixels per label value, or why it could not be read."""

    place: Place
    shares: dict[int, float]
    kept: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Writing:
    """How labels are written."""

    png_mode: str = "L"
    overwrite: bool = False


def choose_places(photographs: Sequence[Path], out: Path | None, report: Report) -> list[Place]:
    """Where each photograph's label and overlay go: into `out`, else beside it. Overlays are no photographs.

    Raises `UsageError` where two photographs would share a label, a label would replace a photograph, or none is left.
    """
    wanted = [path for path in dict.fromkeys(photographs) if not path.name.endswith(OVERLAY_SUFFIX)]
    if skipped := len(set(photographs)) - len(wanted):
        report(f"{skipped} overlays (*{OVERLAY_SUFFIX}) among the photographs are not labelled")
    if not wanted:
        raise UsageError("no photographs to label; name at least one image file")
    originals = {_identity(path): path for path in wanted}
    places: dict[Path, Place] = {}
    for path in wanted:
        folder = out if out is not None else path.parent
        place = Place(path, folder / f"{path.stem}.png", folder / overlay_name(path.stem))
        if place.label in places:
            other = places[place.label].photograph
            raise UsageError(f"{other} and {path} would share the label {place.label}; label them into two --out")
        if (original := originals.get(_identity(place.label))) is not None:
            raise UsageError(f"{place.label}: the label would replace the photograph {original}; choose an --out")
        places[place.label] = place
    return list(places.values())


def _identity(path: Path) -> tuple[int, int] | str:
    """The same for two paths of one file, whether or not it is there."""
    try:
        status = path.stat()
    except OSError:
        return os.path.abspath(path)
    return status.st_dev, status.st_ino


def label_photographs(
    places: Sequence[Place], choice: ClassChoice, model_choice: ModelChoice, settings: Settings, writing: Writing,
    report: Report,
) -> Iterator[PhotoOutcome]:  # fmt: skip
    """Label each photograph with all the classes, write its files, and yield what became of it.

    A label made by the same command is kept. Raises `OutputError` before any work where other files are in the way,
    `ModelError` and `KnowledgeError` as the model and its text rows do.
    """
    check_crf_backend(settings.crf_backend)
    for folder in {place.label.parent for place in places}:
        check_writable(folder)
    found = {place.label: read_stamp(place.label) for place in places}
    if not writing.overwrite:
        _refuse_foreign(places, found)
    labeller, stamp = _prepare(choice, model_choice, settings, writing.png_mode, report)
    if not writing.overwrite:
        others = [str(path) for path, made_with in found.items() if made_with not in (None, stamp)]
        if others:
            raise OutputError(_in_the_way(others, "made with other settings, classes or weights"))
    for place in places:
        keep = found[place.label] == stamp and not writing.overwrite
        try:
            yield _label_one(place, choice.names, labeller, stamp, writing, keep)
        except ImageError as error:
            yield PhotoOutcome(place, {}, reason=str(error))


def _refuse_foreign(places: Sequence[Place], found: dict[Path, str | None]) -> None:
    """Raise `OutputError` for files that `excel-cam` did not make here; before the model is loaded."""
    in_the_way = [str(path) for path, stamp in found.items() if stamp == ""]
    in_the_way += [str(place.overlay) for place in places if found[place.label] is None and place.overlay.exists()]
    if in_the_way:
        raise OutputError(_in_the_way(in_the_way, "there already"))


def _in_the_way(paths: Sequence[str], why: str) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}: {why}; add --overwrite to replace, or choose another --out"


def _prepare(
    choice: ClassChoice, model_choice: ModelChoice, settings: Settings, png_mode: str, report: Report
) -> tuple[Labeller, str]:
    """The labeller, and the stamp of its labels."""
    from excel_cam.model.prepare import prepare_text
    from excel_cam.run.labeller import Labeller

    model, bank = prepare_text(model_choice, choice.knowledge, settings, report)
    known = known_identity(
        settings, knowledge=choice.knowledge.content(), model=model.name, png_mode=png_mode, command="label"
    )
    identity = Identity(known, resolved_identity(model.fingerprint, model.precision))
    return Labeller(model, without_borrowed_attributes(bank, choice), settings), identity.stamp(_tags(choice.names))


def _tags(names: Sequence[str]) -> tuple[int, ...]:
    return tuple(range(len(names)))


def _label_one(
    place: Place, names: Sequence[str], labeller: Labeller, stamp: str, writing: Writing, keep: bool
) -> PhotoOutcome:
    """Label one photograph and write its files; raises `ImageError`."""
    if keep and place.overlay.exists():
        return PhotoOutcome(place, class_shares(read_mask(place.label, len(names))), kept=True)
    pixels, label = _compute(labeller, place.photograph, _tags(names))
    if not keep:
        write_label(place.label, label, writing.png_mode, stamp)
    legend = dict(enumerate(names, start=1)) | {IGNORE: "ignore"}
    write_overlay(place.overlay, overlay_picture(pixels, label, legend))
    return PhotoOutcome(place, class_shares(label), kept=keep)


def _compute(labeller: Labeller, photograph: Path, tags: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pixels of a photograph as its file holds them, (H', W', 3), reduced if it is large, and its (H, W) label."""
    opened = read_photograph(photograph, labeller.settings.working_pixels)
    (result,) = labeller.label_with_maps([opened.pixels], [tags], [opened.size])
    stored = opened.as_stored(np.moveaxis(opened.pixels, -1, 0))
    return np.moveaxis(stored, 0, -1), opened.as_stored(result.label)
