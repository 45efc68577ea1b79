"""What to do next, at the end of a command: lines that can be run as they stand."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from excel_cam.wording import Report

if TYPE_CHECKING:
    from excel_cam.data.dataset import DataSet

_INDENT = "      "


def say_next(report: Report, *commands: Sequence[object]) -> None:
    """Tell the commands, one a line, each given as its words without `excel-cam`."""
    for place, words in enumerate(commands):
        line = shlex.join(["excel-cam", *map(str, words)])
        report(f"next: {line}" if place == 0 else _INDENT + line)


def after_labels(data: DataSet, labels: Path, truth: Path | None) -> list[list[object]]:
    """What follows a run: measure where there is a truth, and look at the labels."""
    if data.name == "demo":
        named: list[object] = ["--dataset", "demo"]
        return [["evaluate", "--labels", labels, *named], ["view", labels, *named, "--out", "report.html"]]
    look: list[object] = ["view", labels, "--images", image_folder(data), "--out", "report.html"]
    if truth is None:
        return [look, ["doctor", labels, "--images", image_folder(data)]]
    return [["evaluate", "--labels", labels, "--truth", truth, "--dataset", data.name], look]


def image_folder(data: DataSet) -> Path:
    """The folder below which a data set's images have their names."""
    sample = data.samples[0]
    return sample.image_path.parents[sample.name.count("/")]


def truth_of(data: DataSet) -> Path | None:
    """A data set's own masks, where they are there in VOC's layout."""
    folder = data.root / "SegmentationClass"
    return folder if data.name == "voc" and folder.is_dir() else None
