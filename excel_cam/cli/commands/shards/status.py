"""The command `excel-cam status`: how far the work in a folder is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from excel_cam.cli.exits import EXIT_SOME_FAILED
from excel_cam.cli.options import LABELS
from excel_cam.cli.terminal import show_each, show_record

if TYPE_CHECKING:
    from excel_cam.files.storage import Place


@click.command()
@click.argument("labels", type=LABELS)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every share.")
@click.pass_context
def status(ctx: click.Context, /, labels: Path | Place, as_json: bool) -> None:
    """Tell how far the runs into a folder are: images labelled, failed and missing, and each share's state.

    \b
        excel-cam status labels/
        excel-cam status labels/ --json | jq .missing
        excel-cam status s3://bucket/labels

    Told from the names of files, the records of runs and their claims, and the indices of shards; no label is opened.
    A share that was killed is told as abandoned. Exit status: 0 every image has its label, 1 error, 3 some are missing
    or failed, or a share is not finished.
    """
    from excel_cam.labels.status.kinds import standing_of

    standing = standing_of(labels)
    if as_json:
        show_record(standing.to_json_dict())
    else:
        show_each(standing.lines())
    if not standing.is_complete:
        ctx.exit(EXIT_SOME_FAILED)
