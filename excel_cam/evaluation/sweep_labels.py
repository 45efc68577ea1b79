"""One image's saved class maps → its labels at many background scores, as step 6 makes each of them.

Classes are compared with one another only once, and refinement, which treats every plane by itself, is computed once
for all background scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.errors import DataError
from excel_cam.files.images.photographs import read_photograph, reduced_size
from excel_cam.labels.class_maps import ClassMaps
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.label_map import enlarged_strips, upsample_maps
from excel_cam.method.refinement.par import guide_image, pixel_adaptive_refinement
from excel_cam.method.threads import one_thread
from excel_cam.settings import Settings
from excel_cam.wording import size_text

Label = NDArray[np.uint8]


@one_thread()  # as a run computes them, so that they are the same to the last digit
def swept_labels(
    class_maps: ClassMaps,
    photograph: Path | None,
    powers: Sequence[float],
    thresholds: Sequence[float],
    settings: Settings,
) -> list[Label]:
    """Labels of the maps' (H, W), uint8: one per power of the background score, then one per constant score.

    photograph: for pixel-adaptive refinement, with the settings that made the maps; None leaves refinement out.
    Raises `ImageError` for a photograph that cannot be read, `DataError` for one of another size.
    """
    if not class_maps.keys:
        return [np.zeros(class_maps.size, np.uint8) for _ in (*powers, *thresholds)]
    maps = torch.from_numpy(class_maps.maps)
    if photograph is None:
        width, height = reduced_size(class_maps.size[::-1], settings.working_pixels) or class_maps.size[::-1]
        scores = _stack(upsample_maps(maps, height, width), powers)
    else:
        guide = _guide(photograph, class_maps, settings)
        scores = pixel_adaptive_refinement(guide, _stack(upsample_maps(maps, *guide.shape[1:]), powers))
    strips = [scores] if scores.shape[1:] == class_maps.size else enlarged_strips(scores, *class_maps.size)
    parts = [_strip_labels(strip, class_maps.keys, len(powers), thresholds) for strip in strips]
    return [torch.cat(labels).numpy() for labels in zip(*parts, strict=True)]


def _stack(maps: Tensor, powers: Sequence[float]) -> Tensor:
    """(c, H, W) maps to (P + 1 + c, H, W): a background score per power, a plane of 1, the maps."""
    nearest = 1 - maps.amax(dim=0)
    return torch.cat([torch.stack([*(nearest**power for power in powers), torch.ones_like(nearest)]), maps])


def _strip_labels(scores: Tensor, keys: Sequence[int], powers: int, thresholds: Sequence[float]) -> list[Tensor]:
    """(P + 1 + c, rows, W) scores to a (rows, W) uint8 label per power and per threshold."""
    classes = scores[powers + 1 :]
    values = torch.tensor(keys, dtype=torch.uint8) + 1
    greatest, label = classes.amax(dim=0), values[classes.argmax(dim=0)]
    # Refinement is linear: what it makes of a constant plane is that constant times what it makes of 1.
    backgrounds = [*scores[:powers], *(threshold * scores[powers] for threshold in thresholds)]
    return [torch.where(background >= greatest, 0, label).to(torch.uint8) for background in backgrounds]


def _guide(path: Path, class_maps: ClassMaps, settings: Settings) -> Tensor:
    """The (3, H', W') colours that guide refinement, lying as the maps do: in the file's own orientation."""
    opened = read_photograph(path, settings.working_pixels, bands=settings.bands)
    stored_size = opened.as_stored(np.zeros(opened.size, np.bool_)).shape
    if stored_size != class_maps.size:
        raise DataError(
            f"{path}: this photograph is {size_text(stored_size)} (H x W), but its class maps are of an "
            f"image of {size_text(class_maps.size)}; check --images"
        )
    pixels = np.moveaxis(opened.as_stored(np.moveaxis(opened.pixels, -1, 0)), 0, -1)
    image = normalise(pixels, settings.normalisation)
    side = class_maps.maps.shape[-1]  # patches
    network_input = resize_to_input(image, class_maps.input_size or side * round(settings.size / side))
    return guide_image(image, network_input, settings.par_image)
