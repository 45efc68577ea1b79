"""Windows on large photographs: where they lie, what they come to, and that nothing shows where they lay."""

from __future__ import annotations

import numpy as np
import pytest
import reference_windows as reference
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from excel_cam.method import windows
from excel_cam.method.windows import (
    AttentionSum,
    NeighbourAttention,
    WindowGrid,
    cut_windows,
    join_tokens,
    lay_bounded_windows,
    lay_windows,
    neighbour_offsets,
    spread_over_neighbours,
)

SIZES = st.tuples(st.integers(1, 900), st.integers(1, 900))


def dense(attention: NeighbourAttention) -> torch.Tensor:
    """Ā in full, (G, G)."""
    height, width = attention.values.shape[1:]
    matrix = torch.zeros(height, width, height, width, dtype=torch.float64)
    for values, (down, right) in zip(attention.values, neighbour_offsets(attention.reach), strict=True):
        for y in range(max(0, -down), min(height, height - down)):
            for x in range(max(0, -right), min(width, width - right)):
                matrix[y, x, y + down, x + right] = values[y, x]
    return matrix.reshape(height * width, height * width)


def average(grid: WindowGrid, attention: list[np.ndarray]) -> NeighbourAttention:
    total = AttentionSum(grid, torch.device("cpu"))
    for corner, own in zip(grid.corners, attention, strict=True):
        total.add(corner, torch.from_numpy(own).float())
    return total.mean()


def draw(grid: WindowGrid, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    own = rng.random((grid.count, grid.side**2, grid.side**2)).astype(np.float32) + 0.01
    return list(own / own.sum(axis=2, keepdims=True))


@examples(max_examples=50)
@given(SIZES, st.integers(16, 400), st.integers(1, 12))
def test_windows_cover_the_photograph_and_overlap_by_half(size: tuple[int, int], pixels: int, side: int) -> None:
    grid = lay_windows(size, pixels, side)
    expected = reference.layout(*size, pixels, side)
    assert (grid.height, grid.width, list(grid.corners)) == (expected.height, expected.width, expected.corners)
    for starts, length in ((grid.tops, grid.height), (grid.lefts, grid.width)):
        assert (starts[0], starts[-1]) == (0, length - side)
        gaps = np.diff(starts)
        assert all(0 < gap <= max(1, side // 2) for gap in gaps)
    assert grid.together(0, 0).min() >= 1


def test_worked_example() -> None:
    """A photograph of 100 x 250 in windows of 100: 4 patches high, 10 wide; 4 windows at 0, 2, 4 and 6."""
    grid = lay_windows((100, 250), 100, 4)
    assert (grid.height, grid.width, grid.tops, grid.lefts) == (4, 10, (0,), (0, 2, 4, 6))
    assert grid.together(0, 0)[0].tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 1, 1]
    assert grid.together(0, 2)[0].tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert grid.input_size(16) == (64, 160)
    assert lay_windows((30, 250), 100, 4).height == 4  # stretched to a window, as the whole photograph would be
    assert lay_windows((100, 40), 100, 4).count == 1


def test_windows_grow_where_they_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_PATCHES", 500)
    assert lay_bounded_windows((200, 200), 50, 4) == lay_windows((200, 200), 50, 4)
    grid = lay_bounded_windows((1000, 3000), 50, 4)
    assert grid.pixels > 50
    assert 300 < grid.height * grid.width <= 500
    assert lay_bounded_windows((10**4, 1), 40, 4).height * 4 <= 500


def test_windows_are_cut_where_the_grid_says() -> None:
    grid = lay_windows((96, 160), 64, 4)
    canvas = torch.arange(3 * 96 * 160, dtype=torch.float32).view(3, 96, 160)
    found = list(cut_windows(canvas, grid, 16, together=4))
    assert [len(part) for part in found] == [4, 4]
    for window, (top, left) in zip(torch.cat(found), grid.corners, strict=True):
        assert torch.equal(window, canvas[:, 16 * top : 16 * top + 64, 16 * left : 16 * left + 64])


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("height", "width", "side"), [(4, 10, 4), (7, 9, 4), (6, 5, 3), (3, 4, 1)])
def test_tokens_are_those_of_the_reference(height: int, width: int, side: int, weight: float) -> None:
    grid, layout = lay_windows((height, width), side, side), reference.layout(height, width, side, side)
    rng = np.random.default_rng(height)
    own, whole = rng.normal(size=(grid.count, side**2, 5)), rng.normal(size=(1 + side**2, 5))
    found = join_tokens(grid, iter(torch.from_numpy(own)), torch.from_numpy(whole), weight)
    np.testing.assert_allclose(found, reference.join_tokens(layout, list(own), whole, weight), atol=1e-12)


@pytest.mark.parametrize(("height", "width", "side"), [(4, 10, 4), (7, 9, 4), (8, 11, 8), (6, 5, 3), (3, 4, 1)])
def test_affinity_is_that_of_the_reference(height: int, width: int, side: int) -> None:
    grid, layout = lay_windows((height, width), side, side), reference.layout(height, width, side, side)
    attention = draw(grid, height)
    found = average(grid, attention)
    expected = reference.join_attention(layout, attention, grid.reach)
    np.testing.assert_allclose(dense(found), expected, rtol=1e-6)
    columns = torch.rand(2, height, width, dtype=torch.float64)
    for transposed, matrix in ((False, expected), (True, expected.T)):
        product = found.multiply(columns, transposed).flatten(1).T
        np.testing.assert_allclose(product, matrix @ columns.flatten(1).T.numpy(), rtol=1e-6)
    maps = torch.rand(3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(side))
    spread = spread_over_neighbours(maps, found, 0.5)
    np.testing.assert_allclose(spread, reference.spread(dense(found).numpy(), maps.numpy(), 0.5), atol=1e-12)


@examples(max_examples=8)
@given(st.integers(1, 14), st.integers(1, 14), st.integers(1, 6), st.integers(0, 99))
def test_windows_that_agree_leave_no_trace_of_where_they_lay(height: int, width: int, side: int, seed: int) -> None:
    """Cut out of one field of tokens, and of one matrix of attention, windows come to just that: there are no seams."""
    grid = lay_windows((height, width), side, side)
    rng = np.random.default_rng(seed)
    tokens = torch.from_numpy(rng.normal(size=(grid.height, grid.width, 3)))
    places = torch.arange(grid.height * grid.width).view(grid.height, grid.width)
    own = [places[top : top + side, left : left + side].flatten() for top, left in grid.corners]
    whole = torch.zeros(1 + side**2, 3, dtype=torch.float64)
    joined = join_tokens(grid, (tokens.flatten(0, 1)[part] for part in own), whole, weight=0.0)
    torch.testing.assert_close(joined[1:], tokens.flatten(0, 1))
    attention = rng.random((places.numel(), places.numel())).astype(np.float32)
    matrix = dense(average(grid, [attention[np.ix_(part, part)] for part in own])).numpy()
    kept = matrix != 0
    np.testing.assert_allclose(matrix[kept], attention[kept], rtol=1e-6)
    rows, columns = np.divmod(np.arange(places.numel()), grid.width)
    near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) <= min(grid.reach, side // 2)
    assert kept[near].all() or side == 1
