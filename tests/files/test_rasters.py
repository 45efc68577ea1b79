"""Rasters: chosen bands, numbers beyond 8 bits, pixels without data, and where labels lie on Earth."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from excel_cam.errors import ImageError, SettingsError
from excel_cam.files.images.photographs import read_photograph, stored_sizes
from excel_cam.files.images.rasters import read_georeference
from excel_cam.settings import Settings

Run = Callable[..., Result]
HAS_RASTERIO = importlib.util.find_spec("rasterio") is not None
needs_rasterio = pytest.mark.skipif(not HAS_RASTERIO, reason="rasterio (extra geo) is absent")
PLACE = (431000.0, 0.5, 0.0, 5412000.0, 0.0, -0.5)  # GDAL's order: half a metre a pixel, north up


def write_tiff(path: Path, bands: np.ndarray, placed: bool = True, **more: Any) -> Path:
    """A TIFF of (count, H, W) bands, in UTM zone 32 unless it is to lie nowhere."""
    import warnings

    import rasterio
    from rasterio.transform import Affine

    where = {"crs": "EPSG:32632", "transform": Affine.from_gdal(*PLACE)} if placed else {}
    count, height, width = bands.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype, **where, **more
        ) as out:
            out.write(bands)
    return path


def aerial(count: int = 4, dtype: str = "uint16", scale: float = 100) -> np.ndarray:
    """Bands that differ: a gradient with a square in it."""
    y, x = np.mgrid[:80, :120]
    bands = np.stack([(y + (band + 1) * x) * scale for band in range(count)])
    bands[:, 20:50, 30:70] *= 2
    return bands.astype(dtype)


def stretched(band: np.ndarray, has_data: np.ndarray) -> np.ndarray:
    """The 2nd to the 98th percentile as 0 to 255, written another way."""
    ordered = np.sort(band[has_data].astype(np.float64))
    at = [share * (len(ordered) - 1) for share in (0.02, 0.98)]
    low, high = (np.interp(place, np.arange(len(ordered)), ordered) for place in at)
    return np.where(has_data, np.minimum(np.maximum((band - low) / (high - low), 0), 1) * 255, 0)


@needs_rasterio
@pytest.mark.parametrize(("dtype", "scale"), [("uint16", 100), ("float32", 1e-4), ("int32", -1e5)])
def test_bands_are_chosen_and_stretched(tmp_path: Path, dtype: str, scale: float) -> None:
    bands = aerial(5, dtype, scale)
    path = write_tiff(tmp_path / "a.tif", bands)
    found = read_photograph(path, bands=(4, 2, 1))
    assert (found.size, found.has_data) == ((80, 120), None)
    everywhere = np.ones((80, 120), bool)
    for channel, band in enumerate((4, 2, 1)):
        expected = stretched(bands[band - 1], everywhere)
        assert np.abs(found.pixels[..., channel] - expected).max() <= 0.51
    grey = read_photograph(path, bands=(3,)).pixels
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[..., 0] - stretched(bands[2], everywhere)).max() <= 0.51


@needs_rasterio
def test_8_bit_bands_are_as_they_are_and_other_files_as_without(tmp_path: Path) -> None:
    bands = aerial(3, "uint8", 0.3)
    path = write_tiff(tmp_path / "a.tiff", bands)
    plain = read_photograph(path).pixels
    assert np.array_equal(read_photograph(path, bands=(1, 2, 3)).pixels, plain)
    assert np.array_equal(read_photograph(path, bands=(3, 2, 1)).pixels, plain[..., ::-1])
    Image.fromarray(plain).save(tmp_path / "a.png")
    assert np.array_equal(read_photograph(tmp_path / "a.png", bands=(3, 2, 1)).pixels, plain)


@needs_rasterio
def test_pixels_without_data_are_black_and_labelled_255(tmp_path: Path) -> None:
    bands = aerial(3, "float32")
    bands[:, :10] = -9999
    bands[:, 60:, 100:] = np.nan
    bands[0, 30, 40] = -9999  # in one band only: that is data
    found = read_photograph(write_tiff(tmp_path / "a.tif", bands, nodata=-9999), bands=(1, 2, 3))
    absent = np.zeros((80, 120), bool)
    absent[:10] = absent[60:, 100:] = True
    assert found.has_data is not None
    assert np.array_equal(~found.has_data, absent)
    assert not found.pixels[absent].any()
    assert np.array_equal(found.finished(np.ones((80, 120), np.uint8)), np.where(absent, 255, 1))
    reduced = read_photograph(tmp_path / "a.tif", 2400, bands=(1, 2, 3))
    assert (reduced.pixels.shape, reduced.size) == ((40, 60, 3), (80, 120))
    assert np.array_equal(reduced.finished(np.ones((80, 120), np.uint8)) == 255, absent)


@needs_rasterio
def test_a_large_raster_is_read_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is asked for the reduced size: never is all of it in memory."""
    path = write_tiff(tmp_path / "large.tif", np.full((3, 600, 2000), 77, np.uint8), tiled=True)
    found = read_photograph(path, 30_000, bands=(3, 2, 1))
    assert (found.pixels.shape, found.size) == ((94, 316, 3), (600, 2000))
    assert (found.pixels == 77).all()
    monkeypatch.setattr("excel_cam.files.images.rasters.MAX_PIXELS", 10**6)
    with pytest.raises(ImageError, match=r"large.tif: too large: 2,000 x 600 pixels"):
        read_photograph(path, 30_000, bands=(1,))


@needs_rasterio
def test_what_cannot_be_read_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    two = write_tiff(tmp_path / "two.tif", aerial(2))
    with pytest.raises(ImageError, match=r"two.tif: has 2 bands, --bands asks for band 4; choose others"):
        read_photograph(two, bands=(4, 2, 1))
    assert stored_sizes(two) == {(80, 120)}
    (tmp_path / "cut.tif").write_bytes(two.read_bytes()[:3000])
    (tmp_path / "text.tif").write_text("no raster")
    (tmp_path / "empty.tif").touch()
    for name in ("cut", "text", "empty"):
        with pytest.raises(ImageError, match=rf"{name}.tif: cannot be read as a TIFF with bands: ") as error:
            read_photograph(tmp_path / f"{name}.tif", bands=(1,))
        assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match=r"absent.tif: no such image"):
        read_photograph(tmp_path / "absent.tif", bands=(1,))
    with pytest.raises(ImageError, match="complex numbers are not read"):
        read_photograph(write_tiff(tmp_path / "radar.tif", aerial(1, "complex64")), bands=(1,))
    with pytest.raises(ImageError, match=r"or choose them with --bands, such as --bands 3,2,1"):
        read_photograph(two)


@needs_rasterio
def test_labels_lie_where_their_rasters_do(excel_cam: Run, model_arguments: list[str], tmp_path: Path) -> None:
    import rasterio

    root, out = tmp_path / "tiles", tmp_path / "out"
    bands = aerial()
    bands[:, :, :12] = 0
    write_tiff(root / "north/a.tif", bands, nodata=0)
    write_tiff(root / "b.tif", aerial(4, "uint8", 0.3), placed=False)
    Image.fromarray(aerial(3, "uint8", 0.3).transpose(1, 2, 0)).save(root / "c.png")
    write_tiff(root / "few.tif", aerial(2))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    command = ["generate", "--dataset", "folder", "--root", root, "--classes", tmp_path / "classes.txt",
               "--all-classes", "--out", out, "--size", 64, "--attributes", "none", "--refine", "none",
               *model_arguments]  # fmt: skip
    made = excel_cam(*command, "--bands", "4,3,2", "--windows", "64")
    assert made.exit_code == 3, made.stderr
    assert "few.tif: has 2 bands, --bands asks for band 4" in (out / "failed.jsonl").read_text()
    assert sorted(path.name for path in out.rglob("*.xml")) == ["a.png.aux.xml"]
    with rasterio.open(out / "north/a.png") as label:
        assert (label.crs.to_epsg(), label.transform.to_gdal(), label.nodata) == (32632, PLACE, 255)
        values = label.read(1)
    assert (values[:, :12] == 255).all()
    assert set(np.unique(values[:, 12:])) <= {0, 1, 2}
    # What says where a label lies is part of it.
    (out / "north/a.png.aux.xml").write_text("<PAMDataset>statistics</PAMDataset>")
    again = excel_cam(*command, "--bands", "4,3,2", "--windows", "64")
    assert "1 new, 2 kept" in again.stderr
    assert read_georeference(root / "north/a.tif") is not None
    with rasterio.open(out / "north/a.png") as label:
        assert label.transform.to_gdal() == PLACE
    assert "3 kept" in excel_cam(*command, "--bands", "4,3,2", "--windows", "64").stderr
    mixed = excel_cam(*command, "--bands", "3,2,1", "--windows", "64")
    assert mixed.exit_code == 1
    assert "bands was [4, 3, 2], now [3, 2, 1]" in mixed.stderr
    page = excel_cam("view", out, "--images", root, "--out", tmp_path / "report.html")
    assert page.exit_code == 0, page.stderr


@needs_rasterio
def test_label_keeps_the_place_of_a_plain_tiff(excel_cam: Run, model_arguments: list[str], tmp_path: Path) -> None:
    photo = write_tiff(tmp_path / "a.tif", aerial(3, "uint8", 0.3))
    command = ["label", photo, "--classes", "cat,dog", "--size", 64, "--attributes", "none", "--refine", "none",
               *model_arguments]  # fmt: skip
    assert excel_cam(*command).exit_code == 0
    beside = tmp_path / "a.png.aux.xml"
    before = beside.read_bytes()
    beside.unlink()
    assert excel_cam(*command).exit_code == 0
    assert beside.read_bytes() == before
    write_tiff(photo, aerial(3, "uint8", 0.3), placed=False)
    assert excel_cam(*command, "--overwrite").exit_code == 0
    assert not beside.exists()  # a place that is no longer true


@pytest.mark.parametrize("bands", [(), (1, 2), (0,), (1, 2, 3, 4), (1.0,), (70_000, 1, 1)])
def test_bands_that_mean_nothing_are_refused(bands: tuple) -> None:
    with pytest.raises(SettingsError, match=r"bands is .*; expected one band or three, each from 1 to 65535"):
        Settings(bands=bands)


def test_without_rasterio_one_line_says_what_to_install(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def without(name: str, *more: Any) -> Any:
        return None if name == "rasterio" else find(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    refused = excel_cam(*arguments, "--bands", "3,2,1", "--out", tmp_path / "out")
    assert refused.exit_code == 1
    assert "bands is 3,2,1, but rasterio, which reads them, is not installed; pip install '.[geo]'" in refused.stderr
    wrong = excel_cam(*arguments, "--bands", "red", "--out", tmp_path / "out")
    assert wrong.exit_code == 2
    assert "'red' is not whole numbers with commas between, such as 3,2,1" in wrong.stderr
    assert os.listdir(tmp_path) == ["VOC2012"]
    assert "bands" not in Settings().group("image")
