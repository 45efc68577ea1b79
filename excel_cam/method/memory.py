"""Whether it was memory that ran short, whichever library found it so."""

from __future__ import annotations

import torch

# How torch says it on a CPU, how CUDA's runtime does, and the statuses of cuBLAS, cuDNN and cuSOLVER, which take
# memory for themselves and whose errors torch passes on as any other: CUBLAS_STATUS_ALLOC_FAILED is the best known.
_SAID = ("allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


def tells_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, a device's or this machine's, was too small for what was asked of it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)
