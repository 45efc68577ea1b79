"""The command `excel-cam doctor`: what is wrong with a folder of labels, and the line that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from excel_cam.classes import NAMED_CLASSES
from excel_cam.cli.options import FILE, FOLDER, LABELS, refuse_two_name_sources
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.cli.terminal import show_each, show_record, tell
from excel_cam.shipped import DEMO_IMAGES

if TYPE_CHECKING:
    from excel_cam.files.storage import Place


@click.command()
@click.argument("labels", type=LABELS)
@click.option("--images", type=FOLDER, help="Folder of the photographs, to compare sizes and names; demo has its own.")
@click.option("--dataset", type=click.Choice(list(NAMED_CLASSES)), help="Class names by data set.")
@click.option("--classes", type=FILE, help="Class names from a file; if left out, from the labels' run.json.")
@click.option("--tags", type=FILE, help="Image-level labels, to compare with the classes in the labels.")
@click.option("--scores", type=FILE,
              help="Hold --tags against these, the .scores.jsonl of `excel-cam tags --predict`.")  # fmt: skip
@click.option("--cams", type=LABELS, help="Hold --tags against the class maps of --save-cams.")
@click.option("--fix", is_flag=True, help="Mend what loses nothing; the original stays beside it as <name>.png.bak.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every example.")
@click.pass_context
def doctor(
    ctx: click.Context, /, labels: Path | Place, images: Path | None, dataset: str | None, classes: Path | None,
    tags: Path | None, scores: Path | None, cams: Path | Place | None, fix: bool, as_json: bool,
) -> None:  # fmt: skip
    """Look for what makes training fail: wrong formats, values, sizes, empty labels, missing and double files.

    \b
        excel-cam doctor labels/ --images VOC2012/JPEGImages --dataset voc
        excel-cam doctor labels/ --dataset voc --fix
        excel-cam doctor labels/ --dataset voc --tags tags.csv --scores predicted.scores.jsonl

    --fix writes 8-bit grey (mode L) in place of palettes, VOC colours, equal channels, alpha and 16 bits, where the
    class indices are certain. --scores and --cams look for tags that nothing in the photograph supports, --scores also
    for classes that are there without a tag. Exit status: 0 nothing or warnings alone, 1 errors left.
    """
    from excel_cam.doctor.examine import Examination, examine
    from excel_cam.doctor.tags import read_scores_of
    from excel_cam.labels.folder import class_names_of, has_background_class
    from excel_cam.labels.label_files import open_labels, open_maps
    from excel_cam.labels.records import predicted_tags_note
    from excel_cam.tags.predicted import predicted_note
    from excel_cam.tags.read import read_tags

    refuse_two_name_sources(dataset, classes)
    if dataset == "demo":
        images = images or DEMO_IMAGES
    if tags is None and (scores or cams):
        raise click.UsageError(f"{'--scores' if scores else '--cams'} needs --tags, which it is held against")
    names = class_names_of(labels, dataset, classes, reporter(quiet=False))
    if tags is not None and names is None:
        raise click.UsageError("--tags needs the class names: give --dataset or --classes")
    if names is None:
        tell("no class names (--dataset, --classes or run.json): values and classes are not checked")
    given = {"--dataset": dataset, "--classes": classes}
    options = [str(part) for pair in given.items() if pair[1] is not None for part in pair]
    command = ("excel-cam", "doctor", str(labels), *options, "--fix")
    read = None if tags is None or names is None else read_tags(tags, names)
    note = predicted_tags_note(labels) if tags is None or names is None else predicted_note(tags, names)
    with progress_bar(None, "label") as bar:
        examination = Examination(
            labels=open_labels(labels), class_names=names, images=images, tags=read, fix=fix, fix_command=command,
            has_background=has_background_class(labels, dataset), cams=None if cams is None else open_maps(cams),
            scores=None if scores is None or names is None else read_scores_of(scores, names),
            predicted_tags=None if note is None else str(note),
        )  # fmt: skip
        diagnosis = examine(examination, bar.update, lambda total: bar.begin(total, "label"))
    if as_json:
        show_record(diagnosis.to_json_dict())
    else:
        show_each(diagnosis.lines())
    if diagnosis.failed:
        ctx.exit(1)
