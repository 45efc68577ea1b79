"""`excel-cam label` as a function: a few photographs and the classes in them → a label and an overlay beside each.

The pipeline and the settings are those of `generate`; there is no data set, no tags file and no run record.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE, MAX_CLASSES
from excel_cam.errors import ImageError, OutputError
from excel_cam.files.atomic import check_writable
from excel_cam.files.images.georeference import lacks_georeference, write_georeference
from excel_cam.files.images.masks import read_mask
from excel_cam.files.images.photographs import read_photograph
from excel_cam.labels.claims import Claims, Work, claimed
from excel_cam.labels.identity import Identity, known_identity, resolved_identity, segment_identity
from excel_cam.labels.overlay import overlay_picture, write_overlay
from excel_cam.labels.places import Place
from excel_cam.labels.png import FoundLabel, class_shares, find_label, refuse_picture, write_label
from excel_cam.model.remembered import recall, remember
from excel_cam.run.photographs.classes import ClassChoice
from excel_cam.run.plan import still_fits
from excel_cam.settings import ModelChoice, SegmentationSettings, Settings, check_bands, check_crf_backend
from excel_cam.wording import OVERWRITE_HAND_MADE, Report

if TYPE_CHECKING:
    from excel_cam.model.clip import ClipModel
    from excel_cam.run.labeller import Labeller
    from excel_cam.run.learnt_labeller import TaglessLabeller


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
    overwrite_hand_made: bool = False


@dataclass(frozen=True)
class SegmentChoice:
    """A trained adapter, a file, and how it looks at photographs; `names` are the classes it tells apart."""

    names: tuple[str, ...]
    adapter: Path
    segmentation: SegmentationSettings


def segment_choice(adapter: Path, segmentation: SegmentationSettings) -> SegmentChoice:
    """What a trained adapter can segment photographs into; raises `ModelError` where it cannot be read."""
    from excel_cam.learnt.checkpoint import read_description

    return SegmentChoice(read_description(adapter).classes, adapter, segmentation)


def label_photographs(
    places: Sequence[Place], choice: ClassChoice | SegmentChoice, model_choice: ModelChoice, settings: Settings,
    writing: Writing, report: Report,
) -> Generator[PhotoOutcome, None, None]:  # fmt: skip
    """Label each photograph with all the classes, write its files, and yield what became of it.

    A label made by the same command is kept, and one that a person made, without a look at the photograph. Raises
    `OutputError` before any work where other files are in the way, `ModelError` and `KnowledgeError` as the model and
    its text rows do.
    """
    check_crf_backend(settings.crf_backend)
    check_bands(settings.bands)
    for folder in {place.label.parent for place in places}:
        check_writable(folder)
    with claimed(_works(places)) as claims:
        found = {place.label: find_label(place.label) for place in places}
        for path, label in found.items():
            refuse_picture(path, label)
        hand_made = {path for path, label in found.items() if label is not None and label.is_hand_made}
        if hand_made and not writing.overwrite_hand_made:
            report(f"{len(hand_made):,} hand-made labels stay as they are; {OVERWRITE_HAND_MADE} replaces them")
            # Of classes that may be others than those of this command.
            yield from (_kept(place, MAX_CLASSES) for place in places if place.label in hand_made)
            places = [place for place in places if place.label not in hand_made]
            if not places:
                return
        found = {place.label: None if place.label in hand_made else found[place.label] for place in places}
        if not writing.overwrite:
            _refuse_foreign([place for place in places if place.label not in hand_made], found)
        finished = _recalled_stamp(choice, model_choice, settings, writing)
        if finished is not None and all(_is_finished(place, found[place.label], finished) for place in places):
            yield from (_kept(place, len(choice.names)) for place in places)
            return
        labeller, stamp = _prepare(choice, model_choice, settings, writing.png_mode, report)
        if not writing.overwrite:
            others = [str(path) for path, label in found.items() if label is not None and label.stamp != stamp]
            if others:
                raise OutputError(_in_the_way(others, "made with other settings, classes or weights"))
        for place in places:
            label = None if writing.overwrite else found[place.label]
            try:
                if label is not None and _is_finished(place, label, stamp):
                    yield _kept(place, len(choice.names))
                else:
                    yield _label_one(place, choice.names, labeller, stamp, writing, _fits(place, label), claims)
            except ImageError as error:
                yield PhotoOutcome(place, {}, reason=str(error))


def _recalled_stamp(
    choice: ClassChoice | SegmentChoice, model_choice: ModelChoice, settings: Settings, writing: Writing
) -> str | None:
    """The stamp that labels will have, where it is known without loading the model and they may be kept."""
    recalled = None if writing.overwrite else recall(model_choice)
    return None if recalled is None else _stamp(choice, settings, writing.png_mode, *recalled)


def _fits(place: Place, label: FoundLabel | None) -> bool:
    fits = label is not None and still_fits(label, place.photograph)
    return fits and not lacks_georeference(place.label, place.photograph)


def _is_finished(place: Place, label: FoundLabel | None, stamp: str) -> bool:
    """Whether a photograph's label and overlay are there, made with this stamp."""
    return label is not None and label.stamp == stamp and place.overlay.exists() and _fits(place, label)


def _kept(place: Place, greatest: int) -> PhotoOutcome:
    return PhotoOutcome(place, class_shares(read_mask(place.label, greatest)), kept=True)


def _works(places: Sequence[Place]) -> dict[Path, Work]:
    """The labels that are about to be written into each folder."""
    names: dict[Path, list[str]] = {}
    for place in places:
        names.setdefault(place.label.parent.resolve(), []).append(place.label.name)
    return {folder: Work(names=tuple(own)) for folder, own in names.items()}


def _refuse_foreign(places: Sequence[Place], found: dict[Path, FoundLabel | None]) -> None:
    """Raise `OutputError` for files that `excel-cam` did not make here; before the model is loaded."""
    in_the_way = [str(path) for path, label in found.items() if label is not None and not label.stamp]
    in_the_way += [str(place.overlay) for place in places if found[place.label] is None and place.overlay.exists()]
    if in_the_way:
        raise OutputError(_in_the_way(in_the_way, "there already"))


def _in_the_way(paths: Sequence[str], why: str) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}: {why}; add --overwrite to replace, or choose another --out"


def _prepare(
    choice: ClassChoice | SegmentChoice, model_choice: ModelChoice, settings: Settings, png_mode: str, report: Report
) -> tuple[Labeller | TaglessLabeller, str]:
    """The labeller, and the stamp of its labels."""
    if isinstance(choice, SegmentChoice):
        return _prepare_segmenter(choice, model_choice, settings, png_mode, report)
    from excel_cam.model.prepare import prepare_text
    from excel_cam.run.labeller import Labeller

    model, bank = prepare_text(model_choice, choice.knowledge, settings, report, borrowing=False)
    return Labeller(model, bank, settings), _stamp_of(model, choice, model_choice, settings, png_mode)


def _prepare_segmenter(
    choice: SegmentChoice, model_choice: ModelChoice, settings: Settings, png_mode: str, report: Report
) -> tuple[TaglessLabeller, str]:
    from excel_cam.learnt.checkpoint import read_adapter
    from excel_cam.model.prepare import prepare_model
    from excel_cam.run.learnt_labeller import TaglessLabeller

    model = prepare_model(model_choice, report)
    labeller = TaglessLabeller(model, read_adapter(choice.adapter, model), choice.segmentation, settings)
    return labeller, _stamp_of(model, choice, model_choice, settings, png_mode)


def _stamp_of(
    model: ClipModel, choice: ClassChoice | SegmentChoice, model_choice: ModelChoice, settings: Settings, png_mode: str
) -> str:
    """The stamp of labels that this model makes; what it turned out to be is remembered."""
    resolved = resolved_identity(model.fingerprint, model.precision, model.backend)
    remember(model_choice, model.name, resolved)
    return _stamp(choice, settings, png_mode, model.name, resolved)


def _stamp(
    choice: ClassChoice | SegmentChoice, settings: Settings, png_mode: str, model: str, resolved: dict[str, Any]
) -> str:
    if isinstance(choice, SegmentChoice):
        known = segment_identity(
            choice.segmentation, settings.working_pixels, adapter=choice.adapter, model=model, png_mode=png_mode,
            classes=choice.names,
        )  # fmt: skip
    else:
        known = known_identity(
            settings, knowledge=choice.knowledge.content(), model=model, png_mode=png_mode, command="label"
        )
    return Identity(known, resolved).stamp(_tags(choice.names))


def _tags(names: Sequence[str]) -> tuple[int, ...]:
    return tuple(range(len(names)))


def _label_one(
    place: Place,
    names: Sequence[str],
    labeller: Labeller | TaglessLabeller,
    stamp: str,
    writing: Writing,
    keep: bool,
    claims: Claims,
) -> PhotoOutcome:
    """Label one photograph and write its files; raises `ImageError`, and `OutputError` where it may not write."""
    pixels, label = _compute(labeller, place.photograph, _tags(names))
    claims.require()
    if not keep:
        write_georeference(place.label, place.photograph)
        write_label(place.label, label, writing.png_mode, stamp)
    legend = dict(enumerate(names, start=1)) | {IGNORE: "ignore"}
    write_overlay(place.overlay, overlay_picture(pixels, label, legend))
    return PhotoOutcome(place, class_shares(label), kept=keep)


def _compute(
    labeller: Labeller | TaglessLabeller, photograph: Path, tags: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pixels of a photograph as its file holds them, (H', W', 3), reduced if it is large, and its (H, W) label."""
    opened = read_photograph(photograph, labeller.settings.working_pixels, bands=labeller.settings.bands)
    (result,) = labeller.label_with_maps([opened.pixels], [tags], [opened.size])
    stored = opened.as_stored(np.moveaxis(opened.pixels, -1, 0))
    return np.moveaxis(stored, 0, -1), opened.finished(result.label)
