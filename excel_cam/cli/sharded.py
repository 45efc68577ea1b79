"""Runs over photographs in shards, as the commands offer them: their options, what goes with what, what is printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from excel_cam.cli.options import source_name, with_options
from excel_cam.cli.progress import progress_bar
from excel_cam.cli.terminal import show, show_record
from excel_cam.errors import UsageError
from excel_cam.settings import ROWS_PER_SHARD
from excel_cam.wording import Report

if TYPE_CHECKING:
    from excel_cam.run.settle import Request
    from excel_cam.run.shards.engine import Engine
    from excel_cam.run.shards.make import Commit, ShardMaker
    from excel_cam.run.shards.settle import SettledShards, ShardsRequest

Command = TypeVar("Command", bound=Callable[..., Any])
MOST_ROWS = 1_000_000
MOST_SHARDS = 10**9
FAILURES_TOLD = 20  # of one shard; the index has them all
_OPTIONS = ("manifest", "shards", "retry_failed", "rows_per_shard", "engine", "ray_address")
# What a run over shards has no place for, and what to do instead.
_REFUSED = {
    "split": "shards have no splits",
    "names_from": "shards are narrowed by --shards",
    "overwrite": "shards are never replaced: choose another --out, or remove this one",
    "devices": "give each GPU a share of the shards, by --shard I/N and --device, or by torchrun",
    "overwrite_hand_made": "there are no hand-made labels in shards",
    "regions": "have them vote on the finished labels, with `excel-cam vote`",
}


@dataclass(frozen=True)
class ShardNumbers:
    """Numbers of shards, as written and as ranges."""

    text: str
    ranges: tuple[range, ...]

    def __str__(self) -> str:
        return self.text


class ShardNumbersType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Numbers with commas between, and ranges of them, both ends included."""

    name = "N,N-M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ShardNumbers:
        """Read the numbers."""
        if isinstance(value, ShardNumbers):
            return value
        ranges = []
        for part in str(value).split(","):
            found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part.strip())
            if not found or int(found[1]) > int(found[2] or found[1]):
                self.fail(f"'{value}' is not numbers of shards, from 0 on, such as 17,18 or 0-99", param, ctx)
            ranges.append(range(int(found[1]), int(found[2] or found[1]) + 1))
        return ShardNumbers(str(value), tuple(ranges))


def sharded_options(command: Command) -> Command:
    """The options of a command that can go over shards."""
    options = [
        click.option("--manifest", metavar="FILE|URL",
                     help="Parquet file of columns name, uri, classes: label its photographs, in shards of its rows."),
        click.option("--rows-per-shard", type=click.IntRange(1, MOST_ROWS), default=ROWS_PER_SHARD, show_default=True,
                     help="Rows of the manifest in one shard; the same for all runs into one --out."),
        click.option("--shards", type=ShardNumbersType(), show_default="all, or those of --shard I/N",
                     help="Make only these shards of the tars or manifest, counted from 0: 17,18 or 0-99."),
        click.option("--retry-failed", is_flag=True,
                     help="Make only the shards again in which photographs failed; their labels are kept."),
        click.option("--engine", type=click.Choice(("local", "ray")), default="local", show_default=True,
                     help="Who makes the shards: this process, one by one, or Ray, here or on a cluster's machines."),
        click.option("--ray-address", metavar="ADDRESS", show_default="RAY_ADDRESS, else a Ray of its own",
                     help="The Ray cluster: HOST:PORT, or auto for the one that this machine belongs to."),
    ]  # fmt: skip
    return with_options(command, options)


def is_sharded(ctx: click.Context) -> bool:
    """Whether a command is asked to go over shards; raises `UsageError` for options that only go with them."""
    p = ctx.params
    sharded = p["manifest"] is not None or (isinstance(p["root"], str) and ".tar" in p["root"])
    if sharded:
        return True
    for name in _OPTIONS[1:]:
        if source_name(ctx, name) is not None:
            raise UsageError(f"{_flag(name)} goes with photographs in shards: --manifest, or --root 'tars/*.tar'")
    for name in ("root", "out"):
        if isinstance(p[name], str):
            from excel_cam.files.storage import Place

            raise UsageError(
                f"{_flag(name)} {Place(p[name])}: folders of single files lie on this machine; photographs and labels "
                "in a storage go in shards: --manifest, or --root 'tars/*.tar'"
            )
    return False


def shards_request(ctx: click.Context, run: Request) -> ShardsRequest:
    """What a command was asked to do with shards; raises `UsageError` for options that do not go together."""
    from excel_cam.data.sharded.source import ShardedInput
    from excel_cam.files.storage import Place
    from excel_cam.run.shards.settle import ShardsRequest

    p, out = ctx.params, Place(str(ctx.params["out"]))
    for name, reason in _REFUSED.items():
        if p.get(name):
            raise UsageError(f"{_flag(name)} does not go with photographs in shards: {reason}")
    if p["shards"] is not None and p["shard"] is not None:
        raise UsageError("--shard I/N and --shards: give one of them; --shard 0/4 is every fourth shard, from 0 on")
    _check_engine(ctx)
    if p["manifest"] is None and source_name(ctx, "rows_per_shard") is not None:
        raise UsageError("--rows-per-shard goes with --manifest: each tar is a shard")
    if p.get("cams") is not None and str(p["cams"]) != str(p["out"]):
        raise UsageError(f"--save-cams: class maps of shards lie in the tars of their labels; give --save-cams {out}")
    return ShardsRequest(
        run=run,
        input=ShardedInput(
            root=None if p["root"] is None else str(p["root"]), manifest=p["manifest"],
            rows_per_shard=p["rows_per_shard"],
        ),
        out=out,
        numbers=None if p["shards"] is None else p["shards"].ranges,
        retry_failed=p["retry_failed"], engine=p["engine"], ray_address=p["ray_address"],
    )  # fmt: skip


def run_shards_and_print(request: ShardsRequest, report: Report, as_json: bool, quiet: bool) -> bool:
    """Go over shards: progress and messages on standard error, committed shards on standard output.

    Tars of shards are printed where standard output is not a terminal, records of them when asked for as JSON. Returns
    whether photographs, or whole shards, failed now.
    """
    from excel_cam.cli.outcome import termination_as_interrupt, without_image_warnings
    from excel_cam.run.shards.make import ShardMaker
    from excel_cam.run.shards.run import run_shards
    from excel_cam.run.shards.settle import settle_shards

    settled = settle_shards(request, report)
    printing = as_json or not sys.stdout.isatty()
    commits: list[Commit] = []
    whole = len(settled.chosen) == settled.shards.count and not request.retry_failed
    with (
        termination_as_interrupt(), without_image_warnings(),
        progress_bar(settled.shards.images if whole else None, "photograph", quiet) as bar,
        _engine(ShardMaker(settled), bar.update) as engine, closing(run_shards(settled, engine, report)) as outcomes,
    ):  # fmt: skip
        for commit in outcomes:
            commits.append(commit)
            _tell(commit, settled, report)
            bar.note = f"{len(commits):,} of {len(settled.chosen):,} shards"
            if printing and commit.fault is None:
                show_record(_record(commit, settled)) if as_json else show(str(_tar(commit, settled)))
    report(_summary(commits, settled))
    return any(commit.failed or commit.fault is not None for commit in commits)


def _check_engine(ctx: click.Context) -> None:
    """Raise `UsageError` for what does not go with the engine, or where it is not installed."""
    p = ctx.params
    if p["engine"] != "ray":
        if p["ray_address"] is not None:
            raise UsageError("--ray-address goes with --engine ray")
        return
    if p.get("devices") is not None:
        raise UsageError("--devices goes without --engine ray, which has an actor for each GPU")
    if ":" in p["device"]:
        raise UsageError(
            f"--device {p['device']}: with --engine ray each actor has a GPU of its own; give --device cuda"
        )
    from excel_cam.run.shards.ray_engine import require_ray

    require_ray()


@contextmanager
def _engine(maker: ShardMaker, told: Callable[[int], None]) -> Iterator[Engine]:
    """What makes the shards."""
    request = maker.settled.request
    if request.engine == "ray":
        from excel_cam.run.shards.ray_engine import ray_engine

        with ray_engine(maker, request.ray_address, told) as engine:
            yield engine
    else:
        from excel_cam.run.shards.engine import LocalEngine

        yield LocalEngine(maker, told)


def dry_run(request: ShardsRequest, report: Report) -> str:
    """What there is to do, by one listing; no model is loaded."""
    from excel_cam.labels.packed.listing import list_shards
    from excel_cam.run.shards.settle import read_shards_record, refuse_other_shards, settle_shards

    settled = settle_shards(request, report)
    record = read_shards_record(settled.out)
    if record is not None:
        refuse_other_shards(settled, record, None)
    committed = set(list_shards(settled.out).committed).intersection(settled.chosen)
    images = settled.shards.images
    of = "" if images is None else f" ({images:,} photographs in all)"
    left = len(settled.chosen) - len(committed)
    return f"dry run: {len(settled.chosen):,} shards{of}, {len(committed):,} committed, {left:,} to make"


def _tar(commit: Commit, settled: SettledShards) -> object:
    from excel_cam.labels.packed.listing import tar_of

    return tar_of(settled.out, commit.shard)


def _record(commit: Commit, settled: SettledShards) -> dict[str, Any]:
    """One shard as JSON can hold it; counts are null for one that was committed before."""
    from excel_cam.labels.packed.listing import index_of

    known = not commit.was_there
    return {
        "shard": commit.shard, "tar": str(_tar(commit, settled)), "index": str(index_of(settled.out, commit.shard)),
        "labelled": commit.labelled if known else None, "failed": len(commit.failed) if known else None,
        "kept": commit.was_there,
    }  # fmt: skip


def _tell(commit: Commit, settled: SettledShards, report: Report) -> None:
    if commit.fault is not None:
        report(f"failed: shard {commit.shard}: {commit.fault}")
    for name, reason in commit.failed[:FAILURES_TOLD]:
        report(f"failed: {name}: {reason}")
    if (more := len(commit.failed) - FAILURES_TOLD) > 0:
        from excel_cam.labels.packed.listing import index_of

        report(f"failed: {more:,} more of shard {commit.shard}, see {index_of(settled.out, commit.shard)}")


def _summary(commits: list[Commit], settled: SettledShards) -> str:
    """A run over shards on one line."""
    made = [commit for commit in commits if not commit.was_there and commit.fault is None]
    there, labelled = sum(commit.was_there for commit in commits), sum(commit.labelled for commit in made)
    text = f"{len(made) + there:,} shards in {settled.out} ({len(made):,} made now: {labelled:,} labels, "
    text += f"{there:,} there before)"
    if failed := sum(len(commit.failed) for commit in made):
        text += f"; {failed:,} photographs failed, and are tried again with --retry-failed"
    if faulty := sum(commit.fault is not None for commit in commits):
        text += f"; {faulty:,} shards could not be read, and are made by the same command once they can"
    return text


def _flag(name: str) -> str:
    return {"names_from": "--list", "cams": "--save-cams"}.get(name, "--" + name.replace("_", "-"))
