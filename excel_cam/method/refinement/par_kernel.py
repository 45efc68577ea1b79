"""Pixel-adaptive refinement as two fused Triton kernels; `par` imports it on CUDA only and holds the arithmetic.

Refinement is bound by memory: each round reads all 48 affinities of every pixel. Here it reads them once for all maps,
keeps the sums in registers, and takes the neighbours' values through the caches; nothing is padded or shifted. Pixels
go in tiles, whose neighbours lie in few rows, so that a processor's own cache holds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = (8, 64)  # rows and columns of pixels per program, powers of two; rows of 32 are read at once
WARPS = 8  # of 32 threads, that share a tile
PLANES = 8  # averaged at a time: a thread's sums of them stay in registers


@dataclass(frozen=True)
class Neighbourhood:
    """What the kernels have to know of the neighbours; see `par` for the values.

    offsets: (k, 2) int32, down and right, pixels. position: (k,) float32, what each one's place adds to its weight.
    sharpness, epsilon: those of the colour term.
    """

    offsets: Tensor
    position: Tensor
    sharpness: float
    epsilon: float


@torch.inference_mode()
def par_fused(images: Tensor, maps: Tensor, neighbourhood: Neighbourhood, iterations: int) -> Tensor:
    """`par.pixel_adaptive_refinement` of images of one size: (m, 3, H, W) and (m, c, H, W) float32, same result."""
    count, _planes, height, width = maps.shape
    neighbours = len(neighbourhood.offsets)
    images, maps = images.contiguous(), maps.contiguous()
    affinities = images.new_empty((count, neighbours, height, width))
    tiles_across = triton.cdiv(width, TILE[1])
    grid = (triton.cdiv(height, TILE[0]) * tiles_across, count)
    is_large = neighbours * height * width >= 2**31  # places in an image's planes, as int32 counts them
    place = (height, width, tiles_across)
    with torch.cuda.device_of(images):  # Triton launches on the current device
        _affinity_kernel[grid](
            images, neighbourhood.offsets, neighbourhood.position, affinities, *place,
            1 / neighbourhood.sharpness, neighbourhood.epsilon, neighbours, *TILE, is_large,
            num_warps=WARPS, enable_fp_fusion=True,
        )  # fmt: skip
        results = torch.empty_like(maps)
        for part, out in zip(maps.split(PLANES, dim=1), results.split(PLANES, dim=1), strict=True):
            averaged = part.contiguous()
            for _ in range(iterations):
                refined = torch.empty_like(averaged)
                _average_kernel[grid](
                    affinities, averaged, neighbourhood.offsets, refined, *place, averaged.shape[1], neighbours,
                    *TILE, is_large, num_warps=WARPS, enable_fp_fusion=True,
                )  # fmt: skip
                averaged = refined
            out.copy_(averaged)
    return results


@triton.jit  # type: ignore[untyped-decorator]
def _pixels(  # type: ignore[no-untyped-def]
    height, width, tiles_across, tile_rows: tl.constexpr, tile_columns: tl.constexpr
):
    """Rows and columns of a tile's pixels, those beyond the edge moved to it, and which of them are within."""
    tile = tl.program_id(0)
    lane = tl.arange(0, tile_rows * tile_columns)
    row = tile // tiles_across * tile_rows + lane // tile_columns
    column = tile % tiles_across * tile_columns + lane % tile_columns
    inside = (row < height) & (column < width)
    return tl.minimum(row, height - 1), tl.minimum(column, width - 1), inside


@triton.jit
def _neighbour(offsets, index, row, column, height, width):  # type: ignore[no-untyped-def]
    """Where a neighbour lies in a plane; beyond the edge, the nearest pixel within: replicate padding."""
    down = tl.load(offsets + 2 * index)
    right = tl.load(offsets + 2 * index + 1)
    beside_row = tl.minimum(tl.maximum(row + down, 0), height - 1)
    beside_column = tl.minimum(tl.maximum(column + right, 0), width - 1)
    return beside_row * width + beside_column


@triton.jit
def _colour_term(  # type: ignore[no-untyped-def]
    image, plane, beside, red, green, blue, red_scale, green_scale, blue_scale
):
    """Minus the squared difference to a neighbour in units of 0.3 deviations, mean over channels."""
    red_steps = (tl.load(image + beside) - red) * red_scale
    green_steps = (tl.load(image + plane + beside) - green) * green_scale
    blue_steps = (tl.load(image + 2 * plane + beside) - blue) * blue_scale
    return -(red_steps * red_steps + green_steps * green_steps + blue_steps * blue_steps) / 3


# Sizes are no part of what is compiled: photographs have hundreds, and every one would take a second.
_SIZES = ("height", "width", "tiles_across")


@triton.jit(do_not_specialize=_SIZES)  # type: ignore[untyped-decorator]
def _affinity_kernel(  # type: ignore[no-untyped-def]
    images, offsets, position, affinities, height, width, tiles_across, sharpening, epsilon,
    neighbours: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr, is_large: tl.constexpr,
):  # fmt: skip
    """Every neighbour's weight: softmax over neighbours of the colour terms, plus the weight of its position."""
    row, column, inside = _pixels(height, width, tiles_across, tile_rows, tile_columns)
    plane = height * width
    if is_large:
        plane = plane.to(tl.int64)
    pixel = row * width + column
    image = images + tl.program_id(1).to(tl.int64) * 3 * plane
    target = affinities + tl.program_id(1).to(tl.int64) * neighbours * plane + pixel
    terms = tl.zeros((tile_rows * tile_columns,), tl.float32)
    red = tl.load(image + pixel)
    green = tl.load(image + plane + pixel)
    blue = tl.load(image + 2 * plane + pixel)

    # Each pass goes over the neighbours' colours, which the caches hold: mean, deviation, then the terms.
    red_mean, green_mean, blue_mean = terms, terms, terms
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        red_mean += tl.load(image + beside) - red
        green_mean += tl.load(image + plane + beside) - green
        blue_mean += tl.load(image + 2 * plane + beside) - blue
    red_mean, green_mean, blue_mean = red_mean / neighbours, green_mean / neighbours, blue_mean / neighbours

    red_sum, green_sum, blue_sum = terms, terms, terms
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        excess = tl.load(image + beside) - red - red_mean
        red_sum += excess * excess
        excess = tl.load(image + plane + beside) - green - green_mean
        green_sum += excess * excess
        excess = tl.load(image + 2 * plane + beside) - blue - blue_mean
        blue_sum += excess * excess
    red_scale = sharpening / (tl.sqrt(red_sum / (neighbours - 1)) + epsilon)
    green_scale = sharpening / (tl.sqrt(green_sum / (neighbours - 1)) + epsilon)
    blue_scale = sharpening / (tl.sqrt(blue_sum / (neighbours - 1)) + epsilon)

    # Softmax in two passes: its denominator is rescaled whenever a greater term turns up. Terms are computed twice
    # rather than kept, which would cost memory traffic.
    greatest, total = terms - float("inf"), terms
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        term = _colour_term(image, plane, beside, red, green, blue, red_scale, green_scale, blue_scale)
        above = tl.maximum(greatest, term)
        total = total * tl.exp(greatest - above) + tl.exp(term - above)
        greatest = above
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        term = _colour_term(image, plane, beside, red, green, blue, red_scale, green_scale, blue_scale)
        share = tl.exp(term - greatest) / total
        tl.store(target + index * plane, share + tl.load(position + index), mask=inside)


@triton.jit(do_not_specialize=_SIZES)  # type: ignore[untyped-decorator]
def _average_kernel(  # type: ignore[no-untyped-def]
    affinities, maps, offsets, refined, height, width, tiles_across, planes: tl.constexpr, neighbours: tl.constexpr,
    tile_rows: tl.constexpr, tile_columns: tl.constexpr, is_large: tl.constexpr,
):  # fmt: skip
    """One round: each map at each pixel becomes the weighted sum over its neighbours."""
    row, column, inside = _pixels(height, width, tiles_across, tile_rows, tile_columns)
    plane = height * width
    if is_large:
        plane = plane.to(tl.int64)
    pixel = row * width + column
    weights = affinities + tl.program_id(1).to(tl.int64) * neighbours * plane + pixel
    source = maps + tl.program_id(1).to(tl.int64) * planes * plane
    target = refined + tl.program_id(1).to(tl.int64) * planes * plane + pixel
    # A sum for each plane, spelt out: as one tensor of planes and pixels, Triton gives a thread one plane and has it
    # find out for itself where every neighbour lies, which takes longer than to read it.
    zeros = tl.zeros((tile_rows * tile_columns,), tl.float32)
    sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7 = zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros
    for index in range(neighbours):
        beside = source + _neighbour(offsets, index, row, column, height, width)
        # Affinities are read once a round: they are not to drive maps, which are read again, from the caches.
        weight = tl.load(weights + index * plane, eviction_policy="evict_first")
        sum0 += weight * tl.load(beside)
        if planes > 1:
            sum1 += weight * tl.load(beside + plane)
        if planes > 2:
            sum2 += weight * tl.load(beside + 2 * plane)
        if planes > 3:
            sum3 += weight * tl.load(beside + 3 * plane)
        if planes > 4:
            sum4 += weight * tl.load(beside + 4 * plane)
        if planes > 5:
            sum5 += weight * tl.load(beside + 5 * plane)
        if planes > 6:
            sum6 += weight * tl.load(beside + 6 * plane)
        if planes > 7:
            sum7 += weight * tl.load(beside + 7 * plane)
    tl.store(target, sum0, mask=inside)
    if planes > 1:
        tl.store(target + plane, sum1, mask=inside)
    if planes > 2:
        tl.store(target + 2 * plane, sum2, mask=inside)
    if planes > 3:
        tl.store(target + 3 * plane, sum3, mask=inside)
    if planes > 4:
        tl.store(target + 4 * plane, sum4, mask=inside)
    if planes > 5:
        tl.store(target + 5 * plane, sum5, mask=inside)
    if planes > 6:
        tl.store(target + 6 * plane, sum6, mask=inside)
    if planes > 7:
        tl.store(target + 7 * plane, sum7, mask=inside)
