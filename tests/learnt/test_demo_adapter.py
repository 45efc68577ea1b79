"""The adapter that comes with the package: small, of the demo model, and worth something on the demo's scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import Result

from excel_cam.classes import VOC_CLASSES
from excel_cam.evaluation.evaluate import evaluate_labels
from excel_cam.shipped import DEMO_ADAPTER, DEMO_TRUTH

Run = Callable[..., Result]


def test_it_is_small() -> None:
    assert DEMO_ADAPTER.stat().st_size <= 2_000_000


def test_it_labels_and_segments_scenes_of_the_demo(excel_cam: Run, tmp_path: Path) -> None:
    """Masks without tags are right far more often than chance would have it: 20 classes, one or two in a scene."""
    names = tmp_path / "names.txt"
    names.write_text("family_004\nfamily_008\nfamily_011\nfamily_015\n")
    common = ["--dataset", "demo", "--lvc", "demo", "--list", names, "--device", "cpu"]
    labelled = excel_cam("generate", *common, "--out", tmp_path / "labels")
    assert labelled.exit_code == 0, labelled.stderr
    segmented = excel_cam("segment", *common, "--scales", "1", "--out", tmp_path / "seg")
    assert segmented.exit_code == 0, segmented.stderr
    scores = {
        folder: evaluate_labels(tmp_path / folder, DEMO_TRUTH, VOC_CLASSES).mean_iou for folder in ("labels", "seg")
    }
    assert scores["labels"] > 0.3
    assert scores["seg"] > 0.1
    assert not np.isnan(scores["seg"])
