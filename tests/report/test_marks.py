"""Classes are told apart by more than hue; names lie on their regions; strips have the rows asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from viewable import STAR, Viewable, make_viewable

from excel_cam.labels.colours import CLASS_COLOURS, hatching, outline
from excel_cam.report.marks import (
    ADDED,
    CONFUSED,
    MISSED,
    NOT_JUDGED,
    anchors,
    difference,
    heat_colours,
    heat_picture,
    region_picture,
)
from excel_cam.report.strip import CELL_WIDTH

Run = Callable[..., Result]


def test_no_colour_stands_for_two_classes() -> None:
    colours = [colour for pair in CLASS_COLOURS[1:] for colour in pair]
    assert len(set(colours)) == len(colours)
    assert (255, 255, 255) not in colours  # the outline's


def test_classes_of_like_colours_have_unlike_hatchings() -> None:
    patterns = [hatching((48, 48), value) for value in range(255)]
    for value, step in itertools.product(range(1, 200), (1, 8, 16)):
        assert (patterns[value] != patterns[value + step]).mean() > 0.05
    assert (hatching((48, 48), 255) != hatching((48, 48), 255 % 6)).mean() > 0.05


def test_a_picture_with_more_classes_than_a_palette_holds_is_still_written() -> None:
    values = np.repeat(np.arange(256, dtype=np.uint8)[None], 16, axis=0)
    picture = region_picture(values, outlined=False)
    assert picture.mode == "P"
    assert picture.getpixel((0, 0)) == 0
    assert all(picture.getpixel((value, 3)) > 1 for value in range(1, 256))


def test_outlines_lie_where_a_neighbour_differs() -> None:
    values = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]], np.uint8)
    assert outline(values).tolist() == [[False, True, False], [True, True, True], [False, False, False]]


def test_differences_are_missed_added_confused_or_not_judged() -> None:
    label = np.array([[0, 0, 1, 1, 1, 255, 255]], np.uint8)
    truth = np.array([[0, 1, 0, 1, 2, 0, 1]], np.uint8)
    assert difference(label, truth).tolist() == [[0, MISSED, ADDED, 0, CONFUSED, 0, MISSED]]
    assert difference(label, np.full_like(truth, 255)).tolist() == [[NOT_JUDGED] * 7]


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2, 255])))
def test_a_name_lies_on_the_largest_region_of_its_class(values: np.ndarray) -> None:
    found = anchors(values)
    assert [anchor.value for anchor in found] == [value for value in (1, 2) if (values == value).any()]
    for anchor in found:
        row, column = int(anchor.top * values.shape[0]), int(anchor.left * values.shape[1])
        assert values[row, column] == anchor.value


def test_a_name_lies_in_the_middle_and_small_regions_have_none() -> None:
    values = np.zeros((101, 101), np.uint8)
    values[20:41, 50:91] = 3
    values[90, 90] = 3
    values[0, 0] = 4
    (anchor,) = anchors(values)
    assert anchor.value == 3
    assert anchor.top == pytest.approx(30.5 / 101)
    assert 0.5 < anchor.left < 0.9


def test_heat_grows_lighter_from_least_to_greatest() -> None:
    light = heat_colours() @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(light) > 0).all()
    picture = heat_picture(np.array([[0.0, 0.5, 1.0]])).convert("L")
    assert picture.getpixel((0, 0)) < picture.getpixel((1, 0)) < picture.getpixel((2, 0))


@pytest.fixture
def made(tmp_path: Path) -> Viewable:
    return make_viewable(tmp_path)


def strip(excel_cam: Run, arguments: list[object], out: Path) -> Image.Image:
    result = excel_cam(*arguments, "--strip", out, "--overwrite", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    with Image.open(out) as picture:
        picture.load()
        return picture


def test_a_strip_has_a_row_per_image_and_a_column_per_picture(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    cell = CELL_WIDTH + 14
    one = strip(excel_cam, made.plain("--names", "half"), tmp_path / "strip.png")
    assert one.width == 2 * cell + 14  # photograph, label
    assert (
        strip(excel_cam, made.plain("--names", "half", "--truth", made.truth), tmp_path / "s.png").width
        == one.width + cell
    )
    whole = strip(excel_cam, made.arguments("--names", "half"), tmp_path / "strip.png")
    assert whole.width == one.width + 3 * cell  # truth and two maps
    three = strip(excel_cam, made.plain("--names", "half,alike,lone"), tmp_path / "strip.png")
    two = strip(excel_cam, made.plain("--names", "half,alike,lone", "--rows", "2"), tmp_path / "strip.png")
    assert three.height - two.height == two.height - one.height > 200
    everything = excel_cam(*made.plain("--strip", tmp_path / "all.png"))
    assert everything.stderr == f"{tmp_path / 'all.png'}: 6 rows\n"


def test_rows_of_a_strip_are_in_the_order_of_the_names(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    first = np.asarray(strip(excel_cam, made.plain("--names", "half,lone"), tmp_path / "a.png"))
    second = np.asarray(strip(excel_cam, made.plain("--names", "lone,half"), tmp_path / "b.png"))
    half = np.asarray(strip(excel_cam, made.plain("--names", "half"), tmp_path / "c.png"))
    height = len(half) - 14
    assert np.array_equal(first[:height], half[:height])
    assert not np.array_equal(second[:height], half[:height])


def test_a_strip_shows_upright_pictures_and_a_place_for_missing_truth(
    excel_cam: Run, made: Viewable, tmp_path: Path
) -> None:
    picture = strip(excel_cam, made.arguments("--names", f"{STAR},lone,missed"), tmp_path / "strip.png")
    pixels = np.asarray(picture)
    assert (pixels != 255).any(axis=2).mean() > 0.3
    lone = pixels[500:700, 14 + CELL_WIDTH + 14 : 2 * (14 + CELL_WIDTH)]  # its truth's place
    assert (lone == 255).all()


def test_a_long_name_is_cut_to_its_picture(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    widths = []
    for name in ("a", "w" * 300):
        made.classes.write_text(f"{name}\nb\nc\n")
        widths.append(strip(excel_cam, made.plain("--names", "alike"), tmp_path / "strip.png"))
    short, long = (np.asarray(picture) for picture in widths)
    assert short.shape == long.shape
    assert (long[-40:, -14:] == 255).all()


def test_page_and_strip_in_one_command(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    result = excel_cam(*made.arguments("--out", tmp_path / "r.html", "--strip", tmp_path / "s.png"))
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if line.startswith(str(tmp_path))]
    assert [line.split(":")[0] for line in lines] == [str(tmp_path / "r.html"), str(tmp_path / "s.png")]
