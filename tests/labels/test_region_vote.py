"""The vote of regions: a worked example, and a second implementation pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from excel_cam.errors import SettingsError
from excel_cam.files.regions.region import Region, cropped
from excel_cam.labels.regions.settings import VoteSettings
from excel_cam.labels.regions.vote import vote

Label = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Pixel = tuple[int, int]


def regions_of(masks: Sequence[Mask]) -> list[Region]:
    return [region for mask in masks if (region := cropped(mask)) is not None]


def grid(text: str) -> Label:
    """Digits row by row; `x` is 255."""
    return np.array([[255 if mark == "x" else int(mark) for mark in row] for row in text.split()], np.uint8)


def mask(text: str) -> Mask:
    return np.array([[mark == "#" for mark in row] for row in text.split()])


def test_a_region_takes_the_value_that_holds_more_than_half_of_it() -> None:
    label = grid("1120 1100 0000")
    regions = regions_of([mask("###. ###. ...."), mask(".... .... ####")])
    # The first holds four 1, one 2 and one 0; the second background alone; the rest lies outside of regions.
    assert np.array_equal(vote(label, regions, VoteSettings()), grid("1110 1110 0000"))


def test_just_half_is_not_enough_and_the_background_votes_too() -> None:
    label = grid("1100 1000 0000")
    half = regions_of([mask("#### .... ....")])
    assert np.array_equal(vote(label, half, VoteSettings()), label)  # a part of the 1s alone: nor is it their component
    background = regions_of([mask("#### #### ####")])
    assert not vote(label, background, VoteSettings()).any()


def test_without_a_majority_a_region_joins_the_component_that_it_covers() -> None:
    label = grid("1230 1230 1230 0030")
    region = regions_of([mask("###. ###. ###. ....")])  # a third each; the 3 goes on outside of it
    assert np.array_equal(vote(label, region, VoteSettings()), grid("1110 1110 1110 0030"))
    other = grid("1220 1220 1330 1330 1000")
    region = regions_of([mask("###. ###. ###. ###. ....")])
    # Four each: of the 1s it covers four of five, less than 85 %; of 2 and 3 all, and 2 is the lesser value.
    assert np.array_equal(vote(other, region, VoteSettings()), grid("2220 2220 2220 2220 1000"))
    assert np.array_equal(vote(other, region, VoteSettings(component_share=0.8))[:4, :3], np.ones((4, 3)))


def test_of_regions_that_overlap_the_smallest_decides_whatever_their_order() -> None:
    label = grid("1111 1122 1122 1111")
    large, small = mask("#### #### #### ####"), mask(".... ..## ..## ....")
    for masks in ((large, small), (small, large)):
        assert np.array_equal(vote(label, regions_of(masks), VoteSettings()), label)
    assert (vote(label, regions_of([large]), VoteSettings()) == 1).all()


def test_of_equally_large_regions_the_first_decides() -> None:
    label = grid("11222")
    first, second = mask("###.."), mask("..###")
    assert np.array_equal(vote(label, regions_of([first, second]), VoteSettings()), grid("11122"))
    assert np.array_equal(vote(label, regions_of([second, first]), VoteSettings()), grid("11222"))


def test_a_small_region_without_a_decision_leaves_its_pixels_to_larger_ones() -> None:
    label = grid("1120 1111 1111")
    undecided = mask("..## .... ....")  # 2 and background, half each; of the 2 it covers all, so it does join
    assert vote(label, regions_of([undecided]), VoteSettings())[0, 3] == 2
    label[1, 2] = 2  # and now it covers half of the component alone
    voted = vote(label, regions_of([undecided, mask("#### #### ####")]), VoteSettings())
    assert (voted == 1).all()


def test_pixels_to_ignore_stay_unless_asked_and_have_no_vote_but_a_size() -> None:
    label = grid("11xx 1xx0")
    region = regions_of([mask("##.. ##..")])
    assert np.array_equal(vote(label, region, VoteSettings()), label)
    assert np.array_equal(vote(label, region, VoteSettings(fill_ignored=True)), grid("11xx 11x0"))
    # Three of seven: though all that is known of it is 1, that is not half of it; but it covers the component of 1.
    wide = regions_of([mask("#### ###.")])
    assert np.array_equal(vote(label, wide, VoteSettings(fill_ignored=True)), grid("1111 1110"))


def test_without_a_background_the_first_class_is_joined_as_any_other() -> None:
    label = grid("0120 0120")
    region = regions_of([mask("###. ###.")])
    assert vote(label, region, VoteSettings(), has_background=True)[0, 0] == 1
    assert vote(label, region, VoteSettings(), has_background=False)[0, 0] == 0


def test_the_label_itself_stays_as_it_is_and_comes_back_without_regions() -> None:
    label = grid("0120")
    label.flags.writeable = False
    voted = vote(label, [], VoteSettings())
    assert np.array_equal(voted, label)
    assert voted.dtype == np.uint8
    assert voted is not label


@pytest.mark.parametrize(("part", "size"), [(7, 100), (14, 100), (17, 20), (57, 100), (153, 180)])
def test_shares_are_met_exactly(part: int, size: int) -> None:
    """In floating point 0.07 * 100 is more than 7, and 0.57 * 100 less than 57."""
    share = part / size
    row = np.arange(size)
    # A component of `size` pixels, of which the region covers `part`, and as many pixels of background: it joins.
    label = np.stack([np.ones(size, np.uint8), np.zeros(size, np.uint8)])
    region = regions_of([np.stack([row < part, row < part])])
    assert vote(label, region, VoteSettings(component_share=share))[1, 0] == 1
    assert vote(label, region, VoteSettings(component_share=share + 0.001))[1, 0] == 0
    # `part` of a region's `size` pixels are of a class, the rest to be ignored: that is not more than the share.
    label = np.where(row < part, 1, 255).astype(np.uint8)[None].repeat(2, axis=0)
    region = regions_of([np.stack([row >= 0, row < 0])])
    assert vote(label, region, VoteSettings(region_share=share, fill_ignored=True))[0, -1] == 255
    assert vote(label, region, VoteSettings(region_share=share - 0.001, fill_ignored=True))[0, -1] == 1


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"region_share": 1.5}, "region_share is 1.5; expected between 0 and 1"),
        ({"region_share": float("nan")}, "region_share is nan"),
        ({"component_share": 0}, "component_share is 0; expected above 0 and at most 1"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        VoteSettings(**values)  # type: ignore[arg-type]


def slow_vote(label: Label, masks: Sequence[Mask], settings: VoteSettings, has_background: bool) -> Label:
    """The steps of the README once more: sets of pixels, whole fractions, nothing but Python."""
    size = label.shape
    value_of = {(row, column): int(label[row, column]) for row in range(size[0]) for column in range(size[1])}
    component_of: dict[Pixel, frozenset[Pixel]] = {}
    for start, value in value_of.items():
        if start in component_of or value == 255 or (value == 0 and has_background):
            continue
        found, edge = {start}, [start]
        while edge:
            row, column = edge.pop()
            for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if near not in found and value_of.get(near) == value:
                    found.add(near)
                    edge.append(near)
        component_of |= dict.fromkeys(found, frozenset(found))

    def decide(region: set[Pixel]) -> int | None:
        held = {value: sum(value_of[pixel] == value for pixel in region) for value in range(255)}
        most = max(held.values())
        if most > Fraction(str(settings.region_share)) * len(region):
            return min(value for value in held if held[value] == most)
        joined: dict[int, int] = {}
        for component in {component_of[pixel] for pixel in region if pixel in component_of}:
            inside = len(component & region)
            if inside >= Fraction(str(settings.component_share)) * len(component):
                value = value_of[next(iter(component))]
                joined[value] = joined.get(value, 0) + inside
        return min(joined, key=lambda value: (-joined[value], value)) if joined else None

    sets = [{(int(row), int(column)) for row, column in np.argwhere(mask)} for mask in masks]
    decided = [(len(region), place, region, decide(region)) for place, region in enumerate(sets) if region]
    result = label.copy()
    for pixel, value in value_of.items():
        deciding = [entry for entry in decided if pixel in entry[2] and entry[3] is not None]
        if deciding and (value != 255 or settings.fill_ignored):
            result[pixel] = min(deciding, key=lambda entry: entry[:2])[3]
    return result


SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(data=st.data(), shape=SHAPES, has_background=st.booleans())
def test_it_is_what_a_slow_implementation_says(data: st.DataObject, shape: Pixel, has_background: bool) -> None:
    label = data.draw(arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 7, 255])))
    masks = data.draw(st.lists(arrays.arrays(np.bool_, shape), max_size=5))
    settings = VoteSettings(
        region_share=data.draw(st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0])),
        component_share=data.draw(st.sampled_from([0.1, 0.5, 0.85, 1.0])),
        fill_ignored=data.draw(st.booleans()),
    )
    voted = vote(label, regions_of(masks), settings, has_background)
    assert np.array_equal(voted, slow_vote(label, masks, settings, has_background))
