"""Shards made by Ray, on this machine or a cluster: actors that hold a worker each, a GPU for each where there are any.

Through Ray go numbers of shards and what became of them; photographs and labels go between storage and actors alone.
Ray schedules, and tries again what a lost machine left; a shard made twice is committed once, to the same bytes.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import pickle
import signal
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import excel_cam
from excel_cam.errors import ExcelCamError, MachineError, UsageError
from excel_cam.labels.records import run_file
from excel_cam.labels.shards import WHOLE
from excel_cam.run.shards.engine import Engine
from excel_cam.run.shards.make import Commit, ShardMaker
from excel_cam.wording import Report, install_hint

_STARTS = 3  # tries: Ray gives a machine 30 s to start its processes in, which a busy one may exceed
_MOST_ATTEMPTS = 10  # at one shard; Ray itself would go on for ever where each of them kills its process
_STORE = 128 << 20  # bytes of shared memory for a Ray of our own: addresses and reasons need little
_LONGEST = 300  # characters of what Ray says


def require_ray() -> None:
    """Raise `UsageError` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"--engine ray needs Ray: {install_hint('ray')}")


@contextlib.contextmanager
def ray_engine(
    maker: ShardMaker, address: str | None, told: Callable[[int], None] = lambda _: None
) -> Iterator[Engine]:  # fmt: skip
    """An engine that connects to Ray once there is something to make, and lets go of it at the end of the block.

    address: of a running cluster, `auto` for that of this machine; None for what RAY_ADDRESS says, else a Ray of our
    own. told: called with how many more photographs are done, once their shard is.
    """
    require_ray()
    engine = RayEngine(maker, address, told)
    try:
        yield engine
    finally:
        engine.close()


@dataclass(frozen=True)
class _Here:
    """What of this process the actors need to know."""

    version: str
    folder: str
    threads: int

    def settle_in(self) -> None:
        """Make a process of Ray like this one. Raises `MachineError` where labels would differ."""
        if excel_cam.__version__ != self.version:
            raise MachineError(
                f"{socket.gethostname()} has excel-cam {excel_cam.__version__}, and this machine {self.version}; "
                "install the same on all machines"
            )
        with contextlib.suppress(OSError):  # not on all machines: addresses and absolute paths do without
            os.chdir(self.folder)
        # Masks of `segment` differ in a few pixels with the number of threads, and Ray has an opinion of its own.
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        import torch

        torch.set_num_threads(self.threads)


class RayEngine:
    """As `Engine` has it."""

    def __init__(self, maker: ShardMaker, address: str | None, told: Callable[[int], None]) -> None:
        self._maker, self._address, self._told = maker, address, told
        self._report: Report = lambda _: None
        self._ray: Any = None

    def record(self, report: Report) -> dict[str, Any]:
        """As `Engine` has it; the actor that has loaded a model for it is let go."""
        self._connect(report)
        with self._told_of_ray():
            task = self._ray.remote(**self._resources())(_record)
            content = self._ray.get(task.remote(self._sent, self._here))
        messages, record = _unpacked(content)
        for message in messages:
            report(message)
        return dict(record)

    def run(self, shards: Sequence[int]) -> Generator[Commit, None, None]:
        """As `Engine` has it, in the order in which they end."""
        with self._told_of_ray():
            rows = iter(self._dataset(shards).iter_rows())
        # However this ends, Ray's threads are to be done with it before Ray is let go.
        with contextlib.closing(rows), contextlib.ExitStack() as ending:
            ending.callback(self._hush)
            while True:
                with self._told_of_ray():
                    row = next(rows, None)
                if row is None:
                    return
                commit: Commit = _unpacked(row["answer"])
                self._told(commit.labelled + len(commit.failed))
                yield commit

    def close(self) -> None:
        """Let go of Ray: its own processes end, and so do the actors in a cluster."""
        if self._ray is not None:
            self._ray.shutdown()

    def _hush(self) -> None:
        """What ends with the run is no news."""
        self._report = lambda _: None

    def _dataset(self, shards: Sequence[int]) -> Any:
        """A row a shard, each a block of its own, so that each is a task."""
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1  # a shard may take hours
        actors = ray.data.ActorPoolStrategy(size=self._actors(len(shards)), max_tasks_in_flight_per_actor=1)
        rows = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        attempts = self._ray.remote(num_cpus=0)(_Attempts).remote()
        return rows.map(
            _Actor, fn_constructor_args=(self._sent, self._here, attempts), compute=actors, **self._resources()
        )

    def _resources(self) -> dict[str, int]:
        """What an actor, or the task that stands for one, needs of the cluster."""
        return {"num_gpus": 1} if self._on_gpus() else {"num_cpus": self._here.threads}

    def _on_gpus(self) -> bool:
        device = self._maker.settled.recipe.model.device
        return device.startswith("cuda") or (device == "auto" and self._ray.cluster_resources().get("GPU", 0) >= 1)

    def _actors(self, shards: int) -> int:
        """How many actors the cluster has room for, and work."""
        there = self._ray.cluster_resources()
        room = there.get("GPU", 0) if self._on_gpus() else there.get("CPU", 0) / self._here.threads
        return max(1, min(int(room), shards))

    def _connect(self, report: Report) -> None:
        """Connect to the cluster, or start a Ray of our own. Raises `MachineError`."""
        self._report = report
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is labelled here is told to nobody
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else its own trouble with its own actors
        os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a thread that comes late would start another Ray
        import ray

        _quieten(lambda line: self._report(line))
        address = self._address or os.environ.get("RAY_ADDRESS")
        own = {} if address else {"include_dashboard": False, "object_store_memory": _STORE}
        self._ray = ray
        with _own_termination():
            for start in range(1, _STARTS + 1):
                try:
                    ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **own)
                    break
                except Exception as error:
                    ray.shutdown()
                    if address or start == _STARTS:
                        what = f"the Ray cluster {address} does not answer" if address else "Ray does not start"
                        raise MachineError(f"{what}: {_first_line(error)}") from None
                    report("Ray did not start in time; trying again")
        self._here = _Here(excel_cam.__version__, os.getcwd(), self._threads())
        self._check_room()
        self._sent = ray.put(pickle.dumps(self._maker))

    def _threads(self) -> int:
        """With how many threads a run without Ray would compute here."""
        from excel_cam.model.clip import computing_threads

        return computing_threads(self._maker.settled.recipe.model.threads)

    def _check_room(self) -> None:
        """Raise `MachineError` where Ray would wait for ever for a machine with room for an actor."""
        wanted, unit = (1, "GPU") if self._on_gpus() else (self._here.threads, "CPU")
        most = max((node["Resources"].get(unit, 0) for node in self._ray.nodes() if node["Alive"]), default=0)
        if most < wanted and unit == "GPU":
            raise MachineError("no machine of the Ray cluster has a GPU; give --device cpu")
        if most < wanted:
            raise MachineError(
                f"no machine of the Ray cluster has {wanted} processors, as many as threads compute here; give "
                f"--threads {max(1, int(most))}"
            )

    @contextlib.contextmanager
    def _told_of_ray(self) -> Iterator[None]:
        """Turn what Ray raises into one line."""
        try:
            yield
        except ExcelCamError:
            raise
        except Exception as error:
            raise MachineError(
                f"Ray gave up: {_first_line(error)}; what is committed stays, and the same command goes on from there"
            ) from None


class _Attempts:
    """A process of Ray that counts how often each shard was begun."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def begin(self, shard: int) -> int:
        """Count once more."""
        self._counts[shard] += 1
        return self._counts[shard]


class _Actor:
    """A process of Ray with a worker that stays loaded."""

    def __init__(self, sent: Any, here: _Here, attempts: Any) -> None:
        self._sent, self._here, self._attempts = sent, here, attempts
        self._maker: ShardMaker | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make a shard: its commit, or what went wrong, which is no trouble of Ray's to be tried again."""
        return {"answer": _packed(lambda: self._made(int(row["shard"])))}

    def _made(self, shard: int) -> Commit:
        import ray

        if ray.get(self._attempts.begin.remote(shard)) > _MOST_ATTEMPTS:
            raise MachineError(
                f"shard {shard} killed its process {_MOST_ATTEMPTS} times, as happens where memory is short: give "
                "--batch-size 1, or fewer rows or photographs a shard"
            )
        if self._maker is None:
            maker: ShardMaker = pickle.loads(ray.get(self._sent))
            self._here.settle_in()
            _require_shared(maker)
            self._maker = maker
        return self._maker.make(shard)


def _require_shared(maker: ShardMaker) -> None:
    """Raise `MachineError` where labels would go to a folder that this machine alone has."""
    out = maker.settled.out
    if not out.child(run_file(WHOLE)).exists():
        raise MachineError(
            f"{out} is another folder on {socket.gethostname()}: labels of --engine ray go to a folder that all "
            "machines share, or into a storage (s3://...)"
        )


def _record(content: bytes, here: _Here) -> bytes:
    """What `ShardMaker.record` tells and reports, in a process of Ray."""

    def told() -> tuple[list[str], dict[str, Any]]:
        messages: list[str] = []
        maker: ShardMaker = pickle.loads(content)
        here.settle_in()
        return messages, maker.record(messages.append)

    return _packed(told)


def _packed(made: Callable[[], Any]) -> bytes:
    """What a function returns or raises, to be sent back."""
    try:
        return pickle.dumps(made())
    except ExcelCamError as error:
        return pickle.dumps(error)
    except Exception:
        return pickle.dumps(RuntimeError(traceback.format_exc()))


def _unpacked(content: bytes) -> Any:
    """What was sent back; raises what was raised."""
    answer = pickle.loads(content)  # of a process of ours
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextlib.contextmanager
def _own_termination() -> Iterator[None]:
    """Keep what SIGTERM does here: Ray puts an end without winding up in its place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _quieten(report: Report) -> None:
    """Have Ray's news of dead processes reported: it prints them on standard output, where labels' paths go."""
    worker: Any = importlib.import_module("ray._private.worker")
    said: set[str] = set()

    def told(data: dict[str, Any], **_: Any) -> None:
        for text in data.get("lines", ()):
            line = str(text).strip().split("\n")[0].split(". ")[0]
            if line and line not in said:
                said.add(line)
                report(f"Ray: {line[:_LONGEST]}")

    worker.print_to_stdstream = told  # no public way; where the name is gone, Ray prints as it likes


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_LONGEST]
