"""The command line: parse, call one function, print. The docstrings are the help texts."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from excel_cam import __version__
from excel_cam.classes import DATASET_CLASSES
from excel_cam.cli.config import RequiredOption, config_options, configured_roots
from excel_cam.cli.doctor import doctor
from excel_cam.cli.evaluate import evaluate
from excel_cam.cli.export import export
from excel_cam.cli.kb import KB_COMMANDS
from excel_cam.cli.label import label
from excel_cam.cli.options import (
    FILE,
    FOLDER,
    BatchSize,
    chosen_model,
    chosen_settings,
    default_workers,
    model_options,
    png_mode_option,
    settings_options,
)
from excel_cam.cli.presets import presets
from excel_cam.cli.tags import tags
from excel_cam.cli.view import view
from excel_cam.errors import ExcelCamError
from excel_cam.labels.shards import ShardType, chosen_shard

EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # as a program ends that a closed pipe stops: 128 + SIGPIPE
SPLITS = ("train", "train_aug", "val", "trainval", "train2014", "val2014", "train2017", "val2017")


class OneLineErrors(click.Group):
    """A group whose commands turn the errors a user can mend into one line and the right exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ExcelCamError as error:
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Stopped; the same command goes on from here.", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # Nobody reads on. Standard output is exchanged so that its flush at exit does not fail once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_PIPE_CLOSED)


def _report(quiet: bool, message: str) -> None:
    if not quiet:
        click.echo(message, err=True)


@click.group(
    cls=OneLineErrors,
    context_settings={
        "help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "EXCEL_CAM",
    },
)  # fmt: skip
@click.version_option(__version__, prog_name="excel-cam", allow_from_autoenv=False)
def cli() -> None:
    """Segmentation labels from image-level labels, without training.

    \b
        excel-cam generate --dataset voc --root VOCdevkit/VOC2012 --out labels/
        excel-cam evaluate --labels labels/ --truth VOCdevkit/VOC2012/SegmentationClass --dataset voc
    """


@cli.command()
@click.option("--dataset", cls=RequiredOption, type=click.Choice(["voc", "coco", "demo", "folder"]), required=True,
              help="What to label; demo comes with the package, with a model of its own.")  # fmt: skip
@click.option("--root", type=FOLDER, help="The data set's folder; for voc and coco it is looked for when left out.")
@click.option("--split", type=click.Choice(SPLITS), show_default="train_aug for voc, train2014 for coco",
              help="Split of voc (the first four) or coco; of coco else the only one there.")  # fmt: skip
@click.option("--tags", type=FILE, help="Image-level labels: CSV (name,classes), JSON, JSON Lines, cls_labels.npy.")
@click.option("--classes", type=FILE, help="Class list of a folder: a name, or `name: prompt name`, per line.")
@click.option("--kb", "knowledge", type=FILE, help="Knowledge base file; for voc and coco it comes with the package.")
@click.option("--list", "names_from", metavar="FILE", help="Label only the names in this file; - is standard input.")
@click.option("--out", cls=RequiredOption, type=FOLDER, required=True,
              help="Folder for the labels; made if it is not there.")  # fmt: skip
@click.option("--save-cams", "cams", type=FOLDER,
              help="Also write each image's class maps before refinement (.npz) here.")  # fmt: skip
@png_mode_option
@click.option("--overwrite", is_flag=True, help="Replace labels that are there.")
@click.option("--batch-size", type=BatchSize(), default="auto", show_default=True,
              help="Photographs in one batch; auto: 8 on a CPU, on a GPU what fits, 64 at most.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=default_workers, show_default="processors, 8 at most",
              help="Threads that decode photographs.")  # fmt: skip
@click.option("--shard", type=ShardType(), show_default="from torchrun's or a Slurm array's variables, else all",
              help="Label share I of N, from 0: 0/4 is the first of four. They may run at once.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per label: name, path, pixel shares.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
@model_options
@settings_options("text", "image")
@config_options
@click.pass_context
def generate(ctx: click.Context, /, as_json: bool, quiet: bool, **_: Any) -> None:
    """Make a label PNG for every image of a data set.

    \b
        excel-cam generate --dataset demo --out labels/
        excel-cam generate --dataset voc --root VOCdevkit/VOC2012 --out labels/
        excel-cam generate --dataset coco --root COCO --split train2014 --out labels/
        excel-cam generate --dataset folder --root photos/ --classes classes.txt --tags tags.csv --out labels/

    Labels hold 0 for background, 1 and up for the classes in order, 255 for pixels to ignore. The same command goes
    on where an earlier run stopped. Where standard output is not a terminal it carries the path of each finished
    label. Every option can also be set in a config file, or by a variable such as EXCEL_CAM_GENERATE_SIZE=384. Exit
    status: 0 all done, 1 error, 2 usage, 3 some images failed (see failed.jsonl).
    """
    from excel_cam.cli.outcome import print_outcomes
    from excel_cam.data.source import Source
    from excel_cam.run.generate import Destination, Generation, Work

    p = ctx.params
    settings, sources = chosen_settings(ctx)
    generation = Generation(
        Source(p["dataset"], p["root"], p["split"], p["tags"], p["classes"], p["knowledge"], p["names_from"],
               configured_roots(ctx)),
        Destination(p["out"], p["png_mode"], p["overwrite"], p["cams"]),
        chosen_model(ctx), settings, sources,
        Work(p["batch_size"], p["workers"], chosen_shard(p["shard"], os.environ)),
        report=lambda message: _report(quiet, message),
    )  # fmt: skip
    with _termination_as_interrupt():
        print_outcomes(generation, as_json, quiet)
    if p["dataset"] == "demo":
        labels = shlex.quote(str(p["out"]))
        _report(quiet, f"next: excel-cam evaluate --labels {labels} --dataset demo")
        _report(quiet, f"      excel-cam view {labels} --dataset demo --out report.html")
    if generation.counts["failed"]:
        ctx.exit(EXIT_SOME_FAILED)


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: threads wound up, the run record closed."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


cli.add_command(tags)
cli.add_command(presets)
cli.add_command(label)
cli.add_command(evaluate)
cli.add_command(export)
cli.add_command(doctor)
cli.add_command(view)


@cli.group()
def kb() -> None:
    """Knowledge bases: what each class looks like, in sentences."""


for kb_command in KB_COMMANDS:
    kb.add_command(kb_command)


@kb.command("build")
@click.option("--dataset", type=click.Choice(list(DATASET_CLASSES)), default="voc", show_default=True,
              help="A shipped one.")  # fmt: skip
@click.option("--kb", "knowledge", type=FILE, help="A knowledge base file instead.")
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
    from excel_cam.files.atomic import write_atomically
    from excel_cam.knowledge.base import read_knowledge, shipped_knowledge
    from excel_cam.model.text_bank import bank_bytes
    from excel_cam.run.generate import prepare_text

    source = shipped_knowledge(dataset) if knowledge is None else read_knowledge(knowledge)
    settings, _sources = chosen_settings(ctx)
    _model, rows = prepare_text(chosen_model(ctx), source, settings, lambda message: _report(quiet, message))
    if bank is not None:
        write_atomically(bank, bank_bytes(rows.names, rows.plain, rows.bank, rows.text))
        _report(quiet, f"written: {bank}")
