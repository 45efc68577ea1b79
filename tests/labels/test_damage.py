"""Finished labels and class maps are trusted to their last checksum; what is damaged is made again."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from awkward_images import png_bytes
from click.testing import Result
from PIL import Image

from excel_cam.classes import voc_palette
from excel_cam.errors import DataError
from excel_cam.files.images.masks import read_mask
from excel_cam.labels.class_maps import read_maps, read_maps_stamp, write_maps
from excel_cam.labels.png import find_label, write_label

Run = Callable[..., Result]
STAMP = "0123456789abcdef" * 2


def label_bytes(folder: Path, mode: str = "L") -> bytes:
    label = np.zeros((30, 40), np.uint8)
    label[4:20, 9:30] = 7
    label[3] = 255
    write_label(folder / "written.png", label, mode, STAMP)
    return (folder / "written.png").read_bytes()


def maps_bytes(folder: Path) -> bytes:
    write_maps(folder / "written.npz", np.random.default_rng(0).random((2, 6, 6)), (3, 7), (30, 40), STAMP)
    return (folder / "written.npz").read_bytes()


@pytest.mark.parametrize("mode", ["L", "P"])
def test_every_flipped_bit_and_every_cut_of_a_label_is_seen(tmp_path: Path, mode: str) -> None:
    content, path = label_bytes(tmp_path, mode), tmp_path / "label.png"
    path.write_bytes(content)
    whole = find_label(path)
    assert whole is not None
    assert (whole.stamp, whole.size) == (STAMP, (30, 40))
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert find_label(path) is None, end
        with pytest.raises(DataError, match=r"label\.png: expected a PNG of class indices, cannot read it"):
            read_mask(path, 20)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert find_label(path) is None, place
        with pytest.raises(DataError):
            read_mask(path, 20)


def test_every_flipped_bit_and_every_cut_of_class_maps_is_seen_or_harmless(tmp_path: Path) -> None:
    content, path = maps_bytes(tmp_path), tmp_path / "maps.npz"
    expected = read_maps(tmp_path / "written.npz", 20).maps
    path.write_bytes(content)
    assert read_maps_stamp(path) == STAMP
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert read_maps_stamp(path) is None, end
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        if read_maps_stamp(path) == STAMP:
            assert np.array_equal(read_maps(path, 20).maps, expected), place


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"\x89PNG", b"\x89PNG\r\n\x1a\n" + b"\0" * 600])
def test_what_a_power_failure_leaves_is_no_label(tmp_path: Path, content: bytes) -> None:
    for name in ("label.png", "maps.npz"):
        (tmp_path / name).write_bytes(content)
    assert find_label(tmp_path / "label.png") is None
    if not content.startswith(b"\x89"):
        assert read_maps_stamp(tmp_path / "maps.npz") is None


def test_somebody_elses_files_are_found_to_be_theirs(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("my notes")
    (tmp_path / "zeros.png").write_bytes(b"\0" * 100 + b"data")
    (tmp_path / "folder.png").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / "mask.png")
    Image.new("RGB", (3, 3)).save(tmp_path / "photo.png", "JPEG")
    for name in ("text", "zeros", "folder", "mask", "photo"):
        found = find_label(tmp_path / f"{name}.png")
        assert found is not None, name
        assert found.stamp == ""
    np.savez(tmp_path / "other.npz", a=[1])
    (tmp_path / "text.npz").write_text("my notes")
    (tmp_path / "folder.npz").mkdir()
    assert [read_maps_stamp(tmp_path / f"{name}.npz") for name in ("other", "text", "folder")] == [""] * 3


def test_damaged_labels_and_maps_are_made_again_and_nothing_else_is(
    excel_cam: Run, arguments: list[str], tmp_path: Path
) -> None:
    out, cams = tmp_path / "labels", tmp_path / "cams"
    command = [*arguments, "--out", out, "--save-cams", cams]
    assert excel_cam(*command).exit_code == 0
    before = {path: path.read_bytes() for folder in (out, cams) for path in folder.glob("*.*[gz]")}
    first, second, third, fourth = (out / f"{name}.png" for name in
                                    ("2007_000001", "2007_000002", "2008_000004", "2008_000005"))  # fmt: skip
    first.write_bytes(b"")
    second.write_bytes(before[second][:-20])
    flipped = bytearray(before[third])
    flipped[-30] ^= 4
    third.write_bytes(flipped)
    (cams / "2008_000005.npz").write_bytes(before[cams / "2008_000005.npz"][:-60])
    times = {path: path.stat().st_mtime_ns for path in (fourth, out / "2009_000006.png")}
    result = excel_cam(*command)
    assert result.exit_code == 0, result.stderr
    assert "4 new, 2 kept" in result.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert (out / "2009_000006.png").stat().st_mtime_ns == times[out / "2009_000006.png"]


def test_a_replaced_photograph_of_another_size_is_labelled_again(
    excel_cam: Run, arguments: list[str], tmp_path: Path, voc_root: Path
) -> None:
    out, images = tmp_path / "labels", voc_root / "JPEGImages"
    assert excel_cam(*arguments, "--out", out).exit_code == 0
    with Image.open(images / "2007_000001.jpg") as image:
        image.resize((80, 50)).save(images / "new.jpg")
    old = time.time() - 10_000
    os.utime(images / "new.jpg", (old, old))  # as a copy that keeps its time
    os.replace(images / "new.jpg", images / "2007_000001.jpg")
    os.utime(images / "2007_000002.jpg")  # touched, of the same size
    (images / "2007_000003.jpg").write_bytes(b"damaged since")
    (images / "2008_000004.jpg").unlink()
    result = excel_cam(*arguments, "--out", out)
    assert "1 new, 5 kept" in result.stderr
    with Image.open(out / "2007_000001.png") as label:
        assert label.size == (80, 50)
    assert "6 kept" in excel_cam(*arguments, "--out", out).stderr


def test_label_makes_a_damaged_label_again_and_one_of_another_size(
    excel_cam: Run, voc_root: Path, tmp_path: Path, model_arguments: list[str]
) -> None:
    photograph, label = voc_root / "JPEGImages" / "2007_000001.jpg", tmp_path / "out" / "2007_000001.png"
    command = ["label", photograph, "--classes", "kayak", "--size", "64", "--out", label.parent, *model_arguments]
    assert excel_cam(*command).exit_code == 0
    before = label.read_bytes()
    for damage in (b"", before[:-13]):
        label.write_bytes(damage)
        label.with_suffix(".overlay.jpg").unlink()
        assert "(kept)" not in excel_cam(*command).stdout
        assert label.read_bytes() == before
    assert "(kept)" in excel_cam(*command).stdout
    with Image.open(photograph) as image:
        image.resize((80, 50)).save(photograph)
    assert "(kept)" not in excel_cam(*command).stdout
    with Image.open(label) as made:
        assert made.size == (80, 50)


@pytest.mark.parametrize(("bits", "values"), [(2, (0, 1, 2, 3)), (4, (0, 1, 9, 15))])
def test_grey_masks_of_few_bits_are_read_as_they_are_stored(tmp_path: Path, bits: int, values: tuple[int, ...]) -> None:
    packed = 0
    for value in values:
        packed = packed << bits | value
    row = packed.to_bytes(4 * bits // 8, "big")
    (tmp_path / "mask.png").write_bytes(png_bytes(4, 1, bits, 0, b"\0" + row))
    assert read_mask(tmp_path / "mask.png", 20).tolist() == [list(values)]
    picture = Image.new("P", (4, 1))
    picture.putpalette(voc_palette())
    picture.putdata(values)
    picture.save(tmp_path / "palette.png", bits=bits)
    assert read_mask(tmp_path / "palette.png", 20).tolist() == [list(values)]


def bad_maps(**changes: object) -> bytes:
    parts: dict[str, object] = {
        "keys": np.array([1, 4]), "maps": np.full((2, 3, 3), 0.5, np.float16), "low": np.zeros(2), "high": np.ones(2),
        "size": np.array([40, 60]),
    }  # fmt: skip
    stream = io.BytesIO()
    np.savez(stream, **(parts | changes))  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keys": np.array([1, 1])}, "repeated"),
        ({"keys": np.array([4, 1])}, "out of order"),
        ({"keys": np.array([-1, 4])}, "negative"),
        ({"keys": np.array([1, 20])}, "maps of class 21, but there are 20 classes"),
        ({"keys": np.array([1.0, 4.0])}, "another kind"),
        ({"keys": np.array([[1, 4]])}, "do not belong together"),
        ({"maps": np.zeros((2, 0, 0), np.float16)}, "without a value"),
        ({"maps": np.full((2, 3, 3), np.nan, np.float16)}, "not finite"),
        ({"maps": np.full((2, 3, 3), np.inf, np.float16)}, "not finite"),
        ({"maps": np.full((2, 3, 3), 1.5, np.float16)}, "not within 0..1"),
        ({"maps": np.zeros((2, 3, 3), np.complex64)}, "elements of type complex64"),
        ({"low": np.array([0, np.nan])}, "not finite"),
        ({"high": np.array([0, np.inf])}, "not finite"),
        ({"low": np.array([-1e308, 0]), "high": np.array([1e308, 1])}, "not finite"),
        ({"high": np.array([1, -1.0])}, "not within 0..1"),
        ({"size": np.array([0, 60])}, "without a value"),
        ({"size": np.array([40])}, "do not belong together"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_maps_that_no_run_writes_are_refused_by_every_reader(
    excel_cam: Run, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    for folder in ("labels", "cams", "images"):
        (tmp_path / folder).mkdir()
    mask = np.zeros((40, 60), np.uint8)
    mask[9:20, 9:20] = 2
    Image.fromarray(mask).save(tmp_path / "labels/a.png")
    Image.fromarray(mask).convert("RGB").save(tmp_path / "images/a.jpg")
    (tmp_path / "cams/a.npz").write_bytes(bad_maps(**changes))
    labels, cams = tmp_path / "labels", tmp_path / "cams"
    for command in (
        ("export", "--to", "psa", "--labels", labels, "--cams", cams, "--dataset", "voc", "--out", tmp_path / "x"),
        ("evaluate", "--sweep", "--cams", cams, "--truth", labels, "--dataset", "voc"),
        ("view", labels, "--images", tmp_path / "images", "--cams", cams, "--dataset", "voc",
         "--out", tmp_path / "page.html"),
    ):  # fmt: skip
        result = excel_cam(*command)
        assert result.exit_code == 1, result.stdout
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
        assert "a.npz" in line
        assert words in line
    assert not (tmp_path / "page.html").exists()
    assert not list((tmp_path / "x").rglob("*.npy"))
