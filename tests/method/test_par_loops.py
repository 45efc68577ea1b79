"""Refinement in compiled loops (extra `fast`): the same bytes as plain torch, late enough, and only where so."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from excel_cam.method.refinement import par, par_choice

pytest.importorskip("numba", reason="the extra `fast` (numba) is not installed")


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> par_choice.CompiledWhereEqual:
    fresh = par_choice.CompiledWhereEqual()
    monkeypatch.setattr(par, "_choose", fresh)
    monkeypatch.setattr(par_choice, "UNCOMPILED", 0)
    return fresh


def drawn(planes: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(planes * width)
    return torch.randn(3, height, width, generator=generator), torch.rand(planes, height, width, generator=generator)


def plainly(monkeypatch: pytest.MonkeyPatch, image: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(par_choice, "has_compiler", lambda: False)
        return par.pixel_adaptive_refinement(image, maps)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 40, 31), (5, 33, 64), (2, 70, 101), (21, 20, 48), (2, 131, 40)])
def test_refinement_gives_the_same_bytes(
    choice: par_choice.CompiledWhereEqual, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int], threads: int
) -> None:
    image, maps = drawn(*shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected = plainly(monkeypatch, image, maps)
        compiled = par.pixel_adaptive_refinement(image, maps)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(compiled, expected)
    assert {step for step, _shapes in choice.equal} == {"averages", "colour terms"}


@pytest.mark.parametrize("rounds", [1, 2, 3, 4, 5, 20])
def test_rounds_together_are_rounds_one_by_one(choice: par_choice.CompiledWhereEqual, rounds: int) -> None:
    from excel_cam.method.compiled.par_loops import average_planes

    image, maps = drawn(2, 60, 24)
    affinities = par._affinities(image)
    expected = maps
    for _ in range(rounds):
        expected = average_planes(par._pad(expected), affinities, 1, par.OFFSETS, par.REACH)
    assert torch.equal(average_planes(par._pad(maps), affinities, rounds, par.OFFSETS, par.REACH), expected)


def test_colour_terms_of_all_ways_to_end(choice: par_choice.CompiledWhereEqual) -> None:
    """Torch adds up what does not fill its vectors in another order: 0 to 31 values, of one row or of more."""
    from excel_cam.method.compiled.par_loops import colour_terms, squared_deviations

    if "AVX2" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("the order of sums is that of AVX2; elsewhere trials tell where it holds")
    for height, width in product((1, 2, 7), range(1, 40)):
        image, _maps = drawn(1, height, width)
        padded = par._pad(image)
        scales = par._colour_scales(squared_deviations(padded, image, par.OFFSETS, par.REACH))
        terms = colour_terms(padded, image, scales, par.OFFSETS, par.REACH)
        assert torch.equal(terms, par._colour_terms(padded, image)), (height, width)


def test_loops_that_round_otherwise_are_not_used(
    choice: par_choice.CompiledWhereEqual, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excel_cam.method.compiled import par_loops

    calls: list[str] = []

    def averages(padded: torch.Tensor, affinities: torch.Tensor, rounds: int, *_: object) -> torch.Tensor:
        calls.append("averages")
        return par._average(par._within(padded), affinities, rounds) + 1e-6

    def terms(padded: torch.Tensor, centre: torch.Tensor, *_: object) -> torch.Tensor:
        calls.append("colour terms")
        return par._colour_terms(padded, centre) * (1 + 1e-6)

    image, maps = drawn(2, 20, 30)
    expected = plainly(monkeypatch, image, maps)
    monkeypatch.setattr(par_loops, "average_planes", averages)
    monkeypatch.setattr(par_loops, "colour_terms", terms)
    for _ in range(2):
        assert torch.equal(par.pixel_adaptive_refinement(image, maps), expected)
    assert (sorted(calls), list(choice.equal.values())) == (["averages", "colour terms"], [False, False])


def test_a_photograph_of_one_colour_is_no_trial(
    choice: par_choice.CompiledWhereEqual, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All differences are 0 there, of which wrong sums are right."""
    from excel_cam.method.compiled import par_loops

    def wrong(padded: torch.Tensor, centre: torch.Tensor, *_: object) -> torch.Tensor:
        return 2 * par._colour_terms(padded, centre)

    monkeypatch.setattr(par_loops, "colour_terms", wrong)
    image, maps = drawn(2, 20, 30)
    par.pixel_adaptive_refinement(torch.zeros_like(image), maps)
    expected = plainly(monkeypatch, image, maps)
    assert torch.equal(par.pixel_adaptive_refinement(image, maps), expected)


def test_the_first_photographs_do_not_wait_for_the_compiler(
    choice: par_choice.CompiledWhereEqual, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(par_choice, "UNCOMPILED", 2)
    monkeypatch.setattr(par_choice, "has_compiler", lambda: pytest.fail("asked too early"))
    image, maps = drawn(2, 12, 12)
    for _ in range(2):
        par.pixel_adaptive_refinement(image, maps)
    assert choice.equal == {}


def test_a_compiler_that_fails_is_said_and_done_without(
    choice: par_choice.CompiledWhereEqual, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excel_cam.method.compiled import par_loops

    def fail() -> None:
        raise OSError("no LLVM\nhere")

    monkeypatch.setattr(par_loops, "compile_loops", fail)
    par_choice.has_compiler.cache_clear()
    image, maps = drawn(2, 12, 12)
    with pytest.warns(UserWarning, match="its loops cannot be compiled: no LLVM here"):
        refined = par.pixel_adaptive_refinement(image, maps)
    par_choice.has_compiler.cache_clear()
    assert refined.shape == maps.shape
