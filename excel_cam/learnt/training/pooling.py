"""Several processes that train as one: sums and means over the whole batch, whoever holds which part of it.

Splitting the batch must not split the loss: counts, sums and the mean of R are taken over all processes, gradients
flow through them, and the objective does not change with the number of GPUs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced as well: every process's loss depends on every process's part."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


@dataclass(frozen=True)
class Pool:
    """The processes that train together; `size` of them, of which this is number `rank`."""

    rank: int = 0
    size: int = 1

    def sum(self, values: Tensor) -> Tensor:
        """The sum over processes of a tensor of one shape; differentiable."""
        return values if self.size == 1 else _SumOverProcesses.apply(values)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of all values of all processes, which have equally many: a scalar; differentiable."""
        return self.sum(values.sum()) / (values.numel() * self.size)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give all processes the gradient of the one loss.

        Each has computed that of `size` equal losses with respect to its own part: their mean is what one process
        would have found.
        """
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def joined_pool(device: torch.device) -> Iterator[Pool]:
    """The processes that torchrun has started, joined for the block; one alone where there is no torchrun."""
    if dist.is_initialized():
        yield Pool(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Pool()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Pool(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
