"""Muon: momentum whose updates of weight matrices are made orthogonal, the work shared between processes.

For small transformers trained briefly it needs about half the images AdamW needs. Written out here because the matrices
are shared out between the processes, which torch's own does not do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

MOMENTUM = 0.95
DECAY = 0.05
STEPS = 4  # Newton-Schulz iterations
QUINTIC = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5: drives all singular values towards 1


def fast_in_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32: on processors without such instructions many times
    slower."""
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest matrices with orthogonal rows or columns, roughly, and with an update's usual size (RMS 0.2).

    (..., rows, columns), so that those of one shape take as many calls as one does.
    """
    rows, columns = matrices.shape[-2:]
    x = matrices.bfloat16() if fast_in_bfloat16(matrices.device) else matrices
    if rows > columns:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    if rows > columns:
        x = x.mT
    return x.float() * (0.2 * max(rows, columns) ** 0.5)


class Muon:
    """Momentum and updates of matrices or convolution kernels; each of `processes` makes its share of the updates."""

    def __init__(self, parameters: Sequence[Tensor], rank: int, processes: int) -> None:
        self.parameters, self.rank, self.processes = list(parameters), rank, processes
        self.momentum = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Change the parameters by their gradients, which must be the same in all processes, and clear these."""
        updates: list[Tensor] = []
        alike: dict[torch.Size, list[int]] = {}
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        assert len(gradients) == len(self.parameters)
        get_ema_multi_avg_fn(MOMENTUM)(self.momentum, gradients, 0)
        for place, (gradient, momentum) in enumerate(zip(gradients, self.momentum, strict=True)):
            if place % self.processes == self.rank:
                updates.append(gradient.lerp(momentum, MOMENTUM))
                alike.setdefault(gradient.flatten(1).shape, []).append(place)
            else:
                updates.append(torch.zeros_like(gradient))
            self.parameters[place].grad = None
        for places in alike.values():
            matrices = orthogonalise(torch.stack([updates[place].flatten(1) for place in places]))
            for place, matrix in zip(places, matrices, strict=True):
                updates[place] = matrix.reshape_as(updates[place])
        if self.processes > 1:
            flat = torch.cat([update.flatten() for update in updates])
            torch.distributed.all_reduce(flat)
            parts = flat.split([update.numel() for update in updates])
            updates = [part.reshape(update.shape) for part, update in zip(parts, updates, strict=True)]
        for parameter, update in zip(self.parameters, updates, strict=True):
            parameter.mul_(1 - rate * DECAY).sub_(update, alpha=rate)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """What a checkpoint keeps."""
        return {"momentum": self.momentum}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Go on from a checkpoint."""
        self.momentum = state["momentum"]
