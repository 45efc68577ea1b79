"""Pixel-adaptive refinement as two fused Triton kernels; `refine` imports it on CUDA only and holds the arithmetic.

Refinement is bound by memory: each round reads all 48 affinities of every pixel. Here it reads them once for all maps,
keeps the sums in registers, and takes the neighbours' values through the caches; nothing is padded or shifted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256  # pixels per program
PLANES = 64  # averaged at a time: their sums stay in registers, and their copies in memory


@dataclass(frozen=True)
class Neighbourhood:
    """What the kernels have to know of the neighbours; see `refine` for the values.

    offsets: (k, 2) int32, down and right, pixels. position: (k,) float32, what each one's place adds to its weight.
    sharpness, epsilon: those of the colour term.
    """

    offsets: Tensor
    position: Tensor
    sharpness: float
    epsilon: float


@torch.inference_mode()
def par_fused(images: Tensor, maps: Tensor, neighbourhood: Neighbourhood, iterations: int) -> Tensor:
    """`refine.pixel_adaptive_refinement` of images of one size: (m, 3, H, W) and (m, c, H, W) float32, same result."""
    count, _planes, height, width = maps.shape
    neighbours = len(neighbourhood.offsets)
    images, maps = images.contiguous(), maps.contiguous()
    affinities = images.new_empty((count, neighbours, height, width))
    grid = (triton.cdiv(height * width, BLOCK), count)
    with torch.cuda.device_of(images):  # Triton launches on the current device
        _affinity_kernel[grid](
            images, neighbourhood.offsets, neighbourhood.position, affinities, height, width,
            1 / neighbourhood.sharpness, neighbourhood.epsilon, neighbours, BLOCK,
            enable_fp_fusion=True,
        )  # fmt: skip
        results = torch.empty_like(maps)
        for part, out in zip(maps.split(PLANES, dim=1), results.split(PLANES, dim=1), strict=True):
            averaged = part.contiguous()
            for _ in range(iterations):
                refined = torch.empty_like(averaged)
                _average_kernel[grid](
                    affinities, averaged, neighbourhood.offsets, refined, height, width, averaged.shape[1], neighbours,
                    triton.next_power_of_2(averaged.shape[1]), BLOCK, enable_fp_fusion=True,
                )  # fmt: skip
                averaged = refined
            out.copy_(averaged)
    return results


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
    image, plane, beside, inside, red, green, blue, red_scale, green_scale, blue_scale
):
    """Minus the squared difference to a neighbour in units of 0.3 deviations, mean over channels."""
    red_steps = (tl.load(image + beside, mask=inside, other=0.0) - red) * red_scale
    green_steps = (tl.load(image + plane + beside, mask=inside, other=0.0) - green) * green_scale
    blue_steps = (tl.load(image + 2 * plane + beside, mask=inside, other=0.0) - blue) * blue_scale
    return -(red_steps * red_steps + green_steps * green_steps + blue_steps * blue_steps) / 3


@triton.jit  # type: ignore[untyped-decorator]
def _affinity_kernel(  # type: ignore[no-untyped-def]
    images, offsets, position, affinities, height, width, sharpening, epsilon,
    neighbours: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Every neighbour's weight: softmax over neighbours of the colour terms, plus the weight of its position."""
    plane = height * width
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    inside = pixel < plane
    row, column = pixel // width, pixel % width
    image = images + tl.program_id(1).to(tl.int64) * 3 * plane
    target = affinities + tl.program_id(1).to(tl.int64) * neighbours * plane + pixel
    terms = tl.zeros((block,), tl.float32)
    red = tl.load(image + pixel, mask=inside, other=0.0)
    green = tl.load(image + plane + pixel, mask=inside, other=0.0)
    blue = tl.load(image + 2 * plane + pixel, mask=inside, other=0.0)

    # Each pass goes over the neighbours' colours, which the caches hold: mean, deviation, then the terms.
    red_mean, green_mean, blue_mean = terms, terms, terms
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        red_mean += tl.load(image + beside, mask=inside, other=0.0) - red
        green_mean += tl.load(image + plane + beside, mask=inside, other=0.0) - green
        blue_mean += tl.load(image + 2 * plane + beside, mask=inside, other=0.0) - blue
    red_mean, green_mean, blue_mean = red_mean / neighbours, green_mean / neighbours, blue_mean / neighbours

    red_sum, green_sum, blue_sum = terms, terms, terms
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        excess = tl.load(image + beside, mask=inside, other=0.0) - red - red_mean
        red_sum += excess * excess
        excess = tl.load(image + plane + beside, mask=inside, other=0.0) - green - green_mean
        green_sum += excess * excess
        excess = tl.load(image + 2 * plane + beside, mask=inside, other=0.0) - blue - blue_mean
        blue_sum += excess * excess
    red_scale = sharpening / (tl.sqrt(red_sum / (neighbours - 1)) + epsilon)
    green_scale = sharpening / (tl.sqrt(green_sum / (neighbours - 1)) + epsilon)
    blue_scale = sharpening / (tl.sqrt(blue_sum / (neighbours - 1)) + epsilon)

    # Softmax in two passes: its denominator is rescaled whenever a greater term turns up. Terms are computed twice
    # rather than kept, which would cost memory traffic.
    greatest, total = terms - float("inf"), terms
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        term = _colour_term(image, plane, beside, inside, red, green, blue, red_scale, green_scale, blue_scale)
        above = tl.maximum(greatest, term)
        total = total * tl.exp(greatest - above) + tl.exp(term - above)
        greatest = above
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        term = _colour_term(image, plane, beside, inside, red, green, blue, red_scale, green_scale, blue_scale)
        share = tl.exp(term - greatest) / total
        tl.store(target + index * plane, share + tl.load(position + index), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _average_kernel(  # type: ignore[no-untyped-def]
    affinities, maps, offsets, refined, height, width, planes,
    neighbours: tl.constexpr, plane_block: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """One round: each map at each pixel becomes the weighted sum over its neighbours."""
    plane = height * width
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    inside = pixel < plane
    row, column = pixel // width, pixel % width
    weights = affinities + tl.program_id(1).to(tl.int64) * neighbours * plane + pixel
    index_of_map = tl.arange(0, plane_block)[:, None]
    first = tl.program_id(1).to(tl.int64) * planes * plane + index_of_map * plane
    wanted = (index_of_map < planes) & inside[None, :]
    total = tl.zeros((plane_block, block), tl.float32)
    for index in range(neighbours):
        beside = _neighbour(offsets, index, row, column, height, width)
        weight = tl.load(weights + index * plane, mask=inside, other=0.0)
        total += weight[None, :] * tl.load(maps + first + beside[None, :], mask=wanted, other=0.0)
    tl.store(refined + first + pixel[None, :], total, mask=wanted)
