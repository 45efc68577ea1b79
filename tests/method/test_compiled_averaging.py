"""Rounds of refinement as a compiled loop (extra `fast`): the same bytes as plain torch, late enough, only where so."""

from __future__ import annotations

import pytest
import torch

from excel_cam.method.refinement import par

pytest.importorskip("numba", reason="the extra `fast` (numba) is not installed")


@pytest.fixture
def averaging(monkeypatch: pytest.MonkeyPatch) -> par._Averaging:
    fresh = par._Averaging()
    monkeypatch.setattr(par, "_average_on_cpu", fresh)
    monkeypatch.setattr(par, "ROUNDS_UNCOMPILED", 0)
    return fresh


def drawn(planes: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(planes * width)
    return torch.randn(3, height, width, generator=generator), torch.rand(planes, height, width, generator=generator)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 40, 31), (5, 33, 64), (2, 70, 101), (21, 20, 48)])
def test_refinement_gives_the_same_bytes(averaging: par._Averaging, shape: tuple[int, int, int], threads: int) -> None:
    image, maps = drawn(*shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compiled = par.pixel_adaptive_refinement(image, maps)
        expected = maps
        for _ in range(par.ITERATIONS):
            expected = par._average(par._pad(expected), par._affinities(image))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(compiled, expected)
    assert list(averaging.equal) == [shape[2] + 2 * par.REACH]


def test_a_loop_that_rounds_otherwise_is_not_used(averaging: par._Averaging, monkeypatch: pytest.MonkeyPatch) -> None:
    from excel_cam.method.compiled import averaging as compiled

    calls: list[int] = []

    def otherwise(padded: torch.Tensor, affinities: torch.Tensor, *_: object) -> torch.Tensor:
        calls.append(1)
        return par._average(padded, affinities) + 1e-6

    image, maps = drawn(2, 20, 30)
    expected = par.pixel_adaptive_refinement(image, maps)
    averaging.equal.clear()
    monkeypatch.setattr(compiled, "average_planes", otherwise)
    assert torch.equal(par.pixel_adaptive_refinement(image, maps), expected)
    assert (len(calls), list(averaging.equal.values())) == (1, [False])


def test_the_first_photographs_do_not_wait_for_the_compiler(
    averaging: par._Averaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(par, "ROUNDS_UNCOMPILED", 40)
    monkeypatch.setattr(par, "_has_compiler", lambda: pytest.fail("asked too early"))
    image, maps = drawn(2, 12, 12)
    for _ in range(2):
        par.pixel_adaptive_refinement(image, maps)
    assert averaging.equal == {}


def test_a_compiler_that_fails_is_said_and_done_without(
    averaging: par._Averaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excel_cam.method.compiled import averaging as compiled

    def fail() -> None:
        raise OSError("no LLVM\nhere")

    monkeypatch.setattr(compiled, "compiled_round", fail)
    par._has_compiler.cache_clear()
    image, maps = drawn(2, 12, 12)
    with pytest.warns(UserWarning, match="its loop cannot be compiled: no LLVM here"):
        refined = par.pixel_adaptive_refinement(image, maps)
    par._has_compiler.cache_clear()
    assert refined.shape == maps.shape
