"""The command `excel-cam unpack`: labels in shards into the folder of files that a plain run leaves."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from excel_cam.cli.exits import EXIT_SOME_FAILED
from excel_cam.cli.options import FOLDER, LABELS, overwrite_option
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.errors import UsageError

if TYPE_CHECKING:
    from excel_cam.files.storage import Place


@click.command()
@click.argument("labels", type=LABELS)
@click.option("--to", type=FOLDER, required=True, help="Folder for the label PNGs; made if it is not there.")
@click.option("--save-cams", "cams", type=FOLDER, help="Folder for the class maps, where the shards hold some.")
@click.option("--list", "names_from", metavar="FILE", help="Unpack only the names in this file; - is standard input.")
@overwrite_option("Replace labels that are there, but for hand-made ones.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
@click.pass_context
def unpack(
    ctx: click.Context, /, labels: Path | Place, to: Path, cams: Path | None, names_from: str | None, overwrite: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Write labels in shards as a folder of PNGs, as a run without shards leaves it.

    \b
        excel-cam unpack shards/ --to labels/
        excel-cam unpack s3://bucket/labels --to labels/ --list val.txt

    The same bytes, with run.json and failed.jsonl, so that every command reads them, `import` corrects them, and
    `generate` goes on with them. What is there already stays; the same command goes on where it was stopped.
    Exit status: 0 all written, 1 error, 2 usage, 3 some shards are not there yet.
    """
    from excel_cam.labels.packed.reading import PackedFiles
    from excel_cam.labels.packed.unpack import Unpacking
    from excel_cam.labels.packed.unpack import unpack as unpack_labels
    from excel_cam.labels.records import is_packed
    from excel_cam.tags.name_finder import read_list

    if not is_packed(labels):
        raise UsageError(f"{labels}: expected labels in shards, found none; a folder of files needs no unpacking")
    files, report = PackedFiles(labels), reporter(quiet)
    names = None
    if names_from is not None:
        names = read_list(names_from, {*files.names(), *files.table.reasons}, [labels, to])
    request = Unpacking(labels=files, to=to, cams=cams, names=names, overwrite=overwrite)
    with progress_bar(None, "label", quiet) as bar:
        done = unpack_labels(request, report, bar.update, lambda total: bar.begin(total, "label"))
    hand_made = f", {done.hand_made:,} hand-made stay as they are" if done.hand_made else ""
    report(f"{to}: {done.written:,} labels written, {done.kept:,} kept{hand_made}")
    if done.failed:
        report(f"{done.failed:,} images have no label: see {to / 'failed.jsonl'}")
    if done.missing:
        report(f"{done.missing:,} shards are not there yet: `excel-cam status {shlex.quote(str(labels))}`")
        ctx.exit(EXIT_SOME_FAILED)
