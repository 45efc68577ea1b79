"""The commands that make knowledge bases: `excel-cam kb prompts` and `excel-cam kb write`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from excel_cam.cli.options import FILE
from excel_cam.errors import OutputError

if TYPE_CHECKING:
    from excel_cam.knowledge.base import KnowledgeBase
    from excel_cam.knowledge.selection import Selection

_classes = click.option(
    "--classes", type=FILE, required=True, help="Class list: a name, or `name: prompt name`, per line."
)
_sentences = click.option(
    "--sentences", type=click.IntRange(1, 200), default=20, show_default=True, help="Sentences per class."
)
_no_background = click.option(
    "--no-background", is_flag=True, help="Every pixel shows one of the classes: no background, the first label is 0."
)


@click.command("prompts")
@_classes
@click.option("--answers", type=FILE, help="Answers so far: print prompts only for what they still lack.")
@_sentences
@click.option("--text", "as_text", is_flag=True, help="Plain prompts with blank lines between, instead of JSON.")
def kb_prompts(classes: Path, answers: Path | None, sentences: int, as_text: bool) -> None:
    """Print a prompt per class, to paste into any chat: a JSON object {"class", "prompt"} per line.

    \b
        excel-cam kb prompts --classes classes.txt > prompts.jsonl
        excel-cam kb prompts --classes classes.txt --answers answers.jsonl > missing.jsonl

    Each prompt asks for one line of JSON. Put the answers into a file, one after another, for
    `excel-cam kb write --answers`.
    """
    from excel_cam.files.atomic import json_line

    for name, prompt in _select(_empty(classes), answers, sentences).prompts().items():
        click.echo(f"{prompt}\n" if as_text else json_line({"class": name, "prompt": prompt}), nl=as_text)


@click.command("write")
@_classes
@click.option("--out", type=FILE, required=True, help="Knowledge base file to write.")
@click.option("--answers", type=FILE, help="Answers to the prompts of `kb prompts`, instead of a language model.")
@click.option("--llm-url", help="OpenAI-compatible address, such as https://api.openai.com/v1.")
@click.option("--llm-model", help="The language model's name there.")
@_sentences
@click.option("--at-least", type=click.IntRange(1), show_default="--sentences",
              help="Be content with this many sentences for a class that cannot be completed.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(0), default=3, show_default=True,
              help="How often to ask again for what is refused or missing.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Questions at a time.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=120.0, show_default=True,
              help="Seconds to wait for an answer.")  # fmt: skip
@click.option("--attempts", type=click.IntRange(1), default=6, show_default=True,
              help="Tries per question when the server fails or is busy.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, 2), help="Sampling temperature; the server's own if left out.")
@click.option("--template", "templates", multiple=True,
              help="Prompt template with {} for the class; several are averaged.  [default: voc's]")  # fmt: skip
@click.option("--background", metavar="WORDS", help="Background words, comma-separated.  [default: voc's]")
@_no_background
@click.option("--overwrite", is_flag=True, help="Replace --out if it is there.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
@click.pass_context
def kb_write(ctx: click.Context, /, **p: Any) -> None:
    """Write a knowledge base for a class list: by a language model, or from answers collected by hand.

    \b
        excel-cam kb write --classes classes.txt --llm-url http://localhost:11434/v1 --llm-model llama3.1 --out my.json
        excel-cam kb write --classes classes.txt --answers answers.jsonl --out my.json

    The key for --llm-url is taken from EXCEL_CAM_LLM_KEY or OPENAI_API_KEY; local servers need none. Every answer is
    saved as it comes in OUT.answers.jsonl: after an interruption the same command goes on without asking it again.
    That file stays, as the record of who said what; remove it to ask anew. Every sentence goes through the checks of
    `kb check`; what fails them is asked for again.
    """
    if (p["answers"] is None) == (p["llm_url"] is None) or (p["llm_url"] is None) != (p["llm_model"] is None):
        raise click.UsageError("give either --answers, or --llm-url with --llm-model")
    at_least = p["at_least"] or p["sentences"]
    if at_least > p["sentences"]:
        raise click.UsageError("--at-least is more than --sentences; lower it")
    if p["answers"] is not None:
        _refuse_language_model_options(ctx)
    if p["out"].exists() and not p["overwrite"]:
        raise OutputError(f"{p['out']} is there already; add --overwrite to replace it, or choose another --out")
    empty = _empty(p["classes"], p["out"].stem, p["templates"], p["background"], p["no_background"])
    from_hand = p["answers"] is not None
    selection, origin = _from_answers(p, empty) if from_hand else _from_language_model(p, empty)
    _finish(p, selection, at_least, origin)


def _refuse_language_model_options(ctx: click.Context) -> None:
    for name in ("rounds", "concurrency", "timeout", "attempts", "temperature"):
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is for --llm-url; leave it out with --answers")


def _from_answers(p: dict[str, Any], empty: KnowledgeBase) -> tuple[Selection, dict[str, Any]]:
    from excel_cam.knowledge.selection import provenance

    return _select(empty, p["answers"], p["sentences"]), provenance(f"by hand ({p['answers'].name})", p["sentences"])


def _from_language_model(p: dict[str, Any], empty: KnowledgeBase) -> tuple[Selection, dict[str, Any]]:
    from excel_cam.knowledge.check import clip_token_limit
    from excel_cam.knowledge.interview import Interview, Journal, journal_path
    from excel_cam.knowledge.language_model import LanguageModel, LanguageModelChoice
    from excel_cam.knowledge.selection import provenance

    def report(message: str) -> None:
        if not p["quiet"]:
            click.echo(message, err=True)

    choice = LanguageModelChoice(p["llm_url"], p["llm_model"], p["temperature"], p["timeout"], p["attempts"])
    model = LanguageModel(choice, report)
    journal = Journal(journal_path(p["out"]))
    if journal.answers:
        report(f"{len(journal.answers):,} answers are in {journal.path} already")
    interview = Interview(model, journal, p["concurrency"], report, p["quiet"])
    selection = interview.ask_until_complete(empty, p["sentences"], p["rounds"], clip_token_limit())
    origin = provenance(
        f"the language model {choice.name}", p["sentences"], model=choice.name, url=choice.public_url,
        temperature=choice.temperature, rounds=p["rounds"], answers=journal.path.name,
    )  # fmt: skip
    return selection, origin


def _finish(p: dict[str, Any], selection: Selection, at_least: int, origin: dict[str, Any]) -> None:
    from excel_cam.knowledge.selection import check_complete, write_knowledge

    if not p["quiet"]:
        click.echo("\n".join(selection.report_lines()), err=True)
    advice = "raise --rounds to ask more often"
    if p["answers"] is not None:
        advice = (
            f"`excel-cam kb prompts --classes {p['classes']} --answers {p['answers']} --sentences {p['sentences']}` "
            f"prints prompts for them, "
            f"put the answers into {p['answers']} as well"
        )
    check_complete(selection, at_least, advice)
    write_knowledge(p["out"], selection.knowledge, origin)
    if not p["quiet"]:
        click.echo(f"written: {p['out']}", err=True)


def _empty(
    classes: Path, name: str = "folder", templates: tuple[str, ...] = (), background: str | None = None,
    no_background: bool = False,
) -> KnowledgeBase:  # fmt: skip
    """A knowledge base for a class list, as asked for, without sentences."""
    from excel_cam.files.lists import read_class_list
    from excel_cam.knowledge.base import class_limit, empty_knowledge, shipped_names

    class_names, prompt_names = read_class_list(classes, class_limit(has_background=not no_background))
    words = None if background is None else [word.strip() for word in background.split(",") if word.strip()]
    # The paper's number of attributes goes with the names of its data sets, so another list shall not bear them.
    name = f"{name}-own" if name in shipped_names() else name
    return empty_knowledge(name, class_names, prompt_names, templates, words, not no_background)


def _select(empty: KnowledgeBase, answers: Path | None, sentences: int) -> Selection:
    from excel_cam.knowledge.check import clip_token_limit
    from excel_cam.knowledge.prompts import read_answers
    from excel_cam.knowledge.selection import select_sentences

    offered = {} if answers is None else read_answers(answers, [entry.name for entry in empty.classes])
    return select_sentences(empty, offered, sentences, clip_token_limit())
