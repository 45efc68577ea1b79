"""Attribute hunting: text rows enriched with the attributes they resemble (paper section 3.2, step 1.5)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def enrich_rows(
    rows: NDArray[np.float64], bank: NDArray[np.float64], keep: float, strength: float
) -> NDArray[np.float64]:
    """Attribute hunting: add to each row the attributes it resembles most (step 1.5).

    rows: (K, D) unit rows. bank: (D, B). keep: share of the attributes a row may draw on. strength: λ.
    Returns (K, D) unit rows.
    """
    enriched = rows + strength * attribute_shares(rows, bank, keep) @ bank.T
    return enriched / np.linalg.norm(enriched, axis=1, keepdims=True)


def attribute_shares(rows: NDArray[np.float64], bank: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    """(K, B): how much of each attribute a row draws on; 0 for those dropped, each row's sum is 1."""
    similarities = rows @ bank
    dropped = min(math.floor((1 - keep) * bank.shape[1]), bank.shape[1] - 1)  # a tiny share still keeps one
    for row in similarities:
        row[np.argsort(row, kind="stable")[:dropped]] = -np.inf
    # Softmax without a temperature, as in the release: the similarities of unit rows leave it nearly flat.
    shares = np.exp(similarities - similarities.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares
