"""The command `excel-cam manifest`: a folder of photographs and its tags as one table, for runs over shards."""

from __future__ import annotations

from pathlib import Path

import click

from excel_cam.classes import NAMED_CLASSES
from excel_cam.cli.next_steps import say_next
from excel_cam.cli.options import FILE, FOLDER, refuse_two_name_sources
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.cli.terminal import show
from excel_cam.errors import OutputError


@click.command()
@click.option("--root", type=FOLDER, required=True, help="Folder of photographs; those in folders below it too.")
@click.option("--tags", "tags_file", type=FILE,
              help="Image-level labels of all of them: CSV (name,classes), JSON Lines; JSON and .npy with class names. "
                   "Left out: a manifest for `excel-cam segment`, without classes.")  # fmt: skip
@click.option("--dataset", type=click.Choice(list(NAMED_CLASSES)), help="Class names by data set, to check the tags.")
@click.option("--classes", type=FILE, help="Class names from a file, one per line, to check the tags.")
@click.option("--out", type=FILE, required=True, help="Parquet file to write: columns name, uri, classes.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
def manifest(
    root: Path, tags_file: Path | None, dataset: str | None, classes: Path | None, out: Path, overwrite: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Write a folder of photographs and its tags as a manifest, a Parquet file with a row a photograph.

    \b
        excel-cam manifest --root photos/ --tags tags.csv --classes classes.txt --out photos.parquet
        excel-cam generate --manifest photos.parquet --classes classes.txt --out packed/

    Photographs stand by name. Their uris are relative to the manifest where they lie below its folder, so that both may
    move together. Memory does not grow with their number.
    """
    from excel_cam.data.sharded.make_manifest import make_manifest
    from excel_cam.files.inputs import refuse_inputs
    from excel_cam.files.lists import read_class_list

    report = reporter(quiet)
    refuse_two_name_sources(dataset, classes)
    if out.exists() and not overwrite:
        raise OutputError(f"{out} is there already; add --overwrite, or choose another --out")
    refuse_inputs(out, [tags_file, classes])
    names = NAMED_CLASSES[dataset] if dataset is not None else None
    if classes is not None:
        names = read_class_list(classes, report=report)[0]
    with progress_bar(None, "photograph", quiet) as bar:
        made = make_manifest(root, tags_file, names, out, bar.update)
    for note in made.notes:
        report(note)
    if made.unseen:
        report(
            f"{made.unseen:,} names in {tags_file} have no photograph under {root}, first {made.first_unseen}; they "
            "are left out"
        )
    report(f"{made.rows:,} photographs in {out}")
    show(out)
    named = ["--classes", classes] if classes is not None else ["--dataset", dataset] if dataset is not None else []
    command = "segment" if tags_file is None else "generate"
    say_next(report, [command, "--manifest", out, *(named if tags_file is not None else []), "--out", "packed/"])
