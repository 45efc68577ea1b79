"""What the tests of text banks share: a cache of their own, the tiny model, no encoding."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import reference
import torch
from pets import PETS
from reference_text import EDGE, HEADS, Array, Embed, unit

from excel_cam.model.clip import ClipModel, load_model
from excel_cam.settings import ModelChoice


@pytest.fixture(autouse=True)
def cache(_own_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, which is not there yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EXCEL_CAM_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def model(tiny_model: tuple[Path, Path]) -> ClipModel:
    config, weights = tiny_model
    return load_model(ModelChoice(str(config), weights=weights, device="cpu"))


@pytest.fixture
def pets_file(tmp_path: Path) -> Path:
    path = tmp_path / "pets.json"
    path.write_text(json.dumps(PETS))
    return path


@pytest.fixture
def no_encoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, encoding a text fails the test."""

    def forbid() -> None:
        def fail(*_: object) -> None:
            pytest.fail("a text was encoded")

        monkeypatch.setattr(ClipModel, "encode_texts", fail)

    return forbid


@pytest.fixture(scope="module")
def embed(tiny_model: tuple[Path, Path]) -> Embed:
    """Texts to unit rows (n, D) in float64; a text is embedded once for all tests."""
    state = torch.load(tiny_model[1], weights_only=True)
    weights = {name: tensor.numpy() for name, tensor in state.items() if not name.startswith("visual.")}
    tokenizer = open_clip.SimpleTokenizer(context_length=EDGE)
    known: dict[str, Array] = {}

    def rows(texts: Sequence[str]) -> Array:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, unit(reference.text_tower(weights, tokenizer(new).numpy(), HEADS)), strict=True))
        return np.stack([known[text] for text in texts])

    return rows
