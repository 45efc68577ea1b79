"""What tests of the example scripts share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import photographs as photographs_module
import pytest
from discs import disc
from drawings import Drawing
from photographs import save_photographs
from PIL import Image


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a script's main function with arguments."""

    def run(main: Callable[[], None], *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        main()

    return run


@pytest.fixture(scope="session")
def drawings() -> list[Drawing]:
    clutter = Drawing("", "noto", "1f34e", disc(0).pixels)
    apart = [
        disc(12, "fluent", "1f40e", "drawing"),
        disc(3, "twemoji", world="family"),
        disc(5, "far", world="outside"),
    ]
    return [*(disc(index, "emojione") for index in range(20)), *apart, clutter]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    own = [
        photographs_module._compress(Image.fromarray(rng.integers(0, 255, (80, 90, 3), np.uint8)), "", world)
        for world in ("seen", "outside")
    ]
    save_photographs(tmp_path / "photographs.npz", own)
    return tmp_path / "photographs.npz"
