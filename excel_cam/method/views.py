"""Test-time augmentation: the views of an image whose class maps are averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from excel_cam.method.calibration import grid_side
from excel_cam.settings import Settings


@dataclass(frozen=True)
class View:
    """One way to look at an image: resized to `side` patches a side, mirrored or not."""

    side: int
    mirrored: bool


def chosen_views(settings: Settings, patch: int) -> tuple[View, ...]:
    """Every scale of the settings, and its mirror image where they say so; sides are whole patches."""
    sides = [grid_side(scale * settings.size, patch) for scale in settings.scales]
    return tuple(View(side, mirrored) for side in sides for mirrored in ((False, True) if settings.flip else (False,)))


def average_over_views(views: tuple[View, ...], map_view: Callable[[View], Tensor], grid: tuple[int, int]) -> Tensor:
    """The mean of the views' maps on the base grid, of `grid` rows and columns.

    map_view: from a view to its (n, T, h', w') maps, as the view shows them. Returns (n, T, h, w).
    """
    total: Tensor | float = 0.0
    for view in views:
        maps = map_view(view)
        if view.mirrored:
            maps = maps.flip(-1)
        if maps.shape[2:] != grid:
            maps = F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
        total = maps + total
    return torch.as_tensor(total / len(views))
