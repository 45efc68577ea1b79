"""The command `excel-cam export`: finished labels into what another trainer reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from excel_cam.classes import NAMED_CLASSES
from excel_cam.cli.options import FILE, FOLDER, LABELS, overwrite_option, refuse_two_name_sources
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.export.trainers import TRAINERS
from excel_cam.imports.tools import TOOLS

if TYPE_CHECKING:
    from excel_cam.files.storage import Place


@click.command()
@click.option("--to", "trainer", type=click.Choice(TRAINERS), required=True, help="What is to read the files.")
@click.option("--labels", type=LABELS, required=True, help="Folder of label PNGs, or labels in shards.")
@click.option(
    "--cams", type=LABELS, help="Folder of class maps of `generate --save-cams`; irn, clip-es and psa need it."
)
@click.option("--images", type=FOLDER, help="Folder of the photographs: for their endings, and to link them.")
@click.option("--dataset", type=click.Choice(list(NAMED_CLASSES)), help="Class names by data set.")
@click.option("--classes", type=FILE, help="Class names from a file; if left out, from the labels' run.json.")
@click.option("--image-url", metavar="PREFIX",
              help="label-studio: what stands before a photograph's file name in its address, such as "
                   "s3://bucket/photos/; by default that of local files.")  # fmt: skip
@click.option("--list", "names_from", metavar="FILE", help="Export only the names in this file; - is standard input.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the export; made if it is not there.")
@overwrite_option("Replace files that are there.")
@click.option("--quiet", is_flag=True, help="No progress and no messages on standard error.")
def export(
    trainer: str, labels: Path | Place, cams: Path | Place | None, images: Path | None, dataset: str | None,
    classes: Path | None, image_url: str | None, names_from: str | None, out: Path, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Write labels and class maps in the files that a trainer, a loader or a tool for correcting reads.

    \b
        excel-cam export --to deeplab --labels labels/ --images VOC2012/JPEGImages --out for-deeplab/
        excel-cam export --to irn --labels labels/ --cams cams/ --out for-irn/
        excel-cam export --to cvat --labels labels/ --images photos/ --out for-cvat/

    irn, clip-es and psa need the class maps behind the labels: run `excel-cam generate` with --save-cams, they are
    small and not made up from hard labels. The disk an export needs is said first; the same command goes on where an
    interrupted one stopped, and renews files that changed or whose label did. What was corrected in cvat,
    label-studio or labelme comes back with `excel-cam import`.
    """
    from excel_cam.export.choose import choose_format
    from excel_cam.export.source import Export
    from excel_cam.export.write import run_export
    from excel_cam.labels.label_files import open_labels, open_maps
    from excel_cam.tags.name_finder import read_list

    refuse_two_name_sources(dataset, classes)
    report, files = reporter(quiet), open_labels(labels)
    names = None if names_from is None else tuple(read_list(names_from, set(files.names()), [labels]))
    chosen = Export(
        format=choose_format(trainer, labels, cams, dataset, classes, report, images=images, image_url=image_url),
        labels=files, out=out, cams=None if cams is None else open_maps(cams), images=images, names=names,
        overwrite=overwrite,
    )  # fmt: skip
    with progress_bar(None, "image", quiet) as bar:
        counts = run_export(chosen, report, bar.update, lambda total: bar.begin(total, "image"))
    report(
        f"{counts['written'] + counts['kept']:,} images in {out} ({counts['written']:,} new, {counts['kept']:,} kept)"
    )
    if trainer in TOOLS:
        report(f"next: load {out} into {trainer}; what was corrected there comes back with")
        unpacked = labels
        if files.folder is None:
            unpacked = Path("labels")
            report(f"      excel-cam unpack {labels} --to {unpacked}")
        report(f"      excel-cam import FILE --from {trainer} --out {unpacked}")
    else:
        report(f"next: name {out} in the configuration of what trains on it")
