"""What runs in the process of one device: its share of the images, told to the parent as it goes.

Every process is spawned, never forked, so that it has nothing of the parent's threads and devices. It ends when the
parent says so, by SIGTERM, and by itself when the parent is gone: nobody would end it then, and its claim on the folder
would keep others out.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from excel_cam.run.generate import run
from excel_cam.run.settle import Settled

TERMINATED = 128 + signal.SIGTERM  # the exit status of a process that was told to end
GRACE = 30.0  # seconds from being told to end until it is made to: a batch is finished, the record closed


@dataclass(frozen=True)
class Note:
    """A line worth telling the user."""

    text: str


@dataclass(frozen=True)
class Made:
    """What became of the next image of the share; as `Outcome`, whose image the parent knows."""

    kept: bool
    reason: str | None
    shows_class: bool


@dataclass(frozen=True)
class Stopped:
    """The share cannot be finished: why, and where in this process that came up."""

    error: Exception
    traceback: str


@dataclass(frozen=True)
class Finished:
    """The share is done."""


Message = Note | Made | Stopped | Finished


def label_share(settled: Settled, parent: Connection) -> None:
    """Label one device's share; everything that is to be known of it goes through `parent`."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent says when to end
    unblock_interrupts()
    threading.Thread(target=_end_without_parent, name="parent", daemon=True).start()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with an image is its reason
    try:
        with closing(run(settled, lambda text: parent.send(Note(text)))) as outcomes:
            for outcome in outcomes:
                parent.send(Made(outcome.kept, outcome.reason, outcome.shows_class))
        parent.send(Finished())
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(TERMINATED)
    except Exception as error:
        with contextlib.suppress(BrokenPipeError):
            parent.send(Stopped(_portable(error), "".join(traceback.format_exception(error))))


def block_interrupts() -> None:
    """Let Ctrl-C wait, in this process and in those that it starts until they say otherwise."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def unblock_interrupts() -> None:
    """Let Ctrl-C through again."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_without_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE)
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """An error as another process can read it."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a library's own class of errors does when it is copied
        return RuntimeError(f"{type(error).__name__}: {error}")
    return copy if isinstance(copy, Exception) else RuntimeError(str(error))
