"""Code that runs with no network but its own `lo`: for programs that would otherwise listen where others reach them."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

Result = TypeVar("Result")
_CLONE_NEWNET = 0x40000000
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41


def alone(function: Callable[[], Result]) -> Result:
    """Call a function in a thread whose sockets, threads and processes are in a network namespace of their own.

    Skips the test where this process may not make one.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("network namespaces are Linux's")
    with ThreadPoolExecutor(1, initializer=None) as pool:
        if (reason := pool.submit(_leave).result()) is not None:
            pytest.skip(reason)
        return pool.submit(function).result()


def _leave() -> str | None:
    """Have this thread leave the machine's network; why that cannot be."""
    import fcntl

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        return f"no network namespace can be made here: {os.strerror(ctypes.get_errno())}"
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))
    assert [name for _index, name in socket.if_nameindex()] == ["lo"]
    return None


def processes_here(beginning: bytes = b"") -> list[int]:
    """Numbers of the processes in this thread's network namespace whose command line begins so, less this one."""
    mine, found = os.readlink("/proc/thread-self/ns/net"), []
    for folder in Path("/proc").iterdir():
        try:
            is_here = folder.name.isdecimal() and os.readlink(folder / "ns/net") == mine
            if is_here and (folder / "cmdline").read_bytes().startswith(beginning):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return [number for number in found if number != os.getpid()]
