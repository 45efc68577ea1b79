"""What `excel-cam generate` is asked to label: which data set that opens, and which sentences go with its classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from excel_cam.data.coco import default_split, find_coco_root, open_coco
from excel_cam.data.dataset import DataSet
from excel_cam.data.folder import open_folder
from excel_cam.data.masked import MASKED, find_masked_root, open_masked
from excel_cam.data.voc import VOC_DEFAULT_SPLIT, find_voc_root, open_demo, open_voc
from excel_cam.errors import UsageError
from excel_cam.files.lists import read_entries
from excel_cam.knowledge.base import KnowledgeBase, class_limit, find_knowledge, shipped_knowledge, shipped_sentences
from excel_cam.tags.predicted import predicted_note
from excel_cam.wording import Report


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is to be labelled, as asked for; None where the data set's own default holds."""

    dataset: str
    root: Path | None = None
    split: str | None = None
    tags: Path | None = None
    classes: Path | None = None
    knowledge: Path | None = None  # a file, or the name of a shipped one
    all_classes: bool = False  # every image of a folder shows all classes, there are no tags
    names_from: str | None = None  # a file of names, or "-" for standard input
    roots: Mapping[str, Path] = field(default_factory=dict)  # folders of data sets, from a config file

    @property
    def has_own_knowledge(self) -> bool:
        """Whether the sentences are of a base for these classes, not gathered from shipped ones by classes' names."""
        return self.knowledge is not None or self.dataset != "folder"


def open_source(source: Source, out: Path | None = None, report: Report = lambda _: None) -> tuple[DataSet, str]:
    """Open the data set asked for, and say how its root was found; raises `UsageError` or `DataError`.

    report: told what takes long, before it begins.
    """
    data, found = _open(source, out, report)
    note = None if source.tags is None else predicted_note(source.tags, data.class_names)
    if note is not None:
        data = replace(data, predicted_tags=note, notes=(*data.notes, f"tags of {source.tags}: {note}"))
    return data, found


def _open(source: Source, out: Path | None, report: Report) -> tuple[DataSet, str]:
    """The data set, whatever its tags are made of."""
    if source.dataset != "folder" and source.classes is not None:
        raise UsageError(
            f"--classes: the classes of {source.dataset} are fixed; other classes go with --dataset folder"
        )
    if source.dataset == "folder" and source.split is not None:
        raise UsageError("--split: a folder has no splits; narrow it with --list")
    if source.all_classes and (source.dataset != "folder" or source.tags is not None):
        raise UsageError("--all-classes is for --dataset folder, instead of --tags")
    names = read_entries(source.names_from) if source.names_from is not None else None
    if source.dataset == "voc":
        root, found = find_voc_root(source.root, os.environ, source.roots.get("voc"))
        return open_voc(root, source.split or VOC_DEFAULT_SPLIT, source.tags, names), found
    if source.dataset == "coco":
        root, found = find_coco_root(source.root, os.environ, source.roots.get("coco"))
        return open_coco(root, source.split or default_split(root), source.tags, names), found
    if source.dataset in MASKED:
        root, found = find_masked_root(source.dataset, source.root, os.environ, source.roots)
        return open_masked(source.dataset, root, source.split, source.tags, names, report), found
    if source.dataset == "demo":
        brought = {"--root": source.root, "--split": source.split, "--tags": source.tags}
        if given := [option for option, value in brought.items() if value is not None]:
            raise UsageError(f"{' and '.join(given)}: the demo brings its own; narrow it with --list")
        return open_demo(names), "comes with excel-cam"
    root, classes = _needed_of_folder(source)
    has_background = source.knowledge is None or find_knowledge(str(source.knowledge)).has_background
    limit = class_limit(has_background)
    return open_folder(root, classes, source.tags, names, labels_folder=out, class_limit=limit), "--root"


def _needed_of_folder(source: Source) -> tuple[Path, Path]:
    """Root and class list of a folder; `UsageError` where they are missing, or its tags."""
    needed = {"--root": source.root, "--classes": source.classes}
    if absent := [option for option, value in needed.items() if value is None]:
        raise UsageError(f"--dataset folder needs {' and '.join(absent)}")
    if source.tags is None and not source.all_classes:
        raise UsageError(
            "--dataset folder needs --tags: which classes each image shows, as lines of `name,class;class`; "
            "`excel-cam tags --from` makes them of a folder per class, of annotations or of masks; --all-classes where "
            "every image shows all; `excel-cam tags --predict` lets the model say what they show"
        )
    return cast(Path, source.root), cast(Path, source.classes)


def choose_knowledge(source: Source, data: DataSet) -> KnowledgeBase:
    """The knowledge base for a data set's classes: the file given, else the shipped one, else by the classes' names."""
    if source.knowledge is not None:
        knowledge = find_knowledge(str(source.knowledge))
    elif data.name == "folder":
        return shipped_sentences(data.name, data.class_names, data.prompt_names)
    else:
        knowledge = shipped_knowledge("voc" if data.name == "demo" else data.name)
    return knowledge.select(data.class_names, data.prompt_names, str(source.classes or f"data set {data.name}"))
