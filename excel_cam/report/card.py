"""One image of a report as HTML: photograph, layers over it, their controls, and its classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE
from excel_cam.report.marks import (
    DIFFERENCE_COLOURS,
    anchors,
    difference,
    heat_picture,
    jpeg_uri,
    png_uri,
    region_picture,
)
from excel_cam.report.measure import Measure
from excel_cam.report.thumbnails import ClassPart, Thumbnails

START_OPACITY = 60  # percent, of the layers on the photographs


@dataclass(frozen=True)
class ClassTitles:
    """What the values of `Masks` are called: 0 background, 1..K the classes, 255 ignored."""

    names: tuple[str, ...]
    has_background: bool = True

    def __getitem__(self, value: int) -> str:
        if value == IGNORE:
            return "ignored"
        nothing = "background" if self.has_background else "no class"
        return self.names[value - 1] if value else nothing

    def number(self, value: int) -> str:
        """The value that label files hold for it, "" for pixels to ignore."""
        return "" if value == IGNORE else str(value if self.has_background else value - 1)


def percent(share: float) -> str:
    """A share as people read it, never broken over two lines: 0.1234 → "12.3 %", NaN → "–"."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}\u00a0%"  # one word to line breaking


def card(position: int, measure: Measure, small: Thumbnails, titles: ClassTitles) -> Iterator[str]:
    """The lines of one image's article. position: a number no other article of the page has."""
    name = escape(measure.name)
    width, height = small.photograph.size
    classes = " ".join(str(part.value) for part in small.parts)
    iou = "" if math.isnan(measure.iou) else f"{measure.iou:.6f}"
    yield (
        f'<article class="card" data-name="{name}" data-doubt="{measure.doubt:.6f}" data-iou="{iou}" '
        f'data-classes="{classes}" aria-labelledby="name-{position}">'
    )
    yield f'<h3 id="name-{position}">{name}</h3>'
    shape = "wide" if width * 3 >= height * 4 else "tall"
    yield f'<div class="stage"><div class="picture {shape}" style="aspect-ratio:{width}/{height}">'
    attributes = f'width="{width}" height="{height}" loading="lazy" decoding="async"'
    yield f'<img class="photograph" src="{jpeg_uri(small.photograph)}" alt="Photograph {name}" {attributes}>'
    layers = list(_layers(small, titles))
    for layer in layers:
        hidden = "" if layer is layers[0] else " hidden"
        yield (
            f'<div class="layer" data-layer="{layer.key}"{hidden}><img class="{layer.kind}" src="{layer.uri}" '
            f'alt="{escape(layer.description)}" {attributes}>{layer.tags}</div>'
        )
    yield '<p class="readout" aria-hidden="true" hidden></p></div>'
    yield f'<button type="button" class="enlarge" aria-label="Enlarge {name}" title="Enlarge">⤢</button></div>'
    yield f'<fieldset class="layers"><legend class="unseen">What lies over {name}</legend>'
    yield from _choices(position, layers)
    yield "</fieldset>"
    yield (
        '<label class="opacity"><span>Opacity</span><input type="range" min="0" max="100" step="5" autocomplete="off" '
        f'value="{START_OPACITY}" aria-label="Opacity over {name}"><output>{START_OPACITY} %</output></label>'
    )
    yield f'<ul class="chips">{"".join(_chip(part, titles) for part in small.parts)}</ul>'
    score = "" if math.isnan(measure.iou) else f"<span>IoU <b>{percent(measure.iou)}</b></span>"
    yield f'<p class="scores">{score}<span>doubt <b>{percent(measure.doubt)}</b></span></p></article>'


@dataclass(frozen=True)
class _Layer:
    """A picture over the photograph. kind: its style class. tags: HTML of the names on it."""

    key: str
    title: str
    kind: str
    uri: str
    description: str
    tags: str = ""


def _choices(position: int, layers: Sequence[_Layer]) -> Iterator[str]:
    """A button for each layer, class maps in a line of their own; the first is chosen."""
    masks = [layer for layer in layers if layer.kind != "heat"]
    maps = [layer for layer in layers if layer.kind == "heat"]
    for layer in masks:
        yield _choice(position, layer, " checked" if layer is masks[0] else "")
    if maps:
        yield '<div class="maps"><b aria-hidden="true">Maps</b>'
        for layer in maps:
            yield _choice(position, layer, f' aria-label="Map of {escape(layer.title)}"')
        yield "</div>"


def _choice(position: int, layer: _Layer, attributes: str) -> str:
    return (
        f'<label><input type="radio" name="layer-{position}" value="{layer.key}" autocomplete="off"{attributes}>'
        f"<span>{escape(layer.title)}</span></label>"
    )


def _layers(small: Thumbnails, titles: ClassTitles) -> Iterator[_Layer]:
    shares = [f"{titles[part.value]} {percent(part.share)}" for part in small.parts if part.share]
    yield _Layer("label", "Label", "regions", png_uri(region_picture(small.label)), f"Label: {', '.join(shares)}",
                 _tags(small.label, titles))  # fmt: skip
    if small.truth is not None:
        shares = [f"{titles[part.value]} {percent(part.truth_share)}" for part in small.parts if part.truth_share]
        yield _Layer("truth", "Truth", "regions", png_uri(region_picture(small.truth)), f"Truth: {', '.join(shares)}",
                     _tags(small.truth, titles))  # fmt: skip
        wrong = png_uri(region_picture(difference(small.label, small.truth), DIFFERENCE_COLOURS, outlined=False))
        yield _Layer("difference", "Differences", "regions", wrong, "Where label and truth differ")
    for value, plane in small.maps.items():
        title = titles[value]
        yield _Layer(f"map-{value}", title, "heat", png_uri(heat_picture(plane)), f"Class map of {title}")


def _tags(values: NDArray[np.uint8], titles: ClassTitles) -> str:
    """The names on a picture's regions; kept off its border, where they would be cut."""
    tags = []
    for anchor in anchors(values):
        left, top = min(max(anchor.left, 0.14), 0.86), min(max(anchor.top, 0.06), 0.94)
        style = f"left:{100 * left:.1f}%;top:{100 * top:.1f}%"
        tags.append(f'<span class="tag" style="{style}" aria-hidden="true">{escape(titles[anchor.value])}</span>')
    return "".join(tags)


def swatch(value: int) -> str:
    """The colour and hatching of a label value; the page's style sheet has the picture."""
    return f'<i class="swatch s{value}"></i>'


def _chip(part: ClassPart, titles: ClassTitles) -> str:
    missed = part.truth_share is not None and not part.share
    share = "in truth alone" if missed else percent(part.share)
    iou = "" if missed or math.isnan(part.iou) else f" <span>IoU {percent(part.iou)}</span>"
    return f"<li>{class_name(part.value, titles)} <b>{share}</b>{iou}</li>"


def class_name(value: int, titles: ClassTitles) -> str:
    """A class as HTML: its swatch, its label value and its name."""
    number = titles.number(value)
    number = number and f'<span class="number">{number}</span> '
    return f'<span class="class">{swatch(value)}{number}{escape(titles[value])}</span>'
