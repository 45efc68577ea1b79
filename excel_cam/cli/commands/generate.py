"""The command `excel-cam generate`: a label for every image of a data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from excel_cam.cli.config import RequiredOption, config_options, configured_roots
from excel_cam.cli.exits import EXIT_SOME_FAILED
from excel_cam.cli.help import GroupedCommand
from excel_cam.cli.options import (
    DATA_SETS,
    FILE,
    FOLDER_OR_ADDRESS,
    MOST_PHOTOGRAPHS,
    BatchSize,
    ShardType,
    backend_option,
    chosen_model,
    chosen_settings,
    chosen_vote,
    chosen_work,
    devices_option,
    knowledge_option,
    lvc_option,
    model_options,
    overwrite_hand_made_option,
    overwrite_option,
    png_mode_option,
    region_options,
    root_or_tars_option,
    settings_options,
    source_name,
    split_option,
)
from excel_cam.cli.progress import reporter
from excel_cam.cli.sharded import dry_run, is_sharded, run_shards_and_print, sharded_options, shards_request
from excel_cam.cli.terminal import show, show_each
from excel_cam.errors import UsageError
from excel_cam.files.processors import default_workers
from excel_cam.shipped import adapter_path

COCO_BOX_THRESHOLD = 0.88  # step 11.3


@click.command(cls=GroupedCommand)
@click.option("--dataset", type=click.Choice(DATA_SETS), metavar="NAME",
              help=f"What to label: {', '.join(DATA_SETS)}.")  # fmt: skip
@root_or_tars_option
@split_option
@click.option("--tags", type=FILE, help="Image-level labels: CSV (name,classes), JSON, JSON Lines, cls_labels.npy.")
@click.option("--all-classes", is_flag=True, help="Every image of a folder shows all classes; instead of --tags.")
@click.option("--classes", type=FILE, help="Class list of a folder: a name, or `name: prompt name`, per line.")
@knowledge_option
@sharded_options
@click.option("--list", "names_from", metavar="FILE", help="Label only the names in this file; - is standard input.")
@click.option("--out", cls=RequiredOption, type=FOLDER_OR_ADDRESS, required=True,
              help="Folder for the labels; made if it is not there.")  # fmt: skip
@click.option("--save-cams", "cams", type=FOLDER_OR_ADDRESS,
              help="Also write each image's class maps before refinement (.npz) here.")  # fmt: skip
@lvc_option
@region_options()
@png_mode_option
@overwrite_option("Replace labels that are there, but for hand-made ones.")
@overwrite_hand_made_option()
@devices_option
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
@backend_option
@settings_options("text", "image")
@config_options
@click.pass_context
def generate(ctx: click.Context, /, as_json: bool, quiet: bool, **_: Any) -> None:
    """Make a label PNG for every image of a data set.

    \b
        excel-cam generate --dataset demo --out labels/
        excel-cam generate --dataset voc --root VOCdevkit/VOC2012 --out labels/
        excel-cam generate --dataset folder --root photos/ --classes classes.txt --tags tags.csv --out labels/
        excel-cam generate --dataset voc --split train --lvc lvc-voc/ --out labels-lvc/
        excel-cam generate --root 'tars/*.tar' --classes classes.txt --out packed/

    Labels hold 0 for background, 1 and up for the classes in order, 255 for pixels to ignore; the classes of context,
    ade20k and cityscapes, which have no background, begin with 0. The same command goes on where an earlier run
    stopped. Standard output that is no terminal carries the path of each finished label or shard. Options can also be
    set in a config file, or by variables such as EXCEL_CAM_GENERATE_SIZE=384. Exit status: 0 all done, 1 error, 2
    usage, 3 some images failed (see failed.jsonl).
    """
    from excel_cam.cli.outcome import run_and_print
    from excel_cam.data.source import Source
    from excel_cam.run.estimate import estimate_run
    from excel_cam.run.plan import Destination
    from excel_cam.run.settle import Request, settle

    p, report = ctx.params, reporter(quiet)
    sharded = is_sharded(ctx)
    if p["dataset"] is None and not sharded:
        raise click.MissingParameter(ctx=ctx, param=next(one for one in ctx.command.params if one.name == "dataset"))
    settings, setting_sources = chosen_settings(ctx)
    if p["lvc"] is not None and p["dataset"] == "coco" and source_name(ctx, "box_threshold") is None:
        settings = dataclasses.replace(settings, box_threshold=COCO_BOX_THRESHOLD)  # as the release trains on COCO
        setting_sources["box_threshold"] = "--lvc with coco"
    request = Request(
        source=Source(
            dataset=p["dataset"] or "folder", root=None if sharded else p["root"], split=p["split"], tags=p["tags"],
            classes=p["classes"], all_classes=p["all_classes"], knowledge=p["knowledge"], names_from=p["names_from"],
            roots=configured_roots(ctx),
        ),
        destination=Destination(
            out=Path(p["out"]), png_mode=p["png_mode"], overwrite=p["overwrite"],
            cams=None if p["cams"] is None else Path(p["cams"]), overwrite_hand_made=p["overwrite_hand_made"],
        ),
        model=chosen_model(ctx), settings=settings, setting_sources=setting_sources,
        adapter=None if p["lvc"] is None else adapter_path(p["lvc"]), regions=chosen_vote(ctx),
        work=chosen_work(ctx),
    )  # fmt: skip
    if sharded:
        over = shards_request(ctx, request)
        if p["dry_run"]:
            show(dry_run(over, report))
        elif run_shards_and_print(over, report, as_json, quiet):
            ctx.exit(EXIT_SOME_FAILED)
        return
    if p["dry_run"] and request.work.devices:
        raise UsageError("--dry-run measures one device: give it with --device, in place of --devices")
    if p["dry_run"]:
        show_each(estimate_run(settle(request, report, writing=False), report).lines())
        return
    tally = run_and_print(request, report, as_json, quiet)
    if tally.failed:
        ctx.exit(EXIT_SOME_FAILED)
