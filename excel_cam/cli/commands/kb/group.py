"""The commands under `excel-cam kb` that read knowledge bases: list, show, check, diff."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from excel_cam.classes import DATASET_CLASSES
from excel_cam.cli.commands.kb.write import kb_prompts, kb_write
from excel_cam.cli.config import config_options
from excel_cam.cli.next_steps import say_next
from excel_cam.cli.options import FILE, KNOWLEDGE, chosen_model, chosen_settings, model_options, settings_options
from excel_cam.cli.progress import reporter
from excel_cam.cli.terminal import show_each
from excel_cam.settings import Settings

if TYPE_CHECKING:
    from excel_cam.knowledge.base import KnowledgeBase


@click.command("list")
def kb_list() -> None:
    """List the knowledge bases that come with the package.

    \b
        excel-cam kb list
    """
    from excel_cam.knowledge.base import shipped_knowledge, shipped_names
    from excel_cam.knowledge.show import list_lines

    show_each(list_lines({name: shipped_knowledge(name) for name in shipped_names()}))


@click.command("show")
@click.argument("knowledge", metavar="NAME|FILE")
@click.argument("class_name", metavar="[CLASS]", required=False)
@click.option("--attributes", "with_attributes", is_flag=True,
              help="Also what enrichment adds to the class, by the sentences nearest to each attribute.")  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Attributes shown.")
@click.option("--nearest", type=click.IntRange(1), default=3, show_default=True, help="Sentences per attribute.")
@click.option("--clusters", type=int, help="B, as for generate.")
@click.option("--keep", type=float, default=Settings.keep, show_default=True, help="As for generate.")
@model_options
@click.pass_context
def kb_show(
    ctx: click.Context, /, knowledge: str, class_name: str | None, with_attributes: bool, top: int, nearest: int,
    clusters: int | None, keep: float, **_: Any,
) -> None:  # fmt: skip
    """Print a knowledge base, or one class of it.

    \b
        excel-cam kb show voc
        excel-cam kb show voc dog
        excel-cam kb show my.json crane --attributes --top 3
    """
    from excel_cam.knowledge.base import find_knowledge
    from excel_cam.knowledge.show import show_class_lines, show_lines

    base = find_knowledge(knowledge)
    if class_name is None:
        if with_attributes:
            raise click.UsageError("--attributes shows those of one class; name it after the knowledge base")
        show_each(show_lines(base))
        return
    entry = next((entry for entry in base.classes if entry.name.casefold() == class_name.casefold()), None)
    if entry is None:
        names = ", ".join(entry.name for entry in base.classes)
        raise click.UsageError(f"{knowledge} has no class '{class_name}'; it has {names}")
    show_each(show_class_lines(base, entry))
    if with_attributes:
        show_each(_attributes(ctx, base, base.classes.index(entry), top, nearest, clusters, keep))


def _attributes(
    ctx: click.Context, base: KnowledgeBase, index: int, top: int, nearest: int, clusters: int | None, keep: float
) -> list[str]:
    from excel_cam.errors import KnowledgeError
    from excel_cam.knowledge.show import attribute_lines
    from excel_cam.method.enrichment import attribute_shares
    from excel_cam.model.clip import load_model
    from excel_cam.model.text_bank import build_text_bank
    from excel_cam.model.text_rows import sentence_rows
    from excel_cam.model.words_file import recorded_settings

    if not base.sentence_count:
        raise KnowledgeError(f"the knowledge base '{base.dataset}' has no sentences, so there are no attributes")
    choice = chosen_model(ctx)
    if clusters is None and (recorded := recorded_settings(choice.name).get("clusters")) is not None:
        clusters = min(recorded, base.sentence_count)  # as `generate` takes it with this model
    settings = Settings(clusters=clusters, keep=keep)
    model = load_model(choice)
    bank = build_text_bank(base, model, settings)
    attributes = bank.bank.astype(float)
    shares = attribute_shares(bank.plain[index : index + 1].astype(float), attributes, settings.keep)[0]
    heading = f"strongest of {attributes.shape[1]} attributes:"
    return [heading, *attribute_lines(base, shares, attributes, sentence_rows(base, model), top, nearest)]


@click.command("check")
@click.argument("knowledge", metavar="NAME|FILE")
@model_options
@click.pass_context
def kb_check(ctx: click.Context, /, knowledge: str, **_: Any) -> None:
    """Check every sentence; says how to mend what is wrong. Exit status 1 on errors, not on warnings.

    \b
        excel-cam kb check my.json
        excel-cam kb check my.json --pretrained openai     # also compare embeddings; or --weights FILE

    Errors: too long for the model, nearly the same as another sentence, names another class, says nothing visible,
    damaged characters, a class without sentences. Where --model, --pretrained or --weights is given, sentences whose
    embedding is nearer to another class than to their own are warned of.
    """
    from excel_cam.knowledge.base import find_knowledge
    from excel_cam.knowledge.check import TokenLimit, all_fit, check_embeddings, check_knowledge, report_lines
    from excel_cam.model.tokenizer import clip_token_limit

    base = find_knowledge(knowledge)
    asked = (ctx.get_parameter_source(name) for name in ("model", "pretrained", "weights"))
    model = None
    if any(source not in (None, ParameterSource.DEFAULT) for source in asked):
        from excel_cam.model.clip import load_model

        model = load_model(chosen_model(ctx))
    tokens = clip_token_limit() if model is None else TokenLimit(model.count_tokens, model.context_length)
    findings = check_knowledge(base, tokens)
    if model is not None and base.sentence_count and all_fit(base, tokens):
        from excel_cam.model.text_rows import prompt_rows, sentence_rows

        prompts = prompt_rows(base, model)[: len(base.classes)]
        findings += check_embeddings(base, sentence_rows(base, model), prompts)
    show_each(report_lines(base, findings))
    if any(finding.level == "error" for finding in findings):
        ctx.exit(1)


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
def kb_diff(first: str, second: str) -> None:
    """Compare two knowledge bases, names or files: what only A has (-), only B has (+), or both otherwise (~).

    \b
        excel-cam kb diff voc my.json
    """
    from excel_cam.knowledge.base import find_knowledge
    from excel_cam.knowledge.show import difference_lines

    lines = list(difference_lines(find_knowledge(first), find_knowledge(second)))
    show_each(lines or ["no differences"])


@click.command("build")
@click.option("--dataset", type=click.Choice(list(DATASET_CLASSES)), default="voc", show_default=True,
              help="A shipped one.")  # fmt: skip
@click.option("--kb", "knowledge", type=KNOWLEDGE, metavar="NAME|FILE", help="A knowledge base file, or name, instead.")
@click.option("--bank", type=FILE, help="Also write names, plain, bank and text rows to this .npz file.")
@click.option("--quiet", is_flag=True, help="No messages on standard error.")
@model_options
@settings_options("text")
@config_options
@click.pass_context
def kb_build(
    ctx: click.Context, /, dataset: str, knowledge: Path | None, bank: Path | None, quiet: bool, **_: Any
) -> None:
    """Embed, cluster and cache a knowledge base's text rows, as `generate` does on its first run.

    \b
        excel-cam kb build
        excel-cam kb build --kb my.json --bank bank.npz
    """
    from excel_cam.errors import OutputError
    from excel_cam.files.atomic import write_atomically
    from excel_cam.files.inputs import refuse_inputs
    from excel_cam.knowledge.base import find_knowledge, shipped_knowledge
    from excel_cam.model.prepare import prepare_text
    from excel_cam.model.text_bank import bank_bytes
    from excel_cam.model.words_file import fit_recorded

    report = reporter(quiet)
    if bank is not None:
        refuse_inputs(bank, (knowledge, ctx.params["weights"]), "--bank")
    source = shipped_knowledge(dataset) if knowledge is None else find_knowledge(str(knowledge))
    settings, sources = chosen_settings(ctx)
    settings = fit_recorded(settings, sources, source.sentence_count)
    _model, rows = prepare_text(chosen_model(ctx), source, settings, report)
    if bank is None and rows.path is None:
        raise OutputError(f"{rows.cache_trouble}; set EXCEL_CAM_CACHE to a folder that can be written, or give --bank")
    if bank is not None:
        write_atomically(bank, bank_bytes(rows.names, rows.plain, rows.bank, rows.text))
        report(f"written: {bank}")
    if knowledge is None:
        say_next(report, ["generate", "--dataset", dataset, "--out", "labels/"])
    else:
        report(f"next: excel-cam generate ... --kb {knowledge}")


@click.group()
def kb() -> None:
    """Knowledge bases: what each class looks like, in sentences."""


for _command in (kb_list, kb_show, kb_check, kb_diff, kb_prompts, kb_write, kb_build):
    kb.add_command(_command)
