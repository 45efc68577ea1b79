"""A drawing of curves as SVG, by hand: one panel beside another, each with axes, points and its best point marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

PANEL_WIDTH, PANEL_HEIGHT = 420, 300  # of the area between a panel's axes, SVG user units
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 44, 56  # around it
STEPS = (1, 2, 2.5, 5, 10)  # what marks on an axis may be apart, times a power of ten
MOST_TICKS = 6


@dataclass(frozen=True)
class Panel:
    """One curve.

    points: (x, y), x ascending, at least one. logarithmic: of x, all above 0. best: index of a point. default: the x
    that holds unless told otherwise, None where there is none.
    """

    title: str
    x_label: str
    y_label: str
    points: tuple[tuple[float, float], ...]
    best: int
    logarithmic: bool = False
    default: float | None = None


@dataclass(frozen=True)
class _Scale:
    """From a value to a place: `start` for `low`, `end` for `high`, both in user units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def svg_curves(panels: Sequence[Panel]) -> str:
    """An SVG document with the panels side by side; readable in black and white, no script, no network."""
    width, height = LEFT + PANEL_WIDTH + RIGHT, TOP + PANEL_HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width * len(panels)} {height}" '
        f'width="{width * len(panels)}" height="{height}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate({index * width + LEFT} {TOP})">', *_draw(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _draw(panel: Panel) -> list[str]:
    """The elements of one panel, whose origin is the upper left corner between its axes."""
    xs = [math.log(x) if panel.logarithmic else x for x, _ in panel.points]
    ys = [y for _, y in panel.points]
    across = _Scale(*_widened(min(xs), max(xs)), 0, PANEL_WIDTH)
    up = _Scale(*_widened(min(ys), max(ys)), PANEL_HEIGHT, 0)
    places = [(across(x), up(y)) for x, y in zip(xs, ys, strict=True)]
    # Where x is logarithmic, round steps would crowd: the marks are at points themselves.
    spaced = _spaced([x for x, _ in panel.points]) if panel.logarithmic else _ticks(across.low, across.high)
    parts = [_text(PANEL_WIDTH / 2, -22, panel.title, size=15)]
    for value in spaced:
        x = across(math.log(value) if panel.logarithmic else value)
        parts += [_line(x, PANEL_HEIGHT, x, PANEL_HEIGHT + 5), _text(x, PANEL_HEIGHT + 20, f"{value:g}")]
    for value in _ticks(up.low, up.high):
        parts += [_line(0, up(value), PANEL_WIDTH, up(value), "#ddd"), _text(-8, up(value) + 4, f"{value:g}", "end")]
    parts += [
        f'<path d="M0 0V{PANEL_HEIGHT}H{PANEL_WIDTH}" fill="none" stroke="#333"/>',
        _text(PANEL_WIDTH / 2, PANEL_HEIGHT + 42, panel.x_label),
        f'<g transform="translate(-46 {PANEL_HEIGHT / 2}) rotate(-90)">{_text(0, 0, panel.y_label)}</g>',
        '<polyline fill="none" stroke="#1f5fa8" stroke-width="2" points="'
        + " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        + '"/>',
    ]
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f5fa8"/>' for x, y in places]
    if panel.default is not None and panel.points[0][0] <= panel.default <= panel.points[-1][0]:
        parts += _mark_default(panel.default, across(math.log(panel.default) if panel.logarithmic else panel.default))
    return parts + _mark(panel, *places[panel.best])


def _mark(panel: Panel, x: float, y: float) -> list[str]:
    """A ring around the best point and its values, kept within the panel."""
    value, score = panel.points[panel.best]
    anchor = "start" if x < PANEL_WIDTH / 4 else "end" if x > PANEL_WIDTH * 3 / 4 else "middle"
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="none" stroke="#b00020" stroke-width="2"/>'
    return [ring, _text(x, y - 12, f"{score:.1f} at {value:g}", anchor)]


def _mark_default(default: float, x: float) -> list[str]:
    """A dashed line where the default lies, named at its foot."""
    dashed = f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{PANEL_HEIGHT}" stroke="#555" stroke-dasharray="5 4"/>'
    right = x < PANEL_WIDTH / 2
    return [
        dashed,
        _text(x + (6 if right else -6), PANEL_HEIGHT - 8, f"default {default:g}", "start" if right else "end"),
    ]


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range with some air at both ends, and of more than one value."""
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Round values between two ends, six at most."""
    power = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
    step = next(factor * power for factor in STEPS if (high - low) / (factor * power) <= MOST_TICKS)
    return [round(index * step, 10) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _spaced(values: Sequence[float]) -> list[float]:
    """Those of ascending positive values whose marks do not touch one another on a logarithmic axis."""
    least = (math.log(values[-1]) - math.log(values[0])) / 10
    chosen: list[float] = []
    for value in values:
        if not chosen or math.log(value) - math.log(chosen[-1]) >= least:
            chosen.append(value)
    return chosen


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#333") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
