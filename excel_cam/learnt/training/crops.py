"""Random crops of photographs, decoded and taken in worker processes (step 12.1)."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from excel_cam.data.dataset import Sample
from excel_cam.errors import DataError, ImageError
from excel_cam.files.images.photographs import read_photograph
from excel_cam.learnt.training.draws import CropDraw, draw_crop, epoch_order, scaled_size

PREFETCHED = 4  # batches that each worker is ahead


@dataclass(frozen=True)
class Crop:
    """One crop of sample `index`.

    pixels: (S, S, 3) uint8 RGB. inside: top, bottom, left, right of the photograph in it, in pixels; the rest is black
    padding. failure: why the photograph cannot be read, which leaves a crop of padding alone; else None.
    """

    index: int
    pixels: NDArray[np.uint8]
    inside: tuple[int, int, int, int]
    failure: str | None = None


@dataclass(frozen=True, kw_only=True)
class CropChoices:
    """What decides the crops of a run. batch: crops a step, over all processes. working_pixels: as for labelling."""

    samples: Sequence[Sample]
    side: int
    batch: int
    seed: int
    working_pixels: int


def take_crop(pixels: NDArray[np.uint8], draw: CropDraw, side: int, index: int = 0) -> Crop:
    """Cut (side, side) out of (H, W, 3) uint8 pixels that are enlarged, mirrored and padded with black first."""
    height, width = scaled_size(pixels.shape[0], pixels.shape[1], draw.ratio)
    scaled = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    if draw.mirrored:
        scaled = scaled[:, ::-1]
    (down, right), (top, left) = draw.pad, draw.corner
    cut = scaled[top : top + side - down, left : left + side - right]
    bottom, far = down + cut.shape[0], right + cut.shape[1]
    crop = np.zeros((side, side, 3), np.uint8)
    crop[down:bottom, right:far] = cut
    return Crop(index, crop, (down, bottom, right, far))


def crop_batches(
    choices: CropChoices, first_step: int, steps: int, workers: int, rank: int = 0, size: int = 1
) -> Iterator[list[Crop]]:
    """The crops of each step from `first_step` to before `steps`: this process's share of each batch, in order.

    rank, size: of `size` processes, number `rank` takes every size-th sample of a batch. workers: processes that
    decode; 0 decodes in this one. Raises `DataError` as `check_batch`.
    """
    check_batch(len(choices.samples), choices.batch, size)
    places = _Places(choices, first_step, steps, rank, size)
    loader = DataLoader(
        _Crops(choices), batch_sampler=places, num_workers=workers, collate_fn=_as_they_are,
        prefetch_factor=PREFETCHED if workers else None, worker_init_fn=_leave_interrupts,
        generator=torch.Generator(),  # which the loader draws from, and leaves the caller's random numbers alone
    )  # fmt: skip
    return iter(loader)


def check_batch(count: int, batch: int, size: int) -> None:
    """Raise `DataError` where `count` samples do not fill a batch, or `size` processes cannot share one evenly."""
    if count < batch:
        raise DataError(f"{count:,} images do not fill a batch of {batch}: lower --batch, or give more images")
    if batch % size:
        raise DataError(f"a batch of {batch} cannot be shared by {size} processes: choose a multiple of {size}")


class _Places:
    """For each step, what is to be cropped: (epoch, sample index) pairs."""

    def __init__(self, choices: CropChoices, first_step: int, steps: int, rank: int, size: int) -> None:
        self._choices, self._steps, self._share = choices, range(first_step, steps), slice(rank, None, size)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        count, batch, seed = len(self._choices.samples), self._choices.batch, self._choices.seed
        order, drawn_epoch = np.empty(0, np.int64), -1
        for step in self._steps:
            epoch, place = divmod(step, count // batch)  # the last, short batch of an epoch is dropped
            if epoch != drawn_epoch:
                order, drawn_epoch = epoch_order(seed, epoch, count), epoch
            indices = order[place * batch : (place + 1) * batch][self._share]
            yield [(epoch, int(index)) for index in indices]


class _Crops(Dataset[Crop]):
    """Crops by (epoch, sample index)."""

    def __init__(self, choices: CropChoices) -> None:
        self._choices = choices

    def __getitem__(self, place: tuple[int, int]) -> Crop:
        (epoch, index), side = place, self._choices.side
        try:
            photograph = read_photograph(self._choices.samples[index].image_path, self._choices.working_pixels)
        except ImageError as error:  # one photograph must not end hours of training: it teaches nothing instead
            return Crop(index, np.zeros((side, side, 3), np.uint8), (0, 0, 0, 0), str(error))
        height, width = photograph.pixels.shape[:2]
        draw = draw_crop(self._choices.seed, epoch, index, height, width, side)
        return take_crop(photograph.pixels, draw, side, index)


def _leave_interrupts(_worker: int) -> None:
    """Ctrl-C is for the process that trains; its workers end with it, without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_they_are(crops: list[Crop]) -> list[Crop]:
    return crops
