"""Patch-text class activation maps: tokens × text rows → maps (paper section 3.1, step 4)."""

from __future__ import annotations

import torch
from torch import Tensor

CLASS_TOKEN_SHARPNESS = 2.0  # factor on the class token's similarities before their softmax


@torch.inference_mode()
def class_activation_maps(tokens: Tensor, text: Tensor, feature_norm: str = "channel") -> Tensor:
    """Score every patch against every text row.

    tokens: (n, 1 + N, D) floating, class token first. text: (T, D) unit rows of the same dtype, foreground first.
    Returns (n, N, T) of that dtype in [0, 1]: each column stretched so that its least and greatest value over all 1 + N
    tokens would be 0 and 1; the class token is then left out, so a map's maximum over the patches can be below 1.
    """
    features = _normalise(tokens, feature_norm)
    similarities = features @ text.T  # (n, 1 + N, T)
    # How present each text row is in the image as a whole; the mean of the weights over rows is 1.
    presence = torch.softmax(CLASS_TOKEN_SHARPNESS * similarities[:, 0], dim=-1)
    weights = presence / presence.mean(dim=-1, keepdim=True)  # (n, T)
    # The release multiplies F_i and w_j t_j elementwise, subtracts the mean over the rows j' and sums over D. The sum
    # can go first: score_ij = w_j (F_i·t_j) - F_i·m with m the mean of w_j' t_j', and no N × T × D tensor is needed.
    shared = (weights @ text / len(text)).unsqueeze(-1)  # m: (n, D, 1)
    scores = weights.unsqueeze(1) * similarities - features @ shared
    low = scores.amin(dim=1, keepdim=True)
    spread = scores.amax(dim=1, keepdim=True) - low
    # A row that scores every token alike shows nothing anywhere: 0, where 0 / 0 would be NaN. What is NaN stays NaN.
    return torch.where(spread == 0, 0.0, (scores - low) / spread)[:, 1:]


def _normalise(tokens: Tensor, feature_norm: str) -> Tensor:
    """Divide by the L2 norm over the tokens (`channel`: each channel becomes a unit vector), or per token (`token`).

    The norm over tokens is what the release computes, by its choice of axis.
    """
    norm = tokens.norm(dim=1 if feature_norm == "channel" else 2, keepdim=True)
    return tokens / norm.clamp_min(torch.finfo(tokens.dtype).tiny)
