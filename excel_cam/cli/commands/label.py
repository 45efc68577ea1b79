"""The command `excel-cam label`: photographs and class names on the command line, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from excel_cam.cli.config import RequiredOption, config_options
from excel_cam.cli.help import GroupedCommand
from excel_cam.cli.options import (
    FOLDER,
    KNOWLEDGE,
    PHOTOGRAPHS,
    backend_option,
    chosen_model,
    chosen_settings,
    model_options,
    overwrite_hand_made_option,
    overwrite_option,
    png_mode_option,
    settings_options,
)
from excel_cam.cli.progress import reporter
from excel_cam.errors import UsageError


class ClassesOption(RequiredOption):
    """What photographs show has to be said; who does not know is told which command finds out."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Check the value as Click does."""
        try:
            return super().process_value(ctx, value)
        except click.MissingParameter:
            raise UsageError(
                "label needs --classes, what the photographs show, such as cat,sofa; where that is not known, "
                "`excel-cam tags --predict --images FOLDER --classes classes.txt --out tags.csv` predicts it"
            ) from None


@click.command(cls=GroupedCommand)
@click.argument("photographs", metavar="PHOTO|DIR...", type=PHOTOGRAPHS, nargs=-1, required=True)
@click.option("--classes", cls=ClassesOption, required=True, metavar="NAMES",
              help="What they show: cat,sofa or `cat: tabby cat,sofa` or a class list file (.txt, .json).")  # fmt: skip
@click.option("--out", type=FOLDER, help="Folder for the labels, made if need be; beside the photographs if left out.")
@click.option("--kb", "knowledge", type=KNOWLEDGE, metavar="NAME|FILE",
              help="Knowledge base, a file or a shipped one by name; left out, VOC's or COCO's where it has a class.",
)  # fmt: skip
@png_mode_option
@overwrite_option("Replace files that are there, but for hand-made labels.")
@overwrite_hand_made_option()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per photograph: name, paths, pixel shares.")
@click.option("--quiet", is_flag=True, help="No messages on standard error.")
@model_options
@backend_option
@settings_options("text", "image")
@config_options
@click.pass_context
def label(
    ctx: click.Context, /, photographs: tuple[Path, ...], classes: str, out: Path | None, knowledge: Path | None,
    png_mode: str, overwrite: bool, overwrite_hand_made: bool, as_json: bool, quiet: bool, **_: Any,
) -> None:  # fmt: skip
    """Label photographs that all show the same: photo.png and a picture to look at, photo.overlay.jpg, beside each.

    \b
        excel-cam label photo.jpg --classes cat,sofa
        excel-cam label photos/ --classes cat,sofa --out labels/
        excel-cam label *.jpg --classes "red panda, tea pot: teapot made of china" --out labels/

    Every photograph is taken to show all the classes. Label values are 0 for background, then 1 and up in the order of
    --classes. Classes of VOC and COCO get their knowledge bases' sentences, others are compared by prompts alone. Exit
    status: 0 all done, 1 error, 2 usage, 3 some photographs could not be read.
    """
    from excel_cam.cli.exits import EXIT_SOME_FAILED
    from excel_cam.cli.outcome import print_photographs
    from excel_cam.labels.places import choose_places
    from excel_cam.model.words_file import fit_recorded
    from excel_cam.run.photographs.classes import choose_classes
    from excel_cam.run.photographs.label import Writing, label_photographs

    report = reporter(quiet)
    settings, sources = chosen_settings(ctx)
    choice = choose_classes(classes, knowledge, report)
    settings = fit_recorded(settings, sources, choice.knowledge.sentence_count)
    places = choose_places(photographs, out, report)
    values = ", ".join(f"{value} {name}" for value, name in enumerate(choice.names, 1))
    report(f"{len(choice.names)} {'class' if len(choice.names) == 1 else 'classes'}: {values}; 0 background")
    if choice.without_sentences and settings.attributes != "none":
        report(f"prompts alone, without sentences: {', '.join(choice.without_sentences)}")
    writing = Writing(png_mode, overwrite, overwrite_hand_made)
    results = label_photographs(places, choice, chosen_model(ctx), settings, writing, report)
    failed = print_photographs(results, choice.names, as_json, report)
    if (overlay := next((place.overlay for place in places if place.overlay.exists()), None)) is not None:
        report(f"next: look at {overlay}; where images show different classes, excel-cam tags and generate")
    if failed:
        ctx.exit(EXIT_SOME_FAILED)
