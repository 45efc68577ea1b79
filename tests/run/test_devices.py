"""`--devices`: a process each, one run: the same bytes, whatever dies on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from device_stub import pretend
from drawn import VOC_TAGS
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import kill_one

from excel_cam.data.dataset import DataSet, Sample
from excel_cam.data.source import Source
from excel_cam.errors import MachineError, ModelError, OutputError, UsageError
from excel_cam.labels.shards import Shard
from excel_cam.run.devices import choose, parent
from excel_cam.run.devices.choose import chosen_devices, threads_each
from excel_cam.run.plan import Destination
from excel_cam.run.settle import Request, Settled, Work
from excel_cam.settings import ModelChoice, Settings

Run = Callable[..., Result]


def labels(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.fixture
def several(arguments: list[str]) -> list[str]:
    """The command that labels the six drawn photographs, in two processes, less its --out."""
    at = arguments.index("--device")
    return [*arguments[:at], *arguments[at + 2 :], "--devices", "cpu,cpu", "--batch-size", "1"]


def test_two_processes_one_of_them_killed_make_the_labels_and_the_record_of_one_run(
    excel_cam: Run, arguments: list[str], several: list[str], voc_root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    (voc_root / "JPEGImages" / f"{list(VOC_TAGS)[3]}.jpg").write_bytes(b"")
    assert excel_cam(*arguments, "--batch-size", "1", "--out", one).exit_code == 3
    kill_one(monkeypatch)
    result = excel_cam(*several, "--out", two)
    assert result.exit_code == 3, result.stderr
    assert result.stderr.count("its process died (killed by SIGKILL); another takes its place") == 1
    assert result.stderr.count("model: ") == 1
    good = [name for name in VOC_TAGS if name != list(VOC_TAGS)[3]]
    assert result.stdout.splitlines() == [str(two / f"{name}.png") for name in good]
    assert labels(two) == labels(one)
    assert (two / "failed.jsonl").read_text() == (one / "failed.jsonl").read_text()
    assert f"see {two / 'failed.jsonl'}" in result.stderr
    assert sorted(p.name for p in two.iterdir() if p.suffix != ".png") == ["failed.jsonl", "run.json"]
    alone, shared = (json.loads((folder / "run.json").read_text()) for folder in (one, two))
    assert shared["work"].pop("devices") == ["cpu", "cpu"]
    assert shared["counts"]["images"] == 6
    for record in (alone, shared):
        del record["seconds"], record["counts"], record["work"]["workers"]
    assert shared == alone

    # One process goes on with what several left, and the other way round there is nothing left to do.
    (voc_root / "JPEGImages" / f"{list(VOC_TAGS)[3]}.jpg").write_bytes(
        (voc_root / "JPEGImages" / f"{good[0]}.jpg").read_bytes()
    )
    result = excel_cam(*arguments, "--out", two)
    assert (result.exit_code, "1 new, 5 kept" in result.stderr) == (0, True)
    assert sorted(p.name for p in two.iterdir() if p.suffix != ".png") == ["run.json"]
    monkeypatch.setattr(parent._Device, "start", lambda _: pytest.fail("a process was started"))
    assert "0 new, 6 kept" in excel_cam(*several, "--out", two).stderr


# ---- processes that pretend


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settled:
    """Nine images for three processes that pretend."""
    monkeypatch.setattr(parent, "label_share", pretend)
    samples = tuple(Sample(f"photo{index}", tmp_path / f"photo{index}.jpg", ()) for index in range(9))
    data = DataSet("folder", tmp_path, ("cat",), ("cat",), samples, "tags.csv", ())
    request = Request(
        source=Source(dataset="folder"), destination=Destination(out=tmp_path / "out", overwrite=True),
        model=ModelChoice(), settings=Settings(), setting_sources={}, work=Work(devices=("cuda:0", "cuda:2", "cpu")),
    )  # fmt: skip
    return Settled(request=request, data=data, root_found="", knowledge=None, images_in_all=9)


def outcomes(pretended: Settled, notes: list[str]) -> list[str]:
    with closing(parent.run_on_devices(pretended, notes.append)) as run:
        return [outcome.sample.name for outcome in run]


def seen(pretended: Settled) -> list[str]:
    return (pretended.data.root / "seen").read_text().splitlines()


def test_outcomes_come_in_the_data_sets_order_and_notes_once(pretended: Settled) -> None:
    notes: list[str] = []
    assert outcomes(pretended, notes) == [f"photo{index}" for index in range(9)]
    assert notes == ["3 processes: cuda:0, cuda:2, cpu", "what every process says"]
    devices = ("cuda:0", "cuda:2", "cpu")
    assert sorted(seen(pretended)) == [f"photo{i} {devices[i % 3]} {i % 3}/3" for i in range(9)]


def test_a_process_that_dies_is_replaced_and_nothing_is_told_twice(pretended: Settled) -> None:
    (pretended.data.root / "die-photo4").write_text("1")
    (pretended.data.root / "die-photo7").write_text("1")  # of the same device, after a label in between
    notes: list[str] = []
    assert outcomes(pretended, notes) == [f"photo{index}" for index in range(9)]
    assert notes.count("cuda:2: its process died (killed by SIGKILL); another takes its place") == 2
    assert len(seen(pretended)) == 9


def test_a_device_whose_processes_die_again_and_again_ends_the_run_with_one_line(pretended: Settled) -> None:
    (pretended.data.root / "die-photo4").write_text("3")
    with pytest.raises(MachineError) as caught:
        outcomes(pretended, [])
    assert "cuda:2: 3 processes, one after the other, died at or soon after 'photo4'" in str(caught.value)
    assert "killed by SIGKILL" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_of_one_process_ends_all_of_them_and_is_told_once(
    pretended: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pretended.data.root / "stop-photo5").touch()
    (pretended.data.root / "stop-photo4").touch()
    ended = []
    end = parent._end

    def note(devices: list[parent._Device]) -> None:
        end(devices)
        ended.extend(device.process for device in devices)

    monkeypatch.setattr(parent, "_end", note)
    with pytest.raises(OutputError, match=r"stopped at photo[45]") as caught:
        outcomes(pretended, [])
    assert str(caught.value.__cause__) == "Traceback: there"
    assert [process is not None and process.is_alive() for process in ended] == [False] * 3


# ---- which devices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", ("cuda:0",)),
        ("0,1,3", ("cuda:0", "cuda:1", "cuda:3")),
        (" cuda:1 , cpu", ("cuda:1", "cpu")),
        ("cpu,cpu", ("cpu", "cpu")),
        ("all", ("cuda:0", "cuda:1")),
    ],
)
def test_devices_are_read(monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]) -> None:
    monkeypatch.setattr(choose, "count_gpus", lambda: 2)
    assert chosen_devices(text) == expected


@pytest.mark.parametrize("text", ["", "0,", "-1", "gpu", "cuda", "0;1", "all,0", "01", ",".join(["cpu"] * 65)])
def test_other_devices_are_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="--devices") as caught:
        chosen_devices(text)
    assert "\n" not in str(caught.value)


def test_all_of_no_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "count_gpus", lambda: 0)
    with pytest.raises(ModelError, match="no CUDA device; leave --devices out"):
        chosen_devices("all")


def test_processes_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "processors", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_each(("cpu", "cpu", "cpu"), None) == 2
    assert threads_each(("cpu",) * 20, None) == 1
    assert threads_each(("cpu", "cpu"), 5) == 5
    assert threads_each(("cuda:0", "cuda:1"), None) == 4
    assert threads_each(("cuda:0",), None) == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_each(("cpu", "cpu"), None) is None
    assert threads_each(("cuda:0", "cuda:1"), None) is None


@settings(max_examples=30)
@given(count=st.integers(1, 5), devices=st.integers(1, 5), size=st.integers(1, 40))
def test_the_devices_of_shares_divide_all_images_as_their_names_say(count: int, devices: int, size: int) -> None:
    names = [f"photo{index}" for index in range(size)]
    samples = tuple(Sample(name, Path(name), ()) for name in names)
    found = []
    for index in range(count):
        own = Shard(index, count, "--shard")
        request = Request(
            source=Source(dataset="folder"), destination=Destination(out=Path("out")), model=ModelChoice(),
            settings=Settings(), setting_sources={}, work=Work(devices=("cpu",) * devices, shard=own),
        )  # fmt: skip
        data = DataSet("folder", Path(), ("cat",), ("cat",), own.select(samples), "", ())
        settled = Settled(request=request, data=data, root_found="", knowledge=None, images_in_all=size)
        for device in parent._devices(settled) if data.samples else ():
            part = device.settled
            assert part.data.samples == part.request.work.shard.select(samples)
            found += [sample.name for sample in part.data.samples]
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--device", "cpu"], "--devices says which devices, and --device (command line) another"),
        (["--dry-run"], "--dry-run measures one device"),
    ],
)
def test_devices_said_in_two_ways_are_refused(
    excel_cam: Run, several: list[str], tmp_path: Path, more: list[str], words: str
) -> None:
    result = excel_cam(*several, "--out", tmp_path / "out", *more)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_command_is_ended_so_are_its_processes(
    excel_cam: Run, arguments: list[str], several: list[str], tmp_path: Path, how: signal.Signals
) -> None:
    """The same command then makes the same bytes as one run."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "excel_cam", *several, "--size", "512", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    claims = [json.loads(path.read_text()) for path in out.glob(".excel-cam-*.claim")]
    process.send_signal(how)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == (130 if how == signal.SIGTERM else -signal.SIGKILL)
    assert "Traceback" not in stderr
    for claim in claims:
        until = time.monotonic() + 60
        while Path("/proc", str(claim["owner"]["process"])).exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not Path("/proc", str(claim["owner"]["process"])).exists()
    assert not list(out.glob(".excel-cam*"))
    assert excel_cam(*arguments, "--size", "512", "--out", out).exit_code == 0
    assert excel_cam(*arguments, "--size", "512", "--out", tmp_path / "one").exit_code == 0
    assert labels(out) == labels(tmp_path / "one")
