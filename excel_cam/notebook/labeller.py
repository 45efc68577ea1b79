"""`Labeller`: class names and images in, results out; the model, the text rows and the arithmetic are the commands'."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from excel_cam.classes import NAMED_CLASSES
from excel_cam.errors import DataError, SettingsError, UsageError
from excel_cam.files.class_forms import ClassLine, order_lines
from excel_cam.files.images.photographs import Photograph
from excel_cam.files.lists import check_classes
from excel_cam.knowledge.base import KnowledgeBase, find_knowledge, shipped_knowledge
from excel_cam.model.clip import ClipModel
from excel_cam.model.prepare import prepare_text
from excel_cam.model.text_bank import TextBank
from excel_cam.model.words_file import RECORDED, fit_recorded, recorded_settings
from excel_cam.notebook.inputs import check_image, class_indices, classes_of_images, is_one_image, read_photo
from excel_cam.notebook.result import LabelledImage, value_names
from excel_cam.run.labeller import LabelledPhotograph
from excel_cam.run.labeller import Labeller as Steps
from excel_cam.run.photographs.classes import describe_classes, find_beside_background, read_classes
from excel_cam.settings import PRESETS, Backend, ModelChoice, Settings
from excel_cam.shipped import SHIPPED_MODEL, locate_shipped
from excel_cam.wording import quoted

TOGETHER = 8  # images in memory at a time, and on a GPU in one forward pass

OneImage: TypeAlias = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
OneClass: TypeAlias = str | int
KnowledgeName: TypeAlias = str | os.PathLike[str] | KnowledgeBase


class Labeller:
    """A frozen CLIP, its text rows and settings, ready to label images with the classes that each shows.

    >>> from excel_cam import Labeller
    >>> labeller = Labeller.from_pretrained(dataset="demo")
    >>> result = labeller.label(photo, ["motorbike"])   # a path, a PIL image, or a uint8 array (H, W, 3)
    >>> result.label.shape, sorted(set(result.label.ravel().tolist()))   # 0 background, 14 motorbike
    ((452, 455), [0, 14])
    >>> [found.classes for found in labeller.label([photo, photo], [["motorbike"], [13, "cat"]])]
    [('motorbike',), ('cat', 'motorbike')]
    >>> labeller.label(photo, "motorbicycle")
    Traceback (most recent call last):
    excel_cam.errors.DataError: classes: 'motorbicycle' is not one of the 20 classes (nearest: motorbike, bicycle)
    """

    def __init__(self, model: ClipModel, bank: TextBank, settings: Settings) -> None:
        """From a model and text rows of one's own; raises `SettingsError` where they rule the settings out."""
        self._steps = Steps(model, bank, settings)
        self.model, self.settings = model, settings
        self.classes = bank.names[: bank.foreground]
        self._shows_all = False

    @classmethod
    def from_pretrained(
        cls,
        *,
        dataset: str | None = None,
        classes: str | Sequence[str] | None = None,
        kb: KnowledgeName | None = None,
        model: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        pretrained: str = ModelChoice.pretrained,
        device: str = ModelChoice.device,
        precision: str = ModelChoice.precision,
        backend: Backend = ModelChoice.backend,
        preset: str | None = None,
        settings: Settings | Mapping[str, Any] | None = None,
    ) -> Labeller:
        """Load a model, and text rows for the classes of a data set, of one's own, or of a knowledge base.

        dataset: `voc`, `coco`, `demo` and so on, as in the commands. classes: names, `"name: prompt name"`, or the text
        that `excel-cam label --classes` takes; an image then shows all of them unless it is told otherwise. kb: a
        knowledge base, a file of one, or a shipped one's name; alone, all its classes.
        model, weights, pretrained, device, precision, backend: as the commands' options of these names. preset: what
        the settings start from, `paper` by default. settings: single ones by name, such as {"refine": "none"}; or
        `Settings`, which are taken whole.

        Raises `UsageError` where the choices contradict, `SettingsError`, `KnowledgeError` and `ModelError`.

        >>> Labeller.from_pretrained(dataset="voc", model="excel-cam-demo").classes[7]
        'cat'
        >>> Labeller.from_pretrained(classes=["cat", "sofa"], model="excel-cam-demo").classes
        ('cat', 'sofa')
        """
        knowledge = _chosen_knowledge(dataset, classes, kb)
        name = model or (SHIPPED_MODEL if dataset == "demo" and weights is None else ModelChoice.name)
        file = None if weights is None else Path(weights)
        choice = locate_shipped(ModelChoice(name, pretrained, file, device, precision, backend=backend))
        chosen = _chosen_settings(choice.name, preset, settings, knowledge)
        borrowing = dataset is not None or classes is None
        labeller = cls(*prepare_text(choice, knowledge, chosen, lambda _: None, borrowing), chosen)
        labeller._shows_all = classes is not None
        return labeller

    @overload
    def label(self, images: OneImage, classes: OneClass | Sequence[OneClass] | None = None) -> LabelledImage: ...

    @overload
    def label(
        self, images: list[Any] | tuple[Any, ...], classes: Sequence[Sequence[OneClass]] | None = None
    ) -> list[LabelledImage]: ...

    def label(self, images: Any, classes: Any = None) -> LabelledImage | list[LabelledImage]:
        """Label one image, or a list of them, with the classes that each shows.

        images: a path, a PIL image or a uint8 array (H, W, 3) in RGB; or a list of those. classes: names or 0-based
        indices of what the image shows, [] for nothing of interest; for a list of images one such list for each. Left
        out, every image shows all classes of a labeller that was made with `classes`.

        Returns a `LabelledImage`, or a list of them: the labels of `excel-cam label` and `generate` for the same
        settings. Raises `ImageError` and `DataError`, before anything is labelled where that can be told.
        """
        if classes is None:
            if not self._shows_all:
                raise DataError(f'classes: missing; say which of the {len(self.classes)} the image shows, as ["cat"]')
            everything = range(len(self.classes))
            classes = everything if is_one_image(images) else [everything] * len(images)
        if is_one_image(images):
            check_image(images, "images")
            return self._label([images], [class_indices(classes, self.classes, "classes")], ["images"])[0]
        places = [f"images[{place}]" for place in range(len(images))]
        for image, where in zip(images, places, strict=True):
            check_image(image, where)
        tags = classes_of_images(classes, len(images), self.classes)
        results = []
        for start in range(0, len(images), TOGETHER):
            part = slice(start, start + TOGETHER)
            results += self._label(images[part], tags[part], places[part])
        return results

    def _label(
        self, images: Sequence[OneImage], tags: Sequence[tuple[int, ...]], places: Sequence[str]
    ) -> list[LabelledImage]:
        pixels = self.settings.working_pixels
        opened = [
            read_photo(image, pixels, self.settings.bands, where) for image, where in zip(images, places, strict=True)
        ]
        sizes = [photograph.size for photograph in opened]
        found = self._steps.label_with_maps([photograph.pixels for photograph in opened], tags, sizes)
        return [self._result(*parts) for parts in zip(opened, found, tags, strict=True)]

    def _result(self, opened: Photograph, found: LabelledPhotograph, tags: tuple[int, ...]) -> LabelledImage:
        has_background = self._steps.has_background
        return LabelledImage(
            label=opened.finished(found.label), maps=opened.as_stored(found.maps),
            classes=tuple(self.classes[tag] for tag in tags), names=value_names(self.classes, has_background),
            _pixels=np.moveaxis(opened.as_stored(np.moveaxis(opened.pixels, -1, 0)), 0, -1),
            _background_power=self.settings.background_power if has_background else None,
        )  # fmt: skip

    def __repr__(self) -> str:
        first = ", ".join(self.classes[:3]) + (", ..." if len(self.classes) > 3 else "")
        return f"Labeller({self.model.name} on {self.model.device}, {len(self.classes)} classes: {first})"


def _chosen_knowledge(
    dataset: str | None, classes: str | Sequence[str] | None, kb: KnowledgeName | None
) -> KnowledgeBase:
    """What the text encoder is told of the classes asked for."""
    if dataset is not None and classes is not None:
        raise UsageError("give the class names with either dataset or classes")
    if dataset is None and classes is None and kb is None:
        raise UsageError('say which classes there are: dataset="voc", or classes=["cat", "sofa"], or kb="my.json"')
    if dataset is not None:
        if dataset not in NAMED_CLASSES:
            near = difflib.get_close_matches(str(dataset), NAMED_CLASSES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"dataset {quoted(dataset)} is not known; expected {', '.join(NAMED_CLASSES)}{hint}")
        names = NAMED_CLASSES[dataset]
        own = shipped_knowledge("voc" if dataset == "demo" else dataset) if kb is None else _find(kb)
        return own.select(names, names, f"data set {dataset}")
    if classes is None:
        assert kb is not None
        return _find(kb)
    names, prompts = read_classes(classes) if isinstance(classes, str) else _listed_classes(classes)
    if kb is None:
        return describe_classes(names, prompts, None).knowledge
    own = kb if isinstance(kb, KnowledgeBase) else find_beside_background(os.fspath(kb))
    return describe_classes(names, prompts, own).knowledge


def _find(kb: KnowledgeName) -> KnowledgeBase:
    return kb if isinstance(kb, KnowledgeBase) else find_knowledge(os.fspath(kb))


def _listed_classes(classes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and prompt names of a list; raises `DataError`, naming the place, as for a class list's file."""
    if odd := [entry for entry in classes if not isinstance(entry, str)]:
        raise DataError(f"classes: expected names, got {quoted(odd[0])}")
    lines = [ClassLine(f"classes[{place}]", name.strip()) for place, name in enumerate(classes)]
    ordered, note = order_lines("classes", lines, [], has_background=True)
    if note is not None:
        raise DataError(f"{note}; leave that out: label 0 is the background by itself")
    if not ordered:
        raise DataError('classes: the list is empty; name what the images show, such as ["cat", "sofa"]')
    prompts = check_classes(ordered)
    return tuple(prompts), tuple(prompts.values())


def _chosen_settings(
    model: str, preset: str | None, settings: Settings | Mapping[str, Any] | None, knowledge: KnowledgeBase
) -> Settings:
    """The settings as the commands choose them: a preset, what the model was made for, and what is given by name."""
    if isinstance(settings, Settings):
        if preset is not None:
            raise SettingsError("preset and Settings are both whole; give single settings by name beside a preset")
        return settings
    if (preset or "paper") not in PRESETS:
        raise SettingsError(f"preset {quoted(preset)} is not known; expected one of {', '.join(PRESETS)}")
    base, given = PRESETS[preset or "paper"], dict(settings or {})
    known = [entry.name for entry in dataclasses.fields(Settings)]
    for name in given:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(str(name), known, n=3)) or ", ".join(known)
            raise SettingsError(f"settings: {quoted(name)} is none of them; nearest: {near}")
    recorded = recorded_settings(model)
    if given.get("attributes", base.attributes) != "clustered":
        recorded.pop("clusters", None)
    sources = {name: f"{RECORDED}{model}" for name in recorded if name not in given}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        chosen = dataclasses.replace(base, **recorded | values)
    except TypeError as error:  # a text where a number belongs
        raise SettingsError(f"settings: a value is of the wrong kind ({error})") from None
    return fit_recorded(chosen, sources, knowledge.sentence_count)
