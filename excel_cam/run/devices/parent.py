"""A run over several devices of one machine: shares handed out, processes watched, outcomes put in order again.

Process j of M has every M-th image, from the j-th on; so its files are those of `--shard j/M`, and a share of a cluster
can be divided further. What a process that died has told of stays told; the one that takes its place has the rest.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from excel_cam.errors import MachineError
from excel_cam.labels.records import read_runs
from excel_cam.labels.shards import Shard
from excel_cam.labels.status.shares import is_left_open
from excel_cam.run.devices.child import (
    GRACE,
    Finished,
    Made,
    Message,
    Note,
    Stopped,
    block_interrupts,
    label_share,
    unblock_interrupts,
)
from excel_cam.run.devices.choose import threads_each
from excel_cam.run.devices.merge import merge_records
from excel_cam.run.execute import Outcome, Tally
from excel_cam.run.generate import run
from excel_cam.run.plan import compare, finished_identity, label_path
from excel_cam.run.settle import Settled
from excel_cam.wording import Report, quoted

DEATHS = 3  # of one device's processes, one after the other without a label between them, that end the run
SOURCE = "--devices"


class _ElsewhereError(Exception):
    """Where in another process an error came up, as text: the cause of the error here."""


@dataclass
class _Device:
    """One device, its share of the images, and the process that labels them now."""

    name: str
    settled: Settled  # its whole share
    told: int = 0  # images of the share that are known to be done or failed
    deaths: int = 0  # since the last of them
    finished: bool = False
    process: BaseProcess | None = None
    connection: Connection | None = None
    waiting: deque[Made] = field(default_factory=deque)  # told of, but not yet its turn

    def start(self) -> None:
        """Start a process on what is left of the share."""
        data = self.settled.data
        rest = replace(self.settled, data=replace(data, samples=data.samples[self.told :]))
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=label_share, args=(rest, theirs), name=self.name, daemon=True)
        block_interrupts()  # which the process inherits: Ctrl-C is not to end it while it still loads its modules
        try:
            self.process.start()
        finally:
            unblock_interrupts()
            theirs.close()  # the process has its own: when it is gone, reading comes to an end

    def receive(self) -> Message | None:
        """The next message, None where the process has ended without another."""
        assert self.connection is not None
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            return None
        return message

    def note_death(self) -> str:
        """Collect a process that ended by itself, and say how; raises `MachineError` where that happened too often."""
        self.close()
        assert self.process is not None
        how = _exit_text(self.process.exitcode)
        self.deaths += 1
        if self.deaths < DEATHS:
            return how
        samples = self.settled.data.samples
        at = f" at or soon after {quoted(samples[self.told].name)}" if self.told < len(samples) else ""
        raise MachineError(
            f"{self.name}: {DEATHS} processes, one after the other, died{at} without a label between them ({how}); "
            "the same command goes on from here; lower --batch-size or --workers where memory was short, or leave "
            "that image out with --list"
        )

    def close(self) -> None:
        """Let go of a process that has ended."""
        if self.connection is not None:
            self.connection.close()
        if self.process is not None:
            self.process.join()


def run_on_devices(settled: Settled, report: Report) -> Generator[Outcome, None, None]:
    """Label what is left to label on the devices of `settled.request.work`; otherwise as `run`.

    Raises what a device's process was stopped by, once, after the others have been ended, and `MachineError` where
    processes of one device die again and again.
    """
    if not settled.data.samples:
        return  # more shares than images
    devices, started = _devices(settled), time.monotonic()
    if _is_finished(whole := _asked_of(settled, devices[0].name)):
        yield from run(whole, report)  # which loads no model then
        return
    report(f"{len(devices)} processes: {', '.join(device.name for device in devices)}")
    tally = Tally()
    try:
        for device in devices:
            device.start()
        for outcome in _in_order(devices, settled, report):
            tally.add(outcome)
            yield outcome
    finally:
        _end(devices)
    shards = [device.settled.request.work.shard for device in devices]
    merge_records(settled, shards, [device.name for device in devices], tally, time.monotonic() - started, report)


def _devices(settled: Settled) -> list[_Device]:
    """The devices, each with its share; no more of them than there are images."""
    request, samples = settled.request, settled.data.samples
    names = request.work.devices[: len(samples)]
    own, threads = request.work.shard, threads_each(names, request.model.threads)
    found = []
    for place, name in enumerate(names):
        shard = Shard(own.index + own.count * place, own.count * len(names), SOURCE)
        if len(names) == 1:
            shard = own
        part = replace(
            _asked_of(settled, name, threads), data=replace(settled.data, samples=samples[place :: len(names)])
        )
        part = replace(part, request=replace(part.request, work=replace(request.work, shard=shard)))
        found.append(_Device(name, part))
    return found


def _asked_of(settled: Settled, device: str, threads: int | None = None) -> Settled:
    """The same run, as one device is asked for it."""
    model = replace(settled.request.model, device=device, threads=threads)
    return replace(settled, request=replace(settled.request, model=model))


def _is_finished(settled: Settled) -> bool:
    """Whether everything is there that a run would make."""
    destination = settled.request.destination
    if destination.overwrite:
        return False
    earlier = read_runs(destination.out)
    identity = finished_identity(earlier, settled.known, settled.asked)
    if identity is None or is_left_open(earlier, settled.request.work.shard):
        return False
    return not compare(settled.data.samples, destination, identity).pending


def _in_order(devices: Sequence[_Device], settled: Settled, report: Report) -> Iterator[Outcome]:
    """Every image's outcome, in the data set's order, as the processes tell of them."""
    out, samples = settled.request.destination.out, settled.data.samples
    said = set[str]()
    position = 0
    while True:
        while position < len(samples) and (waiting := devices[position % len(devices)].waiting):
            sample, made = samples[position], waiting.popleft()
            yield Outcome(sample, label_path(out, sample), made.kept, made.reason, made.shows_class)
            position += 1
        at_work = {device.connection: device for device in devices if not device.finished}
        if not at_work:
            return
        for ready in wait(list(at_work)):  # type: ignore[arg-type]
            device = at_work[ready]  # type: ignore[index]
            message = device.receive()
            if isinstance(message, Made):
                device.waiting.append(message)
                device.told, device.deaths = device.told + 1, 0
            elif isinstance(message, Note):
                if message.text not in said:  # every process would say it
                    said.add(message.text)
                    report(message.text)
            elif isinstance(message, Finished):
                device.finished = True
                device.close()
            elif isinstance(message, Stopped):
                message.error.__cause__ = _ElsewhereError(message.traceback)
                raise message.error
            else:
                how = device.note_death()
                report(f"{device.name}: its process died ({how}); another takes its place")
                device.start()


def _end(devices: Sequence[_Device]) -> None:
    """End the processes that are still there: told to first, so that they close their records, then made to."""
    left = [device.process for device in devices if device.process is not None and device.process.is_alive()]
    try:
        for process in left:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in left:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in left:
            if process.is_alive():
                process.kill()


def _exit_text(code: int | None) -> str:
    """How a process ended, as `multiprocessing` numbers it: below 0 the signal that killed it."""
    if code is None or code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
