"""Overlapping windows of a large photograph: one grid of tokens, one affinity over all of it (`--windows`).

Letters as in method/README.md, and: G = h · w, patches of the whole photograph; K, windows; n = s · s, patches of one
window. Grids run row by row, and so do windows. No matrix of G × G is ever made: affinity goes from a patch to those
around it, and from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from excel_cam.method.affinity import SINKHORN_ROUNDS, box_masks
from excel_cam.method.transfer import to_device

MOST_PATCHES = 2**18  # of a photograph; 1 GB of tokens of 512 dimensions in double precision
GROWTH = 1.1  # by how much windows are larger at a time where there would be more
WHOLE_WEIGHT = 0.3  # share of the whole photograph's tokens; how it was chosen: examples/README.md
REACH_PARTS = 8  # affinity goes as far as an eighth of a window's side at a time


@dataclass(frozen=True)
class WindowGrid:
    """Windows of `side` x `side` patches on a photograph of `height` x `width` patches.

    pixels: side of a window in the photograph's own pixels. tops, lefts: first row and column of the windows,
    ascending, the last ones flush with the edge; every pair of them is a window, and every patch lies in one.
    """

    height: int
    width: int
    side: int
    pixels: float
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def input_size(self, patch: int) -> tuple[int, int]:
        """(h · P, w · P), in pixels, of what windows are cut from."""
        return self.height * patch, self.width * patch

    @property
    def count(self) -> int:
        """K, the number of windows."""
        return len(self.tops) * len(self.lefts)

    @property
    def corners(self) -> Iterator[tuple[int, int]]:
        """First row and column of every window."""
        return product(self.tops, self.lefts)

    @property
    def reach(self) -> int:
        """How many rows and columns affinity goes at a time."""
        return max(1, self.side // REACH_PARTS)

    def together(self, down: int, right: int) -> Tensor:
        """(h, w) float64: in how many windows each patch lies together with the one `down` and `right` of it."""
        rows = _spans_with(self.tops, self.side, self.height, down)
        return rows[:, None] * _spans_with(self.lefts, self.side, self.width, right)


def _spans_with(starts: tuple[int, ...], side: int, length: int, step: int) -> Tensor:
    """(length,) float64: in how many spans of `side` places each place lies together with the one `step` after it."""
    places = torch.arange(length)
    least, most = max(0, -step), side - max(0, step)  # of a place within such a span
    inside = [(places >= start + least) & (places < start + most) for start in starts]
    return torch.stack(inside).sum(dim=0).double()


def lay_windows(size: tuple[int, int], pixels: float, side: int) -> WindowGrid:
    """Windows of `pixels` pixels, `side` patches, a side over a photograph of (H, W) pixels.

    Neighbours overlap by half a window or more. A side of the photograph that is shorter than a window's is stretched
    to one, as without windows.
    """
    height, width = (max(side, round(length * side / pixels)) for length in size)
    return WindowGrid(height, width, side, pixels, _starts(height, side), _starts(width, side))


def lay_bounded_windows(size: tuple[int, int], pixels: float, side: int) -> WindowGrid:
    """As `lay_windows`, of larger windows where those of `pixels` would come to more than `MOST_PATCHES`."""
    grid = lay_windows(size, pixels, side)
    while grid.height * grid.width > MOST_PATCHES and grid.count > 1:
        grid = lay_windows(size, grid.pixels * GROWTH, side)
    return grid


def _starts(length: int, side: int) -> tuple[int, ...]:
    """Evenly spread starts of spans of `side` places over `length`, half a span apart at most."""
    last = length - side
    steps = -(-last // max(1, side // 2))
    return tuple(round(step * last / max(1, steps)) for step in range(steps + 1))


def cut_windows(canvas: Tensor, grid: WindowGrid, patch: int, together: int) -> Iterator[Tensor]:
    """The windows of a (3, h · P, w · P) canvas, in order: batches of (`together` or fewer, 3, S, S)."""
    size = grid.side * patch
    corners = [(top * patch, left * patch) for top, left in grid.corners]
    for start in range(0, len(corners), together):
        part = corners[start : start + together]
        yield torch.stack([canvas[:, top : top + size, left : left + size] for top, left in part])


def join_tokens(grid: WindowGrid, windows: Iterable[Tensor], whole: Tensor, weight: float = WHOLE_WEIGHT) -> Tensor:
    """F of the whole photograph, (1 + G, D): the mean of the windows that a patch lies in, and of the whole.

    windows: each window's patch tokens, (n, D), in order. whole: (1 + n, D), those of the photograph squeezed to one
    window, class token first, which is the class token of all; its patches, resized bilinearly to the grid, have the
    share `weight` in every patch.
    """
    total = whole.new_zeros(grid.height, grid.width, whole.shape[-1])
    for (top, left), tokens in zip(grid.corners, windows, strict=True):
        total[top : top + grid.side, left : left + grid.side] += tokens.unflatten(0, (grid.side, grid.side))
    mean = total / to_device(grid.together(0, 0), total.dtype, total.device)[..., None]
    squeezed = whole[1:].T.unflatten(1, (grid.side, grid.side))
    size = grid.height, grid.width
    resized = F.interpolate(squeezed[None], size=size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    return torch.cat([whole[:1], torch.lerp(mean, resized, weight).flatten(0, 1)])


@dataclass(frozen=True)
class NeighbourAttention:
    """Ā of a photograph of h x w patches, (G, G): attention to patches `reach` rows and columns away or nearer, else 0.

    values: ((2 · reach + 1)², h, w) float32; values[k] at a patch is its attention to the one at offsets[k] from it, 0
    where that lies outside.
    """

    values: Tensor
    reach: int

    def multiply(self, columns: Tensor, transposed: bool = False) -> Tensor:
        """Ā · columns, or Āᵀ · columns: (c, h, w) floating to (c, h, w) of that dtype."""
        reach, (height, width) = self.reach, columns.shape[1:]
        padded = F.pad(columns, (reach,) * 4)
        total = torch.zeros_like(padded if transposed else columns)
        for values, (down, right) in zip(self.values, neighbour_offsets(reach), strict=True):
            rows, across = slice(reach + down, reach + down + height), slice(reach + right, reach + right + width)
            if transposed:
                total[:, rows, across] += values * columns
            else:
                total += values * padded[:, rows, across]
        return total[:, reach : reach + height, reach : reach + width] if transposed else total


def neighbour_offsets(reach: int) -> Iterator[tuple[int, int]]:
    """Rows and columns from a patch to those around it, itself included, row by row."""
    return product(range(-reach, reach + 1), range(-reach, reach + 1))


class AttentionSum:
    """Adds up, window by window, what becomes Ā: for two patches, the mean over the windows in which both lie."""

    def __init__(self, grid: WindowGrid, device: torch.device) -> None:
        self._grid = grid
        self._total = torch.zeros((2 * grid.reach + 1) ** 2, grid.height, grid.width, device=device)
        parts = _neighbours(grid.side, grid.reach)
        self._inside, self._numbers = (to_device(part, part.dtype, device) for part in parts)

    def add(self, corner: tuple[int, int], attention: Tensor) -> None:
        """One window's A without the class token, (n, n) float32."""
        side, (top, left) = self._grid.side, corner
        own = attention.gather(1, self._numbers.T).T * self._inside
        self._total[:, top : top + side, left : left + side] += own.unflatten(1, (side, side))

    def mean(self) -> NeighbourAttention:
        """Ā; two patches that no window holds together have 0. The sum is used up."""
        grid, steps = self._grid, range(-self._grid.reach, self._grid.reach + 1)
        rows = torch.stack([_spans_with(grid.tops, grid.side, grid.height, step) for step in steps])
        columns = torch.stack([_spans_with(grid.lefts, grid.side, grid.width, step) for step in steps])
        counts = to_device(torch.cat([rows, columns], dim=1), self._total.dtype, self._total.device)
        pairs = product(*counts.split([grid.height, grid.width], dim=1))  # in the order of `neighbour_offsets`
        for plane, (down, across) in zip(self._total, pairs, strict=True):
            plane /= (down[:, None] * across).clamp_min(1)  # the windows that hold both patches
        return NeighbourAttention(self._total, self._grid.reach)


def _neighbours(side: int, reach: int) -> tuple[Tensor, Tensor]:
    """Of the patches of one window: which have the neighbour at each offset, and that neighbour's number.

    Both ((2 · reach + 1)², n), bool and int64; 0 stands for neighbours outside.
    """
    places = torch.arange(side)
    offsets = torch.tensor(list(neighbour_offsets(reach)))
    rows = (places[None, :, None] + offsets[:, 0, None, None]).expand(-1, side, side)
    columns = (places[None, None, :] + offsets[:, 1, None, None]).expand(-1, side, side)
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    return inside.flatten(1), ((rows * side + columns) * inside).flatten(1)


@torch.inference_mode()
def spread_over_neighbours(maps: Tensor, attention: NeighbourAttention, threshold: float) -> Tensor:
    """Step 5 along Ā: (c, h, w) floating to (c, h, w) of that dtype, as `spread_maps` does along R.

    Sinkhorn's rounds are kept as the factors of rows and columns that they come to, and R, a square, is applied as two
    products.
    """
    sources = maps * box_masks(maps, threshold)
    rows = columns = torch.ones_like(maps[:1])
    for _ in range(SINKHORN_ROUNDS):
        columns = 1 / attention.multiply(rows, transposed=True)
        rows = 1 / attention.multiply(columns)
    for _ in range(2):
        forth = rows * attention.multiply(columns * sources)
        back = columns * attention.multiply(rows * sources, transposed=True)
        sources = (forth + back) / 2
    return sources
