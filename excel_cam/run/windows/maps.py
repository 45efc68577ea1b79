"""A large photograph's maps of step 4 and its affinity, from overlapping windows (`--windows`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from excel_cam.method.calibration import DenseFeatures
from excel_cam.method.images import resize_to_input
from excel_cam.method.views import View, average_over_views
from excel_cam.method.windows import (
    AttentionSum,
    NeighbourAttention,
    WindowGrid,
    cut_windows,
    join_tokens,
    lay_bounded_windows,
    lay_windows,
)

AUTO_FROM = 1.5  # times the network's input: longer sides are looked at in windows


@dataclass(frozen=True)
class Tower:
    """What windows need of a labeller.

    patch: P, pixels. encode: (m, 3, S, S) network inputs to their features. score: F, (m, 1 + N, D), to scores,
    (m, N, T). together: how many windows go through it at a time.
    """

    patch: int
    encode: Callable[[Tensor], DenseFeatures]
    score: Callable[[Tensor], Tensor]
    together: int


@dataclass(frozen=True)
class WindowedMaps:
    """What a photograph's windows come to.

    canvas: (3, h · P, w · P) float32, the photograph as the windows saw it. maps: (1, T, h, w) float64.
    """

    canvas: Tensor
    maps: Tensor
    attention: NeighbourAttention


def lay_on(size: tuple[int, int], windows: str | int, side: int, patch: int) -> WindowGrid | None:
    """The windows of a photograph of (H, W) pixels; None where it is looked at as a whole.

    windows: the setting. side: patches a side of the network's input.
    """
    if windows == "off" or (windows == "auto" and max(size) <= AUTO_FROM * side * patch):
        return None
    pixels = side * patch if windows == "auto" else int(windows)
    grid = lay_bounded_windows(size, pixels, side)
    return None if grid.count == 1 else grid


@torch.inference_mode()
def windowed_maps(normalised: Tensor, grid: WindowGrid, tower: Tower, views: Sequence[View]) -> WindowedMaps:
    """The maps of a (3, H, W) normalised photograph, averaged over `views`, each of which has windows of its own.

    The affinity is the base view's alone, as without windows. One batch of windows is encoded at a time; what stays of
    them is their sum on the grid.
    """
    size = (int(normalised.shape[1]), int(normalised.shape[2]))
    canvas = resize_to_input(normalised, grid.input_size(tower.patch))
    attention = AttentionSum(grid, normalised.device)
    base = View(grid.side, mirrored=False)

    def map_view(view: View) -> Tensor:
        own = lay_windows(size, grid.pixels, view.side)
        shown = canvas if view.side == grid.side else resize_to_input(normalised, own.input_size(tower.patch))
        return _view_maps(normalised, shown, own, view.mirrored, tower, attention if view == base else None)

    maps = average_over_views(tuple(views), map_view, (grid.height, grid.width))
    if base not in views:
        map_view(base)
    return WindowedMaps(canvas, maps, attention.mean())


def _view_maps(
    normalised: Tensor, canvas: Tensor, grid: WindowGrid, mirrored: bool, tower: Tower, attention: AttentionSum | None
) -> Tensor:
    """One view's (1, T, h, w) maps, as the view shows them; `attention` is told of every window's."""
    whole = resize_to_input(normalised, grid.side * tower.patch)
    if mirrored:
        canvas, whole = canvas.flip(-1), whole.flip(-1)

    def window_tokens() -> Iterator[Tensor]:
        corners = grid.corners
        for batch in cut_windows(canvas, grid, tower.patch, tower.together):
            features = tower.encode(batch)
            for tokens, window in zip(features.tokens, features.attention, strict=True):
                corner = next(corners)
                if attention is not None:
                    attention.add(corner, window[1:, 1:])
                yield tokens[1:]

    tokens = join_tokens(grid, window_tokens(), tower.encode(whole[None]).tokens[0])
    return tower.score(tokens[None]).transpose(1, 2).unflatten(2, (grid.height, grid.width))
