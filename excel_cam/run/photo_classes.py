"""The classes of `excel-cam label`: names on the command line → what the text encoder is told of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from excel_cam.classes import MAX_CLASSES
from excel_cam.errors import UsageError
from excel_cam.files.lists import read_class_list
from excel_cam.knowledge.base import KnowledgeBase, prompts_alone, read_knowledge, shipped_knowledge
from excel_cam.wording import quoted

if TYPE_CHECKING:
    from excel_cam.model.text_bank import TextBank

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


def read_classes(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and prompt names from `cat,sofa`, `cat: tabby cat,sofa`, or a class list file (`classes.txt`).

    Raises `UsageError` for an empty or repeated name and for too many, `DataError` for a damaged file.
    """
    if text.endswith(".txt"):  # not any file of that name: one called "cat" may well lie there
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
    """The classes asked for, with the sentences of a knowledge base file, else of VOC's or COCO's if they have them.

    Names are found in the shipped ones without regard to case; a prompt name that is given wins. Raises
    `KnowledgeError` where a file lacks a class, and what `read_classes` raises.
    """
    names, prompts = read_classes(text)
    if knowledge_file is not None:
        knowledge = read_knowledge(knowledge_file).select(names, prompts, "--classes")
        if not knowledge.has_background:
            raise UsageError(f"{knowledge_file}: without a background class; label such photographs with generate")
        return ClassChoice(names, dataclasses.replace(knowledge, dataset=_NAME))
    # Where both know a class by one name, VOC's has the later word.
    shipped = {
        entry.name.casefold(): entry for dataset in ("coco", "voc") for entry in shipped_knowledge(dataset).classes
    }
    knowledge = prompts_alone(_NAME, names, prompts)
    classes = []
    for entry in knowledge.classes:
        described = shipped.get(entry.name.casefold())
        if described is not None:
            prompt = described.prompt if entry.prompt == entry.name else entry.prompt
            entry = dataclasses.replace(described, name=entry.name, prompt=prompt)
        classes.append(entry)
    return ClassChoice(names, dataclasses.replace(knowledge, classes=tuple(classes)))


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
