"""The command `excel-cam view`: labels to look at, as a page for a browser or a strip for a paper."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from excel_cam.classes import NAMED_CLASSES
from excel_cam.cli.exits import EXIT_SOME_FAILED
from excel_cam.cli.options import FILE, FOLDER, LABELS, refuse_two_name_sources
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.shipped import DEMO_IMAGES, DEMO_TRUTH

if TYPE_CHECKING:
    from excel_cam.files.storage import Place


@click.command()
@click.argument("labels", type=LABELS)
@click.option("--images", type=FOLDER, help="Folder of the photographs; demo has its own, and its truth.")
@click.option("--truth", type=FOLDER, help="Folder of ground-truth PNGs; not every label needs one.")
@click.option("--cams", type=LABELS, help="Folder of class maps of `generate --save-cams`: heat maps, and doubt.")
@click.option("--dataset", type=click.Choice(list(NAMED_CLASSES)), help="Class names by data set.")
@click.option("--classes", type=FILE, help="Class names from a file; if left out, from the labels' run.json.")
@click.option("--list", "names_from", metavar="FILE", help="Show only the names in this file; - is standard input.")
@click.option("--names", metavar="NAME,...", help="Show only these; in a strip, in this order.")
@click.option("--out", type=FILE, help="Write the page to this .html file.")
@click.option("--sort", "order", type=click.Choice(["doubt", "iou", "name"]), default="doubt", show_default=True,
              help="Order of the images, which --limit keeps: most doubtful, least IoU, or by name.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True,
              help="Most images on the page, some 100 kB each; its figures are of all.")  # fmt: skip
@click.option("--strip", type=FILE, help="Write rows of photograph, truth, label, class maps to this .png file.")
@click.option("--rows", type=click.IntRange(1, 100), show_default="all of --names, else 6",
              help="Most rows of the strip, first names first.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
@click.pass_context
def view(
    ctx: click.Context, /, labels: Path | Place, images: Path | None, truth: Path | None, cams: Path | Place | None,
    dataset: str | None, classes: Path | None, names_from: str | None, names: str | None, out: Path | None, order: str,
    limit: int, strip: Path | None, rows: int | None, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Show labels over their photographs: one page for a browser, without network, or a strip for a paper.

    \b
        excel-cam view labels/ --dataset demo --out report.html
        excel-cam view labels/ --images VOC2012/JPEGImages --out report.html
        excel-cam view labels/ --images VOC2012/JPEGImages --cams cams/ --truth VOC2012/SegmentationClass --out r.html
        excel-cam view labels/ --images photos/ --names a,b,c --strip figure.png

    Doubt is the share of a class map's cells whose two best scores are close; without --cams the share of pixels that
    are 255 or touch another class. The page says which, and can be filtered by class and sorted by doubt, IoU and name.
    Exit status: 0 all shown, 1 error, 2 usage, 3 some photographs could not be read.
    """
    from excel_cam.labels.folder import has_background_class, required_class_names, truth_masks
    from excel_cam.labels.label_files import open_labels, open_maps
    from excel_cam.report.strip import MOST_ROWS
    from excel_cam.report.write import ReportRequest, write_report
    from excel_cam.tags.name_finder import read_list

    refuse_two_name_sources(dataset, classes)
    if dataset == "demo":
        images, truth = images or DEMO_IMAGES, truth or DEMO_TRUTH
    if images is None:
        raise click.UsageError("Missing option '--images': the folder of the photographs.")
    if names_from is not None and names is not None:
        raise click.UsageError("give the names with either --list or --names")
    files, named = open_labels(labels), None
    if names_from is not None or names is not None:
        asked = io.StringIO(names.replace(",", "\n")) if names is not None else cast(str, names_from)
        named = read_list(asked, set(files.names()), [labels, images])
    if rows is None:
        rows = 6 if names is None or named is None else min(len(named), MOST_ROWS)
    class_names = required_class_names(labels, dataset, classes, reporter(quiet))
    chosen = ReportRequest(
        labels=files, images=images, class_names=class_names, cams=None if cams is None else open_maps(cams),
        has_background=has_background_class(labels, dataset),
        truth=None if truth is None else truth_masks(truth, labels, dataset, classes), names=named, out=out,
        order=order, limit=limit, strip=strip, rows=rows, overwrite=overwrite,
    )  # fmt: skip

    unread: dict[str, None] = {}
    report = reporter(quiet)
    with progress_bar(None, "image", quiet) as bar:
        for line in write_report(chosen, bar.update, bar.begin, lambda reason: unread.setdefault(reason, None)):
            report(line)
    if out is not None:
        report(f"next: open {out} in a browser")
    for reason in unread:
        report(f"failed: {reason}")
    if unread:
        ctx.exit(EXIT_SOME_FAILED)
