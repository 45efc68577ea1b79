"""Images as they come: every bit depth, colour mode, orientation and size, alone and through the command line."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from awkward_images import FAILING, colour16_bytes, make_awkward_images, png_bytes, rotated_bytes, scene
from click.testing import Result
from PIL import Image

from excel_cam.errors import ImageError, MachineError
from excel_cam.files.images import photographs
from excel_cam.files.images.photographs import read_image, read_photograph, reduced_size

COLOURS = scene(40, 60)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_twelve_awkward_images_through_the_command_line(
    tmp_path: Path, excel_cam: Callable[..., Result], model_arguments: list[str]
) -> None:
    sizes = make_awkward_images(tmp_path / "images")
    assert len(sizes) == 12
    result = excel_cam(
        "generate", "--dataset", "folder", "--root", tmp_path / "images", "--classes", tmp_path / "images/classes.txt",
        "--tags", tmp_path / "images/tags.csv", "--out", tmp_path / "out", "--size", 64, "--refine", "none",
        *model_arguments,
    )  # fmt: skip
    assert result.exit_code == 3, result.stderr
    assert "Warning" not in result.stderr
    failed = [json.loads(line) for line in (tmp_path / "out/failed.jsonl").read_text().splitlines()]
    assert sorted(entry["name"] for entry in failed) == sorted(FAILING)
    reasons = {entry["name"]: entry["reason"] for entry in failed}
    assert "at most 500 megapixels are read" in reasons["bomb"]
    assert "the file is cut off" in reasons["cut_off"]
    for name, size in sizes.items():
        if name not in FAILING:
            with Image.open(tmp_path / f"out/{name}.png") as label:
                assert (label.height, label.width) == size, name


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_turned_upright_and_back(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(rotated_bytes(Image.fromarray(COLOURS), orientation, kind))
    photograph = read_photograph(path)
    assert photograph.size == (40, 60) == photograph.pixels.shape[:2]
    assert np.abs(photograph.pixels.astype(int) - COLOURS).mean() < 6  # JPEG and WebP lose a little
    stored = photograph.as_stored(photograph.pixels.transpose(2, 0, 1))
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        image._getexif = dict  # type: ignore[attr-defined]
        raw = _raw_pixels(image, orientation, kind)
    assert stored.shape[1:] == ((60, 40) if orientation >= 5 else (40, 60))
    np.testing.assert_array_equal(stored.transpose(1, 2, 0), raw)


def _raw_pixels(image: Image.Image, orientation: int, kind: str) -> np.ndarray:
    """The pixels as they lie in the file; Pillow turns TIFFs upright by itself, so their pixels are turned back."""
    if kind != "TIFF":
        return np.asarray(image.convert("RGB"))
    with Image.open(io.BytesIO(rotated_bytes(Image.fromarray(COLOURS), orientation, "PNG"))) as same:
        return np.asarray(same)


def test_16_bits_are_scaled_and_not_clipped_to_white(tmp_path: Path) -> None:
    grey = COLOURS[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    for name in ("grey.png", "grey.tif"):
        path = saved(tmp_path / name, Image.fromarray(grey.astype(np.uint16) * 257))
        np.testing.assert_array_equal(read_image(path), expected)
    (tmp_path / "grey.pgm").write_bytes(b"P5 60 40 65535\n" + (grey.astype(np.uint16) * 257).astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "grey.pgm"), expected)
    (tmp_path / "colour.png").write_bytes(colour16_bytes(COLOURS))
    np.testing.assert_array_equal(read_image(tmp_path / "colour.png"), COLOURS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[-1.0, 0.0], [1.0, np.nan]], np.float32), [0, 127, 255, 0]),
        (np.array([[-3e38, 0.0], [3e38, np.inf]], np.float32), [0, 127, 255, 255]),
        (np.array([[1000, 2000], [3000, 3000]], np.int32), [0, 127, 255, 255]),
        (np.full((2, 2), 7, np.int32), [0, 0, 0, 0]),
        (np.full((2, 2), np.nan, np.float32), [0, 0, 0, 0]),
    ],
)
def test_32_bit_values_are_stretched_over_their_own_range(
    tmp_path: Path, values: np.ndarray, expected: list[int]
) -> None:
    pixels = read_image(saved(tmp_path / "image.tif", Image.fromarray(values)))
    np.testing.assert_array_equal(pixels[:, :, 0].ravel(), expected)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    clear_red = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (read_image(saved(tmp_path / "rgba.png", clear_red)) == 255).all()
    half = Image.new("LA", (4, 4), (0, 128))
    assert np.abs(read_image(saved(tmp_path / "la.png", half)).astype(int) - 127).max() <= 1
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 50, 60, 70])
    assert (read_image(saved(tmp_path / "opaque.png", palette)) == (50, 60, 70)).all()
    assert (read_image(saved(tmp_path / "clear.png", palette, transparency=1)) == 255).all()
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    assert (read_image(saved(tmp_path / "keyed.png", keyed, transparency=(1, 2, 3))) == 255).all()


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("blue", "red", "lime")]
    options = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **options)
    assert (read_image(path) == (0, 0, 255)).all()


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    path = saved(tmp_path / "image.tif", image)
    np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(("size", "limit"), [((3000, 2000), 65536), ((1, 500_000), 65536), ((1023, 1025), 2**20)])
def test_reduced_sizes_stay_within_the_limit_and_keep_the_ratio(size: tuple[int, int], limit: int) -> None:
    reduced = reduced_size(size, limit)
    if size[0] * size[1] <= limit:
        assert reduced is None
    else:
        assert reduced is not None
        assert 0.9 * limit < reduced[0] * reduced[1] <= limit
        assert min(size) == 1 or abs(reduced[0] / reduced[1] / (size[0] / size[1]) - 1) < 0.01


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16", "F", "1"])
def test_large_images_of_every_mode_are_reduced(tmp_path: Path, mode: str) -> None:
    colours = scene(400, 600)
    image = Image.fromarray(colours).convert(mode if mode in ("RGB", "L", "P", "RGBA", "1") else "L")
    if mode in ("I;16", "F"):
        values = np.asarray(image)
        image = Image.fromarray(values.astype(np.uint16) * 257 if mode == "I;16" else values.astype(np.float32))
    path = saved(tmp_path / "image.tif", image)
    photograph = read_photograph(path, 60_000)
    assert photograph.size == (400, 600)
    assert photograph.pixels.shape == (200, 300, 3)
    whole = Image.fromarray(read_image(path)).resize((300, 200), Image.Resampling.BILINEAR)
    assert np.abs(photograph.pixels.astype(int) - np.asarray(whole)).mean() < 3


def test_a_large_jpeg_is_decoded_small_and_turned(tmp_path: Path) -> None:
    upright = Image.fromarray(scene(400, 600))
    (tmp_path / "image.jpg").write_bytes(rotated_bytes(upright, 6))
    photograph = read_photograph(tmp_path / "image.jpg", 15_000)
    assert photograph.size == (400, 600)
    assert photograph.pixels.shape == (100, 150, 3)
    assert np.abs(photograph.pixels.astype(int) - np.asarray(upright.reduce(4))).mean() < 4
    assert photograph.as_stored(np.zeros((400, 600))).shape == (600, 400)


def test_images_within_the_limit_do_not_change(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.jpg", Image.fromarray(scene(480, 640)))
    np.testing.assert_array_equal(read_photograph(path, 2**20).pixels, read_image(path))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_failures_have_reasons_a_person_understands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOURS).save(stream, "PNG")
    cases = {
        "text.jpg": (b"not a picture at all", "not an image"),
        "drawing.png": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            "EPS is not read: convert it to JPEG or PNG",
        ),
        "empty.jpg": (b"", "the file is empty"),
        "cut.png": (stream.getvalue()[:-60], "cannot be decoded"),
        "bomb.png": (png_bytes(2**31 - 1, 2**31 - 1, 8, 0, b"\0"), "too large to decode safely"),
        "wide.png": (png_bytes(30_000, 20_000, 8, 0, b"\0"), "30,000 x 20,000 pixels, at most 500 megapixels"),
    }
    for name, (content, expected) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=expected) as caught:
            read_photograph(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="no such image"):
        read_photograph(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="not a file"):
        read_photograph(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="not a file"):
        read_photograph(tmp_path / "pipe.jpg")
    path = saved(tmp_path / "good.png", Image.fromarray(COLOURS))

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(photographs, "_decode", no_memory)
    with pytest.raises(MachineError, match=r"good\.png: not enough memory: the machine fails, not this file; free"):
        read_photograph(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_photograph(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOURS).save(stream, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    (tmp_path / "image.jpg").write_bytes(stream.getvalue())
    assert read_photograph(tmp_path / "image.jpg").orientation == 1
