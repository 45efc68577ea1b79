"""Text rows of a model under test, kept in a cache of their own."""

from __future__ import annotations

import pytest

from excel_cam import Settings, TextBank, build_text_bank, shipped_knowledge
from excel_cam.model.clip import ClipModel


def voc_bank(model: ClipModel, settings: Settings) -> TextBank:
    """VOC's rows, cached beside the model's weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXCEL_CAM_CACHE", str(model.weights.parent / "cache"))
        return build_text_bank(shipped_knowledge("voc"), model, settings)
