"""Labels by Ray as a user makes them, each run in a network of its own: the bytes of a run without it, whatever dies.

Slow, because each starts a Ray: `python -m pytest -n 0 -m slow tests/run/shards/test_ray.py`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from alone import alone, processes_here
from click.testing import Result
from drawn import VOC_TAGS
from object_store import BUCKET, s3_backend, s3_server, sends, web_server

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra `shards`)")

Run = Callable[..., Result]
SECRET = "s3cretS3CRETs3cret"

with_ray = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ray", "aiohttp")),
    reason="Ray is not installed (extra `ray`), or aiohttp (extra `remote`)",
)
ACTOR = b"ray::MapWorker"


def write_manifest(path: Path, uris: dict[str, str], tags: dict[str, list[str]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({
        "name": list(uris), "uri": list(uris.values()), "classes": [tags[name] for name in uris],
    })  # fmt: skip
    pyarrow.parquet.write_table(table, path)
    return path


def tags_of(names: Iterator[str] | dict[str, str]) -> dict[str, list[str]]:
    return {name: VOC_TAGS[name].split() for name in names}


@pytest.fixture
def photographs(voc_root: Path) -> dict[str, Path]:
    return {name: voc_root / "JPEGImages" / f"{name}.jpg" for name in VOC_TAGS}


@pytest.fixture
def labelling(model_arguments: list[str]) -> list[str]:
    """The command, less its --manifest and --out."""
    return [
        "generate", "--dataset", "voc", "--rows-per-shard", "1", "--size", "64", "--device", "cpu", "--threads", "1",
        *model_arguments,
    ]  # fmt: skip


@pytest.fixture
def plain(excel_cam: Run, labelling: list[str], photographs: dict[str, Path], tmp_path: Path) -> dict[str, bytes]:
    """What a run without Ray makes of the photographs, a shard each."""
    uris = {name: str(path) for name, path in photographs.items()}
    manifest = write_manifest(tmp_path / "plain.parquet", uris, tags_of(uris))
    result = excel_cam(*labelling, "--manifest", manifest, "--out", tmp_path / "plain")
    assert result.exit_code == 0, result.stderr
    return shards_of(tmp_path / "plain")


def shards_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("labels-*"))}


@contextmanager
def command(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command line as a process, with a Ray whose files lie in a folder that is removed at the end."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets lie there: their names have to be short
    environment = {**os.environ, "RAY_TMPDIR": folder, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "excel_cam", *map(str, arguments), "--engine", "ray"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        for number in processes_here(b"ray::"):
            os.kill(number, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def answer_photographs(photographs: dict[str, Path], happening: dict[str, Callable[[], None]]) -> Callable[..., None]:
    """Photographs by the web; happening: what happens, once, before one of that name is sent."""
    lock = threading.Lock()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        name = Path(handler.path.partition("?")[0]).stem
        with lock:
            happens = happening.pop(name, None)
        if happens is not None:
            happens()
        sends(photographs[name].read_bytes())(handler)

    return answer


def kill_actors() -> None:
    for number in processes_here(ACTOR):
        os.kill(number, signal.SIGKILL)


def wait_for_nobody(beginning: bytes = b"") -> None:
    """Wait until all that was started in this network, and whose command begins so, has ended."""
    deadline = time.monotonic() + 60
    while left := processes_here(beginning):
        assert time.monotonic() < deadline, [Path(f"/proc/{number}/cmdline").read_bytes() for number in left]
        time.sleep(0.2)


@pytest.mark.slow
@with_ray
def test_labels_are_those_of_a_plain_run_though_actors_are_killed(
    labelling: list[str], photographs: dict[str, Path], plain: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "labels"

    def check() -> None:
        with web_server(answer_photographs(photographs, {"2007_000003": kill_actors})) as address:
            # The password and signature are the server's; they have to get to the actors, and nowhere else.
            host = address.removeprefix("http://")
            uris = {name: f"http://me:{SECRET}@{host}/{name}.jpg?sig={SECRET}" for name in photographs}
            manifest = write_manifest(tmp_path / "m.parquet", uris, tags_of(uris))
            with command(*labelling, "--manifest", manifest, "--out", out) as process:
                stdout, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr
            assert sorted(stdout.splitlines()) == [str(out / name) for name in plain if name.endswith(".tar")]
            assert f"6 shards in {out} (6 made now: 6 labels, 0 there before)" in stderr
            assert stderr.count("Ray: A worker died") == 1, stderr
            assert SECRET not in stdout + stderr + (out / "run.json").read_text()
            wait_for_nobody()
            with command(*labelling, "--manifest", manifest, "--out", out) as process:  # starts no Ray
                stdout, stderr = process.communicate(timeout=600)
            assert "6 shards" in stderr
            assert "(0 made now: 0 labels, 6 there before)" in stderr

    alone(check)
    assert shards_of(out) == plain


@pytest.mark.slow
@with_ray
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_ends_early_leaves_whole_shards_to_go_on_from(
    labelling: list[str], photographs: dict[str, Path], plain: dict[str, bytes], tmp_path: Path, end: signal.Signals
) -> None:
    out, running = tmp_path / "labels", []

    def check() -> None:
        happening = {list(photographs)[-1]: lambda: (running[0].send_signal(end), time.sleep(2))[0]}
        with web_server(answer_photographs(photographs, happening)) as address:
            uris = {name: f"{address}/{name}.jpg" for name in photographs}
            manifest = write_manifest(tmp_path / "m.parquet", uris, tags_of(uris))
            with command(*labelling, "--manifest", manifest, "--out", out) as process:
                running.append(process)
                _stdout, stderr = process.communicate(timeout=600)
            if end == signal.SIGKILL:
                assert process.returncode == -end
                wait_for_nobody(ACTOR)  # agents of Ray's own outlive what was killed above them
            else:
                wait_for_nobody()
                assert process.returncode == 130, stderr
                assert "Stopped; the same command goes on from here." in stderr
                assert "Traceback" not in stderr
            there = shards_of(out)
            assert len([name for name in there if name.endswith(".parquet")]) < 6
            assert all(there[name] == plain[name] for name in there if name.endswith(".parquet"))
            with command(*labelling, "--manifest", manifest, "--out", out) as process:
                _stdout, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr

    alone(check)
    assert {name: content for name, content in shards_of(out).items() if not name.endswith(".running")} == plain


@pytest.mark.slow
@with_ray
def test_an_error_in_an_actor_is_told_once_on_one_line(
    labelling: list[str], photographs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "labels"
    uris = {name: str(path) for name, path in photographs.items()}
    manifest = write_manifest(tmp_path / "m.parquet", uris, {name: ["unicorn"] for name in uris})

    def check() -> None:
        with command(*labelling, "--manifest", manifest, "--out", out) as process:
            _stdout, stderr = process.communicate(timeout=600)
        assert process.returncode == 1
        assert stderr.count("unicorn") == 1, stderr
        assert [line for line in stderr.splitlines() if line.startswith("Error: ")] == stderr.splitlines()[-1:]
        assert "Traceback" not in stderr
        wait_for_nobody()

    alone(check)
    assert list(shards_of(out)) == []


@pytest.mark.slow
@with_ray
def test_labels_in_s3_are_those_on_a_disk(
    labelling: list[str], photographs: dict[str, Path], plain: dict[str, bytes], tmp_path: Path
) -> None:
    def check() -> dict[str, bytes]:
        with pytest.MonkeyPatch.context() as monkeypatch, s3_server(monkeypatch):
            for name, path in photographs.items():
                s3_backend().put_object(BUCKET, f"photographs/{name}.jpg", path.read_bytes())
            uris = {name: f"s3://{BUCKET}/photographs/{name}.jpg" for name in photographs}
            manifest = write_manifest(tmp_path / "m.parquet", uris, tags_of(uris))
            s3_backend().put_object(BUCKET, "m.parquet", manifest.read_bytes())
            out = f"s3://{BUCKET}/labels"
            with command(*labelling, "--manifest", f"s3://{BUCKET}/m.parquet", "--out", out) as process:
                _stdout, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr
            keys = s3_backend().list_objects(s3_backend().get_bucket(BUCKET), "labels/labels-", None, None, 100)[0]
            return {key.name.removeprefix("labels/"): key.value for key in keys}

    assert alone(check) == plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ray-address", "auto"], "--ray-address goes with --engine ray"),
        (["--engine", "ray", "--device", "cuda:1"], "each actor has a GPU of its own; give --device cuda"),
    ],
)
def test_options_that_do_not_go_together(
    excel_cam: Run, labelling: list[str], tmp_path: Path, options: list[str], message: str
) -> None:
    result = excel_cam(*labelling, "--manifest", tmp_path / "m.parquet", "--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_ray_is_for_shards_alone(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    result = excel_cam(*arguments, "--out", tmp_path / "out", "--engine", "ray")
    assert result.exit_code == 2
    assert "--engine goes with photographs in shards" in result.stderr


def test_without_ray_one_line_says_how_to_get_it(
    excel_cam: Run, labelling: list[str], photographs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    uris = {name: str(path) for name, path in photographs.items()}
    manifest = write_manifest(tmp_path / "m.parquet", uris, tags_of(uris))
    result = excel_cam(*labelling, "--manifest", manifest, "--out", tmp_path / "out", "--engine", "ray")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: --engine ray needs Ray: pip install '.[ray]' in a clone of excel-cam"
    )
