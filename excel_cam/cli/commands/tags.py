"""`excel-cam tags`: the command line of making and converting image-level labels."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from excel_cam.classes import DATASET_CLASSES, MASK_FORMS, WITHOUT_BACKGROUND
from excel_cam.cli.options import FILE, refuse_two_name_sources
from excel_cam.cli.progress import reporter
from excel_cam.cli.terminal import tell


@click.command()
@click.option("--from", "source", type=click.Path(path_type=Path), required=True,
              help="Folder of VOC annotations (.xml) or of masks (.png), COCO's instances JSON, or a file of tags "
                   "(.csv, .json, .jsonl, .npy).")  # fmt: skip
@click.option("--dataset", type=click.Choice(list(DATASET_CLASSES)), help="Class names by data set.")
@click.option("--classes", type=FILE, help="Class names from a file, one per line.")
@click.option("--list", "names_from", metavar="FILE", help="Only the names in this file; - is standard input.")
@click.option("--out", type=FILE, required=True, help="File to write: .csv, .json, .jsonl or .npy.")
@click.option("--keys", type=click.Choice(["int", "str"]), show_default="int for cls_labels.npy, else str",
              help="Keys of a .npy dictionary: 2007000032 (COCO: 9), or the name.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.option("--quiet", is_flag=True, help="No messages on standard error.")
def tags(
    source: Path, dataset: str | None, classes: Path | None, names_from: str | None, out: Path, keys: str | None,
    overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Make image-level labels from annotations or masks, or convert a file of them.

    \b
        excel-cam tags --from VOCdevkit/VOC2012/Annotations --dataset voc --out cls_labels.npy
        excel-cam tags --from VOCdevkit/VOC2012/SegmentationClass --dataset voc --out cls_labels_onehot.npy
        excel-cam tags --from COCO/annotations/instances_train2014.json --out tags.jsonl
        excel-cam tags --from pets/ --out tags.csv
        excel-cam tags --from tags.csv --classes classes.txt --out tags.json

    Masks hold 0 for background, 1 and up for the classes, 255 for pixels to ignore; those of context, ade20k and
    cityscapes are read as these data sets have them. A folder with a folder of photographs per class (pets/cat/1.jpg)
    needs no class names: they are its folders', and are written to classes.txt beside --out. In files of tags a class
    stands by name or by index; indices count from 0, as the columns of cls_labels.npy do.
    """
    from excel_cam.errors import OutputError
    from excel_cam.files.inputs import refuse_inputs
    from excel_cam.files.lists import read_class_list, read_entries
    from excel_cam.knowledge.base import class_limit
    from excel_cam.labels.records import are_without_background, has_readable_run
    from excel_cam.tags.gather import gather_tags
    from excel_cam.tags.write import check_tags_path, formula_cells, write_class_list, write_tags
    from excel_cam.wording import first_lines, quoted

    refuse_two_name_sources(dataset, classes)
    check_tags_path(out, keys)
    if out.exists() and not overwrite:
        raise OutputError(f"{out} is there already; add --overwrite to replace it, or choose another --out")
    refuse_inputs(out, (source, classes, None if names_from is None else Path(names_from)))
    forms = () if dataset is None or has_readable_run(source) else MASK_FORMS.get(dataset, ())
    has_background = not (are_without_background(source) or dataset in WITHOUT_BACKGROUND)
    class_names = DATASET_CLASSES[dataset] if dataset is not None else None
    if classes is not None:
        class_names = read_class_list(classes, class_limit(has_background), reporter(quiet))[0]
    names = None if names_from is None else read_entries(names_from)
    found = gather_tags(source, class_names, names, forms, has_background)
    listed = out.with_name("classes.txt") if class_names is None and source.is_dir() else None
    if listed is not None:
        write_class_list(listed, found.class_names, overwrite)
    write_tags(out, found.tags, found.class_names, keys)
    if not quiet:
        without = sum(not indices for indices in found.tags.values())
        tell(
            f"written: {out}: {len(found.tags):,} images, {len(found.class_names)} classes"
            + (f", {without:,} images without any" if without else "")
        )
        if listed is not None:
            tell(f"written: {listed}: {first_lines(found.class_names)}")
            root, list_file, tags_file = (shlex.quote(str(path)) for path in (source, listed, out))
            tell(
                f"next: excel-cam generate --dataset folder --root {root} --classes {list_file} --tags {tags_file} "
                "--out labels/"
            )
        if formulas := formula_cells(out, found.tags, found.class_names):
            tell(
                f"a spreadsheet would take {len(formulas):,} cells of it for formulas, first {quoted(formulas[0])}: "
                "open it as text there, or write .json"
            )
