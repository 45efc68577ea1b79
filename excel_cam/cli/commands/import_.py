"""The command `excel-cam import`: what people corrected in a tool, back into a folder of labels."""

from __future__ import annotations

from pathlib import Path

import click

from excel_cam.classes import NAMED_CLASSES
from excel_cam.cli.options import FILE, FOLDER, overwrite_hand_made_option, refuse_two_name_sources
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.imports.tools import TOOLS


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--from", "tool", type=click.Choice(TOOLS), required=True, help="The tool that wrote it.")
@click.option("--out", type=FOLDER, required=True, help="Folder of labels that they become part of.")
@click.option("--images", type=FOLDER,
              help="Folder of the photographs: for their names and sizes, and how they are turned.")  # fmt: skip
@click.option("--dataset", type=click.Choice(list(NAMED_CLASSES)), help="Class names by data set.")
@click.option("--classes", type=FILE, help="Class names from a file; if left out, from the records in --out.")
@click.option("--list", "names_from", metavar="FILE", help="Take only the names in this file; - is standard input.")
@click.option("--mark-unchanged", is_flag=True,
              help="Mark as hand-made too what came back unchanged: looked at, and found right.")  # fmt: skip
@overwrite_hand_made_option("Replace hand-made labels that differ from what comes.")
@click.option("--overwrite", is_flag=True, help="Replace labels of other programs that differ from what comes.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
def import_(
    source: Path, tool: str, out: Path, images: Path | None, dataset: str | None, classes: Path | None,
    names_from: str | None, mark_unchanged: bool, overwrite_hand_made: bool, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Bring labels that were corrected in another tool back, marked as hand-made.

    \b
        excel-cam import task.zip --from cvat --out labels/ --images photos/
        excel-cam import project.json --from label-studio --out labels/ --images photos/
        excel-cam import for-labelme/ --from labelme --out labels/ --images photos/

    SOURCE is CVAT's "Segmentation mask 1.1" (.zip, or unpacked), Label Studio's JSON or JSON-MIN, or a folder of
    labelme's files. Labels that differ take the place of a run's; those that do not stay that run's own. `generate` and
    the other commands keep hand-made labels, also with --overwrite, and say so.
    """
    from excel_cam.imports.write import Import, chosen_classes, known_names, require_nothing_refused, run_import
    from excel_cam.tags.name_finder import read_list

    refuse_two_name_sources(dataset, classes)
    report = reporter(quiet)
    values = chosen_classes(out, dataset, classes, report)
    names = None
    if names_from is not None:
        folders = [folder for folder in (out, images) if folder is not None]
        names = frozenset(read_list(names_from, known_names(out, images), folders))
    request = Import(
        tool=tool, source=source, out=out, values=values, images=images, names=names,
        mark_unchanged=mark_unchanged, overwrite=overwrite, overwrite_hand_made=overwrite_hand_made,
    )  # fmt: skip
    with progress_bar(None, "label", quiet) as bar:
        counts = run_import(request, report, bar.update)
    report(
        f"{out}: {counts.corrected:,} labels corrected, {counts.new:,} new, {counts.unchanged:,} came back unchanged"
    )
    require_nothing_refused(request, counts)
