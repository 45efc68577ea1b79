"""How many threads a run takes: what a container's limit allows, or what is asked for; both are in its record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result

from excel_cam.files import processors as module
from excel_cam.files.processors import processors


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu.max": ""}, 8),
        ({"cpu.max": "many"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000"}, 8),
    ],
)
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert processors() == expected


def test_threads_asked_for_are_taken_and_recorded(
    excel_cam: Callable[..., Result], arguments: list[str], tmp_path: Path
) -> None:
    made = {}
    for threads in (1, 2, 3):
        out, cams = tmp_path / str(threads), tmp_path / f"cams-{threads}"
        result = excel_cam(*arguments, "--out", out, "--threads", threads, "--save-cams", cams)
        assert result.exit_code == 0, result.stderr
        assert torch.get_num_threads() == threads
        assert json.loads((out / "run.json").read_text())["work"]["threads"] == threads
        files = [*out.glob("*.png"), *cams.glob("*.npz")]
        made[threads] = {path.name: path.read_bytes() for path in files}
    assert made[1]
    assert made[1] == made[2] == made[3]  # the same bytes, maps too
    # It is no setting that decides labels: the same folder goes on with another number.
    assert "0 new" in excel_cam(*arguments, "--out", tmp_path / "1", "--threads", 2).stderr


def test_threads_that_wait_do_not_spin_unless_asked_to() -> None:
    program = "import os, excel_cam.__main__ as m; m.cli = lambda **_: print(os.environ['OMP_WAIT_POLICY']); m.main()"
    for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        environ = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
        found = subprocess.check_output([sys.executable, "-c", program], text=True, env=environ)
        assert found.strip() == expected
