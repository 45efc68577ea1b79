"""Shares of a data set: which images are whose, what said so, one folder for all, processes that are killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from drawn import draw_photograph
from hypothesis import given
from hypothesis import strategies as st

from excel_cam.errors import UsageError
from excel_cam.labels.failures import FailureLog
from excel_cam.labels.records import read_run, read_runs
from excel_cam.labels.shards import WHOLE, Shard, chosen_shard

Run = Callable[..., Result]
NAMES = [f"photo{index:02d}" for index in range(20)]

# ---- which share


@given(count=st.integers(1, 40), size=st.integers(0, 60))
def test_shares_are_disjoint_complete_and_even(count: int, size: int) -> None:
    shares = [Shard(index, count).select(range(size)) for index in range(count)]
    assert sorted(item for share in shares for item in share) == list(range(size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def slurm(place: object, count: object, least: object = 0, **more: object) -> dict[str, str]:
    values = {"ID": place, "COUNT": count, "MIN": least, **more}
    return {f"SLURM_ARRAY_TASK_{key}": str(value) for key, value in values.items()}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (0, 1)),
        ({"WORLD_SIZE": "1"}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        ({"WORLD_SIZE": "8"}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": ""}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        (slurm(5, 4, 4), (1, 4)),
        (slurm(0, 4), (0, 4)),
        (slurm(7, 4, 1, STEP=2), (3, 4)),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3"}, (2, 3)),
        ({"RANK": "0", "WORLD_SIZE": "1"} | slurm(1, 2), (1, 2)),
        ({"RANK": "1", "WORLD_SIZE": "2"} | slurm(7, 9), (1, 2)),
    ],
)
def test_launchers_are_understood(environ: dict[str, str], expected: tuple[int, int]) -> None:
    shard = chosen_shard(None, environ)
    assert (shard.index, shard.count) == expected
    assert shard.is_whole == (not shard.source)


def test_what_is_asked_for_comes_first() -> None:
    assert chosen_shard(Shard(0, 1, "--shard"), {"RANK": "3", "WORLD_SIZE": "8"}).is_whole
    assert str(chosen_shard(Shard(2, 5), {"RANK": "3", "WORLD_SIZE": "8"})) == "2/5"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"RANK": "8", "WORLD_SIZE": "8"}, "RANK=8, WORLD_SIZE=8"),
        ({"RANK": "-1", "WORLD_SIZE": "8"}, "RANK=-1"),
        ({"RANK": "0", "WORLD_SIZE": "many"}, "WORLD_SIZE=many"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        (slurm(9, 3, 1, STEP=1), "SLURM_ARRAY_TASK_ID=9"),  # --array=1,5,9
        (slurm(2, 3, 1, STEP=2), "SLURM_ARRAY_TASK_STEP=2"),
        (slurm(0, 3, 1), "SLURM_ARRAY_TASK_MIN=1"),
    ],
)
def test_variables_that_name_no_share_are_one_line(environ: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match="--shard I/N") as caught:
        chosen_shard(None, environ)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- runs


@pytest.fixture
def arguments(tmp_path: Path, model_arguments: list[str]) -> list[str]:
    """The command that labels twenty photographs by prompts alone, less its --out."""
    root = tmp_path / "photos"
    root.mkdir()
    for index, name in enumerate(NAMES):
        draw_photograph(90 + index, 130 - index, index).save(root / f"{name}.png")
    (tmp_path / "classes.txt").write_text("red panda\ntea pot\nkayak\n")
    tags = [("red panda;kayak", "tea pot", "", "kayak")[index % 4] for index in range(len(NAMES))]
    rows = (f"{name},{one}\n" for name, one in zip(NAMES, tags, strict=True))
    (tmp_path / "tags.csv").write_text("name,classes\n" + "".join(rows))
    return [
        "generate", "--dataset", "folder", "--root", str(root), "--classes", str(tmp_path / "classes.txt"),
        "--tags", str(tmp_path / "tags.csv"), "--size", "64", "--device", "cpu", "--batch-size", "2", *model_arguments,
    ]  # fmt: skip


def labels(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def state(out: Path, name: str) -> str:
    return str(json.loads((out / name).read_text())["state"])


def test_a_folder_is_shared_resumed_and_divided_anew(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    broken = tmp_path / "photos" / "photo04.png"
    good = broken.read_bytes()
    excel_cam(*arguments, "--out", whole)
    expected = labels(whole)
    assert sorted(expected) == [f"{name}.png" for name in NAMES]

    # The first of three shares, with a photograph that cannot be read, chosen by a Slurm array's variables.
    broken.write_bytes(b"")
    for name, value in slurm(11, 3, 10).items():
        monkeypatch.setenv(name, value)
    second = excel_cam(*arguments, "--out", out)
    assert second.exit_code == 3
    assert "shard 1/3 (SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT): 7 of 20 images" in second.stderr
    assert "failed.shard-1-of-3.jsonl" in second.stderr
    assert [Path(line).stem for line in second.stdout.splitlines()] == [n for n in NAMES[1::3] if n != "photo04"]
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".png") == [
        "failed.shard-1-of-3.jsonl", "run.shard-1-of-3.json",
    ]  # fmt: skip
    record = (out / "run.shard-1-of-3.json").read_text()
    assert json.loads(record)["work"]["shard"] == "1/3 (SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT)"

    # Other settings are refused by a share that has not run yet, and leave no record.
    refused = excel_cam(*arguments, "--out", out, "--shard", "0/3", "--refine", "none")
    assert refused.exit_code == 1
    assert "refine was par, now none" in refused.stderr
    assert not (out / "run.shard-0-of-3.json").exists()

    # The rest by shares of two; what is labelled stays, and the mended photograph leaves the list of failures.
    broken.write_bytes(good)
    kept = labels(out)
    times = {name: (out / name).stat().st_mtime_ns for name in kept}
    for index, new, old in ((0, 8, 2), (1, 6, 4)):
        result = excel_cam(*arguments, "--out", out, "--shard", f"{index}/2")
        assert result.exit_code == 0
        assert f"{new} new, {old} kept" in result.stderr
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == times
    assert labels(out) == expected
    assert not list(out.glob("failed*"))
    assert (out / "run.shard-1-of-3.json").read_text() == record
    assert {name: state(out, name) for name in read_runs(out)} == {
        "run.shard-0-of-2.json": "complete", "run.shard-1-of-2.json": "complete",
        "run.shard-1-of-3.json": "complete with failures",
    }  # fmt: skip
    assert read_run(out) is not None

    # Everything is there for a run over everything too, without the model.
    monkeypatch.setattr("excel_cam.run.worker.prepare_text", lambda *_: pytest.fail("the model was loaded"))
    assert "0 new, 20 kept" in excel_cam(*arguments, "--out", out, "--shard", "0/1").stderr


def test_overwriting_shares_replace_the_records_of_other_settings(
    excel_cam: Run, arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    excel_cam(*arguments, "--out", out)
    for index in (0, 1):
        assert excel_cam(
            *arguments, "--out", out, "--refine", "none", "--overwrite", "--shard", f"{index}/2"
        ).exit_code == 0  # fmt: skip
    assert sorted(read_runs(out)) == ["run.shard-0-of-2.json", "run.shard-1-of-2.json"]
    assert "0 new, 20 kept" in excel_cam(*arguments, "--out", out, "--refine", "none").stderr


def test_a_share_without_images_has_nothing_to_do(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    result = excel_cam(*arguments, "--out", tmp_path / "out", "--shard", "30/40")
    assert result.exit_code == 0
    assert "shard 30/40 (--shard): 0 of 20 images" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["3/3", "1", "-1/2", "a/b", "1/0", "0.5/2", ""])
def test_a_shard_that_is_none_is_a_usage_error(
    excel_cam: Run, arguments: list[str], tmp_path: Path, value: str
) -> None:
    result = excel_cam(*arguments, "--out", tmp_path / "out", "--shard", value)
    assert result.exit_code == 2
    assert "is not I/N" in result.stderr


def test_two_shares_that_begin_at_once_with_other_settings_are_not_mixed(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of the other share appears between the look at the folder and the run's own record."""
    from excel_cam.run import worker

    out, prepare = tmp_path / "out", worker.prepare_text
    excel_cam(*arguments, "--out", tmp_path / "other", "--refine", "none", "--shard", "1/2")

    def prepare_late(*given: object, **chosen: object) -> object:
        out.mkdir(exist_ok=True)
        record = tmp_path / "other" / "run.shard-1-of-2.json"
        (out / record.name).write_bytes(record.read_bytes())
        return prepare(*given, **chosen)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "prepare_text", prepare_late)
    result = excel_cam(*arguments, "--out", out, "--shard", "0/2")
    assert result.exit_code == 1
    assert "refine was none, now par" in result.stderr
    assert [path.name for path in out.iterdir()] == ["run.shard-1-of-2.json"]


def test_failures_of_one_division_do_not_touch_one_anothers_files(tmp_path: Path) -> None:
    first, second = (FailureLog(tmp_path, Shard(index, 2)) for index in (0, 1))
    first.start({"a"})
    first.add("a", "no such image")
    before = first.path.stat()
    second.start({"b"})
    second.add("b", "empty")
    assert first.path.stat().st_ino == before.st_ino
    whole = FailureLog(tmp_path, WHOLE)
    whole.start({"a"})
    assert not first.path.exists()
    assert second.path.exists()
    whole.start({"a", "b"})
    assert list(tmp_path.iterdir()) == []


# ---- processes


def start(arguments: list[str], out: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    environ = os.environ | {"EXCEL_CAM_CACHE": str(cache)}
    command = [sys.executable, "-m", "excel_cam", *arguments, "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def kill_at_a_random_moment(process: subprocess.Popen[str], most_labels: int) -> None:
    """Kill a process while it works: after some labels, and some milliseconds later."""
    assert process.stdout is not None
    for _ in range(random.randint(0, most_labels)):
        process.stdout.readline()
    time.sleep(random.uniform(0, 0.05))
    process.kill()
    process.communicate(timeout=60)


def test_killed_processes_lose_and_duplicate_nothing(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    """Three shares at once on an empty cache, one of them killed; then a whole run, killed; each is finished."""
    expected_out, out, cache = tmp_path / "expected", tmp_path / "out", tmp_path / "cache"
    assert excel_cam(*arguments, "--out", expected_out).exit_code == 0
    expected = labels(expected_out)

    shares = [start(arguments, out, cache, "--shard", f"{index}/3") for index in range(3)]
    kill_at_a_random_moment(shares[1], 4)
    outputs = [shares[index].communicate(timeout=120) for index in (0, 2)]
    assert [shares[index].returncode for index in (0, 2)] == [0, 0], outputs
    for index, (stdout, _) in zip((0, 2), outputs, strict=True):
        assert [Path(line).stem for line in stdout.splitlines()] == NAMES[index::3]
        assert state(out, f"run.shard-{index}-of-3.json") == "complete"
    assert labels(out).items() <= expected.items()
    finished = excel_cam(*arguments, "--out", out, "--shard", "1/3")
    assert [Path(line).stem for line in finished.stdout.splitlines()] == NAMES[1::3]
    assert labels(out) == expected
    assert state(out, "run.shard-1-of-3.json") == "complete"
    assert len(list(cache.rglob("*.npz"))) == 1

    alone = tmp_path / "alone"
    kill_at_a_random_moment(start(arguments, alone, cache), 15)
    assert labels(alone).items() <= expected.items()
    finished = excel_cam(*arguments, "--out", alone)
    assert [Path(line).stem for line in finished.stdout.splitlines()] == NAMES
    assert labels(alone) == expected
    for folder in (out, alone):
        assert not list(folder.rglob("*.part"))
