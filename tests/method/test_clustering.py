"""k-means: worked examples, properties of its result, and a naive second implementation with many starts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from excel_cam.method.clustering import cluster_centres

Points = NDArray[np.float64]


def nearest_centre(points: Points, centres: Points) -> NDArray[np.int64]:
    """Index of each point's nearest centre, by differences written out."""
    distances = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    return np.argmin(distances, axis=1)


def inertia_of(points: Points, centres: Points) -> float:
    return float(((points - centres[nearest_centre(points, centres)]) ** 2).sum())


def naive_inertia(points: Points, count: int, starts: int, seed: int = 0) -> float:
    """The least inertia of Lloyd's algorithm from `starts` draws of `count` different points."""
    rng = np.random.default_rng(seed)
    least = np.inf
    for _ in range(starts):
        centres = points[rng.permutation(len(points))[:count]]
        while True:
            members = nearest_centre(points, centres)
            filled = [index for index in range(count) if np.any(members == index)]
            moved = centres.copy()
            for index in filled:
                moved[index] = points[members == index].mean(axis=0)
            if np.array_equal(moved, centres):
                break
            centres = moved
        least = min(least, inertia_of(points, centres))
    return least


def unit_points(seed: int, number: int, width: int, groups: int = 0) -> Points:
    """Random unit rows, in loose groups if so asked, as sentences of a class are."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(number, width))
    if groups:
        points = 0.7 * points + 2 * rng.normal(size=(groups, width))[rng.integers(groups, size=number)]
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def assert_fixed_point(points: Points, centres: Points) -> None:
    """Every centre is the mean of the points that are nearest to it, and none is without."""
    members = nearest_centre(points, centres)
    assert sorted(set(members.tolist())) == list(range(len(centres)))
    means = np.stack([points[members == index].mean(axis=0) for index in range(len(centres))])
    np.testing.assert_allclose(centres, means, rtol=0, atol=1e-12)


def sorted_rows(rows: Points) -> Points:
    return rows[np.lexsort(rows.T[::-1])]


# ---- worked examples


def test_two_pairs_on_a_line() -> None:
    # Pairs 0, 2 and 10, 14: means 1 and 12, inertia 1 + 1 + 4 + 4.
    centres = cluster_centres(np.array([[0.0], [10.0], [2.0], [14.0]]), 2)
    assert sorted(centres[:, 0].tolist()) == [1.0, 12.0]


def test_uneven_groups_in_the_plane() -> None:
    points = np.array([[0, 0], [0, 3], [3, 0], [20, 20], [-20, 5], [-20, 7]], dtype=np.float64)
    np.testing.assert_allclose(sorted_rows(cluster_centres(points, 3)), [[-20, 6], [1, 1], [20, 20]], atol=1e-12)


def test_one_cluster_is_the_mean() -> None:
    points = unit_points(3, 17, 6)
    np.testing.assert_allclose(cluster_centres(points, 1), points.mean(axis=0, keepdims=True), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("number", "width"), [(1, 1), (1, 5), (7, 1), (30, 8)])
def test_as_many_clusters_as_points_are_the_points(number: int, width: int) -> None:
    points = np.random.default_rng(number).normal(size=(number, width))
    np.testing.assert_array_equal(sorted_rows(cluster_centres(points, number)), sorted_rows(points))


def test_repeated_points_weigh_more() -> None:
    # Three of 0 and one of 4 have mean 1; with 100 apart there are two clusters.
    points = np.array([[0.0], [0.0], [4.0], [0.0], [100.0]])
    assert sorted(cluster_centres(points, 2)[:, 0].tolist()) == [1.0, 100.0]


def test_repeated_points_cannot_fill_more_clusters_than_there_are_of_them() -> None:
    points = np.repeat(unit_points(1, 4, 3), 5, axis=0)
    np.testing.assert_allclose(sorted_rows(cluster_centres(points, 4)), sorted_rows(points[::5]), rtol=0, atol=1e-15)
    with pytest.raises(ValueError, match="5 clusters of fewer distinct points"):
        cluster_centres(points, 5)


@pytest.mark.parametrize("number", [1, 3])
def test_more_clusters_than_points_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="4 clusters of fewer distinct points"):
        cluster_centres(unit_points(0, number, 3), 4)


def test_points_too_close_to_tell_apart_are_refused() -> None:
    # Distinct as numbers, but their squared distances vanish beside their length.
    points = 1 + np.array([[0.0], [1e-12], [2e-12], [3e-12]]) * np.ones(6)
    with pytest.raises(ValueError, match="no start kept 4 clusters filled"):
        cluster_centres(points, 4)


# ---- quality and repeatability

CASES = [(40, 2, 5, 0), (60, 8, 6, 0), (60, 8, 20, 0), (100, 16, 28, 20), (90, 1, 7, 0), (120, 32, 34, 6)]


@pytest.mark.parametrize(("number", "width", "count", "groups"), CASES)
def test_the_centres_are_as_good_as_many_naive_starts(number: int, width: int, count: int, groups: int) -> None:
    ratios = []
    for seed in range(8):
        points = unit_points(seed, number, width, groups)
        if width == 1:  # unit rows of one column are all 1 or -1
            points = np.random.default_rng(seed).normal(size=(number, 1))
        centres = cluster_centres(points, count)
        assert_fixed_point(points, centres)
        ratios.append(inertia_of(points, centres) / naive_inertia(points, count, starts=40))
    assert max(ratios) < 1.08
    assert np.mean(ratios) < 1.02


def test_the_same_points_have_the_same_centres() -> None:
    points = unit_points(5, 80, 12)
    np.testing.assert_array_equal(cluster_centres(points, 22), cluster_centres(points.copy(), 22))


def test_neither_the_points_nor_the_common_random_state_change() -> None:
    points = unit_points(6, 50, 4)
    before = points.copy()
    np.random.seed(1)
    first, following = cluster_centres(points, 9), np.random.random()
    np.testing.assert_array_equal(points, before)
    np.random.seed(1)
    assert np.random.random() == following
    np.testing.assert_array_equal(cluster_centres(points, 9), first)


def test_another_seed_starts_elsewhere() -> None:
    points = unit_points(7, 80, 12)
    inertias = {round(inertia_of(points, cluster_centres(points, 22, seed)), 9) for seed in range(3)}
    assert len(inertias) > 1
    assert max(inertias) < 1.05 * min(inertias)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_points_are_clustered_to_a_fixed_point(data: st.DataObject) -> None:
    # Whole and half numbers make repeated points and points half-way between two centres.
    shape = data.draw(st.tuples(st.integers(1, 24), st.integers(1, 4)))
    points = data.draw(arrays.arrays(np.float64, shape, elements=st.integers(-6, 6).map(lambda value: value / 2)))
    distinct = len({tuple(row) for row in points.tolist()})
    count = data.draw(st.integers(1, distinct))
    centres = cluster_centres(points, count)
    assert centres.shape == (count, shape[1])
    assert np.isfinite(centres).all()
    np.testing.assert_array_equal(cluster_centres(points, count), centres)
    two_nearest = np.sort(((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2), axis=1)[:, :2]
    assume(count == 1 or bool((np.diff(two_nearest) > 1e-9).all()))  # a point half-way may belong to either side
    assert_fixed_point(points, centres)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_unit_rows_fill_every_cluster(data: st.DataObject) -> None:
    seed, number = data.draw(st.integers(0, 10_000)), data.draw(st.integers(2, 40))
    count = data.draw(st.integers(1, number))
    points = unit_points(seed, number, data.draw(st.integers(2, 16)))
    centres = cluster_centres(points, count)
    assert_fixed_point(points, centres)
    # Centres of unit rows lie within the unit ball, and all clusters together keep the mean.
    assert (np.linalg.norm(centres, axis=1) <= 1 + 1e-12).all()
    sizes = np.bincount(nearest_centre(points, centres), minlength=count)
    np.testing.assert_allclose(sizes @ centres / number, points.mean(axis=0), rtol=0, atol=1e-12)
