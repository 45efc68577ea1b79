"""The command `excel-cam evaluate`: labels against ground truth or other labels, and background scores swept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from excel_cam.classes import NAMED_CLASSES, WITHOUT_BACKGROUND
from excel_cam.cli.next_steps import say_next
from excel_cam.cli.options import FILE, FOLDER, LABELS, Numbers, refuse_two_name_sources
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.cli.terminal import show, show_record
from excel_cam.errors import UsageError
from excel_cam.shipped import DEMO_TRUTH

if TYPE_CHECKING:
    from excel_cam.evaluation.scores import IgnoreAs
    from excel_cam.files.storage import Place
    from excel_cam.labels.label_files import LabelFiles

OF_A_SWEEP = ("cams", "images", "powers", "thresholds", "curve")
NOT_OF_A_SWEEP = ("against", "expect", "within", "sort", "no_background", "ignore_as")


@click.command()
@click.option(
    "--labels",
    type=LABELS,
    help="Folder of label PNGs, or labels in shards; with --sweep the run whose settings --images takes.",
)
@click.option("--truth", type=FOLDER, help="Folder of ground-truth PNGs of the same names; demo has its own.")
@click.option("--dataset", type=click.Choice(list(NAMED_CLASSES)), help="Class names by data set.")
@click.option("--classes", type=FILE, help="Class names from a file; if left out, from the labels' run.json.")
@click.option("--list", "names_from", metavar="FILE", help="Evaluate the names in this file; - is standard input.")
@click.option("--no-background", is_flag=True,
              help="Without a background class the first one is 0; with --classes this has to be said.")  # fmt: skip
@click.option("--ignore-as", type=click.Choice(["background", "skip"]),
              show_default="background; with --no-background skip", help="How a predicted 255 counts.")  # fmt: skip
@click.option("--sort", type=click.Choice(["label", "gap"]), default="label", show_default=True,
              help="Order of the table: by label, or by gap to the mean (with --against: difference).")  # fmt: skip
@click.option("--against", type=LABELS,
              help="Other labels of the same images: differences, with 95 % intervals over images.")  # fmt: skip
@click.option("--expect", type=click.FloatRange(0, 100), metavar="PERCENT",
              help="Fail, with exit status 1, unless the mIoU of --labels is this ...")  # fmt: skip
@click.option("--within", type=click.FloatRange(0, 100), default=0.1, show_default=True, metavar="POINTS",
              help="... give or take so many points.")  # fmt: skip
@click.option("--sweep", is_flag=True, help="Find the background score that suits saved class maps best.")
@click.option("--cams", type=LABELS, help="With --sweep: class maps of `generate --save-cams`.")
@click.option("--images", type=FOLDER, help="With --sweep: photographs, to refine every label by par.")
@click.option("--powers", type=Numbers("GAMMA,...", "0.5,1,2"), show_default="11 of 0.25 to 8",
              help="With --sweep: values of --background-power.")  # fmt: skip
@click.option("--thresholds", type=Numbers("SCORE,...", "0.3,0.4,0.5"), show_default="0.05 to 0.95 by 0.05",
              help="With --sweep: constant background scores, for --ignore-thresholds.")  # fmt: skip
@click.option("--curve", type=FILE, help="With --sweep: draw both curves into this .svg file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def evaluate(
    ctx: click.Context, /, labels: Path | Place | None, truth: Path | None, dataset: str | None, classes: Path | None,
    names_from: str | None, no_background: bool, ignore_as: Any, sort: str, against: Path | Place | None,
    expect: float | None, within: float, sweep: bool, as_json: bool, **_: Any,
) -> None:  # fmt: skip
    """Compare labels with ground truth: mIoU, per-class IoU, precision and recall.

    \b
        excel-cam evaluate --labels labels/ --truth VOCdevkit/VOC2012/SegmentationClass --dataset voc
        excel-cam evaluate --labels labels/ --dataset demo
        excel-cam evaluate --labels labels/ --truth gtFine/val --dataset cityscapes
        excel-cam evaluate --labels labels/ --truth truth/ --dataset voc --sort gap --expect 74.6 --within 0.5
        excel-cam evaluate --labels labels/ --against others/ --truth truth/ --dataset voc
        excel-cam evaluate --sweep --cams cams/ --images JPEGImages/ --truth truth/ --dataset voc --curve sweep.svg
    """
    from excel_cam.evaluation.compare import compare_labels, format_comparison
    from excel_cam.evaluation.evaluate import check_expected, evaluate_labels, format_evaluation
    from excel_cam.labels.folder import truth_masks
    from excel_cam.labels.label_files import open_labels, open_maps
    from excel_cam.tags.name_finder import read_list

    _check_combination(ctx, labels, sweep)
    refuse_two_name_sources(dataset, classes)
    truth = truth or (DEMO_TRUTH if dataset == "demo" else None)
    if truth is None:
        raise click.UsageError("Missing option '--truth': the folder of ground-truth PNGs.")
    has_background = _has_background(ctx, [folder for folder in (labels, against) if folder is not None])
    class_names = _class_names(labels, dataset, classes, has_background)
    files = open_maps(ctx.params["cams"]) if sweep else open_labels(cast("Path | Place", labels))
    names = None
    if names_from is not None:
        names = read_list(names_from, set(files.names()), [files.place, truth])
    if sweep:
        _sweep(ctx, files, truth, class_names, names)
        return
    labels = cast("Path | Place", labels)
    masks = truth_masks(truth, labels, dataset, classes)
    counted: IgnoreAs = ignore_as or ("background" if has_background else "skip")
    if against is not None:
        comparison = compare_labels(files, open_labels(against), masks, class_names, names, counted, has_background)
        evaluation = comparison.first
        _print(as_json, comparison, format_comparison(comparison, sort == "gap"))
    else:
        evaluation = evaluate_labels(files, masks, class_names, names, counted, has_background=has_background)
        _print(as_json, evaluation, format_evaluation(evaluation, sort == "gap"))
    if not as_json and expect is None:
        shown = ["--dataset", "demo"] if dataset == "demo" else ["--images", "PHOTOGRAPHS", "--truth", truth]
        say_next(reporter(quiet=False), ["view", labels, *shown, "--sort", "iou", "--out", "report.html"])
    if expect is not None:
        check_expected(evaluation, expect, within)


def _has_background(ctx: click.Context, folders: Sequence[Path | Place]) -> bool:
    """Whether label 0 is background: by the options, which all the folders of labels have to agree with."""
    from excel_cam.labels.folder import has_background_class
    from excel_cam.labels.records import are_without_background

    dataset, classes, no_background = (ctx.params[name] for name in ("dataset", "classes", "no_background"))
    if dataset is None and classes is None and folders and are_without_background(folders[0]):
        no_background = True  # as the record says that names the classes, too
    if dataset in WITHOUT_BACKGROUND:
        no_background = True
        for folder in folders:
            has_background_class(folder, dataset)  # refuses labels that are numbered otherwise
    if no_background and ctx.params["sweep"]:
        raise click.UsageError(
            f"{folders[0] if folders else dataset}: labels without a background class; they have no background score "
            "to sweep"
        )
    if no_background and ctx.params["ignore_as"] == "background":
        raise click.UsageError("--no-background leaves no class for a predicted 255; use --ignore-as skip")
    if not no_background and (wrong := [folder for folder in folders if are_without_background(folder)]):
        advice = "they have no background score to sweep" if ctx.params["sweep"] else "add --no-background"
        raise click.UsageError(f"{wrong[0]} holds labels without a background class; {advice}")
    return not no_background


def _class_names(
    labels: Path | Place | None, dataset: str | None, classes: Path | None, has_background: bool
) -> tuple[str, ...]:
    """Class names in label order: by the options, else from the run record beside the labels."""
    from excel_cam.files.lists import read_class_list
    from excel_cam.knowledge.base import class_limit
    from excel_cam.labels.folder import required_class_names

    if classes is not None:
        return read_class_list(classes, class_limit(has_background), reporter(quiet=False))[0]
    if dataset is not None:
        return NAMED_CLASSES[dataset]
    if labels is None:
        raise UsageError("give the class names with --dataset or --classes")
    return required_class_names(labels, None, None)


def _check_combination(ctx: click.Context, labels: Path | Place | None, sweep: bool) -> None:
    """Refuse what would be asked for in vain."""
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    if not sweep and labels is None:
        raise click.UsageError("Missing option '--labels'.")
    if sweep and "cams" not in given:
        raise click.UsageError("--sweep needs --cams, the class maps that `excel-cam generate --save-cams` writes")
    for name in NOT_OF_A_SWEEP if sweep else OF_A_SWEEP:
        if name in given:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag} has no meaning {'with' if sweep else 'without'} --sweep; leave it out")
    if "within" in given and "expect" not in given:
        raise click.UsageError("--within says how far from --expect; give both")
    if "sort" in given and ctx.params["as_json"]:
        raise click.UsageError("--sort is the order of the table; --json has all classes in label order")


def _sweep(
    ctx: click.Context, cams: LabelFiles, truth: Path, class_names: tuple[str, ...], names: Sequence[str] | None
) -> None:
    """Sweep, print what was found, and draw it where asked for."""
    from excel_cam.evaluation.sweep import choose_sweep, draw_sweep, format_sweep, sweep_backgrounds
    from excel_cam.files.atomic import write_atomically

    p = ctx.params
    curve = p["curve"]
    if curve is not None and curve.suffix != ".svg":
        raise click.UsageError(f"--curve: {curve} does not end in .svg, which is what is drawn")
    request = choose_sweep(
        cams=cams, truth=truth, class_names=class_names, names=names, images=p["images"], labels=p["labels"],
        powers=p["powers"], thresholds=p["thresholds"],
    )  # fmt: skip
    with progress_bar(len(request.names), "image") as bar:
        found = sweep_backgrounds(request, bar.update)
    _print(p["as_json"], found, format_sweep(found))
    if curve is not None:
        write_atomically(curve, draw_sweep(found).encode())
        reporter(quiet=False)(f"written: {curve}")


def _print(as_json: bool, result: Any, text: str) -> None:
    if as_json:
        show_record(result.to_json_dict())
    else:
        show(text)
