from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from exports import make_sources


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    """Labels, class maps and photographs of three images in VOC's names, and the folder to export to."""
    return make_sources(tmp_path)
