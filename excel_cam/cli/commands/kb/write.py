"""The commands that make knowledge bases: `excel-cam kb prompts` and `excel-cam kb write`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from excel_cam.cli.next_steps import say_next
from excel_cam.cli.options import FILE, overwrite_option
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.cli.terminal import show, show_record

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
@click.option("--per-prompt", type=click.IntRange(1), default=5, show_default=True,
              help="Most classes in one prompt; chats write less carefully about many at a time.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="A JSON object per class and line instead, for a program.")
@click.pass_context
def kb_prompts(
    ctx: click.Context, /, classes: Path, answers: Path | None, sentences: int, per_prompt: int, as_json: bool
) -> None:
    """Print prompts to paste into any chat, each for several classes, with a line between them.

    \b
        excel-cam kb prompts --classes classes.txt
        excel-cam kb prompts --classes classes.txt --answers answers.jsonl
        excel-cam kb prompts --classes classes.txt --json > prompts.jsonl

    Each prompt asks for a line of JSON per class. Put the answers into a file, one after another and as they come, for
    `excel-cam kb write --answers`. With --json each line is {"class", "prompt"}, and asks for one class.
    """
    from excel_cam.knowledge.write import empty_base, select_answers
    from excel_cam.model.tokenizer import clip_token_limit

    if as_json and ctx.get_parameter_source("per_prompt") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--per-prompt is for prompts to paste; with --json each is for one class")
    report = reporter(quiet=False)
    selection = select_answers(empty_base(classes, report=report), answers, sentences, clip_token_limit())
    if as_json:
        for name, prompt in selection.prompts().items():
            show_record({"class": name, "prompt": prompt})
        return
    prompts = selection.joint_prompts(per_prompt)
    for number, prompt in enumerate(prompts, start=1):
        if len(prompts) > 1:
            show(f"--- prompt {number} of {len(prompts)} ---\n")
        show(f"{prompt}\n")
    if prompts:
        again = "" if answers is None else " as well"
        report(f"next: put the answers into {answers or 'answers.jsonl'}{again}, then excel-cam kb write --classes "
               f"{classes} --answers {answers or 'answers.jsonl'} --out my.json")  # fmt: skip
    else:
        report("nothing is missing")


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
              help="Prompt template with {} for the class; several are averaged.  [default: voc's, 'a clean origami "
              "{}.': of CLIP's own templates the one CLIP-ES found sharpest; no folded paper is meant]")  # fmt: skip
@click.option("--background", metavar="WORDS", help="Background words, comma-separated.  [default: voc's]")
@_no_background
@overwrite_option("Replace --out if it is there.")
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
    if (p["at_least"] or 0) > p["sentences"]:
        raise click.UsageError("--at-least is more than --sentences; lower it")
    if p["answers"] is not None:
        _refuse_language_model_options(ctx)
    from excel_cam.knowledge.language_model import LanguageModelChoice
    from excel_cam.knowledge.write import WriteRequest, write_base
    from excel_cam.model.tokenizer import clip_token_limit

    words = p["background"]
    request = WriteRequest(
        classes=p["classes"], out=p["out"], sentences=p["sentences"], at_least=p["at_least"] or p["sentences"],
        answers=p["answers"], rounds=p["rounds"], concurrency=p["concurrency"], templates=p["templates"],
        background=None if words is None else tuple(word.strip() for word in words.split(",") if word.strip()),
        has_background=not p["no_background"], overwrite=p["overwrite"],
        language_model=None if p["llm_url"] is None else LanguageModelChoice(
            url=p["llm_url"], name=p["llm_model"], temperature=p["temperature"], timeout=p["timeout"],
            attempts=p["attempts"],
        ),
    )  # fmt: skip
    report = reporter(p["quiet"])
    write_base(request, clip_token_limit(), report, lambda total: _class_bar(total, p["quiet"]))
    say_next(report, ["kb", "check", p["out"]], ["kb", "build", "--kb", p["out"]])


@contextmanager
def _class_bar(total: int, quiet: bool) -> Iterator[Callable[[], object]]:
    with progress_bar(total, "class", quiet) as bar:
        yield bar.update


def _refuse_language_model_options(ctx: click.Context) -> None:
    for name in ("rounds", "concurrency", "timeout", "attempts", "temperature"):
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is for --llm-url; leave it out with --answers")
