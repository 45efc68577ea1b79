"""The classes of `excel-cam tags --predict`, by class list or data set, and what the text encoder is told of each."""

from __future__ import annotations

from pathlib import Path

from excel_cam.classes import NAMED_CLASSES
from excel_cam.files.lists import read_class_list
from excel_cam.knowledge.base import class_limit, find_knowledge, shipped_knowledge
from excel_cam.run.photographs.classes import ClassChoice, describe_classes
from excel_cam.wording import Report


def tag_classes(
    dataset: str | None, classes: Path | None, knowledge: Path | None, report: Report
) -> tuple[ClassChoice, bool]:
    """The classes with their sentences, and whether these are of a base for them, not gathered by the classes' names.

    dataset or classes: one of the two. knowledge: a file, or the name of a shipped one, that describes all of them;
    without one the data set's own, or what shipped ones say of classes of these names. Raises `DataError` and
    `KnowledgeError` as the files do.
    """
    base = None if knowledge is None else find_knowledge(str(knowledge))
    if dataset is not None:
        names = prompts = NAMED_CLASSES[dataset]
        base = base or shipped_knowledge("voc" if dataset == "demo" else dataset)
    else:
        assert classes is not None
        names, prompts = read_class_list(classes, class_limit(base is None or base.has_background), report)
    if base is None:
        return describe_classes(names, prompts, None), False
    return ClassChoice(names, base.select(names, prompts, str(classes or f"data set {dataset}"))), True
