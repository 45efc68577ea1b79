"""The command `excel-cam generate`: a label for every image of a data set."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import click

from excel_cam.cli.config import RequiredOption, config_options, configured_roots
from excel_cam.cli.exits import EXIT_SOME_FAILED
from excel_cam.cli.help import GroupedCommand
from excel_cam.cli.options import (
    DATA_SETS,
    FILE,
    FOLDER,
    MOST_PHOTOGRAPHS,
    BatchSize,
    ShardType,
    chosen_model,
    chosen_settings,
    chosen_vote,
    default_workers,
    knowledge_option,
    lvc_option,
    model_options,
    overwrite_hand_made_option,
    overwrite_option,
    png_mode_option,
    region_options,
    root_option,
    settings_options,
    source_name,
    split_option,
)
from excel_cam.cli.progress import reporter
from excel_cam.cli.terminal import show_each
from excel_cam.labels.shards import chosen_shard
from excel_cam.shipped import adapter_path

COCO_BOX_THRESHOLD = 0.88  # step 11.3


@click.command(cls=GroupedCommand)
@click.option("--dataset", cls=RequiredOption, type=click.Choice(DATA_SETS), required=True, metavar="NAME",
              help=f"What to label: {', '.join(DATA_SETS)}. The demo has a model of its own.")  # fmt: skip
@root_option
@split_option
@click.option("--tags", type=FILE, help="Image-level labels: CSV (name,classes), JSON, JSON Lines, cls_labels.npy.")
@click.option("--all-classes", is_flag=True, help="Every image of a folder shows all classes; instead of --tags.")
@click.option("--classes", type=FILE, help="Class list of a folder: a name, or `name: prompt name`, per line.")
@knowledge_option
@click.option("--list", "names_from", metavar="FILE", help="Label only the names in this file; - is standard input.")
@click.option("--out", cls=RequiredOption, type=FOLDER, required=True,
              help="Folder for the labels; made if it is not there.")  # fmt: skip
@click.option("--save-cams", "cams", type=FOLDER,
              help="Also write each image's class maps before refinement (.npz) here.")  # fmt: skip
@lvc_option
@region_options()
@png_mode_option
@overwrite_option("Replace labels that are there, but for hand-made ones.")
@overwrite_hand_made_option()
@click.option("--batch-size", type=BatchSize(), default="auto", show_default=True,
              help="Photographs in one batch; auto: 8 on a CPU, on a GPU what fits, 64 at most.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, MOST_PHOTOGRAPHS), default=default_workers,
              show_default="processors, 8 at most", help="Threads that decode photographs.")  # fmt: skip
@click.option("--shard", type=ShardType(), show_default="from torchrun's or a Slurm array's variables, else all",
              help="Label share I of N, from 0: 0/4 is the first of four. They may run at once.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what is done and left, and what time and disk that takes; then end.")
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
        excel-cam generate --dataset voc --split train --lvc lvc-voc/ --out labels-lvc/

    Labels hold 0 for background, 1 and up for the classes in order, 255 for pixels to ignore; the classes of context,
    ade20k and cityscapes, which have no background, begin with 0. The same command goes on where an earlier run
    stopped. Where standard output is not a terminal it carries the path of each finished label. Every option can also
    be set in a config file, or by a variable such as EXCEL_CAM_GENERATE_SIZE=384. Exit status: 0 all done, 1 error,
    2 usage, 3 some images failed (see failed.jsonl).
    """
    from excel_cam.cli.outcome import run_and_print
    from excel_cam.data.source import Source
    from excel_cam.run.estimate import estimate_run
    from excel_cam.run.plan import Destination
    from excel_cam.run.settle import Request, Work, settle

    p, report = ctx.params, reporter(quiet)
    settings, setting_sources = chosen_settings(ctx)
    if p["lvc"] is not None and p["dataset"] == "coco" and source_name(ctx, "box_threshold") is None:
        settings = dataclasses.replace(settings, box_threshold=COCO_BOX_THRESHOLD)  # as the release trains on COCO
        setting_sources["box_threshold"] = "--lvc with coco"
    request = Request(
        source=Source(
            dataset=p["dataset"], root=p["root"], split=p["split"], tags=p["tags"], classes=p["classes"],
            all_classes=p["all_classes"], knowledge=p["knowledge"], names_from=p["names_from"],
            roots=configured_roots(ctx),
        ),
        destination=Destination(
            out=p["out"], png_mode=p["png_mode"], overwrite=p["overwrite"], cams=p["cams"],
            overwrite_hand_made=p["overwrite_hand_made"],
        ),
        model=chosen_model(ctx), settings=settings, setting_sources=setting_sources,
        adapter=None if p["lvc"] is None else adapter_path(p["lvc"]), regions=chosen_vote(ctx),
        work=Work(batch_size=p["batch_size"], workers=p["workers"], shard=chosen_shard(p["shard"], os.environ)),
    )  # fmt: skip
    if p["dry_run"]:
        show_each(estimate_run(settle(request, report, writing=False), report).lines())
        return
    tally = run_and_print(request, report, as_json, quiet)
    if tally.failed:
        ctx.exit(EXIT_SOME_FAILED)
