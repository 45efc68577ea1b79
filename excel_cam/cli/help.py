"""Help texts that fit a screen: options in groups, and of those that are rarely needed the names alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from excel_cam.cli.terminal import show
from excel_cam.settings import SegmentationSettings, Settings

_SETTINGS = [entry.name for record in (Settings, SegmentationSettings) for entry in dataclasses.fields(record)]
# Headings, and the parameters under them; `--help` names only the options of those in _RARELY_NEEDED.
_GROUPS = {
    "What": (
        "source", "dataset", "root", "split", "labels", "truth", "images", "tags", "all_classes", "classes",
        "knowledge", "names_from", "names", "trainer", "lvc", "regions",
    ),
    "Prediction": ("predict", "per_image", "threshold", "calibrate"),
    "Where to": (
        "out", "cams", "strip", "bank", "curve", "plot", "png_mode", "overwrite", "overwrite_hand_made", "dry_run",
        "keys", "as_json", "quiet",
    ),
    "Model and device": ("model", "pretrained", "weights", "device", "precision", "threads", "backend"),
    "Photographs in shards": ("manifest", "rows_per_shard", "shards", "retry_failed", "engine", "ray_address"),
    "How the work is spread": ("devices", "batch_size", "workers", "shard", "checkpoint_every"),
    "Settings": ("preset", *_SETTINGS),
    "Regions": ("region_share", "component_share", "fill_ignored", "allow_missing_regions"),
    "Learning": (
        "steps", "warm_up", "dynamic_from", "own_from", "batch", "rate", "decay", "channels", "decoder_blocks",
        "decoder_heads", "radius", "seed", "slots", "relation_mean", "padding", "average", "readout_images",
    ),
}  # fmt: skip
_RARELY_NEEDED = (
    "Photographs in shards", "Model and device", "How the work is spread", "Settings", "Regions", "Learning",
)  # fmt: skip
_OTHERS = "Other options"
_ALL_META = "excel_cam.help_all"


def _show_all(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL_META] = True
        show(ctx.get_help())
        ctx.exit()


class GroupedCommand(click.Command):
    """A command whose `--help` fits a screen and whose `--help-all` explains every option."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own, and `--help-all`."""
        explain = click.Option(
            ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all,
            help="Explain every option and exit.",
        )  # fmt: skip
        *own, last = super().get_params(ctx)
        return [*own, explain, last]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        groups = self._grouped(ctx)
        for heading, options in groups.items():
            if heading not in _RARELY_NEEDED or ctx.meta.get(_ALL_META):
                with formatter.section(heading if len(groups) > 1 else "Options"):
                    formatter.write_dl([record for _, record in options])
        if not ctx.meta.get(_ALL_META):
            named = [(heading, options) for heading, options in groups.items() if heading in _RARELY_NEEDED]
            if named:
                with formatter.section("Explained by --help-all"):
                    formatter.write_dl(
                        [(heading, " ".join(_flag(option) for option, _ in options)) for heading, options in named]
                    )

    def _grouped(self, ctx: click.Context) -> dict[str, list[tuple[click.Parameter, tuple[str, str]]]]:
        """Headings, in the order of `_GROUPS`, with each option and what help says of it."""
        heading_of = {name: heading for heading, names in _GROUPS.items() for name in names}
        found: dict[str, list[Any]] = {heading: [] for heading in (*_GROUPS, _OTHERS)}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                found[heading_of.get(option.name or "", _OTHERS)].append((option, record))
        return {heading: options for heading, options in found.items() if options}


def _flag(option: click.Parameter) -> str:
    return next(flag for flag in option.opts if flag.startswith("--"))
