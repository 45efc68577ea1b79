"""Whether Triton can build a kernel here: it compiles on the spot, and wants a compiler and headers for that."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable

import torch

from excel_cam.method.memory import tells_of_memory


def can_build(what: str, device: torch.device, capability: tuple[int, int], trial: Callable[[], object]) -> bool:
    """Whether a kernel can be built for a CUDA device of a compute capability; said where Triton is there and cannot.

    what: for the sentence that says so, what plain torch then does. trial: a call of the kernel.
    Raises what tells of memory that is short: that passes, so it is not to be remembered, and whoever has a batch
    halves it.
    """
    if importlib.util.find_spec("triton") is None or torch.cuda.get_device_capability(device) < capability:
        return False
    try:
        trial()
    except Exception as error:  # whatever is missing
        if tells_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"{what} in plain torch, its fused kernel cannot be built: {reason}", stacklevel=3)
        return False
    return True
