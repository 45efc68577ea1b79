"""The table of what sentences do to the classes' rows: its parts by hand, and its lines for the demo model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rows

import excel_cam

DEMO = Path(excel_cam.__file__).parent / "demo" / "excel-cam-demo.json"


def test_cosines_and_lengths_by_hand() -> None:
    corner = np.array([[1.0, 0], [0, 1], [-1, 0]])
    assert rows.mean_cosine(corner) == pytest.approx(-1 / 3)  # 0, -1 and 0
    assert rows.mean_cosine(np.ones((4, 1))) == 1
    assert rows.length(np.array([[3.0, 4], [0, 1]])) == 3


def test_the_demo_models_table(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    command(rows.main, "--model", DEMO)
    found = dict(line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:])
    values = {what: float(value) for what, value in found.items()}
    assert len(values) == 7
    added, common, own = (values[what] for what in values if "TSE" in what or "of which" in what)
    assert max(common, own) <= added <= common + own
    assert all(0 < value < 1 for value in values.values())


def test_a_model_without_weights_is_told(
    command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(rows.main, "--model", tmp_path / "none.json")
    assert "none.safetensors: no such file" in capsys.readouterr().err
