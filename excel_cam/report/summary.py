"""The head of a report as HTML: what all labels hold together, class by class, and how to read the pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

import numpy as np

from excel_cam.classes import IGNORE
from excel_cam.report.card import ClassTitles, class_name, percent
from excel_cam.report.marks import (
    ADDED,
    CONFUSED,
    DIFFERENCE_COLOURS,
    MISSED,
    NOT_JUDGED,
    colour_codes,
    heat_colours,
    png_uri,
    region_picture,
)
from excel_cam.report.measure import CLOSE, Measurements

_SWATCH_SIDE = 16  # pixels: two periods of a hatching
_DIFFERENCES = {
    MISSED: "missed: the truth has a class, the label background (or 255)",
    ADDED: "added: the label has a class, the truth background",
    CONFUSED: "confused: one class taken for another",
    NOT_JUDGED: "not judged: the truth is 255",
}
# Without a background class the label is 255 where it names none, and the truth always names one.
_DIFFERENCES_ALONE = {
    MISSED: "missed: the truth has a class, the label is 255",
    CONFUSED: _DIFFERENCES[CONFUSED],
    NOT_JUDGED: _DIFFERENCES[NOT_JUDGED],
}


def used_values(measurements: Measurements) -> list[int]:
    """The label values that occur in labels or truth, ascending; 255, last, wherever there is a truth."""
    used = measurements.pixels > 0
    if measurements.evaluation is not None:
        truth = measurements.evaluation.truth_pixels
        used[: len(truth)] |= truth > 0
        used[IGNORE] = True
    return [int(value) for value in np.flatnonzero(used)]


def swatch_rules(values: list[int]) -> str:
    """Style rules that give each swatch its picture, once for the whole page."""
    rules = [_rule(f"s{value}", png_uri(region_picture(_square(value), outlined=False))) for value in values if value]
    for value in _DIFFERENCES:
        rules.append(_rule(f"d{value}", png_uri(region_picture(_square(value), DIFFERENCE_COLOURS, outlined=False))))
    stops = ",".join("#" + bytes(colour).hex() for colour in heat_colours()[::7])
    return "\n".join([*rules, f".heat-scale{{background-image:linear-gradient(90deg,{stops})}}"])


def _square(value: int) -> np.ndarray:
    return np.full((_SWATCH_SIDE, _SWATCH_SIDE), value, np.uint8)


def _rule(name: str, uri: str) -> str:
    return f".{name}{{background-image:url({uri})}}"


def facts(measurements: Measurements) -> Iterator[str]:
    """The figures over all images."""
    total = int(measurements.pixels.sum())
    figures = []
    evaluation = measurements.evaluation
    if evaluation is not None:
        figures.append(("mean IoU", percent(evaluation.mean_iou)))
        figures.append(("pixel accuracy", percent(evaluation.pixel_accuracy)))
        if evaluation.images < len(measurements.measures):
            figures.append(("with truth", f"{evaluation.images:,}"))
    if measurements.has_background:
        figures.append(("background", percent(measurements.pixels[0] / total)))
    figures.append(("ignored (255)", percent(measurements.pixels[IGNORE] / total)))
    figures.append(("mean doubt", percent(float(np.mean([measure.doubt for measure in measurements.measures])))))
    yield '<dl class="facts">'
    for title, figure in figures:
        yield f"<div><dt>{title}</dt><dd>{figure}</dd></div>"
    yield "</dl>"


def class_table(measurements: Measurements, titles: ClassTitles, values: list[int]) -> Iterator[str]:
    """Every class that occurs: in how many labels, its share of all pixels, its IoU over all images with truth."""
    total, evaluation = int(measurements.pixels.sum()), measurements.evaluation
    yield '<table><caption class="unseen">Classes of all labels</caption><thead><tr><th scope="col">Class</th>'
    yield '<th scope="col">Labels</th><th scope="col">Pixels</th>'
    yield '<th scope="col">IoU</th></tr></thead><tbody>' if evaluation is not None else "</tr></thead><tbody>"
    for value in values:
        codes = " ".join(colour_codes(value)) if value else ""
        yield (
            f'<tr data-value="{value}" data-colours="{codes}" data-title="{escape(titles[value])}"><th scope="row">'
            f"{class_name(value, titles)}</th><td>{measurements.images[value]:,}</td>"
            f"<td>{percent(measurements.pixels[value] / total)}</td>"
        )
        if evaluation is not None:
            iou = math.nan if value == IGNORE else float(evaluation.iou[value])
            bar = "" if math.isnan(iou) else f'<span class="bar" style="width:{100 * iou:.1f}%"></span>'
            yield f'<td class="measured">{bar}<span>{percent(iou)}</span></td>'
        yield "</tr>"
    yield "</tbody></table>"


def legend(measurements: Measurements) -> Iterator[str]:
    """How to read the pictures and figures."""
    yield '<dl class="key">'
    yield "<dt>Label, truth</dt><dd>Each class has its colour, its hatching and its name on its largest region; "
    left = ", background is left as it is" if measurements.has_background else ""
    yield f"regions are outlined in white{left}. Point at or tap a picture to read a pixel; "
    yield "a click, or ⤢, enlarges it.</dd>"
    if measurements.evaluation is not None:
        yield "<dt>Differences</dt><dd><ul>"
        for value, text in (_DIFFERENCES if measurements.has_background else _DIFFERENCES_ALONE).items():
            yield f'<li><i class="swatch d{value}"></i>{text}</li>'
        included = ", background included" if measurements.has_background else ""
        counted = "counts as background" if measurements.has_background else "is skipped"
        yield f"</ul></dd><dt>IoU</dt><dd>Of an image: the mean over the classes in its label or truth{included}. "
        yield f"Of a class: over all images that have a truth. A predicted 255 {counted}, pixels "
        yield "whose truth is 255 do not count, as <code>excel-cam evaluate</code> does.</dd>"
    yield f"<dt>Doubt</dt><dd>{doubt_text(measurements)}</dd>"
    if measurements.maps_used:
        yield '<dt>Class maps</dt><dd><span class="heat-scale"></span> from the least to the greatest value of each '
        yield "map, on its own grid, before refinement.</dd>"
    yield "</dl>"


def doubt_text(measurements: Measurements) -> str:
    """What doubt is in this report."""
    if measurements.maps_used:
        included = ", background included," if measurements.has_background else ""
        return (
            f"From the class maps: the share of their cells whose two best scores{included} lie less than {CLOSE:g} "
            "apart."
        )
    return (
        "From the labels alone, no class maps were given (<code>--cams</code>): the share of pixels that are 255 or "
        "touch another class, so ragged and undecided labels score high."
    )
