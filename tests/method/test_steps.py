"""CAM, affinity, labels and refinement: worked examples, and the independent reference on random inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from excel_cam.classes import IGNORE, voc_palette
from excel_cam.method.affinity import box_mask, spread_maps, transition_matrix
from excel_cam.method.cam import class_activation_maps
from excel_cam.method.images import NORMALISATIONS, normalise, resize_to_input
from excel_cam.method.label_map import (
    agreed_label_map,
    label_map,
    stack_background,
    stack_constant_backgrounds,
    upsample_maps,
    with_each_background,
)
from excel_cam.method.refinement import par
from excel_cam.method.refinement.par import OFFSETS, pixel_adaptive_refinement

TOLERANCE = 5e-5


def largest_difference(ours: torch.Tensor, theirs: np.ndarray) -> float:
    assert tuple(ours.shape) == theirs.shape
    return float(np.abs(ours.double().numpy() - theirs).max())


# ---- input


@pytest.mark.parametrize("normalisation", sorted(NORMALISATIONS))
@pytest.mark.parametrize(("height", "width", "size"), [(64, 64, 64), (37, 91, 64), (130, 75, 48), (1, 9, 32)])
def test_input_agrees_with_the_reference(height: int, width: int, size: int, normalisation: str) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = resize_to_input(normalise(image, normalisation), size)
    # Resizing computes positions in float32: 1e-4 of the range of colours, as against exact positions.
    assert largest_difference(ours, reference.preprocess(image, size, normalisation)) < 1e-4


# ---- maps


@pytest.mark.parametrize("norm", ["channel", "token"])
@pytest.mark.parametrize("seed", range(4))
def test_maps_agree_with_the_reference(seed: int, norm: str) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(2, 1 + 30, 24)).astype(np.float32)
    text = rng.normal(size=(7, 24))
    text = (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)
    ours = class_activation_maps(torch.from_numpy(tokens), torch.from_numpy(text), norm)
    for image in range(2):
        assert largest_difference(ours[image], reference.cam_maps(tokens[image], text, norm)) < TOLERANCE


def test_maps_of_two_tokens_by_hand() -> None:
    # One class token and two patches in two channels, two text rows that are the channels themselves.
    tokens = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [4.0, 5.0]]])
    # Norm over tokens: channel 0 -> (0, .6, .8), channel 1 -> (0, 0, 1). The class token is 0: both presences are 1/2
    # and both weights 1. Scores are F_i·t_j - F_i·mean(t): (F_i0 - F_i1) / 2 for row 0, the opposite for row 1.
    # Row 0: class 0, patch .3, patch -.1 -> stretched over all three: (.1, .4, 0) / .4.  Row 1: (.3, 0, .4) / .4.
    maps = class_activation_maps(tokens, torch.eye(2))
    assert torch.allclose(maps, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), atol=1e-6)


def test_a_row_that_scores_all_tokens_alike_is_zero_not_nan() -> None:
    maps = class_activation_maps(torch.ones(1, 5, 3), torch.eye(3))
    assert torch.equal(maps, torch.zeros(1, 4, 3))


def test_a_channel_without_any_signal_gives_no_nan() -> None:
    tokens = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    tokens[..., 1] = 0
    assert torch.isfinite(class_activation_maps(tokens, torch.eye(3))).all()


# ---- affinity


@pytest.mark.parametrize("seed", range(3))
def test_transitions_agree_with_the_reference(seed: int) -> None:
    attention = np.random.default_rng(seed).gamma(0.3, size=(2, 26, 26)).astype(np.float32) + 1e-3
    ours = transition_matrix(torch.from_numpy(attention))
    for image in range(2):
        assert largest_difference(ours[image], reference.transition_matrix(attention[image])) < TOLERANCE


def test_uniform_attention_moves_to_every_patch_alike() -> None:
    assert torch.allclose(transition_matrix(torch.ones(1, 5, 5)), torch.full((1, 4, 4), 0.25))


def test_box_of_one_region_by_hand() -> None:
    class_map = np.zeros((5, 6), np.float32)
    class_map[1, 2] = 1.0  # level 255; 0.79 of it is 201.45, so levels above 201 are strong
    class_map[2, 3] = 0.8  # level 204, touching at a corner: one component
    class_map[3, 0] = 0.78  # level 198: weak
    expected = np.zeros((5, 6), bool)
    expected[1:3, 2:4] = True
    assert np.array_equal(box_mask(class_map, 0.79), expected)


def test_the_last_row_and_column_never_belong_to_a_box() -> None:
    everywhere = np.ones((4, 4), np.float32)
    expected = np.zeros((4, 4), bool)
    expected[:3, :3] = True
    assert np.array_equal(box_mask(everywhere, 0.79), expected)
    only_last_row = np.zeros((4, 4), np.float32)
    only_last_row[3, 1] = 1
    assert not box_mask(only_last_row, 0.79).any()


def test_a_map_of_zeros_has_no_box() -> None:
    # Nothing is strictly above 79 % of a maximum of 0.
    assert not box_mask(np.zeros((4, 4), np.float32), 0.79).any()


def test_the_threshold_is_of_each_map_own_maximum() -> None:
    class_map = np.zeros((4, 4), np.float32)
    class_map[1, 1] = 0.2  # level 51, the maximum; strong means above floor(40.29)
    class_map[1, 2] = 0.161  # level 41: strong
    class_map[2, 0] = 0.16  # level 40: not
    mask = box_mask(class_map, 0.79)
    assert mask[1, 1]
    assert mask[1, 2]
    assert not mask[2, 0]


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9), st.floats(0, 0.99))
@settings(max_examples=60, deadline=None)
def test_boxes_agree_with_the_reference(seed: int, height: int, width: int, threshold: float) -> None:
    class_map = np.random.default_rng(seed).random((height, width)).astype(np.float32) ** 3
    assert np.array_equal(box_mask(class_map, threshold), reference.box_mask(class_map, threshold).astype(bool))


def test_refined_maps_agree_with_the_reference_and_are_zero_without_a_box() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((3, 5, 5)).astype(np.float32)
    maps[1] = 0
    transition = rng.random((25, 25)).astype(np.float32)
    ours = spread_maps(torch.from_numpy(maps), torch.from_numpy(transition), 0.79)
    for index in range(3):
        expected = reference.refine_map(transition, reference.box_mask(maps[index]), maps[index])
        assert largest_difference(ours[index], expected) < TOLERANCE
    assert not ours[1].any()


# ---- refinement


@pytest.mark.parametrize(("height", "width"), [(41, 57), (70, 33), (3, 90), (1, 1), (64, 25)])
def test_refinement_agrees_with_the_reference(height: int, width: int) -> None:
    # Heights above 32 rows cross the seams between strips.
    rng = np.random.default_rng(height)
    image = rng.normal(size=(3, height, width)).astype(np.float32)
    maps = rng.random((3, height, width)).astype(np.float32)
    ours = pixel_adaptive_refinement(torch.from_numpy(image), torch.from_numpy(maps))
    assert largest_difference(ours, reference.par(image, maps)) < TOLERANCE


def test_refinement_of_a_smooth_image_agrees_with_the_reference() -> None:
    # Hardly any deviation between neighbours: where squares of large numbers would cancel.
    rows, columns = np.mgrid[:50, :60]
    image = np.stack([2 + rows * 1e-4, 2 + columns * 1e-4, np.full((50, 60), 2.0)]).astype(np.float32)
    maps = np.random.default_rng(0).random((2, 50, 60)).astype(np.float32)
    ours = pixel_adaptive_refinement(torch.from_numpy(image), torch.from_numpy(maps), iterations=3)
    assert largest_difference(ours, reference.par(image, maps, iterations=3)) < 1e-3


def test_memory_kept_for_affinities_changes_nothing_and_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(par, "_workspace", par._Workspace())
    monkeypatch.setattr(par, "KEPT_VALUES", 48 * 30 * 30)
    torch.manual_seed(2)
    pictures = [(torch.randn(3, *size), torch.rand(2, *size)) for size in ((12, 9), (31, 40), (30, 30), (7, 8))]
    fresh = []
    for image, maps in pictures:
        par._workspace = par._Workspace()
        fresh.append(pixel_adaptive_refinement(image, maps))
    par._workspace = par._Workspace()
    for (image, maps), expected in zip(pictures, fresh, strict=True):
        assert torch.equal(pixel_adaptive_refinement(image, maps), expected)
    assert par._workspace._values.numel() == 48 * 30 * 30


def test_refinement_of_a_flat_image_averages_all_neighbours() -> None:
    # Without any colour difference all 48 neighbours weigh alike, apart from the position term, and sum to 1.01.
    ones = torch.ones(1, 9, 9)
    refined = pixel_adaptive_refinement(torch.zeros(3, 9, 9), ones, iterations=1)
    assert torch.allclose(refined, 1.01 * ones, atol=1e-5)
    assert len(set(OFFSETS)) == 48


def test_refinement_keeps_to_edges() -> None:
    image = torch.zeros(3, 60, 60)
    image[:, :, 30:] = 1
    maps = torch.zeros(1, 60, 60)
    maps[:, 20:40, 5:25] = 1  # a patch within the left half
    refined = pixel_adaptive_refinement(image, maps)
    assert refined[0, 30, 28] > 0.1
    assert refined[0, 30, 32] < 0.01


# ---- labels


def test_label_scores_agree_with_the_reference() -> None:
    refined = np.random.default_rng(0).random((3, 6, 7)).astype(np.float32)
    ours = stack_background(upsample_maps(torch.from_numpy(refined), 50, 41), 1.5)
    assert largest_difference(ours, reference.label_maps(refined, 50, 41, 1.5)) < TOLERANCE


def test_labels_are_class_index_plus_one_and_the_first_of_equals() -> None:
    scores = torch.tensor([[[0.5, 0.1, 0.2]], [[0.5, 0.7, 0.2]], [[0.1, 0.2, 0.9]]])
    assert label_map(scores, (3, 19)).tolist() == [[0, 4, 20]]


def test_doubtful_pixels_are_ignored() -> None:
    maps = torch.tensor([[[0.9, 0.4, 0.1]]])
    scores = stack_constant_backgrounds(maps, (0.25, 0.55))
    # 0.9 beats both backgrounds, 0.4 only the low one, 0.1 neither.
    low, high = (label_map(part, (6,)) for part in with_each_background(scores))
    assert agreed_label_map(low, high).tolist() == [[7, IGNORE, 0]]


def test_thresholds_are_refined_like_maps() -> None:
    """One joint refinement of both constant backgrounds gives what two separate refinements would."""
    rng = torch.Generator().manual_seed(0)
    image, maps = torch.randn(3, 40, 40, generator=rng), torch.rand(2, 40, 40, generator=rng)
    joint = pixel_adaptive_refinement(image, stack_constant_backgrounds(maps, (0.3, 0.6)))
    for plane, score in enumerate((0.3, 0.6)):
        alone = pixel_adaptive_refinement(image, stack_constant_backgrounds(maps, (score,)))
        assert torch.equal(joint[plane], alone[0])
        assert torch.equal(joint[2:], alone[1:])


def test_the_palette_is_the_devkit_one() -> None:
    # Known colours of the devkit: aeroplane maroon, person, tvmonitor, and 255's cream.
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1].tolist() == [128, 0, 0]
    assert colours[15].tolist() == [192, 128, 128]
    assert colours[20].tolist() == [0, 64, 128]
    assert colours[255].tolist() == [224, 224, 192]
    assert math.isclose(len(voc_palette()), 768)
