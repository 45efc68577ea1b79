"""How far a command is: a line now and then in a log, a bar on a terminal that no message breaks."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from excel_cam.cli import progress
from excel_cam.cli.progress import progress_bar, reporter
from excel_cam.wording import duration

Run = Callable[..., Result]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def test_a_log_has_a_line_every_half_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(1000, "image") as bar:
        bar.skip(100)  # kept from an earlier run: they took no time
        for _ in range(90):
            clock.now += 0.5
            bar.update()
    assert capsys.readouterr().err.splitlines() == ["160 of 1,000 images, 2.0 a second, about 7 min left"]


def test_what_takes_long_is_told_by_the_piece(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(10, "step") as bar:
        bar.note = "loss 0.5"
        clock.now += 40
        bar.update()
    assert capsys.readouterr().err == "1 of 10 steps, 40.0 s each, about 6 min left; loss 0.5\n"


def test_quiet_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(10, "image", quiet=True) as bar:
        clock.now += 100
        bar.update()
        reporter(True)("message")
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_message_stands_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    report = reporter(False)
    with progress_bar(2, "image") as bar:
        report("model: loaded")
        assert terminal.getvalue() == "model: loaded\n"  # no bar was there yet
        bar.update()
        report("failed: a")
        bar.update()
    lines = re.split(r"[\r\n]", terminal.getvalue())
    assert "failed: a" in lines
    assert any("2/2" in line for line in lines)


def test_the_page_counts_what_it_does(excel_cam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SAID_EVERY", 0.0)
    from excel_cam.shipped import DEMO_TRUTH

    result = excel_cam(
        "view", DEMO_TRUTH, "--dataset", "demo", "--names", "drawing_000,drawing_001", "--out", tmp_path / "r.html",
        "--strip", tmp_path / "s.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    counted = re.findall(r"^([0-9]) of 2 (\w+ ?\w+)s\b", result.stderr, re.MULTILINE)
    assert counted == [(n, what) for what in ("measured image", "drawn image", "row") for n in "12"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5300, "88 min"), (5400, "1 h 30 min"), (7200, "2 h"),
     (47.4 * 3600, "47 h 24 min"), (49 * 3600, "2 days 1 h"), (48 * 3600, "2 days")],
)  # fmt: skip
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
