"""Work shared among threads that compute alone: results in order, one thread each, nothing left waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from excel_cam.method.refinement import par
from excel_cam.method.threads import all_threads, in_threads, one_thread, threads_beside, threads_here


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_each_from_a_thread_that_computes_alone(threads: int) -> None:
    together = threading.Barrier(threads)

    def work(number: int) -> tuple[int, int, int, int]:
        together.wait(timeout=20)  # so many are at it at once
        return number, torch.get_num_threads(), threads_here(), threads_beside()

    assert in_threads(work, range(2 * threads)) == [(number, 1, 1, threads) for number in range(2 * threads)]
    assert (torch.get_num_threads(), threads_here(), threads_beside()) == (threads, threads, 1)


def test_what_is_shared_within_such_a_thread_is_done_there(threads: int) -> None:
    def work(number: int) -> list[tuple[int, int]]:
        mine = threading.get_ident()
        return in_threads(lambda inner: (inner, threading.get_ident() - mine), range(number))

    assert in_threads(work, [3, 2, 3, 2]) == [[(inner, 0) for inner in range(number)] for number in (3, 2, 3, 2)]


def test_torch_has_one_thread_within_and_as_many_as_before_after(threads: int) -> None:
    def counts() -> tuple[int, int]:
        return torch.get_num_threads(), threads_here()

    with one_thread():
        assert counts() == (1, threads)
        with one_thread():
            assert counts() == (1, threads)
        with all_threads():
            assert counts() == (threads, threads)
            with all_threads(), one_thread():
                assert counts() == (1, threads)
            assert counts() == (threads, threads)
        assert counts() == (1, threads)
        assert in_threads(lambda _: threads_beside(), range(3)) == [threads] * 3
    assert counts() == (threads, threads)


def test_an_error_is_raised_once_no_item_is_being_worked_on(threads: int) -> None:
    begun, ended = [], []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise MemoryError("too large")
        threading.Event().wait(0.05)
        ended.append(number)

    with pytest.raises(MemoryError, match="too large"):
        in_threads(work, range(20))
    assert sorted([0, *ended]) == sorted(begun)
    assert len(begun) < 20  # the others were not begun


def test_inference_mode_goes_along(threads: int) -> None:
    with torch.inference_mode():
        assert in_threads(lambda _: torch.zeros(1).is_inference(), range(4)) == [True] * 4
    assert in_threads(lambda _: torch.zeros(1).is_inference(), range(4)) == [False] * 4


def test_a_thread_of_ones_own_has_as_many_threads_as_torch(threads: int) -> None:
    """torch gives threads that come later what was set last, in whichever thread that was."""
    in_threads(lambda number: number, range(4))
    found: list[int] = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [threads]


@pytest.mark.parametrize("height", [1, 15, 16, 100, 375])
def test_strips_hold_every_row_once(threads: int, height: int) -> None:
    for most in (1, 20, 64, 1000):
        strips = par._strips(height, most)
        assert [row for strip in strips for row in strip] == list(range(height))


def test_refinement_is_the_same_bytes_for_any_number_of_threads(threads: int) -> None:
    """More than one strip of rows, and rows that no vector's length divides."""
    generator = torch.Generator().manual_seed(5)
    image, maps = torch.randn(3, 75, 101, generator=generator), torch.rand(4, 75, 101, generator=generator)
    shared = par.pixel_adaptive_refinement(image, maps)
    torch.set_num_threads(1)
    assert torch.equal(shared, par.pixel_adaptive_refinement(image, maps))
