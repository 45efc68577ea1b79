"""The command `excel-cam vote`: labels whose edges follow regions that a segmenter found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excel_cam.classes import NAMED_CLASSES
from excel_cam.cli.exits import EXIT_SOME_FAILED
from excel_cam.cli.next_steps import say_next
from excel_cam.cli.options import (
    FILE,
    FOLDER,
    LABELS,
    chosen_vote,
    overwrite_hand_made_option,
    overwrite_option,
    png_mode_option,
    refuse_two_name_sources,
    region_options,
)
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.wording import percent

if TYPE_CHECKING:
    from excel_cam.files.storage import Place
    from excel_cam.run.vote import SettledVote, VoteTally
    from excel_cam.wording import Report


@click.command()
@click.argument("labels", type=LABELS)
@region_options(required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for the new labels; made if it is not there.")
@click.option("--dataset", type=click.Choice(list(NAMED_CLASSES)), help="Class names by data set.")
@click.option("--classes", type=FILE, help="Class names from a file; if left out, from the labels' run.json.")
@click.option("--list", "names_from", metavar="FILE", help="Only the names in this file; - is standard input.")
@png_mode_option
@overwrite_option("Replace labels that are there, but for hand-made ones.")
@overwrite_hand_made_option()
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
@click.pass_context
def vote(
    ctx: click.Context, /, labels: Path | Place, out: Path, dataset: str | None, classes: Path | None,
    names_from: str | None, png_mode: str, overwrite: bool, overwrite_hand_made: bool, quiet: bool, **_: Any,
) -> None:  # fmt: skip
    """Let the regions of SAM, of superpixels or of any segmenter vote on finished labels.

    \b
        excel-cam vote labels/ --regions sam/ --out voted/
        excel-cam vote labels/ --regions superpixels/ --out voted/ --fill-ignored
        excel-cam vote labels/ --regions masks.json --out voted/ --allow-missing-regions

    A region takes the value that holds more than half of it; else it joins a class of which it covers a component to
    85 %. Of regions that overlap the smallest decides; pixels outside of regions stay as they are, and 255 stays 255.
    LABELS stay as they are too, and hand-made ones are taken over unchanged. The same command goes on where an earlier
    one stopped. Exit status: 0 all done, 1 error, 2 usage, 3 some labels failed (see failed.jsonl).
    """
    from contextlib import closing

    from excel_cam.cli.outcome import termination_as_interrupt
    from excel_cam.cli.terminal import show
    from excel_cam.labels.folder import has_background_class, required_class_names
    from excel_cam.labels.label_files import open_labels
    from excel_cam.run.vote import VoteRequest, VoteTally, run_vote, settle_vote
    from excel_cam.tags.name_finder import read_list

    refuse_two_name_sources(dataset, classes)
    report, regions, files = reporter(quiet), chosen_vote(ctx), open_labels(labels)
    assert regions is not None  # the option is required
    request = VoteRequest(
        labels=files, regions=regions, out=out,
        class_names=required_class_names(labels, dataset, classes, report),
        has_background=has_background_class(labels, dataset),
        names=None if names_from is None else tuple(read_list(names_from, set(files.names()), [labels])),
        png_mode=png_mode, overwrite=overwrite, overwrite_hand_made=overwrite_hand_made,
    )  # fmt: skip
    settled, tally = settle_vote(request), VoteTally()
    with (
        termination_as_interrupt(), progress_bar(len(settled.names), "label", quiet) as bar,
        closing(run_vote(settled, report)) as outcomes,
    ):  # fmt: skip
        for outcome in outcomes:
            tally.add(outcome)
            bar.skip() if outcome.kept else bar.update()
            if outcome.reason is not None:
                report(f"failed: {outcome.name}: {outcome.reason}")
            elif not sys.stdout.isatty():
                show(outcome.path)
    _report_end(settled, tally, report)
    if tally.failed:
        ctx.exit(EXIT_SOME_FAILED)


def _report_end(settled: SettledVote, tally: VoteTally, report: Report) -> None:
    """The vote on one line, and what to do next."""
    out = settled.request.out
    text = f"{tally.voted + tally.kept:,} labels in {out} ({tally.voted:,} new, {tally.kept:,} kept)"
    if tally.pixels:
        text += f"; {percent(tally.changed / tally.pixels)} % of the pixels of the new ones changed"
    if tally.failed:
        text += f"; {tally.failed:,} labels failed, see {out / 'failed.jsonl'}"
    report(text)
    if not tally.voted + tally.kept:
        return
    recorded = (settled.source_record or {}).get("dataset")
    if isinstance(recorded, dict) and recorded.get("name") == "demo":
        say_next(report, ["evaluate", "--labels", out, "--against", settled.request.labels, "--dataset", "demo"])
    else:
        say_next(report, ["doctor", out])
