"""`excel-cam tags`: the command line of making and converting image-level labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excel_cam.classes import MASK_FORMS, NAMED_CLASSES, WITHOUT_BACKGROUND
from excel_cam.cli.help import GroupedCommand
from excel_cam.cli.next_steps import say_next
from excel_cam.cli.options import (
    FILE,
    FOLDER,
    backend_option,
    chosen_model,
    knowledge_option,
    model_options,
    refuse_two_name_sources,
    source_name,
)
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.cli.terminal import tell
from excel_cam.errors import UsageError
from excel_cam.settings import Settings
from excel_cam.shipped import DEMO_IMAGES, DEMO_ROOT, SHIPPED_MODEL
from excel_cam.wording import Report, first_lines, quoted

if TYPE_CHECKING:
    from excel_cam.run.tagging.predict import PredictedTags, Prediction, Scored


@click.command(cls=GroupedCommand)
@click.option("--from", "source", type=click.Path(path_type=Path),
              help="Folder of VOC annotations (.xml) or of masks (.png), COCO's instances JSON, or a file of tags "
                   "(.csv, .json, .jsonl, .npy).")  # fmt: skip
@click.option("--predict", is_flag=True, help="Instead of --from: let the frozen model say what --images show.")
@click.option("--images", type=FOLDER, help="Photographs for --predict, a folder; demo has its own.")
@click.option("--dataset", type=click.Choice(list(NAMED_CLASSES)), help="Class names by data set.")
@click.option("--classes", type=FILE, help="Class names from a file, one per line.")
@knowledge_option
@click.option("--list", "names_from", metavar="FILE", help="Only the names in this file; - is standard input.")
@click.option("--per-image", type=click.IntRange(min=1), help="Predict the best N classes of each photograph.")
@click.option("--threshold", type=float, help="Predict the classes whose score, 0..1, is at least that.")
@click.option("--calibrate", type=FILE,
              help="Tags of some of the photographs: take the threshold of the best F1 on them.")  # fmt: skip
@click.option("--out", type=FILE, required=True, help="File to write: .csv, .json, .jsonl or .npy.")
@click.option("--keys", type=click.Choice(["int", "str"]), show_default="int for cls_labels.npy, else str",
              help="Keys of a .npy dictionary: 2007000032 (COCO: 9), or the name.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.option("--quiet", is_flag=True, help="No messages on standard error.")
@model_options
@backend_option
@click.pass_context
def tags(ctx: click.Context, /, source: Path | None, predict: bool, **_: Any) -> None:
    """Make image-level labels from annotations or masks, convert a file of them, or predict them.

    \b
        excel-cam tags --from VOCdevkit/VOC2012/Annotations --dataset voc --out cls_labels.npy
        excel-cam tags --from VOCdevkit/VOC2012/SegmentationClass --dataset voc --out cls_labels_onehot.npy
        excel-cam tags --from COCO/annotations/instances_train2014.json --out tags.jsonl
        excel-cam tags --from pets/ --out tags.csv
        excel-cam tags --from tags.csv --classes classes.txt --out tags.json
        excel-cam tags --predict --images photos/ --classes classes.txt --out tags.csv

    Masks hold 0 for background, 1 and up for the classes, 255 for pixels to ignore; those of context, ade20k and
    cityscapes are read as these data sets have them. A folder with a folder of photographs per class (pets/cat/1.jpg)
    needs no class names: they are its folders', and are written to classes.txt beside --out. In files of tags a class
    stands by name or by index; indices count from 0, as the columns of cls_labels.npy do.

    Predicted tags are marked as such, with a score each; scores of all classes are kept beside them
    (tags.scores.jsonl), so that a run that was stopped goes on, and another --per-image or --threshold is at once.
    Without any, a photograph gets the classes with at least 0.3 of its own greatest score. Exit status 3: some
    photographs could not be read.
    """
    from excel_cam.errors import OutputError
    from excel_cam.files.inputs import refuse_inputs
    from excel_cam.tags.write import check_tags_path

    p = ctx.params
    _check_combination(p)
    refuse_two_name_sources(p["dataset"], p["classes"])
    out, listed = p["out"], p["names_from"]
    check_tags_path(out, p["keys"], predicted=predict)
    if out.exists() and not p["overwrite"]:
        raise OutputError(f"{out} is there already; add --overwrite to replace it, or choose another --out")
    inputs = (source, p["classes"], p["calibrate"], p["knowledge"], None if listed is None else Path(listed))
    refuse_inputs(out, inputs)
    if predict:
        _predict(ctx)
    else:
        assert source is not None
        _convert(source, p["dataset"], p["classes"], listed, out, p["keys"], p["overwrite"], p["quiet"])


def _check_combination(p: dict[str, Any]) -> None:
    """Raise `UsageError` where options do not go together, or one is missing."""
    if p["predict"] == (p["source"] is not None):
        raise UsageError(
            "give --from FOLDER|FILE, or --predict --images FOLDER to let the model say what photographs show"
        )
    only = {"--images": "images", "--kb": "knowledge", "--per-image": "per_image", "--threshold": "threshold",
            "--calibrate": "calibrate"}  # fmt: skip
    if not p["predict"] and (given := [option for option, name in only.items() if p[name] is not None]):
        raise UsageError(f"{given[0]} goes with --predict")
    if p["predict"] and p["images"] is None and p["dataset"] != "demo":
        raise UsageError("--predict needs --images, the folder of the photographs")
    if p["predict"] and p["dataset"] is None and p["classes"] is None:
        raise UsageError("--predict needs --classes FILE, one class per line, or --dataset: what to look for")
    if sum(p[name] is not None for name in ("per_image", "threshold", "calibrate")) > 1:
        raise UsageError("give one of --per-image, --threshold and --calibrate")


def _convert(
    source: Path, dataset: str | None, classes: Path | None, names_from: str | None, out: Path, keys: str | None,
    overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Make tags from what is there, or write a file of them in another form."""
    from excel_cam.files.lists import read_class_list, read_entries
    from excel_cam.knowledge.base import class_limit
    from excel_cam.labels.records import are_without_background, has_readable_run
    from excel_cam.tags.gather import gather_tags
    from excel_cam.tags.write import formula_cells, write_class_list, write_tags

    forms = () if dataset is None or has_readable_run(source) else MASK_FORMS.get(dataset, ())
    has_background = not (are_without_background(source) or dataset in WITHOUT_BACKGROUND)
    class_names = NAMED_CLASSES[dataset] if dataset is not None else None
    if classes is not None:
        class_names = read_class_list(classes, class_limit(has_background), reporter(quiet))[0]
    names = None if names_from is None else read_entries(names_from)
    found = gather_tags(source, class_names, names, forms, has_background)
    listed = out.with_name("classes.txt") if class_names is None and source.is_dir() else None
    if listed is not None:
        write_class_list(listed, found.class_names, overwrite)
    write_tags(out, found.tags, found.class_names, keys, found.predicted)
    if not quiet:
        without = sum(not indices for indices in found.tags.values())
        tell(
            f"written: {out}: {len(found.tags):,} images, {len(found.class_names)} classes"
            + (f", {without:,} images without any" if without else "")
        )
        if listed is not None:
            tell(f"written: {listed}: {first_lines(found.class_names)}")
        if found.predicted is not None:
            kept = "its .npy does not say so" if out.suffix.lower() == ".npy" else "and marked so"
            tell(f"tags of {source} are predicted, not given: {kept}")
        if formulas := formula_cells(out, found.tags, found.class_names):
            tell(
                f"a spreadsheet would take {len(formulas):,} cells of it for formulas, first {quoted(formulas[0])}: "
                "open it as text there, or write .json"
            )
        if listed is not None or dataset is not None:
            what = (
                ["--dataset", dataset]
                if listed is None
                else ["--dataset", "folder", "--root", source, "--classes", listed]
            )
            say_next(tell, ["generate", *what, "--tags", out, "--out", "labels/"])


def _predict(ctx: click.Context) -> None:
    """Predict tags, write them, and say by which rule; ends with exit status 3 where photographs failed."""
    from excel_cam.cli.exits import EXIT_SOME_FAILED
    from excel_cam.run.tagging.choose import TagRule
    from excel_cam.run.tagging.classes import tag_classes
    from excel_cam.run.tagging.predict import Prediction, write_predicted

    p, report = ctx.params, reporter(ctx.params["quiet"])
    rule = TagRule(p["per_image"], p["threshold"])
    classes, borrowing = tag_classes(p["dataset"], p["classes"], p["knowledge"], report)
    model = chosen_model(ctx)
    prediction = Prediction(
        images=p["images"] or DEMO_IMAGES, names_from=p["names_from"], classes=classes, borrowing=borrowing,
        model=model, settings=_settings(model.name, classes.knowledge.sentence_count), rule=rule,
        calibrate=p["calibrate"], out=p["out"], overwrite=p["overwrite"],
    )  # fmt: skip
    if classes.without_sentences:
        report(f"prompts alone, without sentences: {first_lines(classes.without_sentences)}")
    scored = _score(prediction, report, p["quiet"])
    written = write_predicted(prediction, scored)
    _tell_predicted(prediction, written, scored, report)
    if p["dataset"] == "demo":
        data = ["--dataset", "voc", "--root", DEMO_ROOT, "--split", "train", "--model", SHIPPED_MODEL]
    else:
        chosen = [name for name in ("model", "pretrained", "weights") if source_name(ctx, name) is not None]
        data = ["--dataset", "folder", "--root", p["images"], "--classes", p["classes"] or "classes.txt"]
        data += [word for name in chosen for word in (f"--{name}", p[name])]
    say_next(report, ["generate", *data, "--tags", p["out"], "--out", "labels/"])
    if any(one.reason is not None for one in scored):
        ctx.exit(EXIT_SOME_FAILED)


def _settings(model: str, sentences: int) -> Settings:
    """Preset `paper` with what is recorded with the model, as labels are made."""
    from excel_cam.model.words_file import RECORDED, fit_recorded, recorded_settings

    return fit_recorded(Settings(**recorded_settings(model)), {"clusters": RECORDED}, sentences)


def _score(prediction: Prediction, report: Report, quiet: bool) -> list[Scored]:
    """Score every photograph, and tell how far it is and which cannot be read."""
    from excel_cam.cli.outcome import termination_as_interrupt
    from excel_cam.run.tagging.predict import photographs_to_tag, score_photographs

    samples = photographs_to_tag(prediction)
    outcomes: list[Scored] = []
    with (
        termination_as_interrupt(), progress_bar(len(samples), "image", quiet) as bar,
        closing(score_photographs(prediction, samples, report)) as scored,
    ):  # fmt: skip
        for one in scored:
            bar.skip() if one.kept else bar.update()
            if one.reason is not None:
                report(f"failed: {one.name}: {one.reason}")
            outcomes.append(one)
    return outcomes


def _tell_predicted(prediction: Prediction, written: PredictedTags, scored: Sequence[Scored], report: Report) -> None:
    from excel_cam.tags.scores import scores_path

    for note in written.notes:
        report(note)
    tags, names = written.tags, prediction.classes.names
    count, without = sum(map(len, tags.values())), sum(not indices for indices in tags.values())
    failed, kept = sum(one.reason is not None for one in scored), sum(one.kept for one in scored)
    report(
        f"written: {prediction.out}: {len(tags):,} images, {count:,} tags of {len(names)} classes, predicted by "
        f"{written.rule}" + (f"; {without:,} images without any" if without else "")
    )
    report(f"scores of all classes: {scores_path(prediction.out)} ({len(scored) - failed - kept:,} new, {kept:,} kept)")
    if failed:
        report(f"{failed:,} photographs could not be read; their lines have no classes")
