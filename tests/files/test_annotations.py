"""Brush codes and outlines give back the regions that they were made of; archives are read like folders."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from polygons import filled

from excel_cam.errors import DataError
from excel_cam.export.tools.labelme import painted_outlines
from excel_cam.files.annotations.brush_rle import decode_brush, encode_brush
from excel_cam.files.annotations.outlines import fill_polygon, regions
from excel_cam.files.annotations.tree import open_tree

masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2, 255]))
RING = np.array([[1, 1, 1, 1], [1, 0, 2, 1], [1, 1, 1, 1]], np.uint8)


def bits_of(code: list[int]) -> str:
    return "".join(f"{byte:08b}" for byte in code)


def decoded(code: list[int]) -> list[int]:
    """The values of a code, read bit by bit as the description of rle-pack has it."""
    bits, values = bits_of(code), list[int]()
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    count, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    while len(values) < count:
        repeated = take(1)
        length = take(sizes[take(2)]) + 1
        values += [take(word)] * length if repeated else [take(word) for _ in range(length)]
    assert len(bits) - at <= 8
    assert set(bits[at:]) <= {"0"}
    return values


def test_a_brush_code_by_hand() -> None:
    """A pixel outside, then one inside: 8 values, two runs of 4."""
    head = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    runs = "1" + "00" + "011" + "00000000" + "1" + "00" + "011" + "11111111"
    text = head + runs
    text += "0" * (8 - len(text) % 8)
    assert bits_of(encode_brush(np.array([[False, True]]))) == text


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_brush_codes_give_back_their_region(region: np.ndarray) -> None:
    code = encode_brush(region)
    assert decoded(code) == np.repeat(region.ravel() * 255, 4).tolist()
    assert np.array_equal(decode_brush(code, region.shape), region)


def test_brush_codes_of_long_runs_and_whole_bytes() -> None:
    region = np.zeros((300, 301), bool)
    region[150:, 7:] = True
    assert decoded(encode_brush(region)) == np.repeat(region.ravel() * 255, 4).tolist()


def test_brush_codes_of_other_writers_are_read() -> None:
    """Values one by one, colours, and soft edges, as the program in a browser writes them."""
    values = [255, 0, 0, 255, 9, 9, 9, 40, 1, 2, 3, 200]
    bits = f"{12:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    bits += "0" + "01" + f"{11:04b}" + "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    code = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert decode_brush(code, (1, 3)).tolist() == [[True, False, True]]


@given(st.binary(max_size=40))
def test_damaged_brush_codes_have_a_reason(content: bytes) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        decode_brush(list(content), (3, 5))


def test_brush_codes_cut_off() -> None:
    code = encode_brush(np.eye(9, dtype=bool))
    with pytest.raises(ValueError, match="cut off"):
        decode_brush(code[: len(code) // 2], (9, 9))
    with pytest.raises(ValueError, match="not bytes"):
        decode_brush([300, -1], (1, 1))


def test_outlines_of_a_ring_by_hand() -> None:
    ring, _hole, inner = sorted(regions(RING), key=lambda region: (region.value != 1, region.value))
    assert ring.outline == ((0, 0), (3, 0), (3, 2), (0, 2))
    assert ring.has_holes
    assert (ring.filled, inner.filled) == (12, 1)
    assert inner.outline == ((2, 1),) * 3
    assert set(ring.cut_outline) >= {(0, 0), (3, 0), (3, 2), (0, 2), (1, 0), (2, 0)}


@settings(max_examples=60, deadline=None)
@given(masks)
def test_cut_outlines_give_back_their_region(mask: np.ndarray) -> None:
    for region in regions(mask):
        own = np.zeros(np.add(mask.shape, 2), bool)
        top, left = (part + 1 for part in region.origin)
        own[top : top + region.pixels.shape[0], left : left + region.pixels.shape[1]] = region.pixels
        assert np.array_equal(filled(region.cut_outline, *mask.shape), own[1:-1, 1:-1])
        assert np.array_equal(fill_polygon(region.cut_outline, mask.shape), own[1:-1, 1:-1])


@settings(max_examples=60, deadline=None)
@given(masks, st.booleans())
def test_painted_outlines_give_back_the_label(mask: np.ndarray, has_background: bool) -> None:
    painted = np.full(mask.shape, 0 if has_background else 77)
    for value, outline in painted_outlines(mask, has_background):
        painted[filled(outline, *mask.shape)] = value
    assert np.array_equal(painted, mask)


def test_archives_are_read_like_folders(tmp_path: Path) -> None:
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "text.txt").write_text("läuft", "utf-8")
    (tmp_path / "folder" / ".hidden").write_text("no")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.write(tmp_path / "folder" / "sub" / "text.txt", "sub/text.txt")
        archive.writestr("../../outside.txt", "stays where it is told")
        archive.writestr(".hidden", "no")
    with open_tree(tmp_path / "folder") as tree:
        assert tree.files == ("sub/text.txt",)
    with open_tree(tmp_path / "archive.zip") as tree:
        assert "sub/text.txt" in tree.files
        assert tree.text("sub/text.txt") == "läuft"
    assert not (tmp_path.parent.parent / "outside.txt").exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and no more", b"\0" * 100])
def test_what_is_no_archive_ends_with_a_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.zip").write_bytes(content)
    with (
        pytest.raises(DataError, match=r"broken\.zip: expected a folder or a zip archive"),
        open_tree(tmp_path / "broken.zip"),
    ):
        pass


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text.txt", "words " * 500)
    content = bytearray(path.read_bytes())
    content[45] ^= 255
    path.write_bytes(content)
    with open_tree(path) as tree, pytest.raises(DataError, match=r"text\.txt: cannot be unpacked"):
        tree.text("text.txt")
