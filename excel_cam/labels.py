"""From class maps on the patch grid to label maps at the photograph's size (METHOD.md step 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from excel_cam.classes import IGNORE

MAP_EPSILON = 1e-7
STRIP_VALUES = 2**24  # scores enlarged at a time: 64 MiB


def upsample_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Stretch each map to 0..1 on its own grid, then resize: (c, h, w) to (c, height, width) float32 (step 6.1).

    The stretch is computed in the maps' own dtype: it magnifies what rounding has left in them.
    """
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    maps = maps / (MAP_EPSILON + maps.amax(dim=(1, 2), keepdim=True))
    return F.interpolate(maps[None].float(), size=(height, width), mode="bilinear", align_corners=False)[0]


def stack_background(maps: Tensor, power: float) -> Tensor:
    """Put the background score (1 - greatest map)^power first: (c, H, W) to (1 + c, H, W) (step 6.2)."""
    background = (1 - maps.amax(dim=0, keepdim=True)) ** power
    return torch.cat([background, maps])


def stack_constant_backgrounds(maps: Tensor, scores: Sequence[float]) -> Tensor:
    """Put planes of constant background scores first: (c, H, W) to (len(scores) + c, H, W)."""
    planes = torch.tensor(scores, dtype=maps.dtype, device=maps.device).view(-1, 1, 1).expand(-1, *maps.shape[1:])
    return torch.cat([planes, maps])


def label_map(scores: Tensor, tags: Sequence[int], has_background: bool = True) -> Tensor:
    """Most likely class per pixel (step 6.4).

    scores: (1 + c, H, W), background first, then the classes of `tags` (0-based) in order; without a background
    class (c, H, W). Returns (H, W) uint8: 0 for background, tag + 1 for a class; without a background class, the tag.
    """
    order = [0, *(tag + 1 for tag in tags)] if has_background else list(tags)
    values = torch.tensor(order, dtype=torch.uint8, device=scores.device)
    return values[scores.argmax(dim=0)]


def with_each_background(scores: Tensor) -> list[Tensor]:
    """Part (2 + c, H, W) scores, the low and the high background first, into two of (1 + c, H, W) with one of them."""
    return [scores[[0, *range(2, len(scores))]], scores[1:]]


def agreed_label_map(low: Tensor, high: Tensor) -> Tensor:
    """Two (H, W) uint8 labels, of a low and a high background score, as one: `IGNORE` (255) where they differ.

    So IRN and ToCo mark doubt.
    """
    return torch.where(low == high, low, IGNORE).to(torch.uint8)


def enlarged_strips(scores: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """Enlarge scores bilinearly, half-pixel centres, strip by strip, so that no image is too large for the memory.

    scores: (c, H', W') float32. Yields (c, rows, width) float32 from top to bottom, `height` rows in all.
    """
    last = scores.shape[1] - 1
    centres = ((torch.arange(height, device=scores.device) + 0.5) * (scores.shape[1] / height) - 0.5).clamp(0, last)
    for part in centres.split(max(1, STRIP_VALUES // (len(scores) * width))):
        above = part.long()
        below = (above + 1).clamp_max(last)
        rows = torch.lerp(scores[:, above], scores[:, below], (part - above)[:, None])
        yield F.interpolate(rows[None], size=(len(part), width), mode="bilinear", align_corners=False)[0]
