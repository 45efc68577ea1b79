"""Steps T.1 to T.6 against worked examples and a second implementation in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from excel_cam.method.tagging.regions import MOST_CANDIDATES, candidate_classes, region_box
from excel_cam.method.tagging.scores import fuse_scores, local_scores, row_probabilities, spread_scores


def test_probabilities_are_a_softmax_of_sharpened_cosines() -> None:
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    tokens = torch.tensor([[[5.0, 0.0], [3.0, 4.0]]], dtype=torch.float64)  # cosines (1, 0) and (0.6, 0.8)
    found = row_probabilities(tokens, text, 10.0)[0]
    assert found[0, 0].item() == pytest.approx(1 / (1 + math.exp(-10)))
    assert found[1, 1].item() == pytest.approx(1 / (1 + math.exp(-2)))
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, dtype=torch.float64))


def test_attention_below_its_mean_and_scores_below_half_are_dropped() -> None:
    scores = torch.tensor([[[0.8], [0.5], [0.3]]], dtype=torch.float64)  # the last is below half of 0.8
    attention = torch.zeros(1, 4, 4, dtype=torch.float64)
    attention[0, 1:, 1:] = torch.tensor([[0.1, 0.4, 0.4], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    # Row 1 keeps patches 2 and 3, half each; row 2 patch 3 alone; row 3, all alike, keeps all.
    expected = [0.5 * 0.5 + 0.5 * 0.0, 0.0, (0.8 + 0.5) / 3]
    assert spread_scores(scores, attention)[0, :, 0].tolist() == pytest.approx(expected)


def test_local_scores_against_plain_loops() -> None:
    rng = np.random.default_rng(0)
    patches, width, rows, classes = 9, 5, 4, 3
    tokens, text = rng.normal(size=(2, 1 + patches, width)), rng.normal(size=(rows, width))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    attention = rng.random((2, 1 + patches, 1 + patches))
    probabilities = row_probabilities(torch.from_numpy(tokens), torch.from_numpy(text), 7.0)
    found = local_scores(probabilities, torch.from_numpy(attention).float(), classes)
    for image in range(2):
        for index in range(classes):
            own = []
            for patch in range(1, 1 + patches):
                token = tokens[image, patch] / np.sqrt((tokens[image, patch] ** 2).sum())
                powers = [math.exp(7.0 * float(token @ row)) for row in text]
                own.append(powers[index] / sum(powers))
            best = 0.0
            for patch in range(patches):
                row = attention[image, 1 + patch, 1:]
                strong = [value if value >= row.mean() else 0.0 for value in row]
                asked = [value if value >= 0.5 * max(own) else 0.0 for value in own]
                best = max(best, sum(a * b for a, b in zip(strong, asked, strict=True)) / sum(strong))
            assert found[image, index].item() == pytest.approx(best, rel=1e-5)


def test_candidates_are_few_and_not_far_behind_the_best() -> None:
    assert candidate_classes(np.array([0.001, 0.9, 0.02, 0.4])) == [1, 3, 2]  # 0.001 is below 0.02 times 0.9
    assert candidate_classes(np.linspace(0.5, 1.0, 20)) == list(range(19, 19 - MOST_CANDIDATES, -1))


def test_a_region_is_the_one_around_the_strongest_patch_with_a_margin() -> None:
    scores = np.zeros((5, 6))
    scores[1, 1], scores[2, 2] = 0.5, 1.0  # one region: they touch at a corner
    scores[4, 5] = 0.9  # another one
    # Patches 0..3 of 5 rows of 10 pixels, and 0..3 of 6 columns of 10 pixels.
    assert region_box(scores, (50, 60)) == (0, 40, 0, 40)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (7, 5)])
def test_a_region_holds_a_pixel_whatever_the_photograph(size: tuple[int, int]) -> None:
    scores = np.zeros((16, 16))
    scores[15, 15] = 1.0
    top, bottom, left, right = region_box(scores, size)
    assert 0 <= top < bottom <= size[0]
    assert 0 <= left < right <= size[1]


def test_fused_scores_are_half_local_half_region() -> None:
    assert fuse_scores(torch.tensor([0.4, 0.2]), torch.tensor([0.8, 0.0])).tolist() == pytest.approx([0.6, 0.1])
