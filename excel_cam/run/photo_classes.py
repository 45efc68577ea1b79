"""The classes of `excel-cam label`: names on the command line → what the text encoder is told of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from excel_cam.errors import DataError, UsageError
from excel_cam.files.class_forms import CLASS_LIST_SUFFIXES, ClassLine, order_lines
from excel_cam.files.lists import check_classes, read_class_list
from excel_cam.knowledge.base import KnowledgeBase, find_knowledge, prompts_alone, shipped_knowledge, shipped_names
from excel_cam.wording import Report, quoted

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


def read_classes(text: str, report: Report = lambda _: None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and prompt names from `cat,sofa`, `cat: tabby cat,sofa`, or a class list file (`classes.txt`).

    report is told what was dropped, such as a background. Raises `UsageError` for an empty or repeated name and for too
    many, `DataError` for a damaged file.
    """
    if text.endswith(CLASS_LIST_SUFFIXES):  # not any file of that name: one called "cat" may well lie there
        return read_class_list(Path(text), report=report)
    parts = [ClassLine(f"--classes, name {place}", part.strip()) for place, part in enumerate(text.split(","), 1)]
    try:
        lines, note = order_lines("--classes", parts, [], has_background=True)
        if note is not None:
            report(note)
        prompts = check_classes(lines)
    except DataError as error:
        raise UsageError(f"{error}; with commas between, such as cat,sofa") from None
    if not prompts:
        raise UsageError(f"--classes {quoted(text)}: no class but the background; name what the photographs show")
    return tuple(prompts), tuple(prompts.values())


def choose_classes(text: str, knowledge_file: Path | None, report: Report = lambda _: None) -> ClassChoice:
    """The classes asked for, with the sentences of a knowledge base, else of VOC's or COCO's if they have them.

    knowledge_file: a file, or the name of a shipped one, beside whose classes there is a background here. Names are
    found in the shipped ones without regard to case; a prompt name that is given wins. Raises
    `KnowledgeError` where a file lacks a class, and what `read_classes` raises.
    """
    names, prompts = read_classes(text, report)
    if knowledge_file is not None:
        knowledge = find_knowledge(str(knowledge_file)).select(names, prompts, "--classes")
        if str(knowledge_file) in shipped_names():  # these classes alone are rarely all that a photograph shows
            knowledge = dataclasses.replace(knowledge, has_background=True)
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
