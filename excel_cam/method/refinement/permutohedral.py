"""Gaussian filtering of many-dimensional points in linear time: the permutohedral lattice of Adams et al. (2010).

Points lie in the simplices of a lattice. Values go from the points to their simplex's corners (splat), each corner is
averaged with its two neighbours along every axis (blur), and the points read their corners again (slice). All three
are sparse matrices here, built by sorting numbered corners, so that no compiler is needed.

Letters: N points, d dimensions, M corners in use. Elevated points lie in the hyperplane of d + 1 dimensions whose
coordinates sum to 0; corners have whole coordinates there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from excel_cam.errors import SettingsError

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

NORM_EPSILON = np.float32(1e-20)
MARGIN = 2  # simplices left free on all sides when corners are numbered, so that no two share a number


class GaussianFilter:
    """A Gaussian of deviation 1 between N points, normalised symmetrically: K becomes D K D, D = (K·1)^-1/2.

    Corners that no point's simplex has are left out, and so is what blurring would carry to them, as the usual C++
    package does; near the border of the points only the normalisation makes up for it.
    """

    def __init__(self, points: Floats) -> None:
        """points: (d, N) float32, in deviations. Raises `SettingsError` where they spread too far to be numbered."""
        # The package takes four points at a time and fills up the last four with points at 0: their corners count as
        # in use, which tells in results.
        filled = np.pad(points, ((0, 0), (0, -points.shape[1] % 4)))
        corners = _find_corners(_elevate(filled))
        numbers, column = np.unique(corners.numbers.T, return_inverse=True)
        side, count = corners.weights.shape
        row_starts = np.arange(0, count * side + 1, side)
        entries = (corners.weights.T.ravel(), column.ravel(), row_starts)
        self._slice = sparse.csr_matrix(entries, shape=(count, len(numbers)))[: points.shape[1]]
        self._splat = self._slice.T
        self._blurs = [_blur_matrix(numbers, step) for step in corners.steps]
        sums = self.apply(np.ones((points.shape[1], 1), np.float32))
        # A constant factor that would give K the height of a Gaussian cancels here.
        scale = sparse.diags(1 / np.sqrt(sums[:, 0] + NORM_EPSILON), format="csr")
        self._slice = scale @ self._slice
        self._splat = self._slice.T.tocsr()

    @property
    def corner_count(self) -> int:
        """M, the corners in use."""
        return int(self._slice.shape[1])

    def apply(self, values: Floats) -> Floats:
        """Filter (N, c) float32 values to (N, c) float32."""
        values = self._splat @ values
        for blur in self._blurs:
            values = blur @ values
        return np.asarray(self._slice @ values)


@dataclass(frozen=True)
class _Corners:
    """The simplices that N points lie in.

    numbers: (d + 1, N) int64, the corners of each point's simplex. weights: (d + 1, N) float32, its barycentric
    coordinates. steps: d + 1 differences between a corner's number and that of its next one along each axis.
    """

    numbers: Integers
    weights: Floats
    steps: tuple[int, ...]


def _elevate(points: Floats) -> Floats:
    """(d, N) float32 to (d + 1, N) float32: an orthogonal map into the hyperplane, scaled to the lattice's spacing."""
    dimensions, count = points.shape
    # Splatting, blurring and slicing together spread by a deviation of sqrt(2/3) (d + 1). Pixels often lie on a face
    # between two simplices, where the last bit decides which corners are in use: so each step rounds to float32, as
    # the usual C++ package does, and the results agree.
    spacing = float(np.float32(math.sqrt(2 / 3) * (dimensions + 1)))
    elevated = np.zeros((dimensions + 1, count), np.float32)
    for axis in range(dimensions, 0, -1):
        scaled = points[axis - 1] * np.float32(spacing / math.sqrt(axis * (axis + 1)))
        elevated[axis] = elevated[0] - np.float32(axis) * scaled
        elevated[0] += scaled
    return elevated


def _find_corners(elevated: Floats) -> _Corners:
    """Find the simplex of each elevated point, (d + 1, N) float32."""
    side = len(elevated)  # d + 1
    base, rank = _nearest_origin(elevated)
    offsets = (elevated - base) * np.float32(1 / side)
    descending = np.empty_like(offsets)
    np.put_along_axis(descending, rank, offsets, axis=0)
    weights = np.empty_like(offsets)
    weights[0] = 1 + descending[-1] - descending[0]
    weights[1:] = (descending[:-1] - descending[1:])[::-1]

    strides = _strides(base[:-1])
    first = ((base[:-1] - base[:-1].min(axis=1, keepdims=True)) * strides[:-1, None]).sum(axis=0).astype(np.int64)
    stride_of_rank = np.empty(rank.shape, np.int64)
    np.put_along_axis(stride_of_rank, rank, np.broadcast_to(strides[:, None], rank.shape), axis=0)
    # Corner k is k steps of (1, ..., 1) from the simplex's origin, less (d + 1) in its k coordinates of highest rank.
    one_step = int(strides.sum())
    numbers = np.empty(rank.shape, np.int64)
    numbers[0] = first
    for corner in range(1, side):
        numbers[corner] = numbers[corner - 1] + one_step - side * stride_of_rank[side - corner]
    return _Corners(numbers, weights, tuple(one_step - side * int(stride) for stride in strides))


def _nearest_origin(elevated: Floats) -> tuple[Floats, Integers]:
    """The origin of each point's simplex, (d + 1, N) multiples of d + 1 that sum to 0, and the ranks of its offsets.

    Ranks, (d + 1, N) int64, are 0 for the coordinate in which the point lies furthest above the origin, d for the one
    furthest below; of equals the first comes first.
    """
    side = len(elevated)
    multiples = np.rint(elevated * np.float32(1 / side))
    offsets = elevated - multiples * np.float32(side)
    rank = np.zeros(elevated.shape, np.int64)
    for first in range(side - 1):
        for second in range(first + 1, side):
            is_below = offsets[first] < offsets[second]
            rank[first] += is_below
            rank[second] += ~is_below
    # Rounding may leave the hyperplane by some multiples: those go off the coordinates that were rounded most.
    rank += multiples.sum(axis=0).astype(np.int64)
    wrapped = (rank < 0).astype(np.int64) - (rank >= side)
    return (multiples + wrapped.astype(np.float32)) * np.float32(side), rank + side * wrapped


def _strides(base: Floats) -> Integers:
    """(d + 1,) int64 factors that number corners by their first d coordinates; the last follows from these, so 0."""
    margin = MARGIN * (len(base) + 1)
    spans = [int(span) + 2 * margin + 1 for span in base.max(axis=1) - base.min(axis=1)]
    if math.prod(spans) >= 2**62:
        raise SettingsError(
            "dense CRF: the photograph's sides are too unequal or too long for it; lower --working-pixels, or choose "
            "--refine par"
        )
    return np.array([math.prod(spans[axis + 1 :]) for axis in range(len(spans))] + [0], np.int64)


def _blur_matrix(numbers: Integers, step: int) -> Any:
    """(M, M) float32 sparse: 1 for each of the sorted corners itself, 1/2 for its neighbours `step` away."""
    count = len(numbers)
    at = np.minimum(np.searchsorted(numbers, numbers + step), count - 1)
    here = np.flatnonzero(numbers[at] == numbers + step)
    there = at[here]
    itself = np.arange(count)
    halves = np.full(2 * len(here), 0.5, np.float32)
    values = np.concatenate([np.ones(count, np.float32), halves])
    rows, columns = np.concatenate([itself, here, there]), np.concatenate([itself, there, here])
    return sparse.csr_matrix((values, (rows, columns)), shape=(count, count))
