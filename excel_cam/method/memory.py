"""Where memory runs short: who says so, and smaller groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch

from excel_cam.errors import MachineError

Result = TypeVar("Result")

# How torch says it on a CPU, how CUDA's runtime does, and the statuses of cuBLAS, cuDNN and cuSOLVER, which take
# memory for themselves and whose errors torch passes on as any other: CUBLAS_STATUS_ALLOC_FAILED is the best known.
_SAID = ("allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


def tells_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, a device's or this machine's, was too small for what was asked of it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)


class Limited(Protocol):
    """What remembers how many photographs the memory has been found to hold; None where nothing was too many."""

    batch_limit: int | None


def in_groups_that_fit(
    owner: Limited, count: int, most_together: Callable[[int], int], compute: Callable[[slice], Sequence[Result]],
    too_large: Callable[[int], MachineError],
) -> list[Result]:  # fmt: skip
    """What `compute` makes of `count` photographs, as many at a time as `most_together` says of those that are left.

    A group that the memory does not hold is halved, and so are those after it: what did not fit will not fit next time.
    too_large: the error where it does not hold the one at a place.
    """
    found: list[Result] = []
    while len(found) < count:
        most = most_together(count - len(found))
        try:
            found += compute(slice(len(found), len(found) + most))
        except (RuntimeError, MemoryError) as error:
            if not tells_of_memory(error):
                raise
            if most == 1:
                raise too_large(len(found)) from None
            owner.batch_limit = most // 2
    return found
