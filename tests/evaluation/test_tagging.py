"""Average precision and F1 of tags against worked examples and slow second implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excel_cam.evaluation.tagging import average_precisions, best_threshold, f1_score

ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.9])), min_size=1, max_size=12)


def test_average_precision_of_a_worked_example() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], bool)
    scores = np.array([[0.9, 0.5], [0.8, 0.5], [0.7, 0.5], [0.1, 0.5]])
    # Found first and third: precisions 1 and 2/3. The second class is nowhere.
    found = average_precisions(truth, scores)
    assert found[0] == pytest.approx((1 + 2 / 3) / 2)
    assert math.isnan(found[1])


def test_scores_that_are_all_alike_are_as_good_as_chance() -> None:
    truth = np.array([[1], [0], [0], [1], [0]], bool)
    assert average_precisions(truth, np.full((5, 1), 0.3))[0] == pytest.approx(2 / 5)


@settings(max_examples=40)
@given(ROWS)
def test_average_precision_counts_for_each_hit_who_is_at_least_as_good(rows: list[tuple[bool, float]]) -> None:
    precisions = []
    for shows, score in rows:
        if shows:
            reached = [other for other, value in rows if value >= score]
            precisions.append(sum(reached) / len(reached))
    truth, scores = np.array([[row[0]] for row in rows]), np.array([[row[1]] for row in rows])
    expected = sum(precisions) / len(precisions) if precisions else math.nan
    assert average_precisions(truth, scores)[0] == pytest.approx(expected, nan_ok=True)


def slow_f1(rows: list[tuple[bool, float]], threshold: float) -> float:
    hits = sum(shows and score >= threshold for shows, score in rows)
    precision = hits / max(1, sum(score >= threshold for _, score in rows))
    recall = hits / max(1, sum(shows for shows, _ in rows))
    return 2 * precision * recall / (precision + recall) if hits else 0.0


@settings(max_examples=40)
@given(ROWS)
def test_the_best_threshold_is_the_highest_of_the_best_ones(rows: list[tuple[bool, float]]) -> None:
    truth, scores = np.array([[row[0]] for row in rows]), np.array([[row[1]] for row in rows])
    if not truth.any():
        with pytest.raises(ValueError, match="no image shows a class"):
            best_threshold(truth, scores)
        return
    every = {score: slow_f1(rows, score) for _, score in rows}
    found = best_threshold(truth, scores)
    assert found.f1 == pytest.approx(max(every.values()))
    assert found.value == max(score for score, f1 in every.items() if f1 == pytest.approx(found.f1))
    assert f1_score(truth, scores >= found.value) == pytest.approx(found.f1)


def test_nothing_to_find_and_nothing_found_is_no_score() -> None:
    assert math.isnan(f1_score(np.zeros((2, 3), bool), np.zeros((2, 3), bool)))
