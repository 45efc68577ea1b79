"""What today's program makes of a few photographs, pinned: whoever changes labels is told to raise their version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import VOC_TAGS
from PIL import Image

from excel_cam.labels import identity
from excel_cam.labels.identity import LABELS_VERSION, Identity, known_identity
from excel_cam.settings import Settings

Run = Callable[..., Result]
PINNED = Path(__file__).parents[1] / "support" / f"labels_version_{LABELS_VERSION}.png"
ROUNDING = 1e-3  # share of the pixels that other processors and libraries may give another class


def test_labels_are_those_of_their_version(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    """Six photographs with all defaults of the method, one label below the other."""
    assert excel_cam(*arguments, "--out", tmp_path).exit_code == 0
    rows = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in VOC_TAGS]
    made = np.concatenate([np.pad(row, ((0, 0), (0, 97 - row.shape[1]))) for row in rows])
    # To pin a new version, with its own name, after the change is wanted: Image.fromarray(made).save(PINNED)
    pinned = np.asarray(Image.open(PINNED))
    assert made.shape == pinned.shape
    assert len(np.unique(made)) > 5
    changed = float((made != pinned).mean())
    assert changed <= ROUNDING, (
        f"{changed:.2%} of the pixels differ from version {LABELS_VERSION}: raise LABELS_VERSION (labels/identity.py), "
        "pin the new labels here, and say so in the changelog; or undo what changed them"
    )


def test_the_version_is_part_of_the_stamp_from_the_second_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stamp() -> str:
        known = known_identity(Settings(), knowledge={"dataset": "voc"}, model="ViT-B-16", png_mode="L")
        return Identity(known, {"weights": "0", "precision": "fp32"}).stamp((1, 2))

    assert stamp() == "95b50e24161f2c808eed284e8ea1fe7f"  # as the first version had it, which wrote no number
    monkeypatch.setattr(identity, "LABELS_VERSION", 2)
    assert stamp() != "95b50e24161f2c808eed284e8ea1fe7f"


def test_labels_of_another_version_are_refused_by_name(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert excel_cam(*arguments, "--out", tmp_path).exit_code == 0
    (tmp_path / "2007_000001.png").unlink()
    monkeypatch.setattr(identity, "LABELS_VERSION", 2)
    result = excel_cam(*arguments, "--out", tmp_path)
    assert result.exit_code == 1
    assert "labels_version was absent, now 2" in result.stderr
    assert excel_cam(*arguments, "--out", tmp_path, "--overwrite").exit_code == 0
    monkeypatch.undo()
    assert "labels_version was 2, now absent" in excel_cam(*arguments, "--out", tmp_path).stderr
