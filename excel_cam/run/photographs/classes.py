"""The classes of `excel-cam label`: names on the command line → what the text encoder is told of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from excel_cam.errors import DataError, UsageError
from excel_cam.files.class_forms import CLASS_LIST_SUFFIXES, ClassLine, order_lines
from excel_cam.files.lists import check_classes, read_class_list
from excel_cam.knowledge.base import KnowledgeBase, find_knowledge, shipped_knowledge, shipped_names, shipped_sentences
from excel_cam.wording import Report, quoted

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
    if ";" in text:
        commas = ",".join(part.strip() for part in text.split(";"))
        raise UsageError(f"--classes {quoted(text)}: put commas between classes, such as {commas}")
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
    for name in prompts:
        if (several := _several_classes(name)) is not None:
            report(f"{quoted(name)} is one class here; for several put commas between: --classes {several}")
    return tuple(prompts), tuple(prompts.values())


def _several_classes(name: str) -> str | None:
    """The words of a name with commas between, where each of them is a class that shipped knowledge bases know."""
    words = name.split()
    if len(words) < 2:
        return None
    known = {entry.name.casefold() for source in shipped_names() for entry in shipped_knowledge(source).classes}
    is_known = name.casefold() in known or not all(word.casefold() in known for word in words)
    return None if is_known else ",".join(words)


def choose_classes(text: str, knowledge_file: Path | None, report: Report = lambda _: None) -> ClassChoice:
    """The classes asked for, with the sentences of a knowledge base, else of VOC's or COCO's if they have them.

    knowledge_file: a file, or the name of a shipped one, beside whose classes there is a background here. Without one
    see `shipped_sentences`. Raises `KnowledgeError` where a file lacks a class, and what `read_classes` raises.
    """
    names, prompts = read_classes(text, report)
    if knowledge_file is None:
        return describe_classes(names, prompts, None)
    knowledge = find_beside_background(str(knowledge_file))
    choice = describe_classes(names, prompts, knowledge)
    if not knowledge.has_background:
        raise UsageError(f"{knowledge_file}: without a background class; label such photographs with generate")
    return choice


def find_beside_background(name_or_file: str) -> KnowledgeBase:
    """A knowledge base for some classes of many: one that is shipped has a background beside them."""
    knowledge = find_knowledge(name_or_file)
    if name_or_file in shipped_names():  # these classes alone are rarely all that a photograph shows
        return dataclasses.replace(knowledge, has_background=True)
    return knowledge


def describe_classes(names: tuple[str, ...], prompts: tuple[str, ...], knowledge: KnowledgeBase | None) -> ClassChoice:
    """These classes with the sentences of a knowledge base, which has to know them all, else the shipped ones'."""
    if knowledge is None:
        return ClassChoice(names, shipped_sentences(_NAME, names, prompts))
    selected = knowledge.select(names, prompts, "--classes")
    return ClassChoice(names, dataclasses.replace(selected, dataset=_NAME))
