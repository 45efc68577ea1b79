"""A training run's log, `log.jsonl`, as curves: losses step by step, and readouts where there are any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excel_cam.errors import DataError
from excel_cam.evaluation.curves import Panel, svg_curves
from excel_cam.files.json_file import parse_json_line

LOG_FILE = "log.jsonl"
READOUT_FILE = "readout.jsonl"
MOST_POINTS = 200  # of a curve; each is the mean of the steps it stands for

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class TrainingLog:
    """Curves of (step, value): both losses, and the mean IoU, 0..1, of the readouts."""

    segmentation: Points
    diversity: Points
    mean_iou: Points


def read_training_log(out: Path) -> TrainingLog:
    """Read the log of a training run; raises `DataError` where there is none with a step in it."""
    steps = read_log_lines(out / LOG_FILE)
    segmentation, diversity = (_averaged(_points(steps, name)) for name in ("segmentation", "diversity"))
    if not segmentation:
        raise DataError(f"{out / LOG_FILE}: no step of a training run in it; train with `excel-cam train` first")
    return TrainingLog(segmentation, diversity, tuple(_points(read_log_lines(out / READOUT_FILE), "mean_iou")))


def draw_training_log(log: TrainingLog) -> str:
    """The curves as an SVG document, one panel beside another."""
    panels = [
        _panel("Segmentation loss", "loss", log.segmentation, min),
        _panel("Diversity loss", "loss", log.diversity, min),
    ]
    if log.mean_iou:
        panels.append(_panel("Readout", "mIoU %", tuple((step, 100 * score) for step, score in log.mean_iou), max))
    return svg_curves(panels)


def _panel(title: str, unit: str, points: Points, best: Callable[[Iterable[float]], float]) -> Panel:
    values = [value for _, value in points]
    return Panel(title, "step", unit, points, values.index(best(values)))


def read_log_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a line that a kill cut off is left out."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the log of a training run cannot be read: {error}") from None
    found = []
    for line in lines:
        entry = parse_json_line(line)
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _points(lines: Sequence[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of the lines that have both, as finite numbers."""
    points = []
    for line in lines:
        step, value = line.get("step"), line.get(name)
        if isinstance(step, int) and isinstance(value, int | float) and math.isfinite(value):
            points.append((float(step), float(value)))
    return points


def _averaged(points: Sequence[tuple[float, float]]) -> Points:
    """At most `MOST_POINTS` points, each the mean of as many that follow one another."""
    width = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + width] for start in range(0, len(points), width)] if width else []
    return tuple((sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups)
