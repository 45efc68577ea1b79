"""Make a knowledge base of offered sentences: those that pass the checks are selected and written to a file."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import excel_cam
from excel_cam.errors import KnowledgeError
from excel_cam.files.atomic import json_bytes, write_atomically
from excel_cam.knowledge.base import ClassKnowledge, KnowledgeBase
from excel_cam.knowledge.check import Fault, TokenLimit, check_knowledge
from excel_cam.knowledge.prompts import PROMPT, Request, joint_prompt, sentence_prompt
from excel_cam.wording import first_lines


@dataclass(frozen=True)
class Selection:
    """What the checks leave of the sentences offered.

    knowledge: at most `wanted` sentences per class. refused: per class (sentence, what is wrong with it).
    """

    knowledge: KnowledgeBase
    refused: dict[str, list[tuple[str, str]]]
    wanted: int

    def missing(self, at_least: int) -> list[str]:
        """The classes with fewer than `at_least` sentences, as "name (17 of 20)"."""
        return [
            f"{entry.name} ({len(entry.sentences)} of {self.wanted})"
            for entry in self.knowledge.classes
            if len(entry.sentences) < at_least
        ]

    def requests(self) -> list[Request]:
        """What is still missing, by class."""
        return [
            Request(
                name=entry.name, prompt_name=entry.prompt, count=self.wanted - len(entry.sentences),
                kept=entry.sentences, refused=self.refused[entry.name],
            )
            for entry in self.knowledge.classes
            if len(entry.sentences) < self.wanted
        ]  # fmt: skip

    def prompts(self) -> dict[str, str]:
        """By class, the prompt for what is still missing."""
        names = [entry.name for entry in self.knowledge.classes]
        return {
            request.name: sentence_prompt(request, [name for name in names if name != request.name])
            for request in self.requests()
        }

    def joint_prompts(self, most: int) -> list[str]:
        """Prompts for what is still missing, each for at most so many classes."""
        names, wanted = [entry.name for entry in self.knowledge.classes], self.requests()
        return [joint_prompt(wanted[start : start + most], names) for start in range(0, len(wanted), most)]

    def report_lines(self) -> list[str]:
        """A line per class with what was taken, and one per sentence refused."""
        lines = []
        for entry in self.knowledge.classes:
            lines.append(f"{entry.name}: {len(entry.sentences)} of {self.wanted} sentences")
            lines += [f'  refused: "{sentence}" ({why})' for sentence, why in self.refused[entry.name]]
        return lines


def select_sentences(empty: KnowledgeBase, offered: dict[str, list[str]], wanted: int, tokens: TokenLimit) -> Selection:
    """Take, per class of `empty` and in order, the first `wanted` offered sentences that pass the checks."""
    refused: dict[str, list[tuple[str, str]]] = {entry.name: [] for entry in empty.classes}
    classes = [replace(entry, sentences=tuple(offered.get(entry.name, ()))) for entry in empty.classes]
    # Repeats are looked for among what is otherwise good: a bad sentence shall not push out a good one.
    for repeats in (False, True):
        findings = check_knowledge(replace(empty, classes=tuple(classes)), tokens)
        classes = [
            _without(entry, [f for f in findings if f.class_name == entry.name and f.repeats == repeats], refused)
            for entry in classes
        ]
    kept = tuple(replace(entry, sentences=entry.sentences[:wanted]) for entry in classes)
    return Selection(replace(empty, classes=kept), refused, wanted)


def _without(
    entry: ClassKnowledge, findings: Sequence[Fault], refused: dict[str, list[tuple[str, str]]]
) -> ClassKnowledge:
    """A class without the sentences that have errors; each is noted once in `refused`."""
    wrong = {f.sentence: f.problem for f in reversed(findings) if f.level == "error" and f.sentence is not None}
    refused[entry.name] += [(entry.sentences[number - 1], wrong[number]) for number in sorted(wrong)]
    kept = [sentence for number, sentence in enumerate(entry.sentences, start=1) if number not in wrong]
    return replace(entry, sentences=tuple(kept))


def check_complete(selection: Selection, at_least: int, advice: str) -> None:
    """Raise `KnowledgeError`, with `advice`, when a class has fewer than `at_least` sentences."""
    if missing := selection.missing(at_least):
        fewest = min(len(entry.sentences) for entry in selection.knowledge.classes)
        fewer = f", or take fewer with --at-least {fewest}" if fewest else ""
        raise KnowledgeError(f"sentences are missing for {first_lines(missing)}; {advice}{fewer}")


def provenance(author: str, wanted: int, **details: Any) -> dict[str, Any]:
    """Where a knowledge base comes from: who or what wrote it, when, asked what and how."""
    fields = {"count": "{count}", "described": "{class}", "name": '"{class}"', "others": "", "kept": "", "refused": ""}
    return {
        "author": author,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "prompt": PROMPT.format(**fields),
        "parameters": {"sentences": wanted, **details},
        "written_with": f"excel-cam {excel_cam.__version__}",
    }


def write_knowledge(out: Path, knowledge: KnowledgeBase, origin: dict[str, Any]) -> None:
    """Write a knowledge base file, whole; raises `OutputError`."""
    background_class = {} if knowledge.has_background else {"background_class": False}
    templates = list(knowledge.templates)
    record = {
        "dataset": knowledge.dataset,
        "template": templates[0] if len(templates) == 1 else templates,
        **background_class,
        "classes": [
            {"name": entry.name, "prompt": entry.prompt, "sentences": list(entry.sentences)}
            for entry in knowledge.classes
        ],
        "background": list(knowledge.background),
        "provenance": origin,
    }
    write_atomically(out, json_bytes(record))
