"""The tiny model, loaded once for a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from excel_cam import load_model
from excel_cam.model.clip import ClipModel
from excel_cam.settings import ModelChoice


@pytest.fixture(scope="module")
def model(tiny_model: tuple[Path, Path]) -> ClipModel:
    config, weights = tiny_model
    return load_model(ModelChoice(name=str(config), weights=weights, device="cpu"))
