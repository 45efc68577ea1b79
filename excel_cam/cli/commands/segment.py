"""The command `excel-cam segment`: masks of photographs by a trained segmenter, without any tags."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excel_cam.cli.config import config_options, configured_roots
from excel_cam.cli.exits import EXIT_SOME_FAILED
from excel_cam.cli.help import GroupedCommand
from excel_cam.cli.options import (
    FOLDER_OR_ADDRESS,
    LEARNABLE,
    PHOTOGRAPHS,
    BatchSize,
    Numbers,
    ShardType,
    chosen_model,
    chosen_work,
    devices_option,
    lvc_option,
    model_options,
    overwrite_hand_made_option,
    overwrite_option,
    png_mode_option,
    root_or_tars_option,
    source_name,
    split_option,
)
from excel_cam.cli.progress import reporter
from excel_cam.cli.sharded import is_sharded, run_shards_and_print, sharded_options, shards_request
from excel_cam.errors import UsageError
from excel_cam.files.processors import default_workers
from excel_cam.settings import SEGMENTATION_PRESETS, SegmentationSettings, Settings
from excel_cam.shipped import adapter_path

if TYPE_CHECKING:
    from excel_cam.wording import Report

OF_A_DATA_SET = (
    "root", "split", "names_from", "devices", "batch_size", "workers", "shard", "rows_per_shard", "shards",
    "retry_failed", "engine", "ray_address",
)  # fmt: skip


@click.command(cls=GroupedCommand)
@click.argument("photographs", metavar="[PHOTO|DIR...]", type=PHOTOGRAPHS, nargs=-1)
@click.option("--dataset", type=click.Choice(LEARNABLE), metavar="NAME",
              help=f"Segment a data set instead of photographs, without its tags: {', '.join(LEARNABLE)}.")  # fmt: skip
@root_or_tars_option
@split_option
@sharded_options
@click.option("--list", "names_from", metavar="FILE", help="Segment only the names in this file; - is standard input.")
@lvc_option
@click.option("--out", type=FOLDER_OR_ADDRESS, help="Folder for the labels; beside single photographs if left out.")
@click.option("--scales", type=Numbers("SCALE,...", "1,0.7,1.2,1.5"), show_default="1,0.7,1.2,1.5",
              help="Average the scores over views of these sizes, as factors of the trained one.")  # fmt: skip
@click.option("--variant", type=click.Choice(["voc", "coco"]), show_default="coco for coco, else voc",
              help="How the release joins views: on VOC, or on COCO (at a fifth of the sides).")  # fmt: skip
@click.option("--flip/--no-flip", default=True, show_default=True, help="Each view also mirrored.")
@click.option("--refine", type=click.Choice(["none", "crf"]), default="none", show_default=True,
              help="A dense CRF over the photograph's own pixels.")  # fmt: skip
@click.option("--crf-backend", type=click.Choice(["numpy", "pydensecrf2"]), default="numpy", show_default=True,
              help="What computes crf, as for generate.")  # fmt: skip
@click.option("--positions", type=click.Choice(["direct", "trained"]), show_default="trained for splits of training",
              help="Position grids: straight from CLIP's own, or by way of the trained one.")  # fmt: skip
@click.option("--working-pixels", type=int, default=Settings.working_pixels, show_default=True,
              help="Photographs of more pixels are segmented at about so many, scores enlarged.")  # fmt: skip
@png_mode_option
@overwrite_option("Replace labels that are there, but for hand-made ones.")
@overwrite_hand_made_option()
@devices_option
@click.option("--batch-size", type=BatchSize(), default="auto", show_default=True, help="As for generate.")
@click.option("--workers", type=click.IntRange(1), default=default_workers, show_default="processors, 8 at most",
              help="Threads that decode photographs.")  # fmt: skip
@click.option("--shard", type=ShardType(), show_default="from torchrun's or a Slurm array's variables, else all",
              help="Segment share I of N, from 0, as for generate.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per label: name, path, pixel shares.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
@model_options
@config_options
@click.pass_context
def segment(ctx: click.Context, /, photographs: tuple[Path, ...], as_json: bool, quiet: bool, **_: Any) -> None:
    """Segment photographs by what `excel-cam train` has learnt; nothing needs to be known of them.

    \b
        excel-cam segment photos/*.jpg --lvc lvc-voc/
        excel-cam segment --dataset voc --split val --lvc lvc-voc/ --out seg/ --refine crf
        excel-cam segment --dataset demo --lvc demo --out seg/
        excel-cam segment --root 'tars/*.tar' --lvc lvc-voc/ --out packed/

    Labels hold 0 for background, 1 and up for the classes in the order they were trained in. The same command goes on
    where an earlier run stopped. Exit status: 0 all done, 1 error, 2 usage, 3 some images failed.
    """
    p, report = ctx.params, reporter(quiet)
    sharded = not photographs and is_sharded(ctx)
    if bool(photographs) == (p["dataset"] is not None or p["manifest"] is not None or sharded):
        raise UsageError("give photographs, or a data set with --dataset")
    if p["lvc"] is None:
        raise UsageError("--lvc is missing: the folder of a training run (excel-cam train), or `demo`")
    settings = Settings(working_pixels=p["working_pixels"])
    if photographs:
        failed = _segment_photographs(ctx, settings, report)
    else:
        failed = _segment_data_set(ctx, settings, sharded, as_json, quiet)
    if failed:
        ctx.exit(EXIT_SOME_FAILED)


def _segmentation(ctx: click.Context) -> SegmentationSettings:
    """How photographs are looked at: the data set's preset, and what was chosen otherwise."""
    p = ctx.params
    preset = SEGMENTATION_PRESETS["coco" if p["dataset"] == "coco" else "voc"]
    positions = "trained" if "train" in (p["split"] or "") else preset.positions
    given = {name: p[name] for name in ("scales", "variant") if p[name] is not None}
    return dataclasses.replace(
        preset, **given, flip=p["flip"], crf=p["refine"] == "crf", crf_backend=p["crf_backend"],
        positions=p["positions"] or positions,
    )  # fmt: skip


def _segment_data_set(ctx: click.Context, settings: Settings, sharded: bool, as_json: bool, quiet: bool) -> bool:
    """Segment a data set, or photographs in shards; whether some of its images failed."""
    from excel_cam.cli.outcome import run_and_print
    from excel_cam.data.source import Source
    from excel_cam.run.plan import Destination
    from excel_cam.run.settle import Request

    p = ctx.params
    if p["out"] is None:
        raise UsageError("--out is missing: the folder for the labels of a data set")
    source = Source(
        dataset=p["dataset"] or "folder", root=None if sharded else p["root"], split=p["split"],
        names_from=p["names_from"], roots=configured_roots(ctx),
    )  # fmt: skip
    segmentation = _segmentation(ctx)
    names = [*(entry.name for entry in dataclasses.fields(segmentation)), "working_pixels"]
    request = Request(
        source=source,
        destination=Destination(
            out=Path(p["out"]), png_mode=p["png_mode"], overwrite=p["overwrite"],
            overwrite_hand_made=p["overwrite_hand_made"],
        ),
        model=chosen_model(ctx), settings=settings,
        setting_sources={name: source_name(ctx, "refine" if name == "crf" else name) or "default" for name in names},
        work=chosen_work(ctx),
        adapter=adapter_path(p["lvc"]), segmentation=segmentation,
    )  # fmt: skip
    if sharded:
        return run_shards_and_print(shards_request(ctx, request), reporter(quiet), as_json, quiet)
    return bool(run_and_print(request, reporter(quiet), as_json, quiet).failed)


def _segment_photographs(ctx: click.Context, settings: Settings, report: Report) -> bool:
    """Segment single photographs, as `label` labels them; whether some of them failed."""
    from excel_cam.cli.outcome import print_photographs
    from excel_cam.labels.places import choose_places
    from excel_cam.run.photographs.label import Writing, label_photographs, segment_choice

    p = ctx.params
    if given := [name for name in OF_A_DATA_SET if source_name(ctx, name) is not None]:
        raise UsageError(
            f"--{given[0].replace('_from', '').replace('names', 'list').replace('_', '-')} goes with --dataset"
        )
    choice = segment_choice(adapter_path(p["lvc"]), _segmentation(ctx))
    places = choose_places(p["photographs"], p["out"], report)
    writing = Writing(p["png_mode"], p["overwrite"], p["overwrite_hand_made"])
    results = label_photographs(places, choice, chosen_model(ctx), settings, writing, report)
    return print_photographs(results, choice.names, p["as_json"], report)
