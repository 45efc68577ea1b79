"""`excel-cam status`: what is done, failed, missing, running and abandoned, from files alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from excel_cam.labels.claims import claimed, work_of
from excel_cam.labels.failures import FailureLog
from excel_cam.labels.records import read_runs, write_run
from excel_cam.labels.shards import WHOLE, Shard
from excel_cam.labels.status.shares import covered, is_left_open, retire_covered

Run = Callable[..., Result]
NAMES = [f"sub/photo{index}" for index in range(7)]


def label(out: Path, *names: str) -> None:
    for name in names:
        (out / f"{name}.png").parent.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.png").touch()


def record(out: Path, shard: Shard, state: str, failed: int = 0, images: int = 7, at: int = 0) -> None:
    """A share's run record, written at a second."""
    size = len(range(shard.index, images, shard.count))
    counts = {"images": size, "labelled": size - failed, "kept": 0, "failed": failed}
    content = {"state": state, "dataset": {"name": "folder", "images": images}, "identity": {"known": {}}}
    write_run(out, content | ({} if state == "running" else {"counts": counts}), shard)
    path = out / f"run{shard.file_part}.json"
    os.utime(path, (1000 + at, 1000 + at))


def told(excel_cam: Run, out: Path, status: int) -> list[str]:
    result = excel_cam("status", out)
    assert result.exit_code == status, result.stdout + result.stderr
    return result.stdout.splitlines()


def test_a_finished_folder_is_complete(excel_cam: Run, tmp_path: Path) -> None:
    label(tmp_path, *NAMES)
    record(tmp_path, WHOLE, "complete")
    assert told(excel_cam, tmp_path, 0) == [f"{tmp_path}: 7 of 7 images labelled"]


def test_missing_failed_and_shares_are_told(excel_cam: Run, tmp_path: Path) -> None:
    label(tmp_path, *NAMES[:4])
    record(tmp_path, Shard(0, 4), "complete with failures", failed=1)
    record(tmp_path, Shard(1, 4), "running")
    record(tmp_path, Shard(2, 4), "stopped")
    failures = FailureLog(tmp_path, Shard(0, 4))
    failures.add(NAMES[4], "no such image")
    with claimed({tmp_path: work_of(Shard(1, 4), {})}):
        lines = told(excel_cam, tmp_path, 3)
    assert lines == [
        f"{tmp_path}: 4 of 7 images labelled, 1 failed, 2 missing",
        "4 shares: 1 complete with failures, 1 running, 1 stopped, 1 not begun",
        f"  1/4: running by process {os.getpid()} on {os.uname().nodename}, 2 images",
        "  2/4: stopped, 2 images",
        "  3/4: not begun, 1 images",
        f"failed: {NAMES[4]}: no such image",
        "what is left is made by the same command, divided as before, otherwise, or not at all",
    ]
    assert "  1/4: abandoned, 2 images" in told(excel_cam, tmp_path, 3)  # its claim is gone
    result = excel_cam("status", tmp_path, "--json")
    found = json.loads(result.stdout)
    assert (found["images"], found["labelled"], found["failed"], found["missing"]) == (7, 4, 1, 2)
    assert [share["state"] for share in found["shares"]] == [
        "complete with failures", "abandoned", "stopped", "not begun",
    ]  # fmt: skip
    assert found["complete"] is False


def test_an_old_label_of_an_image_that_failed_does_not_count(excel_cam: Run, tmp_path: Path) -> None:
    label(tmp_path, *NAMES)
    record(tmp_path, WHOLE, "complete with failures", failed=1)
    FailureLog(tmp_path).add(NAMES[0], "cannot be read")
    assert told(excel_cam, tmp_path, 3)[0] == f"{tmp_path}: 6 of 7 images labelled, 1 failed"


def test_a_killed_share_that_others_have_finished_since_is_no_longer_told(excel_cam: Run, tmp_path: Path) -> None:
    label(tmp_path, *NAMES)
    record(tmp_path, Shard(1, 3), "running", at=0)
    record(tmp_path, Shard(0, 2), "complete", at=1)
    assert "  1/3: abandoned, 2 images" in told(excel_cam, tmp_path, 3)
    record(tmp_path, Shard(1, 2), "complete", at=2)
    assert told(excel_cam, tmp_path, 0) == [f"{tmp_path}: 7 of 7 images labelled", "2 shares: 2 complete"]
    retire_covered(tmp_path)
    assert sorted(read_runs(tmp_path)) == ["run.shard-0-of-2.json", "run.shard-1-of-2.json"]


def test_a_run_that_has_only_begun_is_told(excel_cam: Run, tmp_path: Path) -> None:
    with claimed({tmp_path: work_of(WHOLE, {})}):
        assert told(excel_cam, tmp_path, 3)[1].startswith("  all: running by process ")


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_a_run_is_one_line(excel_cam: Run, tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "labels"
    if made:
        folder.mkdir()
    result = excel_cam("status", folder)
    assert result.exit_code == 1
    assert f"{folder}: no run has written here" in result.stderr


@given(
    done=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)).filter(lambda pair: pair[0] < pair[1])),
    index=st.integers(0, 5),
    count=st.integers(1, 6),
)
def test_a_share_is_covered_where_one_division_has_all_its_images(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[int, int]], index: int, count: int
) -> None:
    """Against the sets of images themselves."""
    out, index = tmp_path_factory.mktemp("out"), index % count
    record(out, Shard(index, count), "running", images=60)
    closed = {Shard(*pair) for pair in done} - {Shard(index, count)}
    for shard in closed:
        record(out, shard, "complete", images=60)
    own = set(range(index, 60, count))
    divisions = {shard.count for shard in closed}
    sets = [
        {image for shard in closed if shard.count == size for image in range(shard.index, 60, size)}
        for size in divisions
    ]
    assert bool(covered(out, read_runs(out))) == any(own <= images for images in sets)
    for shard in (WHOLE, *closed):
        assert is_left_open(read_runs(out), shard) == (own <= set(range(shard.index, 60, shard.count)))


def test_an_older_record_stands_in_for_nothing(tmp_path: Path) -> None:
    record(tmp_path, WHOLE, "complete", at=0)
    record(tmp_path, Shard(0, 2), "running", at=5)
    assert covered(tmp_path, read_runs(tmp_path)) == set()


def test_a_record_left_open_is_closed_by_the_same_command(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    """Killed between its last label and the end: every label is there, and the record says running."""
    out = tmp_path / "labels"
    assert excel_cam(*arguments, "--out", out, "--shard", "0/1").exit_code == 0
    closed = json.loads((out / "run.json").read_text())
    for name in ("run.json", "run.shard-1-of-3.json"):
        (out / name).write_text(json.dumps({k: v for k, v in closed.items() if k != "counts"} | {"state": "running"}))
    assert "  all: abandoned, 6 images" in told(excel_cam, out, 3)
    assert "0 new, 6 kept" in excel_cam(*arguments, "--out", out).stderr
    assert [path.name for path in out.glob("run*")] == ["run.json"]
    assert told(excel_cam, out, 0) == [f"{out}: 6 of 6 images labelled"]


def test_status_loads_neither_torch_nor_numpy(tmp_path: Path) -> None:
    record(tmp_path, WHOLE, "complete", images=0)
    code = (
        "import sys; from excel_cam.cli.main import cli; cli(standalone_mode=False); "
        "print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code, "status", str(tmp_path)], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "set()", run.stderr
