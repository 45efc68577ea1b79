"""Between host and device without waiting: pinned memory, and copies that go on while both sides work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(values: NDArray[Any] | Sequence[Any] | Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The host's numbers, array or tensor as a tensor on `device`; a CUDA device fetches it when it comes to it."""
    array, on_cuda = np.asarray(values), device.type == "cuda"
    host = torch.empty(array.shape, dtype=dtype, pin_memory=on_cuda)
    host.numpy()[...] = array
    return host.to(device, non_blocking=on_cuda)


class HostCopy:
    """A tensor's values for the host; from CUDA they are under way at once, and waited for only when asked for."""

    def __init__(self, tensor: Tensor) -> None:
        self._done: torch.cuda.Event | None = None
        self._host = tensor
        if tensor.device.type == "cuda":
            with torch.cuda.device(tensor.device):  # a thread's own choice; other GPUs are left alone
                self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                self._host.copy_(tensor, non_blocking=True)
                self._done = torch.cuda.Event(blocking=True)  # who waits leaves the processor to others
                self._done.record()

    def numpy(self) -> NDArray[Any]:
        """The values, when they have arrived; any thread may ask."""
        if self._done is not None:
            self._done.synchronize()
        return self._host.numpy()
