"""Scenes for a device that learns faster than they are composed: each is used again until there are new ones.

Processes compose, a thread brings what they made to the device, and training takes the newest batch or, where none has
come, one of those before. Each time every scene is mirrored or not, and cut to its side from another place, so that
patches fall elsewhere on it. What a batch is made of then depends on how fast the machine is.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from captions import Targets
from torch import Tensor

MARGIN = 16  # pixels by which scenes are composed larger than they are learnt from: a patch's side
KEPT = 300  # batches on the device


@dataclass(frozen=True)
class Batch:
    """pixels: (n, 3, S, S) uint8. mask: (n, S, S) uint8 label values, or None where places are not learnt from masks.
    words: token rows of the targets' texts, short ones and long ones apart, each with its places among the texts."""

    pixels: Tensor
    mask: Tensor | None
    targets: Targets
    words: list[tuple[Tensor, Tensor]]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        words = [(places.to(device), rows.to(device)) for places, rows in self.words]
        mask = None if self.mask is None else self.mask.to(device)
        return Batch(self.pixels.to(device), mask, self.targets, words)

    def seen_anew(self, random: torch.Generator) -> Batch:
        """Every scene mirrored or not, the batch cut to its side from a random place."""
        side = self.pixels.shape[-1] - MARGIN
        top, left = torch.randint(MARGIN + 1, (2,), generator=random).tolist()
        mirrored = torch.rand(len(self.pixels), generator=random).to(self.pixels.device) < 0.5

        def view(images: Tensor) -> Tensor:
            cut = images[..., top : top + side, left : left + side]
            return torch.where(mirrored.view(-1, *[1] * (cut.ndim - 1)), cut.flip(-1), cut)

        mask = None if self.mask is None else view(self.mask)
        return Batch(view(self.pixels), mask, self.targets, self.words)


def replayed(
    composed: Iterable[Batch], device: torch.device, seed: int, minutes: float, begun: Callable[[float], None]
) -> Iterator[tuple[Batch, float]]:
    """Batches for `minutes`, each with the share of that time gone by, which `begun` is told as well.

    composed: batches with `MARGIN`, on the host; where it ends, those that there are come again. A batch of another
    side takes the place of all before it. Raises what composing raises.
    """
    arrived: queue.Queue[Batch | Exception] = queue.Queue(maxsize=4)
    ended = threading.Event()

    def hand_over(found: Batch | Exception) -> None:
        while not ended.is_set():
            try:
                return arrived.put(found, timeout=1)
            except queue.Full:
                continue

    def bring() -> None:
        try:
            for batch in composed:
                hand_over(batch.to(device))
                if ended.is_set():
                    return
        except Exception as error:  # whatever it is, training is not to go on without new scenes, nor wait for them
            hand_over(error)

    def taken(found: Batch | Exception) -> Batch:
        if isinstance(found, Exception):
            raise found
        return found

    bringing = threading.Thread(target=bring, daemon=True)
    bringing.start()
    random, choose = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    kept: deque[Batch] = deque(maxlen=KEPT)
    try:
        newest = taken(arrived.get())
        started = time.monotonic()
        kept.append(newest)
        while (gone := (time.monotonic() - started) / (60 * minutes)) < 1:
            begun(gone)
            yield newest.seen_anew(random), gone
            try:
                newest = taken(arrived.get_nowait())
            except queue.Empty:
                newest = kept[int(choose.integers(len(kept)))]
                continue
            if newest.pixels.shape != kept[-1].pixels.shape:
                kept.clear()
            kept.append(newest)
    finally:
        ended.set()
        bringing.join()
