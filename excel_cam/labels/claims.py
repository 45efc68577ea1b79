"""One run owns a folder: files that say who is at work there, and that a killed run cannot leave in the way.

Each run puts a file of its own, `.excel-cam-TOKEN.claim`, into the folder it writes to, and only then looks at those of
others; so of two runs that begin at one moment at least one sees the other. Nobody ever replaces a file of another, so
nothing can be taken over by two. A claim counts as long as its process is there. On the same machine that can be seen;
elsewhere its file has to be renewed, by the clock of the file system that both share. Before each label is written its
run makes sure that its claim still stands: a run that was asleep for too long, or whose folder was removed, stops.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files.arrays.bounded import read_bounded
from excel_cam.files.atomic import is_alive, json_bytes, without_empty_folders, write_atomically
from excel_cam.files.json_file import parse_json
from excel_cam.files.machine import raise_if_machine
from excel_cam.labels.shards import Shard

BEAT = 10.0  # seconds after which a claim is renewed
LIFETIME = 90.0  # seconds without renewal after which the claim of another machine no longer counts
MAX_CLAIM = 16_000_000  # bytes: names of single photographs are all in it
ATTEMPTS = 4  # two runs that began at one moment may each have seen the other, and step back to try again
_DEAD = "dead"
_PREFIX, _SUFFIX = ".excel-cam-", ".claim"


@dataclass(frozen=True)
class Work:
    """What a run is about to write into a folder.

    shard: "0/1" for all of a data set. names: the labels of single photographs instead. made_with: hashes of what
    decides its labels, by part; parts that are not known yet are left out.
    """

    shard: str = "0/1"
    names: tuple[str, ...] | None = None
    made_with: dict[str, str] = field(default_factory=dict)

    def conflict(self, other: Work) -> str | None:
        """Why the two must not write into one folder at once; None where they may."""
        if self.names is not None and other.names is not None:
            return "at work on the same labels" if {*self.names} & {*other.names} else None
        if self.names is not None or other.names is not None:
            return "at work in it"
        if self.shard == other.shard:
            return "at work in it" if self.shard == "0/1" else f"at work on share {self.shard}"
        if self.shard.partition("/")[2] != other.shard.partition("/")[2]:
            return f"at work on share {other.shard}, which has images in common with {self.shard}"
        if any(other.made_with.get(part, value) != value for part, value in self.made_with.items()):
            return f"at work on share {other.shard} with other settings, sentences or weights"
        return None


def work_of(shard: Shard, made_with: dict[str, str]) -> Work:
    """The work of a share of a data set."""
    return Work(f"{shard.index}/{shard.count}", None, made_with)


@dataclass(frozen=True)
class _Owner:
    """A process, as another can look for it. machine: tells machines and containers, and a machine's starts, apart.

    process_start: of the process, in the system's own unit; "" where the system does not say.
    """

    host: str
    machine: str
    process: int
    process_start: str
    since: str


def _this_process() -> _Owner:
    machine = [platform.node(), _text_of("/proc/sys/kernel/random/boot_id")]
    with contextlib.suppress(OSError):
        machine.append(os.readlink("/proc/self/ns/pid"))  # process ids mean something within one container only
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return _Owner(socket.gethostname(), " ".join(machine), os.getpid(), _process_start(os.getpid()), started)


def _process_start(process: int) -> str:
    """When a process began, "" where the system does not say, _DEAD for one that only waits to be collected."""
    # Fields after the command's name, which may hold anything and ends at the last bracket: the state, ..., the start.
    fields = _text_of(f"/proc/{process}/stat").rpartition(")")[2].split()
    if len(fields) < 20:
        return ""
    return _DEAD if fields[0] in ("Z", "X") else fields[19]


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""


class Claim:
    """A run's own claim on a folder; see `claimed`."""

    def __init__(self, folder: Path, work: Work) -> None:
        self.folder, self.work = folder, work
        self.path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        self._owner = _this_process()
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claim", daemon=True)

    def take(self) -> None:
        """Put the claim into the folder; raises `OutputError` where another run is at work there."""
        for attempt in range(ATTEMPTS):
            self._write()
            other = self._other()
            if other is None:
                self._heart.start()
                return
            self.path.unlink(missing_ok=True)
            if attempt < ATTEMPTS - 1:
                time.sleep(random.uniform(0.02, 0.2))
        raise OutputError(other)

    def specify(self, made_with: dict[str, str]) -> None:
        """Say more of what decides the labels; raises `OutputError` where another run's differ."""
        self.work = replace(self.work, made_with=self.work.made_with | made_with)
        self._write()
        if (other := self._other()) is not None:
            raise OutputError(other)

    def require(self) -> None:
        """Raise `OutputError` where the claim no longer stands; to be asked before every label is written."""
        try:
            os.close(os.open(self.path, os.O_RDONLY))  # a network file system asks its server when a file is opened
        except (FileNotFoundError, NotADirectoryError):
            if not self.folder.is_dir():
                raise OutputError(
                    f"{self.folder} was removed while labels were written to it; run the same command again"
                ) from None
            raise OutputError(
                f"{self.folder}: this run's claim on it ({self.path.name}) is gone: another run may have taken the "
                "folder after this one had been suspended; run the same command again once no other is at work there"
            ) from None
        except OSError as error:
            raise_if_machine(error, self.path)
            raise OutputError(f"{self.path} cannot be read: {error.strerror}") from None

    def release(self) -> None:
        """Let others have the folder."""
        self._released.set()
        with contextlib.suppress(OSError):  # the folder may be gone, or the disk away
            self.path.unlink()

    def _write(self) -> None:
        write_atomically(self.path, json_bytes({"owner": asdict(self._owner), "work": asdict(self.work)}))

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            with contextlib.suppress(OSError):  # gone: `require` finds out; a network that stalls may come back
                os.utime(self.path)

    def _other(self) -> str | None:
        """What to say of another run that is in the way; claims that no longer count are removed."""
        now = self.path.stat().st_mtime  # by the clock of the file system, as all the other claims' times
        for path in sorted(self.folder.glob(f"{_PREFIX}*{_SUFFIX}")):
            if path == self.path:
                continue
            try:
                age = now - path.stat().st_mtime
                owner, work = _read_claim(path)
            except FileNotFoundError:
                continue  # released meanwhile
            if not _counts(owner, age, self._owner.machine):
                with contextlib.suppress(OSError):
                    path.unlink()
            elif (reason := self.work.conflict(work)) is not None:
                return self._in_the_way(owner, age, reason, path)
        return None

    def _in_the_way(self, owner: _Owner | None, age: float, reason: str, path: Path) -> str:
        who = "another run"
        if owner is not None:
            who = f"process {owner.process} on {owner.host}, since {owner.since},"
        remedy = "wait for it to end, or choose another folder"
        if owner is None or owner.machine != self._owner.machine:
            left = max(1, round(LIFETIME - age))
            remedy += f"; should it be dead, this works again in {left} s (or remove {path.name})"
        return f"{self.folder}: {who} is {reason}; {remedy}"


def _counts(owner: _Owner | None, age: float, machine: str) -> bool:
    """Whether a claim that was renewed so long ago still stands, as seen from a machine."""
    if owner is not None and owner.machine == machine:
        if not is_alive(owner.process):
            return False
        start = _process_start(owner.process)
        if start and owner.process_start:
            return start == owner.process_start  # the same number may have been given to another process
    return age < LIFETIME


@dataclass(frozen=True)
class AtWork:
    """A run that is at work in a folder. who: its process and host, "" where its claim cannot be read."""

    work: Work
    who: str


def runs_at_work(folder: Path) -> list[AtWork]:
    """The runs whose claims on a folder stand; nothing is written, so times are compared with this machine's clock."""
    machine, found = _this_process().machine, []
    for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
        try:
            age = time.time() - path.stat().st_mtime
            owner, work = _read_claim(path)
        except FileNotFoundError:
            continue  # released meanwhile
        if _counts(owner, age, machine):
            found.append(AtWork(work, "" if owner is None else f"process {owner.process} on {owner.host}"))
    return found


def _read_claim(path: Path) -> tuple[_Owner | None, Work]:
    """Who wrote a claim and for what; no owner, and all of the folder, where it cannot be read."""
    try:
        content: Any = parse_json(read_bounded(path, MAX_CLAIM))
        work = content["work"]
        names = None if work["names"] is None else tuple(map(str, work["names"]))
        owner = _Owner(**content["owner"])
        return replace(owner, process=int(owner.process)), Work(str(work["shard"]), names, dict(work["made_with"]))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        return None, Work()


@dataclass(frozen=True)
class Claims:
    """The claims of one run."""

    claims: list[Claim]

    def require(self) -> None:
        """Raise `OutputError` where one of them no longer stands."""
        for claim in self.claims:
            claim.require()

    def specify(self, made_with: dict[str, str]) -> None:
        """Say more of what decides the labels; raises `OutputError` where another run's differ."""
        for claim in self.claims:
            claim.specify(made_with)


@contextlib.contextmanager
def claimed(folders: dict[Path, Work]) -> Iterator[Claims]:
    """Own folders, each for its work, while the block runs. Raises `OutputError` where another run is in the way.

    Folders that this made, and into which nothing was written, are gone again afterwards.
    """
    claims: list[Claim] = []
    with without_empty_folders(folders):
        try:
            for folder, work in folders.items():
                claim = Claim(folder, work)
                claim.take()
                claims.append(claim)
            yield Claims(claims)
        finally:
            for claim in claims:
                claim.release()
