"""From tokens and text rows to a score per class: local, refined, fused (steps T.1 to T.3 and T.6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

KEPT_SHARE = 0.5  # of a class's greatest patch score: patches below it are passed over when scores are spread
LOCAL_WEIGHT = 0.5  # of the local score in the fused one; the rest is the region's


@torch.inference_mode()
def row_probabilities(tokens: Tensor, text: Tensor, sharpness: float) -> Tensor:
    """How likely each token shows each text row rather than the others (step T.1).

    tokens: (n, 1 + N, D) floating, class token first. text: (T, D) unit rows of the same dtype, classes first, then
    background words, which take what no class explains. sharpness: the factor on cosines that the model was trained
    with. Returns (n, 1 + N, T) of that dtype, each token's sum 1.
    """
    return torch.softmax(sharpness * (F.normalize(tokens, dim=-1) @ text.T), dim=-1)


@torch.inference_mode()
def spread_scores(scores: Tensor, attention: Tensor) -> Tensor:
    """Let every patch ask the patches it attends to (step T.2): scores (n, N, K) to (n, N, K), 0..1.

    attention: A of the method, (n, 1 + N, 1 + N), rows attend to columns. Masked twice: of each patch's attention what
    is below its mean is dropped, and so are scores below `KEPT_SHARE` of their class's greatest.
    """
    between = attention[:, 1:, 1:].to(scores.dtype)
    strong = torch.where(between >= between.mean(dim=-1, keepdim=True), between, 0.0)
    strong = strong / strong.sum(dim=-1, keepdim=True)
    kept = torch.where(scores >= KEPT_SHARE * scores.amax(dim=1, keepdim=True), scores, 0.0)
    return strong @ kept


@torch.inference_mode()
def local_scores(probabilities: Tensor, attention: Tensor, classes: int) -> Tensor:
    """The local score of each class (step T.3): (n, 1 + N, T) probabilities and A to (n, classes), 0..1.

    The greatest over the patches, for an object may be small.
    """
    return spread_scores(probabilities[:, 1:, :classes], attention).amax(dim=1)


def fuse_scores(local: Tensor, region: Tensor) -> Tensor:
    """The score of each class (step T.6): local and region scores, (K,) each, weighed to (K,), 0..1.

    region: what each candidate's own crop says of it; 0 for classes that are no candidates.
    """
    return LOCAL_WEIGHT * local + (1 - LOCAL_WEIGHT) * region
