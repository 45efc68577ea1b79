"""Crops and draws: what they hold, and that chance depends on seed, epoch and sample alone (step 12.1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference_lvc
from drawn import draw_photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from excel_cam.data.dataset import Sample
from excel_cam.errors import DataError
from excel_cam.learnt.training.crops import Crop, CropChoices, crop_batches, take_crop
from excel_cam.learnt.training.draws import CropDraw, channel_factors, draw_crop, epoch_order, scaled_size

SIDE = 24


@given(
    height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 99), epoch=st.integers(0, 9),
    index=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_crop_is_what_its_draw_says(height: int, width: int, seed: int, epoch: int, index: int) -> None:
    pixels = np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)
    draw = draw_crop(seed, epoch, index, height, width, SIDE)
    assert 0.5 <= draw.ratio <= 2
    crop = take_crop(pixels, draw, SIDE, index)
    new_height, new_width = max(1, int(height * draw.ratio)), max(1, int(width * draw.ratio))
    scaled = np.asarray(Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling.BILINEAR))
    expected = reference_lvc.take_crop(pixels, scaled, draw.mirrored, draw.pad, draw.corner, SIDE)
    assert np.array_equal(crop.pixels, expected)
    top, bottom, left, right = crop.inside
    assert (bottom - top, right - left) == (min(SIDE, new_height), min(SIDE, new_width))
    outside = np.ones((SIDE, SIDE), bool)
    outside[top:bottom, left:right] = False
    assert not crop.pixels[outside].any()
    assert crop.pixels[~outside].all()  # no value is 0 in the photograph, nor in what lies between two of its pixels


def test_a_mirrored_crop_shows_the_photograph_from_right_to_left() -> None:
    pixels = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3) + 1
    draw = CropDraw(ratio=1.0, mirrored=True, pad=(2, 1), corner=(0, 0))
    crop = take_crop(pixels, draw, 6)
    assert np.array_equal(crop.pixels[2:5, 1:5], pixels[:, ::-1])
    assert crop.inside == (2, 5, 1, 5)


def test_draws_cover_what_they_may_be() -> None:
    draws = [draw_crop(0, 0, index, 40, 30, SIDE) for index in range(400)]
    ratios = np.array([draw.ratio for draw in draws])
    assert ratios.min() < 0.52
    assert ratios.max() > 1.97
    assert 0.4 < np.mean([draw.mirrored for draw in draws]) < 0.6
    sizes = [scaled_size(40, 30, draw.ratio) for draw in draws]
    for axis in range(2):
        for draw, size in zip(draws, sizes, strict=True):
            assert 0 <= draw.pad[axis] <= max(SIDE - size[axis], 0)
            assert 0 <= draw.corner[axis] <= max(size[axis] - SIDE, 0)
        ends = [draw.corner[axis] for draw, size in zip(draws, sizes, strict=True) if size[axis] == SIDE + 5]
        assert not ends or set(ends) <= set(range(6))
    assert len({(draw.ratio, draw.corner) for draw in draws}) == 400
    assert draws[7] == draw_crop(0, 0, 7, 40, 30, SIDE)
    assert draws[7] != draw_crop(0, 1, 7, 40, 30, SIDE) != draw_crop(1, 1, 7, 40, 30, SIDE)


def test_every_epoch_has_its_own_order() -> None:
    orders = [epoch_order(3, epoch, 50) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert not any(np.array_equal(orders[i], orders[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert np.array_equal(orders[1], epoch_order(3, 1, 50))
    assert not np.array_equal(orders[1], epoch_order(4, 1, 50))


def test_whole_channels_are_dropped_a_tenth_of_them() -> None:
    factors = np.stack([channel_factors(0, step, 5, 256, 0.1) for step in range(40)])
    assert set(np.unique(factors)) == {np.float32(0), np.float32(1 / 0.9)}
    assert 0.08 < (factors == 0).mean() < 0.12
    assert np.array_equal(factors[3], channel_factors(0, 3, 5, 256, 0.1))
    assert not np.array_equal(factors[3], channel_factors(0, 3, 6, 256, 0.1))
    assert (channel_factors(0, 0, 0, 9, 0.0) == 1).all()


@pytest.fixture
def choices(tmp_path: Path) -> CropChoices:
    samples = []
    for index in range(7):
        path = tmp_path / f"{index}.png"
        draw_photograph(20 + 5 * index, 50 - 4 * index, index).save(path)
        samples.append(Sample(str(index), path, (index % 3,)))
    return CropChoices(samples=samples, side=SIDE, batch=2, seed=4, working_pixels=2**20)


def listed(batches: list[list[Crop]]) -> list[list[tuple[int, bytes]]]:
    return [[(crop.index, crop.pixels.tobytes()) for crop in batch] for batch in batches]


def test_the_same_crops_whatever_the_workers_processes_or_restarts(choices: CropChoices) -> None:
    expected = listed(list(crop_batches(choices, 0, 8, workers=0)))
    assert listed(list(crop_batches(choices, 0, 8, workers=2))) == expected
    assert listed(list(crop_batches(choices, 5, 8, workers=1))) == expected[5:]
    shares = [listed(list(crop_batches(choices, 0, 8, 0, rank, 2))) for rank in range(2)]
    assert [[*first, *second] for first, second in zip(*shares, strict=True)] == expected
    # Seven samples in batches of two: three steps an epoch, the last short batch dropped.
    for epoch in range(2):
        indices = [index for batch in expected[3 * epoch : 3 * epoch + 3] for index, _ in batch]
        assert len(set(indices)) == 6
        assert indices == epoch_order(4, epoch, 7)[:6].tolist()


def test_an_unreadable_photograph_becomes_padding_with_a_reason(choices: CropChoices) -> None:
    choices.samples[2].image_path.write_bytes(b"not an image")
    crops = [crop for batch in crop_batches(choices, 0, 3, workers=0) for crop in batch]
    failed = [crop for crop in crops if crop.failure is not None]
    assert {crop.index for crop in failed} <= {2}
    for crop in failed:
        assert "not an image" in str(crop.failure)
        assert not crop.pixels.any()


def test_batches_that_cannot_be_are_refused(choices: CropChoices) -> None:
    with pytest.raises(DataError, match="cannot be shared by 3 processes"):
        crop_batches(choices, 0, 1, 0, 0, 3)
    few = CropChoices(samples=choices.samples[:1], side=SIDE, batch=2, seed=0, working_pixels=2**20)
    with pytest.raises(DataError, match="1 images do not fill a batch of 2"):
        crop_batches(few, 0, 1, 0)
