"""One run owns a folder: who may be at work there at once, and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from excel_cam.errors import OutputError
from excel_cam.labels import claims
from excel_cam.labels.claims import Work, claimed

Run = Callable[..., Result]
WHOLE, FIRST, SECOND = Work("0/1"), Work("0/2"), Work("1/2")

HOLD = """
import sys, time
from pathlib import Path
from excel_cam.labels.claims import Work, claimed
with claimed({Path(sys.argv[1]): Work(sys.argv[2], made_with={"known": "a"})}):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path, shard: str = "0/1") -> subprocess.Popen[str]:
    """Another process that is at work in a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), shard], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = hold(tmp_path)
    yield process
    process.kill()
    process.communicate()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(".excel-cam-*.claim"))


def take(folder: Path, work: Work = WHOLE) -> None:
    with claimed({folder: work}) as own:
        own.require()


def refusal(folder: Path, work: Work = WHOLE) -> str:
    with pytest.raises(OutputError) as caught:
        take(folder, work)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_if_elsewhere(path: Path, age: float) -> None:
    """Make a claim one of another machine that was renewed so long ago."""
    record = json.loads(path.read_text())
    record["owner"] |= {"host": "node7", "machine": "node7 another-start"}
    path.write_text(json.dumps(record))
    os.utime(path, (time.time() - age, time.time() - age))


@pytest.mark.parametrize(
    ("mine", "other", "expected"),
    [
        (WHOLE, WHOLE, "at work in it"),
        (FIRST, SECOND, None),
        (FIRST, FIRST, "at work on share 0/2"),
        (FIRST, Work("2/3"), "at work on share 2/3, which has images in common with 0/2"),
        (FIRST, WHOLE, "images in common"),
        (Work("0/2", made_with={"known": "a"}), Work("1/2", made_with={"known": "b"}), "with other settings"),
        (Work("0/2", made_with={"known": "a", "resolved": "x"}), Work("1/2", made_with={"known": "a"}), None),
        (Work(names=("a.png",)), Work(names=("b.png",)), None),
        (Work(names=("a.png", "b.png")), Work(names=("b.png",)), "at work on the same labels"),
        (Work(names=("a.png",)), WHOLE, "at work in it"),
        (SECOND, Work(names=("a.png",)), "at work in it"),
    ],
)
def test_who_may_be_at_work_at_once(mine: Work, other: Work, expected: str | None) -> None:
    found = mine.conflict(other)
    assert (found is None) == (expected is None) == (other.conflict(mine) is None)
    assert expected is None or expected in str(found)


def test_an_owned_folder_is_refused_with_its_owner_and_free_afterwards(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    line = refusal(tmp_path)
    assert str(tmp_path) in line
    assert f"process {holder.pid} on " in line
    assert "wait for it to end" in line
    assert len(files(tmp_path)) == 1  # the holder's; ours was taken back
    holder.send_signal(signal.SIGINT)
    holder.wait(timeout=20)
    assert files(tmp_path) == []
    take(tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("collected", [True, False], ids=["dead", "zombie"])
def test_a_killed_run_is_in_nobodys_way(tmp_path: Path, holder: subprocess.Popen[str], collected: bool) -> None:
    holder.kill()
    if collected:
        holder.wait()
    else:
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert len(files(tmp_path)) == 1
    take(tmp_path)
    assert files(tmp_path) == []


def test_a_process_number_given_to_another_process_is_no_owner(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    (path,) = files(tmp_path)
    record = json.loads(path.read_text())
    if not record["owner"]["process_start"]:
        pytest.skip("this system does not say when a process began")
    record["owner"]["process_start"] += "1"
    path.write_text(json.dumps(record))
    take(tmp_path)


def test_a_stopped_process_of_this_machine_still_owns_its_folder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.utime(files(tmp_path)[0], (1, 1))  # as after a night's sleep
    assert "at work in it" in refusal(tmp_path)


def test_another_machines_claim_counts_while_it_is_renewed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    (path,) = files(tmp_path)
    as_if_elsewhere(path, claims.LIFETIME - 20)
    line = refusal(tmp_path)
    assert "on node7" in line
    assert " s (or remove .excel-cam-" in line
    as_if_elsewhere(path, claims.LIFETIME + 1)
    take(tmp_path)
    assert not path.exists()


def test_a_claim_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.02)
    with claimed({tmp_path: WHOLE}):
        (path,) = files(tmp_path)
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > time.time() - 60


def test_a_run_that_lost_its_claim_or_its_folder_does_not_write_on(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    with claimed({folder: WHOLE}) as own:
        own.require()
        files(folder)[0].unlink()
        with pytest.raises(OutputError, match="another run may have taken the folder"):
            own.require()
        shutil.rmtree(folder)
        with pytest.raises(OutputError, match="was removed while labels were written to it"):
            own.require()
    assert not folder.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": {}, "work": {}}', b"[" * 100_000])
def test_a_claim_that_cannot_be_read_counts_until_it_is_old(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".excel-cam-0.claim"
    path.write_bytes(content)
    assert "another run is" in refusal(tmp_path)
    os.utime(path, (1, 1))
    take(tmp_path)


def test_of_many_that_begin_at_one_moment_one_gets_the_folder(tmp_path: Path) -> None:
    script = HOLD.replace("time.sleep(60)", "time.sleep(3)")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), "0/1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    held = [process.communicate()[0] == b"held\n" for process in started]
    assert sum(held) <= 1
    assert files(tmp_path) == []


# ---- through the command line


def run_line(result: Result) -> str:
    assert result.exit_code == 1, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    return line


def test_a_second_run_into_a_folder_is_refused_and_shares_are_not(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, cams = tmp_path / "labels", tmp_path / "cams"
    out.mkdir()
    cams.mkdir()
    other = hold(out)
    try:
        monkeypatch.setattr("excel_cam.run.worker.prepare_text", lambda *_: pytest.fail("the model was loaded"))
        for more in ((), ("--overwrite", "--refine", "none"), ("--shard", "0/2")):
            assert f"process {other.pid} on" in run_line(excel_cam(*arguments, "--out", out, *more))
        into_cams = excel_cam(*arguments, "--out", cams, "--save-cams", out)
        assert f"process {other.pid} on" in run_line(into_cams)
        assert list(out.glob("*.png")) + list(out.glob("run*.json")) == []
    finally:
        other.kill()
        other.communicate()
    monkeypatch.undo()
    other = hold(out, "1/2")
    try:
        # The other share was made with something else: known only by its hash here.
        assert "with other settings" in run_line(excel_cam(*arguments, "--out", out, "--shard", "0/2"))
    finally:
        other.kill()
        other.communicate()
    assert excel_cam(*arguments, "--out", out).exit_code == 0
    assert files(out) == []
    other = hold(out)
    try:  # nothing to write
        assert excel_cam(*arguments, "--out", out).exit_code == 0
    finally:
        other.kill()
        other.communicate()


def test_label_does_not_write_where_another_is_at_work(
    excel_cam: Run, voc_root: Path, tmp_path: Path, model_arguments: list[str]
) -> None:
    out, photograph = tmp_path / "labels", voc_root / "JPEGImages" / "2007_000001.jpg"
    out.mkdir()
    command = ["label", photograph, "--classes", "kayak", "--size", "64", *model_arguments, "--out", out]
    other = hold(out)
    try:
        assert f"process {other.pid} on" in run_line(excel_cam(*command))
    finally:
        other.kill()
        other.communicate()
    with claimed({out: Work(names=("2007_000002.png",))}):
        assert excel_cam(*command).exit_code == 0
    assert files(out) == []


@pytest.mark.parametrize("fault", ["folder", "label", "claim"])
def test_what_is_removed_during_a_run_is_not_said_to_be_complete(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    from excel_cam.run import generate

    out, write = tmp_path / "labels", generate.write_atomically

    def write_then_remove(path: Path, *rest: object) -> None:
        write(path, *rest)  # type: ignore[arg-type]
        if path.stem == "2008_000004":
            if fault == "folder":
                shutil.rmtree(out)
            elif fault == "label":
                (out / "2007_000001.png").unlink()
            else:
                files(out)[0].unlink()

    monkeypatch.setattr(generate, "write_atomically", write_then_remove)
    line = run_line(excel_cam(*arguments, "--out", out, "--batch-size", "1", "--workers", "1"))
    assert {"folder": "was removed", "label": "1 of 6 files", "claim": "claim on it"}[fault] in line
    assert "complete" not in line
    assert out.exists() == (fault != "folder")
    if fault != "folder":
        assert json.loads((out / "run.json").read_text())["state"] == "stopped"
    monkeypatch.undo()
    assert excel_cam(*arguments, "--out", out).exit_code == 0
    assert len(list(out.glob("*.png"))) == 6
