"""The command `excel-cam train`: the trained half, learnt from image-level labels alone."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excel_cam.cli.config import RequiredOption, config_options, configured_roots
from excel_cam.cli.help import GroupedCommand
from excel_cam.cli.options import (
    FILE,
    FOLDER,
    LEARNABLE,
    chosen_model,
    chosen_settings,
    knowledge_option,
    model_options,
    root_option,
    settings_options,
    source_name,
    split_option,
)
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.errors import UsageError
from excel_cam.files.processors import default_workers

if TYPE_CHECKING:
    from excel_cam.run.training import TrainingOrder


class StepOrShare(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A step, a share of the steps with a point in it, or `never`."""

    name = "STEP|SHARE|never"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float | str:
        """Read it; 14000 is a step, 0.467 a share."""
        if value == "never" or isinstance(value, int | float):
            return value
        try:
            return float(value) if "." in str(value) else int(value)
        except ValueError:
            self.fail(f"'{value}' is neither a step such as 14000 nor a share such as 0.467", param, ctx)


@click.command(cls=GroupedCommand)
@click.option("--dataset", cls=RequiredOption, type=click.Choice(LEARNABLE), required=True, metavar="NAME",
              help=f"What to learn from: {', '.join(LEARNABLE)}. coco has presets of its own.")  # fmt: skip
@root_option
@split_option
@click.option("--tags", type=FILE, help="Image-level labels: CSV (name,classes), JSON, JSON Lines, cls_labels.npy.")
@click.option("--classes", type=FILE, help="Class list of a folder: a name, or `name: prompt name`, per line.")
@knowledge_option
@click.option("--list", "names_from", metavar="FILE", help="Learn from the names in this file; - is standard input.")
@click.option("--out", cls=RequiredOption, type=FOLDER, required=True,
              help="Folder for checkpoints, log.jsonl and adapter.safetensors.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), show_default="30000; 100000 for coco", help="T, training steps.")
@click.option("--warm-up", type=click.IntRange(0), show_default="50; 200 for coco", help="Steps of a rising rate.")
@click.option("--dynamic-from", type=StepOrShare(), show_default="7/15 of the steps; 0.3 for coco",
              help="From this step, or share of the steps, labels come from what is being learnt.")  # fmt: skip
@click.option("--own-from", type=StepOrShare(), show_default="0.8 of the steps; never for coco",
              help="From here pairs of patches are told apart by the decoder's own prediction.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1), show_default="4", help="Crops a step, over all processes together.")
@click.option("--rate", type=float, show_default="0.001", help="Greatest learning rate.")
@click.option("--decay", type=float, show_default="0.01", help="Weight decay.")
@click.option("--channels", type=click.IntRange(1), show_default="256", help="C, channels of the adapter.")
@click.option("--decoder-blocks", type=click.IntRange(1), show_default="3", help="Blocks of the decoder.")
@click.option("--decoder-heads", type=click.IntRange(1), show_default="8", help="Heads of each; they divide C.")
@click.option("--radius", type=click.IntRange(0), show_default="8", help="Patches: further pairs teach nothing.")
@click.option("--seed", type=click.IntRange(0), show_default="0", help="Decides crops, their order and the start.")
@click.option("--slots", type=click.Choice(["paper", "outputs"]), show_default="paper",
              help="What the adapter reads: as the release does, or each block's output.")  # fmt: skip
@click.option("--relation-mean", type=click.Choice(["batch", "image"]), show_default="batch",
              help="Relations are taken less their mean over the batch, or over each image.")  # fmt: skip
@click.option("--padding", type=click.Choice(["train", "ignore"]), show_default="train",
              help="Whether the black around small crops is learnt from.")  # fmt: skip
@click.option("--average", type=float, show_default="0, none",
              help="Decay of a running average of the weights, such as 0.999.")  # fmt: skip
@click.option("--checkpoint-every", type=click.IntRange(1), default=1000, show_default=True,
              help="Steps between checkpoints, of which two are kept.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=default_workers, show_default="processors, 8 at most",
              help="Processes that decode and crop.")  # fmt: skip
@click.option("--truth", type=FOLDER, help="Ground truth, for a readout at every checkpoint; nothing is learnt of it.")
@click.option("--readout-images", type=click.IntRange(1), default=100, show_default=True,
              help="With --truth: images of a readout.")  # fmt: skip
@click.option("--plot", type=FILE, help="Draw losses and readouts into this .svg file, at every checkpoint.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
@model_options
@settings_options("text", "image")
@config_options
@click.pass_context
def train(ctx: click.Context, /, quiet: bool, **_: Any) -> None:
    """Learn a calibration and a segmenter beside the frozen model, from image-level labels alone.

    \b
        excel-cam train --dataset voc --root VOCdevkit/VOC2012 --out lvc-voc/
        excel-cam train --dataset folder --root photos/ --classes classes.txt --tags tags.csv --out lvc/
        torchrun --nproc-per-node 4 -m excel_cam train --dataset coco --root COCO --out lvc-coco/

    The same command goes on from the last checkpoint, on a CPU to the same bytes. What it learns is used by
    `generate --lvc` (better labels) and by `segment` (masks without tags).
    """
    from excel_cam.evaluation.training_log import draw_training_log, read_training_log
    from excel_cam.files.atomic import write_atomically
    from excel_cam.learnt.training.train import train as steps_of
    from excel_cam.run.training import choose_readout, open_training, read_out, write_readout

    p = ctx.params
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # of several processes the first one speaks
    report = reporter(quiet)
    if p["plot"] is not None and p["plot"].suffix != ".svg":
        raise UsageError(f"--plot: {p['plot']} does not end in .svg, which is what is drawn")
    request = open_training(_order(ctx), report)
    readout = None
    if p["truth"] is not None:
        readout = choose_readout(p["truth"], request.data.samples, p["readout_images"])
    with progress_bar(request.training.steps, "step", quiet) as bar:
        for record in steps_of(request):
            bar.note = f"loss {record.loss:.3f}, rate {record.rate:.1e}, {record.images_per_second:.1f} images/s"
            if not bar.done:
                bar.skip(record.step)
            bar.update()
            done = record.step + 1
            for reason in record.unreadable:
                report(f"left out: {reason}")
            if done % request.checkpoint_every == 0 or done == request.training.steps:
                if readout is not None and done % request.checkpoint_every == 0:
                    score = write_readout(request.out, done, read_out(request, readout, done))
                    report(f"step {done:,}: readout mIoU {100 * score:.1f} % on {len(readout.names)} images")
                if p["plot"] is not None:
                    write_atomically(p["plot"], draw_training_log(read_training_log(request.out)).encode())
    report(f"written: {request.out / 'adapter.safetensors'}")
    report(f"next: excel-cam generate --lvc {request.out} ..., or excel-cam segment PHOTO... --lvc {request.out}")


def _order(ctx: click.Context) -> TrainingOrder:
    """The run as asked for."""
    from excel_cam.data.source import Source
    from excel_cam.learnt.training.settings import TrainingSettings, training_preset
    from excel_cam.run.training import TrainingOrder

    p = ctx.params
    settings, _sources = chosen_settings(ctx)
    fields = {entry.name for entry in dataclasses.fields(TrainingSettings)}
    given = {name: p[name] for name in fields & p.keys() if p[name] is not None}
    if source_name(ctx, "box_threshold") is None:
        del given["box_threshold"]  # its default is that of labels; a data set's preset has its own
    if given.get("dynamic_from") == "never":
        raise UsageError("--dynamic-from never: give --dynamic-from 1.0 to keep to the training-free labels")
    if given.get("own_from") == "never":
        given["own_from"] = None
    return TrainingOrder(
        source=Source(
            dataset=p["dataset"], root=p["root"], split=p["split"], tags=p["tags"], classes=p["classes"],
            knowledge=p["knowledge"], names_from=p["names_from"], roots=configured_roots(ctx),
        ),
        model=chosen_model(ctx), settings=settings, out=Path(p["out"]), workers=p["workers"],
        training=dataclasses.replace(training_preset(p["dataset"]), **given),
        checkpoint_every=p["checkpoint_every"],
    )  # fmt: skip
