"""Work on a CPU shared among threads that compute alone, so that no result depends on how many of them there are.

Where torch shares an operation among threads, it also parts rows among them, and vector instructions end a part in
another way than they go through it: sums then differ in their last digit with the number of threads. Here whole
pieces of work are shared instead, photographs or strips of one, each computed by one thread as if there were no other.
That is faster as well: threads need not wait for one another after every operation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Mine(threading.local):
    """What a thread knows of the others."""

    reserved: int | None = None  # threads that `one_thread` has set aside
    side_by_side = 1  # how many threads of `in_threads` work beside each other, this one among them


_mine = _Mine()


def threads_here() -> int:
    """How many threads what is computed now may be shared among: as many as torch has, 1 within `in_threads`."""
    if _mine.side_by_side > 1:
        return 1
    return _mine.reserved or torch.get_num_threads()


def threads_beside() -> int:
    """How many threads, this one among them, do such work at the same time as this: 1 outside `in_threads`."""
    return _mine.side_by_side


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do the work for each item, in as many threads as there are, each of which computes alone; results in order.

    Within such a thread, and where there is one thread only, the items come one after the other. What a failing item
    raises is raised once no other is being worked on.
    """
    parts = list(items)
    if (threads := threads_here()) == 1 or len(parts) < 2:
        return [work(item) for item in parts]
    inference = torch.is_inference_mode_enabled()

    def alone(item: Item) -> Result:
        with torch.inference_mode(inference):  # which every thread has to itself
            return work(item)

    crew = _crew(threads)
    futures = [crew.submit(alone, item) for item in parts]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch computes with one thread; `all_threads` and `in_threads` have as many as before."""
    threads = threads_here()
    if threads == 1 or _mine.reserved is not None:
        yield
        return
    _mine.reserved = threads
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _mine.reserved = None


@contextmanager
def all_threads() -> Iterator[None]:
    """Within `one_thread`, let torch share operations among all threads again: for results that are equal however."""
    threads = _mine.reserved
    if threads is None:
        yield
        return
    _mine.reserved = None
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(1)
        _mine.reserved = threads


@cache
def _crew(threads: int) -> ThreadPoolExecutor:
    crew = ThreadPoolExecutor(threads, thread_name_prefix="compute")
    together = threading.Barrier(threads)

    def begin(_: int) -> None:
        together.wait()  # so that each thread begins, and not one of them twice
        torch.get_num_threads()  # a thread takes torch's number when it is first asked for, whatever was set before
        torch.set_num_threads(1)
        _mine.side_by_side = threads

    before = torch.get_num_threads()
    list(crew.map(begin, range(threads)))
    torch.set_num_threads(before)  # torch takes what was set last for threads that are yet to come
    return crew
