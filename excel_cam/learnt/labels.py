"""Labels from tags with an affinity that is learnt: what training learns from, and what `generate` writes (step 11)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from excel_cam.learnt.relation import mix_attention
from excel_cam.method.affinity import spread_maps, transition_matrix
from excel_cam.method.cam import class_activation_maps
from excel_cam.method.label_map import label_map, stack_background, upsample_maps
from excel_cam.method.refinement.par import pixel_adaptive_refinement

# On the patch grid double precision costs next to nothing, and keeps rounding out of maps that are stretched to 0..1.
GRID_DTYPE = torch.float64


def class_maps(tokens: Tensor, text: Tensor, classes: int, feature_norm: str) -> Tensor:
    """Maps of step 4 of the K foreground classes: F, (n, 1 + N, D), and text rows, (T, D), to (n, K, h, w) float64."""
    maps = class_activation_maps(tokens.to(GRID_DTYPE), text.to(GRID_DTYPE), feature_norm)[..., :classes]
    side = round(maps.shape[1] ** 0.5)
    return maps.transpose(1, 2).unflatten(2, (side, side))


def patch_affinity(attention: Tensor, sigma: Tensor | None) -> Tensor:
    """What step 5.1 starts from, (n, N, N) float64: the mean of the attention maps, or with σ their mixture (11.2).

    attention: (blocks, n, N, N). sigma: (n, N, N) in 0..1, or None in the static phase.
    """
    attention = attention.to(GRID_DTYPE)
    return attention.mean(dim=0) if sigma is None else mix_attention(attention, sigma.to(GRID_DTYPE))


def spread_along(maps: Tensor, affinity: Tensor, box_threshold: float) -> Tensor:
    """Step 5 from 5.1 on: maps (n, c, h, w) and an affinity of patches (n, N, N), both float64, to (n, c, h, w)."""
    transitions = transition_matrix(F.pad(affinity, (1, 0, 1, 0)))  # which drops the class token it expects
    return spread_maps(maps, transitions, box_threshold)


def crop_labels(
    maps: Tensor, affinity: Tensor, tags: Sequence[Sequence[int]], guides: Tensor, box_threshold: float,
    background_power: float, uses_par: bool,
) -> Tensor:  # fmt: skip
    """Labels of crops from maps, affinity and the whole photographs' tags (steps 11.3 and 11.4).

    maps: (n, K, h, w) float64. affinity: (n, N, N) float64. guides: (n, 3, S, S) float32, the crops' own bytes / 255:
    the release brings its normalised input back to bytes, truncated, so that some come out one lower.
    Returns (n, S, S) uint8: 0 background, tag + 1 a class; all background where there are no tags.
    """
    labels = torch.zeros((len(maps), *guides.shape[2:]), dtype=torch.uint8, device=maps.device)
    tagged = [place for place, present in enumerate(tags) if len(present)]
    if not tagged:
        return labels
    chosen = torch.tensor(tagged, device=maps.device)
    present = torch.tensor(even_tags([tags[place] for place in tagged]), device=maps.device)
    spread = spread_along(maps[chosen[:, None], present], affinity[chosen], box_threshold)
    scores = stack_background(upsample_maps(spread, *guides.shape[2:]), background_power)
    if uses_par:
        scores = pixel_adaptive_refinement(guides[chosen], scores)
    labels[chosen] = label_map(scores, present)
    return labels


def even_tags(tags: Sequence[Sequence[int]]) -> list[list[int]]:
    """As many tags for every image, the first repeated: a class that comes again at the end never wins a pixel."""
    most = max(len(present) for present in tags)
    return [[*present, *[present[0]] * (most - len(present))] for present in tags]
