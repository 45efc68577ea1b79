"""What tests of the example scripts share."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a script's main function with arguments."""

    def run(main: Callable[[], None], *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        main()

    return run
