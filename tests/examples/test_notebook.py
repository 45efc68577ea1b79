"""The notebook under examples/: its code cells run one after another, as a person would run them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
LARGEST = 200_000  # bytes, its one small picture included


def cells() -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if is_code(cell)]


def is_code(cell: dict[str, Any]) -> bool:
    return bool(cell["cell_type"] == "code")


def run_cell(source: str, namespace: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line where that is an expression, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), namespace)


def test_its_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    shown = [run_cell(source, namespace) for source in cells()]
    assert shown[1]._repr_png_().startswith(b"\x89PNG")
    assert set(np.unique(shown[1].label)) == {0, 14}
    printed = capsys.readouterr().out
    assert "over 2 images" in printed
    assert "nearest: diningtable" in printed


def test_it_is_small() -> None:
    assert NOTEBOOK.stat().st_size < LARGEST
