"""A report as one HTML file that needs nothing else: written image by image, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from excel_cam import __version__
from excel_cam.classes import IGNORE
from excel_cam.errors import ImageError
from excel_cam.files.atomic import replacing
from excel_cam.labels.label_files import address_of
from excel_cam.report.card import START_OPACITY, ClassTitles, card
from excel_cam.report.measure import Measure, Measurements
from excel_cam.report.source import ViewSource
from excel_cam.report.summary import class_table, facts, legend, swatch_rules, used_values
from excel_cam.report.thumbnails import make_thumbnails

PICTURE_SIDE = 640  # pixels: photographs of VOC and COCO at their own size, once enlarged
# Order of the images -> how the page says it, and how its list of orders does
ORDERS = {"doubt": "most doubtful first", "iou": "least IoU first", "name": "by name"}
_ORDER_TITLES = {"doubt": "Doubtful first", "iou": "Low IoU first", "name": "Name"}


@dataclass(frozen=True)
class Page:
    """A report to be written: everything measured, and which images are shown, in what order (a key of ORDERS)."""

    source: ViewSource
    measurements: Measurements
    shown: tuple[Measure, ...]
    order: str


def choose_shown(measurements: Measurements, order: str, limit: int) -> tuple[Measure, ...]:
    """The first `limit` images in that order; where two are alike, by name. Images without IoU come last."""
    keys: dict[str, Callable[[Measure], tuple[float, str]]] = {
        "doubt": lambda measure: (-measure.doubt, measure.name),
        "iou": lambda measure: (math.inf if math.isnan(measure.iou) else measure.iou, measure.name),
        "name": lambda measure: (0.0, measure.name),
    }
    return tuple(sorted(measurements.measures, key=keys[order])[:limit])


def write_page(
    path: Path,
    page: Page,
    on_image: Callable[[], None] = lambda: None,
    on_unread: Callable[[str], None] = lambda _: None,
) -> None:
    """Write a report; raises `OutputError`, and `DataError` where masks cannot be read.

    on_unread: told why, of each photograph that cannot be read; the page names it and goes on.
    """
    with (
        replacing(path) as part,
        # Names may hold bytes that are no text; they are shown, not lost.
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream,
    ):
        for line in _lines(page, on_image, on_unread):
            stream.write(line + "\n")


def _asset(name: str) -> str:
    return (importlib.resources.files("excel_cam.report") / "assets" / name).read_text("utf-8")


def _lines(page: Page, on_image: Callable[[], None], on_unread: Callable[[str], None]) -> Iterator[str]:
    titles, values = ClassTitles(page.source.class_names, page.source.has_background), used_values(page.measurements)
    script = _asset("view.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    heading = escape("/".join(Path(address_of(page.source.labels)).parts[-2:]))
    yield '<!doctype html>\n<html lang="en" class="static">\n<head>\n<meta charset="utf-8">'
    # Nothing is fetched from anywhere, and no script runs but ours: whatever names hold.
    yield (
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">"
    )
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta name="generator" content="excel-cam {__version__}">\n<link rel="icon" href="data:,">'
    yield f"<title>Labels: {heading}</title>\n<style>\n{_asset('view.css')}\n{swatch_rules(values)}\n</style>\n</head>"
    yield f'<body>\n<a class="skip" href="#cards">To the images</a>\n<header>\n<h1>{heading}</h1>'
    yield f'<p class="lead">{_shown_text(page)}</p>'
    if page.source.predicted_tags is not None:
        yield f'<p class="lead">The classes of each image were {escape(page.source.predicted_tags)}.</p>'
    yield from facts(page.measurements)
    yield "</header>"
    yield from _toolbar(page, titles, values)
    # Beside the pictures where there is room, else folded above them
    yield '<div class="beside"><aside aria-label="Classes and legend"><details open><summary>Classes</summary>'
    yield from class_table(page.measurements, titles, values)
    yield "</details><details><summary>How to read this</summary>"
    yield from legend(page.measurements)
    yield '</details></aside>\n<main id="cards" tabindex="-1">'
    unread = []
    for position, measure in enumerate(page.shown):
        try:
            small = make_thumbnails(page.source, measure.name, PICTURE_SIDE)
        except ImageError as error:
            unread.append(str(error))
            on_unread(str(error))
        else:
            yield from card(position, measure, small, titles)
        on_image()
    yield "</main></div>"
    yield from _dialogs()
    if unread:
        yield f"<details open><summary>{len(unread):,} photographs could not be read</summary><ul>"
        yield from (f"<li>{escape(reason)}</li>" for reason in unread)
        yield "</ul></details>"
    yield '\n<p id="none" hidden>No image matches. <button type="button" id="clear">Show all</button></p>'
    yield f"<noscript><p>Without scripts all images are shown, {ORDERS[page.order]}.</p></noscript>"
    yield f"<footer>excel-cam {__version__}</footer>\n<script>{script}</script>\n</body>\n</html>"


def _shown_text(page: Page) -> str:
    shown, total = len(page.shown), len(page.measurements.measures)
    if shown == total:
        return f"{total:,} image{'s' if total != 1 else ''}, {ORDERS[page.order]}."
    return (
        f"{shown:,} of {total:,} images, {ORDERS[page.order]}; the figures are of all {total:,}. Others with "
        "<code>--sort</code>, <code>--list</code>, more with <code>--limit</code>."
    )


def _toolbar(page: Page, titles: ClassTitles, values: Sequence[int]) -> Iterator[str]:
    classes = [("", "All classes"), *((str(value), titles[value]) for value in values if value not in (0, IGNORE))]
    if page.measurements.pixels[IGNORE]:
        classes.append((str(IGNORE), "ignored (255)"))
    has_truth = page.measurements.evaluation is not None
    orders = [(key, text) for key, text in _ORDER_TITLES.items() if key != "iou" or has_truth]
    layers = [("label", "Label"), *([("truth", "Truth"), ("difference", "Differences")] if has_truth else [])]
    if page.measurements.maps_used:
        layers.append(("map", "Class map"))
    yield '<form class="toolbar" aria-label="Which images, and how" autocomplete="off">'
    yield _select("class", "Class", classes, "")
    yield _select("sort", "Sort", orders, page.order)
    if len(layers) > 1:
        yield _select("layer", "Show", layers, "label")
    yield '<label><span>Name holds</span><input type="search" id="find" spellcheck="false"></label>'
    yield (
        f'<label><span>Opacity of all <output id="opacity-value">{START_OPACITY} %</output></span>'
        f'<input type="range" id="opacity" min="0" max="100" step="5" value="{START_OPACITY}"></label>'
    )
    yield (
        '<label><span>Doubt from %</span><input type="number" id="least" min="0" max="100" step="any" '
        'placeholder="0"></label>'
    )
    yield '<label class="check"><input type="checkbox" id="tags" checked><span>Names on pictures</span></label>'
    yield '<button type="button" id="copy" title="One name a line, as --list reads them">Copy shown names</button>'
    yield f'<p id="status" role="status">{len(page.shown):,} of {len(page.shown):,} shown</p></form>'


def _dialogs() -> Iterator[str]:
    """What opens over the page: one image enlarged, and names where the browser does not let them be copied."""
    yield '<dialog id="large" aria-labelledby="large-name"><div class="bar-of-large"><h2 id="large-name"></h2>'
    yield '<p class="keys"><kbd>←</kbd> <kbd>→</kbd> other images, <kbd>P</kbd> photograph alone, '
    yield "<kbd>Esc</kbd> back</p>"
    yield '<button type="button" id="previous" aria-label="Previous image">←</button>'
    yield '<button type="button" id="next" aria-label="Next image">→</button>'
    yield '<button type="button" id="alone" aria-pressed="false">Photograph alone</button>'
    yield '<button type="button" id="back">Close</button></div><div id="panes"></div></dialog>'
    yield '<dialog id="names" aria-labelledby="names-title"><h2 id="names-title">Names for <code>--list</code></h2>'
    yield '<textarea id="names-text" rows="12" readonly aria-labelledby="names-title"></textarea>'
    yield '<form method="dialog"><button>Close</button></form></dialog>'


def _select(identifier: str, title: str, options: Sequence[tuple[str, str]], chosen: str) -> str:
    items = "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
        for value, text in options
    )
    return f'<label><span>{title}</span><select id="{identifier}">{items}</select></label>'
