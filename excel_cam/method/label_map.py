"""From class maps on the patch grid to label maps at the photograph's size (step 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from excel_cam.classes import IGNORE
from excel_cam.settings import MAP_EPSILON

STRIP_VALUES = 2**24  # scores enlarged at a time: 64 MiB


def upsample_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Stretch each map to 0..1 on its own grid, then resize: (..., c, h, w) to (..., c, height, width) float32 (6.1).

    The stretch is computed in the maps' own dtype: it magnifies what rounding has left in them.
    """
    maps = maps - maps.amin(dim=(-2, -1), keepdim=True)
    maps = maps / (MAP_EPSILON + maps.amax(dim=(-2, -1), keepdim=True))
    return _resize(maps.float(), height, width)


def _resize(maps: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, half-pixel centres: (..., c, h, w) to (..., c, height, width)."""
    batch = maps.unsqueeze(0) if maps.ndim == 3 else maps
    return F.interpolate(batch, size=(height, width), mode="bilinear", align_corners=False).view(
        *maps.shape[:-2], height, width
    )


def stack_background(maps: Tensor, power: float) -> Tensor:
    """Put the background score (1 - greatest map)^power first: (..., c, H, W) to (..., 1 + c, H, W) (step 6.2)."""
    background = (1 - maps.amax(dim=-3, keepdim=True)) ** power
    return torch.cat([background, maps], dim=-3)


def stack_constant_backgrounds(maps: Tensor, scores: Sequence[float]) -> Tensor:
    """Put planes of constant background scores first: (..., c, H, W) to (..., len(scores) + c, H, W)."""
    planes = [torch.full_like(maps[..., :1, :, :], score) for score in scores]
    return torch.cat([*planes, maps], dim=-3)


def label_map(scores: Tensor, tags: Sequence[int] | Tensor, has_background: bool = True) -> Tensor:
    """Most likely class per pixel (step 6.4).

    scores: (..., 1 + c, H, W), background first, then the classes of `tags`, (..., c) 0-based, in order; without a
    background class (..., c, H, W). Returns (..., H, W) uint8: 0 for background, tag + 1 for a class; without a
    background class, the tag. The first of equal scores wins, so that a class repeated at the end changes nothing.
    """
    values = torch.as_tensor(tags, device=scores.device)
    if has_background:
        values = F.pad(values + 1, (1, 0))
    best = scores.max(dim=-3).indices  # as argmax gives them, seven times faster on a CPU
    return values.to(torch.uint8).gather(-1, best.flatten(-2)).view(best.shape)


def with_each_background(scores: Tensor) -> list[Tensor]:
    """Part (..., 2 + c, H, W) scores, the low and the high background first, into two of (..., 1 + c, H, W)."""
    low, high, classes = scores[..., :1, :, :], scores[..., 1:2, :, :], scores[..., 2:, :, :]
    return [torch.cat([background, classes], dim=-3) for background in (low, high)]


def agreed_label_map(low: Tensor, high: Tensor) -> Tensor:
    """Two uint8 labels, of a low and a high background score, as one: `IGNORE` (255) where they differ.

    So IRN and ToCo mark doubt.
    """
    return torch.where(low == high, low, IGNORE).to(torch.uint8)


def enlarged_strips(scores: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """Enlarge scores bilinearly, half-pixel centres, strip by strip, so that no image is too large for the memory.

    scores: (..., c, H', W') float32. Yields (..., c, rows, width) float32 from top to bottom, `height` rows in all.
    """
    last = scores.shape[-2] - 1
    centres = ((torch.arange(height, device=scores.device) + 0.5) * (scores.shape[-2] / height) - 0.5).clamp(0, last)
    for part in centres.split(max(1, STRIP_VALUES // (scores.shape[:-2].numel() * width))):
        above = part.long()
        below = (above + 1).clamp_max(last)
        rows = torch.lerp(scores[..., above, :], scores[..., below, :], (part - above)[:, None])
        yield _resize(rows, len(part), width)
