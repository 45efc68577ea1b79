"""`excel-cam label` as a function: a few photographs and the classes in them → a label and an overlay beside each.

The pipeline and the settings are those of `generate`; there is no data set, no tags file and no run record.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE, MAX_CLASSES
from excel_cam.errors import ImageError, OutputError, UsageError
from excel_cam.files import hash_json
from excel_cam.knowledge import KnowledgeBase, prompts_alone, read_knowledge, shipped_knowledge
from excel_cam.label_files import class_shares, read_stamp, write_label
from excel_cam.lists import quoted, read_class_list
from excel_cam.masks import read_mask
from excel_cam.overlay import OVERLAY_SUFFIX, overlay_picture, write_overlay
from excel_cam.records import Identity, check_writable
from excel_cam.settings import ModelChoice, Settings

if TYPE_CHECKING:
    from excel_cam.pipeline import Labeller
    from excel_cam.text_bank import TextBank

Report = Callable[[str], None]
_NAME = "photographs"  # what the knowledge base of such a run is called


@dataclass(frozen=True)
class ClassChoice:
    """The classes of a run in label order (label = index + 1), what the text encoder is told, and their sentences."""

    names: tuple[str, ...]
    knowledge: KnowledgeBase

    @property
    def without_sentences(self) -> tuple[str, ...]:
        """The classes that are compared by their prompts alone."""
        return tuple(entry.name for entry in self.knowledge.classes if not entry.sentences)


@dataclass(frozen=True)
class Place:
    """A photograph and where its label and its overlay go."""

    photograph: Path
    label: Path
    overlay: Path


@dataclass(frozen=True)
class Labelled:
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


def read_classes(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and prompt names from `cat,sofa`, `cat: tabby cat,sofa`, or a class list file.

    Raises `UsageError` for an empty or repeated name and for too many, `DataError` for a damaged file.
    """
    if os.path.isfile(text):
        return read_class_list(Path(text))
    prompts: dict[str, str] = {}
    for part in text.split(","):
        name, colon, prompt = (piece.strip() for piece in part.partition(":"))
        if not name or (colon and not prompt) or not (name + prompt).isprintable():
            raise UsageError(f"--classes {quoted(text)}: expected names with commas between, such as cat,sofa")
        if name in prompts:
            raise UsageError(f"--classes: {quoted(name)} is there twice; each class has one label value, keep one")
        prompts[name] = prompt or name
    if len(prompts) > MAX_CLASSES:
        raise UsageError(f"--classes: {len(prompts)} classes; 8-bit labels hold at most {MAX_CLASSES}")
    return tuple(prompts), tuple(prompts.values())


def choose_classes(text: str, knowledge_file: Path | None) -> ClassChoice:
    """The classes asked for, with the sentences of a knowledge base file, else of the shipped VOC one where it has them.

    Names are found in the shipped one without regard to case; a prompt name that is given wins. Raises
    `KnowledgeError` where a file lacks a class, and what `read_classes` raises.
    """
    names, prompts = read_classes(text)
    if knowledge_file is not None:
        knowledge = read_knowledge(knowledge_file).select(names, prompts, "--classes")
        return ClassChoice(names, dataclasses.replace(knowledge, dataset=_NAME))
    shipped = {entry.name.casefold(): entry for entry in shipped_knowledge("voc").classes}
    knowledge = prompts_alone(_NAME, names, prompts)
    classes = []
    for entry in knowledge.classes:
        described = shipped.get(entry.name.casefold())
        if described is not None:
            prompt = described.prompt if entry.prompt == entry.name else entry.prompt
            entry = dataclasses.replace(described, name=entry.name, prompt=prompt)
        classes.append(entry)
    return ClassChoice(names, dataclasses.replace(knowledge, classes=tuple(classes)))


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
        place = Place(path, folder / f"{path.stem}.png", folder / f"{path.stem}{OVERLAY_SUFFIX}")
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
) -> Iterator[Labelled]:  # fmt: skip
    """Label each photograph with all the classes, write its files, and yield what became of it.

    A label made by the same command is kept. Raises `OutputError` before any work where other files are in the way,
    `ModelError` and `KnowledgeError` as the model and its text rows do.
    """
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
            yield Labelled(place, {}, reason=str(error))


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
    from excel_cam.generate import prepare_text
    from excel_cam.pipeline import Labeller

    model, bank = prepare_text(model_choice, choice.knowledge, settings, report)
    known = {
        "command": "label", "settings": settings.group("text") | settings.group("image"),
        "knowledge": hash_json(choice.knowledge.content()), "model": model.name, "png_mode": png_mode,
    }  # fmt: skip
    identity = Identity(known, {"weights": model.fingerprint, "precision": model.precision})
    return Labeller(model, without_borrowed_attributes(bank, choice), settings), identity.stamp(_tags(choice.names))


def without_borrowed_attributes(bank: TextBank, choice: ClassChoice) -> TextBank:
    """The text rows with those of classes without sentences left plain.

    The attributes come from the other classes' sentences alone here: to add "has whiskers" to a class nobody described
    would draw it towards the cat beside it.
    """
    text = bank.text.copy()
    for index, entry in enumerate(choice.knowledge.classes):
        if not entry.sentences:
            text[index] = bank.plain[index]
    return dataclasses.replace(bank, text=text)


def _tags(names: Sequence[str]) -> tuple[int, ...]:
    return tuple(range(len(names)))


def _label_one(
    place: Place, names: Sequence[str], labeller: Labeller, stamp: str, writing: Writing, keep: bool
) -> Labelled:
    """Label one photograph and write its files; raises `ImageError`."""
    if keep and place.overlay.exists():
        return Labelled(place, class_shares(read_mask(place.label, len(names))), kept=True)
    pixels, label = _compute(labeller, place.photograph, _tags(names))
    if not keep:
        write_label(place.label, label, writing.png_mode, stamp)
    legend = dict(enumerate(names, start=1)) | {IGNORE: "ignore"}
    write_overlay(place.overlay, overlay_picture(pixels, label, legend))
    return Labelled(place, class_shares(label), kept=keep)


def _compute(
    labeller: Labeller, photograph: Path, tags: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pixels of a photograph as its file holds them, (H, W, 3), and its (H, W) label."""
    from excel_cam.images import read_image

    pixels = read_image(photograph)
    return pixels, labeller.label([pixels], [tags])[0]
