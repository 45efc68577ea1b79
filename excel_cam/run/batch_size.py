"""How many photographs go through the model at a time: `--batch-size auto`."""

from __future__ import annotations

import gc
from typing import Protocol

import torch

from excel_cam.method.memory import tells_of_memory
from excel_cam.method.threads import threads_here
from excel_cam.model.clip import ClipModel

CPU_BATCH = 8  # a CPU computes photographs singly whatever the batch; so many at least are held and written together
CPU_BATCH_OF_THREAD = 2  # and so many for each of its threads, which have a photograph each
LARGEST_BATCH = 64  # 64 images of 401 tokens fill any GPU; more would only cost memory and start-up
TRIALS = (1, 3)  # batch sizes whose memory is measured
FREE_SHARE = 0.5  # of the device's free memory for the forward pass; refinement and the next batch take from the rest


class Rehearsing(Protocol):
    """What can be tried on blank photographs: a labeller, or a segmenter."""

    @property
    def model(self) -> ClipModel:
        """The model, with its device."""

    def rehearse(self, count: int) -> None:
        """Put so many blank photographs through the model at once, all views of them."""


def automatic_batch_size(labeller: Rehearsing) -> int:
    """The batch size for a labeller's device: by threads on a CPU, by free memory on CUDA (1 to 64, powers of two).

    On CUDA two forward passes, after one that is not counted, show how much memory one more image takes. A device that
    cannot hold three images at a time gets 1. That this leaves too little for very large photographs is caught while
    the run goes on: the batch is then halved.
    """
    device = labeller.model.device
    if device.type != "cuda":
        return max(CPU_BATCH, CPU_BATCH_OF_THREAD * threads_here())
    try:
        labeller.rehearse(TRIALS[0])  # the first pass takes workspaces of libraries besides, which stay
        few, more = (_peak_bytes(labeller, count) for count in TRIALS)
    except RuntimeError as error:
        if not tells_of_memory(error):
            raise
        return 1
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    free, _total = torch.cuda.mem_get_info(device)
    return largest_batch(free, few, more)


def largest_batch(free: int, few: int, more: int) -> int:
    """The largest power of two, `LARGEST_BATCH` at most, whose forward pass takes no more than its share of `free`.

    few, more: bytes that the passes of `TRIALS` images took; what grows between them grows with every image.
    """
    each = max(1, (more - few) // (TRIALS[1] - TRIALS[0]))
    fixed = max(0, few - each * TRIALS[0])
    fitting = max(1, int(free * FREE_SHARE - fixed) // each)
    return min(LARGEST_BATCH, 2 ** (fitting.bit_length() - 1))


def _peak_bytes(labeller: Rehearsing, count: int) -> int:
    """Device memory that the forward pass of `count` images, all views of them, takes on top of the model."""
    device = labeller.model.device
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    labeller.rehearse(count)
    return torch.cuda.max_memory_allocated(device) - before
