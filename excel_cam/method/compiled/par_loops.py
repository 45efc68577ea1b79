"""The loops of pixel-adaptive refinement, compiled (numba, extra `fast`): `refinement.par` holds the arithmetic.

In plain torch each sum goes to memory and back 48 times; here 12 times for averages and not at all for deviations,
within a row of pixels that stays in the nearest cache. What is added to what, in which order, is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.method.threads import in_threads, threads_here

TOGETHER = 3  # rounds, each some rows behind the one before: affinities come from memory once for all of them
SUMMED = 16  # neighbours whose sum torch adds to that of those before
LANES = 4  # sums, one after every so many neighbours, that it adds in the end for the last few values
WHOLE = 32  # values of all channels that are not among these come in so many, four vectors of AVX2
Offsets = Sequence[tuple[int, int]]  # down and right, pixels
PLANES, OFFSETS = "float32[:,:,::1]", "int64[:,::1]"


@cache
def compile_loops() -> dict[Callable[..., None], Any]:
    """The loops, compiled; from numba's cache where that can be written."""
    averaging = f"void({PLANES}, {PLANES}, {PLANES}, {OFFSETS}, int64, int64, int64, int64)"
    deviations = f"void({PLANES}, {PLANES}, {PLANES}, {OFFSETS}, int64)"
    terms = f"void({PLANES}, {PLANES}, {PLANES}, {PLANES}, {OFFSETS}, int64)"
    return {
        _average_rows: _compiled(_average_rows, averaging),
        _sum_squares: _compiled(_sum_squares, deviations),
        _colour_rows: _compiled(_colour_rows, terms),
    }


def _compiled(loop: Callable[..., None], signature: str) -> Any:
    # Multiplication and addition may become one instruction, as torch's own kernels have it.
    options = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(signature, cache=True, **options)(loop)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(signature, **options)(loop)


def average_planes(padded: Tensor, affinities: Tensor, rounds: int, offsets: Offsets, reach: int) -> Tensor:
    """Padded planes, (c, H + 2 · reach, W + 2 · reach) float32 on the CPU, to (c, H, W) sums after so many rounds.

    affinities: (k, H, W), k a multiple of 4. offsets: k times down and right, pixels. Rows are shared among threads,
    round by round; no row knows of another of its round, so their number changes nothing. `padded` is written over.
    """
    height, width = affinities.shape[1:]
    source = padded.contiguous().numpy()
    target = np.empty_like(source)
    weights, places = affinities.contiguous().numpy(), np.array(offsets, np.int64)
    loop = compile_loops()[_average_rows]
    threads = threads_here()
    bounds = [height * share // threads for share in range(threads + 1)]
    shares = [(first, last) for first, last in pairwise(bounds) if first < last]

    def average(source: NDArray[np.float32], target: NDArray[np.float32], count: int) -> None:
        in_threads(lambda rows: loop(source, target, weights, places, reach, count, *rows), shares)

    together = TOGETHER if threads == 1 else 1
    for done in range(0, rounds, together):
        count = min(together, rounds - done)
        average(source, target, count)
        if count % 2:
            source, target = target, source
    return torch.from_numpy(source[:, reach : reach + height, reach : reach + width])


def squared_deviations(padded: Tensor, centre: Tensor, offsets: Offsets, reach: int) -> Tensor:
    """How far each pixel's neighbours differ among themselves: squares of the distances to their mean, summed.

    padded, centre: (3, rows + 2 · reach, W + 2 · reach) and (3, rows, W) float32 on the CPU. Returns (3, rows, W).
    """
    sums = np.zeros(centre.shape, np.float32)
    planes = padded.contiguous().numpy(), centre.contiguous().numpy()
    compile_loops()[_sum_squares](*planes, sums, np.array(offsets, np.int64), reach)
    return torch.from_numpy(sums)


def colour_terms(padded: Tensor, centre: Tensor, scales: Tensor, offsets: Offsets, reach: int) -> Tensor:
    """Squares of the differences to the neighbours, (k, rows, W), the channels' weighed by (3, rows, W) scales, added.

    padded, centre: as above.
    """
    terms = np.empty((len(offsets), *centre.shape[1:]), np.float32)
    planes = padded.contiguous().numpy(), centre.contiguous().numpy(), scales.contiguous().numpy()
    compile_loops()[_colour_rows](*planes, terms, np.array(offsets, np.int64), reach)
    return torch.from_numpy(terms)


def _average_rows(source, target, affinities, offsets, reach, rounds, first, last):  # type: ignore[no-untyped-def] # pragma: no cover
    """Rows `first` to `last` of all planes, padded again; four neighbours at a time, so that all planes find their
    affinities in cache. Later rounds go back, from the copy that was written to the one that was read."""
    planes = source.shape[0]
    height, width = affinities.shape[1:]
    for step in range(first, last + (rounds - 1) * (reach + 1)):
        for number in range(rounds):
            row = step - number * (reach + 1)  # all rows it reaches are done, and none it writes is still to be read
            if row < first or row >= last:
                continue
            read, written = (source, target) if number % 2 == 0 else (target, source)
            for plane in range(planes):
                written[plane, reach + row, reach : reach + width] = np.float32(0)
            for k in range(0, offsets.shape[0], 4):
                one_weight, two_weight = affinities[k, row], affinities[k + 1, row]
                three_weight, four_weight = affinities[k + 2, row], affinities[k + 3, row]
                one_row, one_left = reach + row + offsets[k, 0], reach + offsets[k, 1]
                two_row, two_left = reach + row + offsets[k + 1, 0], reach + offsets[k + 1, 1]
                three_row, three_left = reach + row + offsets[k + 2, 0], reach + offsets[k + 2, 1]
                four_row, four_left = reach + row + offsets[k + 3, 0], reach + offsets[k + 3, 1]
                for plane in range(planes):
                    total = written[plane, reach + row, reach : reach + width]
                    one = read[plane, one_row, one_left : one_left + width]
                    two = read[plane, two_row, two_left : two_left + width]
                    three = read[plane, three_row, three_left : three_left + width]
                    four = read[plane, four_row, four_left : four_left + width]
                    for x in range(width):
                        value = total[x] + one[x] * one_weight[x]
                        value = value + two[x] * two_weight[x]
                        value = value + three[x] * three_weight[x]
                        total[x] = value + four[x] * four_weight[x]
            for plane in range(planes):
                line = written[plane, reach + row]
                line[:reach] = line[reach]
                line[reach + width :] = line[reach + width - 1]
                if row == 0:
                    for edge in range(reach):
                        written[plane, edge] = line
                if row == height - 1:
                    for edge in range(reach):
                        written[plane, reach + height + edge] = line


def _sum_squares(padded, centre, sums, offsets, reach):  # type: ignore[no-untyped-def] # pragma: no cover
    """Sums over neighbours in torch's order, which is another for what does not fill vectors at the very end."""
    channels, rows, width = centre.shape
    count = offsets.shape[0]
    whole = centre.size - centre.size % WHOLE
    differences = np.empty((count, width), np.float32)
    part, mean = np.empty(width, np.float32), np.empty(width, np.float32)
    for channel in range(channels):
        for row in range(rows):
            middle, total = centre[channel, row], sums[channel, row]
            mean[:] = np.float32(0)
            for k in range(count):
                left = reach + offsets[k, 1]
                line = padded[channel, reach + row + offsets[k, 0], left : left + width]
                difference = differences[k]
                if k % SUMMED == 0:
                    part[:] = np.float32(0)
                for x in range(width):
                    difference[x] = line[x] - middle[x]
                    part[x] = part[x] + difference[x]
                if k % SUMMED == SUMMED - 1 or k == count - 1:
                    for x in range(width):
                        mean[x] = mean[x] + part[x]
            for x in range(max(0, whole - (channel * rows + row) * width), width):
                mean[x] = np.float32(0)
                for lane in range(LANES):
                    lane_sum = np.float32(0)
                    for k in range(lane, count, LANES):
                        lane_sum = lane_sum + differences[k, x]
                    mean[x] = mean[x] + lane_sum
            for x in range(width):
                mean[x] = mean[x] / np.float32(count)
            for k in range(count):
                difference = differences[k]
                for x in range(width):
                    excess = difference[x] - mean[x]
                    total[x] = total[x] + excess * excess


def _colour_rows(padded, centre, scales, terms, offsets, reach):  # type: ignore[no-untyped-def] # pragma: no cover
    """All three channels of a neighbour at once, so that its terms are written once."""
    _channels, rows, width = centre.shape
    for row in range(rows):
        one_middle, two_middle, three_middle = centre[0, row], centre[1, row], centre[2, row]
        one_scale, two_scale, three_scale = scales[0, row], scales[1, row], scales[2, row]
        for k in range(offsets.shape[0]):
            below, left = reach + row + offsets[k, 0], reach + offsets[k, 1]
            one = padded[0, below, left : left + width]
            two = padded[1, below, left : left + width]
            three = padded[2, below, left : left + width]
            term = terms[k, row]
            # The first product in a loop of its own, lest it become one instruction with the addition of the second.
            for x in range(width):
                difference = one[x] - one_middle[x]
                term[x] = (
                    difference * difference * one_scale[x]
                )  # in a loop of its own, lest it be fused with what follows
            for x in range(width):
                difference = two[x] - two_middle[x]
                value = term[x] + difference * difference * two_scale[x]
                difference = three[x] - three_middle[x]
                term[x] = value + difference * difference * three_scale[x]
