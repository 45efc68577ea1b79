"""One labelled image as a notebook wants it: the label, what it comes from, a picture, a file."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from excel_cam.classes import IGNORE
from excel_cam.errors import OutputError
from excel_cam.labels.overlay import overlay_picture
from excel_cam.labels.png import class_shares, write_label
from excel_cam.method.label_map import stack_background, upsample_maps


@dataclass(frozen=True, eq=False, repr=False)
class LabelledImage:
    """What `Labeller.label` returns for one image; where it stands last in a notebook's cell it shows as a picture.

    label: (H, W) uint8, of the image's size as it is stored. maps: (c, h, w) float64 on the patch grid, one per class
    of `classes` in order, as step 5 leaves them. classes: the names given for the image, in label order. names: what
    the values of the label stand for, of all classes.

    >>> result = labeller.label(photo, "motorbike")
    >>> result
    LabelledImage(452 x 455: background 95.4 %, motorbike 4.6 %)
    >>> result.label.shape, result.label.dtype.name, result.maps.shape, result.scores.shape
    ((452, 455), 'uint8', (1, 16, 16), (2, 452, 455))
    """

    label: NDArray[np.uint8]
    maps: NDArray[np.float64]
    classes: tuple[str, ...]
    names: dict[int, str]
    _pixels: NDArray[np.uint8] = field()  # (H', W', 3), perhaps reduced, lying as the label does
    _background_power: float | None = field()  # None: no background class

    @property
    def scores(self) -> NDArray[np.float32]:
        """(1 + c, H, W) in 0..1, background first (none without a background class): steps 6.1 and 6.2.

        These are what refinement starts from; `label` comes after it, so it is not everywhere their greatest.
        """
        height, width = self.label.shape
        if not self.classes:
            return np.ones((0 if self._background_power is None else 1, height, width), np.float32)
        maps = upsample_maps(torch.from_numpy(self.maps), height, width)
        return (maps if self._background_power is None else stack_background(maps, self._background_power)).numpy()

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels, 0..1, by the name of each class in the label."""
        return {self.names[value]: share for value, share in class_shares(self.label).items()}

    def overlay(self) -> Image.Image:
        """The image with each class in its colour, a line around it, and a legend below: as `excel-cam label` draws."""
        legend = {value: name for value, name in self.names.items() if value or self._background_power is None}
        return overlay_picture(self._pixels, self.label, legend)

    def save(self, path: str | os.PathLike[str], *, png_mode: str = "L", overwrite: bool = False) -> Path:
        """Write the label as a PNG of class indices, whole or not at all, and return its path.

        png_mode: `L`, or `P` for VOC's colours. Raises `OutputError` for another ending than .png, and where a file is
        there already and `overwrite` is not set.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise OutputError(f"{path}: labels are PNGs; end the name in .png (overlay().save(...) writes pictures)")
        if png_mode not in ("L", "P"):
            raise OutputError(f"png_mode is {png_mode!r}; expected L or P")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} is there already; choose another name, or replace it with overwrite=True")
        write_label(path, self.label, png_mode, stamp=None)
        return path

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The label, so that numpy takes the result as it is."""
        return np.array(self.label, dtype=dtype) if copy or dtype is not None else self.label

    def __repr__(self) -> str:
        height, width = self.label.shape
        parts = [f"{name} {100 * share:.1f} %" for name, share in self.shares.items()]
        return f"LabelledImage({height} x {width}: {', '.join(parts)})"

    def _repr_png_(self) -> bytes:
        """How a notebook shows it."""
        stream = io.BytesIO()
        self.overlay().save(stream, "PNG")
        return stream.getvalue()


def value_names(names: Sequence[str], has_background: bool) -> dict[int, str]:
    """What label values stand for."""
    first = {0: "background"} if has_background else {}
    return first | dict(enumerate(names, start=len(first))) | {IGNORE: "ignore"}
