"""Attention summed over heads as one Triton kernel, for the image tower in half precision on a GPU.

What calibration and affinity read of a block is the sum of its heads' attention. One by one the heads' maps take a
hundred times the memory of that sum, and most of the time of the forward pass; here they stay in registers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_TOKENS = 1024  # whose scores with a few rows fit into registers
WIDTHS = (16, 32, 64, 128)  # of heads, in channels
SCORES = 16384  # per program: as many rows as that makes, 16 at least and 64 at most
WARPS = 8  # of 32 threads, per program


def fits(rows: Tensor) -> bool:
    """Whether the kernel takes queries or keys of this shape, (n, heads, t, d)."""
    return rows.shape[2] <= MOST_TOKENS and rows.shape[3] in WIDTHS


@torch.inference_mode()
def sum_heads(rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """softmax(rows · columnsᵀ · scale) summed over heads: (n, heads, t, d) half precision, twice, to (n, t, t) float32.

    Products are summed in float32, and unlike torch's not rounded before the softmax. The last axis is contiguous.
    """
    count, heads, tokens, width = rows.shape
    sums = torch.empty(count, tokens, tokens, device=rows.device)
    block_columns = max(16, triton.next_power_of_2(tokens))
    block_rows = min(64, max(16, SCORES // block_columns))
    with torch.cuda.device_of(rows):  # Triton launches on the current device
        _sum_heads_kernel[(triton.cdiv(tokens, block_rows), count)](
            rows, columns, sums, *rows.stride()[:3], *columns.stride()[:3], tokens, heads, scale, width,
            block_rows, block_columns, num_warps=WARPS,
        )  # fmt: skip
    return sums


@triton.jit(do_not_specialize=["tokens", "heads"])  # type: ignore[untyped-decorator]
def _sum_heads_kernel(  # type: ignore[no-untyped-def]
    rows, columns, sums, row_image, row_head, row_token, column_image, column_head, column_token, tokens, heads, scale,
    width: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    """A few rows of one image's sum, against all columns."""
    image = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    column = tl.arange(0, block_columns)
    channel = tl.arange(0, width)
    # Those beyond the last take its place: read with it, but neither counted nor written.
    own = rows + image * row_image + tl.minimum(row, tokens - 1)[:, None] * row_token + channel[None, :]
    others = columns + image * column_image + tl.minimum(column, tokens - 1)[None, :] * column_token + channel[:, None]
    is_there = (column < tokens)[None, :]
    total = tl.zeros((block_rows, block_columns), tl.float32)
    for _head in range(heads):
        scores = tl.dot(tl.load(own), tl.load(others)) * scale
        scores = tl.where(is_there, scores, float("-inf"))
        scores = tl.exp(scores - tl.max(scores, axis=1)[:, None])
        total += scores / tl.sum(scores, axis=1)[:, None]
        own += row_head
        others += column_head
    places = image * tokens * tokens + row[:, None] * tokens + column[None, :]
    tl.store(sums + places, total, mask=(row < tokens)[:, None] & is_there)
