"""`excel-cam kb write` as a function: a class list and a language model, or answers from hand → a knowledge base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files.inputs import refuse_inputs
from excel_cam.files.lists import read_class_list
from excel_cam.knowledge.base import KnowledgeBase, class_limit, empty_knowledge, shipped_names
from excel_cam.knowledge.check import TokenLimit
from excel_cam.knowledge.interview import Interview, Journal, Progress, journal_path
from excel_cam.knowledge.language_model import LanguageModel, LanguageModelChoice
from excel_cam.knowledge.prompts import read_answers
from excel_cam.knowledge.selection import Selection, check_complete, provenance, select_sentences, write_knowledge
from excel_cam.wording import Report


@dataclass(frozen=True, kw_only=True)
class WriteRequest:
    """A knowledge base that is to be written.

    Its sentences come from `answers`, a file of them, or from `language_model`; one of the two is given. sentences: how
    many are wanted per class. at_least: how many must be there. rounds: how often to ask again. concurrency: questions
    at a time. templates and background: VOC's where there are none.
    """

    classes: Path
    out: Path
    sentences: int
    at_least: int
    answers: Path | None = None
    language_model: LanguageModelChoice | None = None
    rounds: int = 3
    concurrency: int = 4
    templates: tuple[str, ...] = ()
    background: tuple[str, ...] | None = None
    has_background: bool = True
    overwrite: bool = False


def write_base(request: WriteRequest, tokens: TokenLimit, report: Report, progress: Progress) -> None:
    """Gather sentences, keep those that pass the checks, and write the file; `report` is told what was taken.

    Raises `OutputError` where `out` is in the way, `KnowledgeError` where sentences are missing, and what reading the
    class list and the answers or asking the language model raises.
    """
    if request.out.exists() and not request.overwrite:
        raise OutputError(f"{request.out} is there already; add --overwrite to replace it, or choose another --out")
    refuse_inputs(request.out, (request.classes, request.answers))
    empty = empty_base(
        request.classes, request.out.stem, request.templates, request.background, request.has_background, report
    )  # fmt: skip
    if request.answers is not None:
        selection = select_answers(empty, request.answers, request.sentences, tokens)
        origin = provenance(f"by hand ({request.answers.name})", request.sentences)
    else:
        selection, origin = _interview(request, empty, tokens, report, progress)
    for line in selection.report_lines():
        report(line)
    check_complete(selection, request.at_least, _advice(request))
    write_knowledge(request.out, selection.knowledge, origin)
    report(f"written: {request.out}")


def empty_base(
    classes: Path, name: str = "folder", templates: Sequence[str] = (), background: Sequence[str] | None = None,
    has_background: bool = True, report: Report = lambda _: None,
) -> KnowledgeBase:  # fmt: skip
    """A knowledge base for a class list, as asked for, without sentences."""
    class_names, prompt_names = read_class_list(classes, class_limit(has_background), report)
    # The paper's number of attributes goes with the names of its data sets, so another list shall not bear them.
    name = f"{name}-own" if name in shipped_names() else name
    return empty_knowledge(name, class_names, prompt_names, templates, background, has_background)


def select_answers(empty: KnowledgeBase, answers: Path | None, sentences: int, tokens: TokenLimit) -> Selection:
    """What the checks leave of a file of answers; of none, where there is no file."""
    offered = {} if answers is None else read_answers(answers, [entry.name for entry in empty.classes])
    return select_sentences(empty, offered, sentences, tokens)


def _interview(
    request: WriteRequest, empty: KnowledgeBase, tokens: TokenLimit, report: Report, progress: Progress
) -> tuple[Selection, dict[str, Any]]:
    """The sentences that a language model gives, and where they come from."""
    choice = request.language_model
    assert choice is not None
    model = LanguageModel(choice, report)
    journal = Journal(journal_path(request.out))
    if journal.answers:
        report(f"{len(journal.answers):,} answers are in {journal.path} already")
    interview = Interview(model, journal, request.concurrency, report, progress)
    selection = interview.ask_until_complete(empty, request.sentences, request.rounds, tokens)
    origin = provenance(
        f"the language model {choice.name}", request.sentences, model=choice.name, url=choice.public_url,
        temperature=choice.temperature, rounds=request.rounds, answers=journal.path.name,
    )  # fmt: skip
    return selection, origin


def _advice(request: WriteRequest) -> str:
    """What to do where sentences are missing."""
    if request.answers is None:
        return "raise --rounds to ask more often"
    return (
        f"`excel-cam kb prompts --classes {request.classes} --answers {request.answers} --sentences "
        f"{request.sentences}` prints prompts for them, put the answers into {request.answers} as well"
    )
