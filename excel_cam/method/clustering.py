"""k-means, the same on every run: sentence embeddings → attributes (step 1.4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.spatial.distance import cdist

STARTS = 10  # k-means++ starts; the one of least inertia wins
MAX_STARTS = 100  # starts that lose a cluster do not count, up to this many tries
MAX_ROUNDS = 1000


def cluster_centres(points: NDArray[np.float64], count: int, seed: int = 0) -> NDArray[np.float64]:
    """Euclidean k-means of `points` (M, D) into `count` centres (count, D), each the mean of its members.

    Lloyd's algorithm run until no point changes its cluster, from `STARTS` k-means++ starts. Deterministic.
    Raises `ValueError` when there are fewer distinct points than `count`.
    """
    if len(np.unique(points, axis=0)) < count:
        raise ValueError(f"{count} clusters of fewer distinct points")
    best, least, finished = None, np.inf, 0
    for start in range(MAX_STARTS):
        try:
            centres, inertia = _converge(points, _spread_start(points, count, np.random.default_rng([seed, start])))
        except ClusterError:
            continue
        finished += 1
        if inertia < least:
            best, least = centres, inertia
        if finished == STARTS:
            break
    if best is None:
        raise ValueError(f"no start kept {count} clusters filled")
    return best


def _spread_start(points: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """k-means++: each next centre is a point drawn with probability proportional to its squared distance."""
    chosen = [int(rng.integers(len(points)))]
    nearest = cdist(points, points[chosen], "sqeuclidean")[:, 0]
    while len(chosen) < count:
        chosen.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, cdist(points, points[chosen[-1:]], "sqeuclidean")[:, 0])
    return points[chosen]


def _converge(points: NDArray[np.float64], centres: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Lloyd's rounds until the clusters stand still; raises `ClusterError` when one runs empty."""
    members = None
    for _ in range(MAX_ROUNDS):
        centres, new_members = kmeans2(points, centres, iter=1, minit="matrix", missing="raise")
        if members is not None and np.array_equal(new_members, members):
            break
        members = new_members
    return centres, float(((points - centres[new_members]) ** 2).sum())
