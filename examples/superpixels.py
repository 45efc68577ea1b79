"""Superpixels of photographs as regions for `excel-cam vote`, by scikit-image (`pip install scikit-image`).

    python examples/superpixels.py --images photos/ --out superpixels/
    python examples/superpixels.py --images photos/ --out superpixels/ --method felzenszwalb --scale 200

Each photograph gets a PNG of 16 bits with a number per pixel, from 1 on, that lies as its label does: as the
photograph's file, whatever its EXIF says. SLIC (Achanta et al., 2012) makes about as many even regions as are asked
for; felzenszwalb (Felzenszwalb and Huttenlocher, 2004) makes regions whose size follows the picture. What is there is
kept, unless --overwrite is given.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from excel_cam.errors import ExcelCamError, ImageError
from excel_cam.files.atomic import write_atomically
from excel_cam.files.images.image_folder import scan_images
from excel_cam.files.images.photographs import read_photograph

Pixels = NDArray[np.uint8]
Ids = NDArray[np.uint16]


def even_regions(pixels: Pixels, count: int) -> Ids:
    """(H, W) SLIC superpixels of (H, W, 3) pixels, about `count`, from 1 on."""
    return _ids(_segmentation().slic(pixels, n_segments=count, compactness=10, start_label=1))


def graph_regions(pixels: Pixels, scale: float) -> Ids:
    """(H, W) regions of (H, W, 3) pixels by Felzenszwalb's graph, from 1 on; a larger scale gives larger ones."""
    return _ids(1 + _segmentation().felzenszwalb(pixels, scale=scale, sigma=0.8, min_size=50))


def _segmentation() -> Any:
    try:
        from skimage import segmentation
    except ModuleNotFoundError:
        raise click.ClickException("scikit-image is not installed: pip install scikit-image") from None
    return segmentation


def _ids(regions: NDArray[np.integer[Any]]) -> Ids:
    if regions.max() > np.iinfo(np.uint16).max:
        raise click.ClickException(f"{regions.max():,} regions in one photograph; ask for fewer or larger ones")
    return regions.astype(np.uint16)


def write_regions(photograph: Path, target: Path, divide: Callable[[Pixels], Ids]) -> None:
    """Divide one photograph into regions; their file appears whole or not at all. Raises `ImageError`."""
    opened = read_photograph(photograph)
    stream = io.BytesIO()
    Image.fromarray(opened.as_stored(divide(opened.pixels))).save(stream, "PNG")
    write_atomically(target, stream.getvalue())


@click.command()
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of photographs.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the regions.")
@click.option("--method", type=click.Choice(["slic", "felzenszwalb"]), default="slic", show_default=True)
@click.option("--count", type=click.IntRange(1), default=300, show_default=True, help="slic: about so many regions.")
@click.option("--scale", type=float, default=100.0, show_default=True, help="felzenszwalb: larger gives larger ones.")
@click.option("--overwrite", is_flag=True, help="Make regions again that are there.")
def main(images: Path, out: Path, method: str, count: int, scale: float, overwrite: bool) -> None:
    """Write a PNG of superpixels for each photograph."""

    def divide(pixels: Pixels) -> Ids:
        return even_regions(pixels, count) if method == "slic" else graph_regions(pixels, scale)

    failed = 0
    try:
        for name, photograph in tqdm(sorted(scan_images(images, out).images.items()), unit="image"):
            target = out / f"{name}.png"
            if target.exists() and not overwrite:
                continue
            try:
                write_regions(photograph, target, divide)
            except ImageError as error:
                failed += 1
                tqdm.write(f"failed: {error}")
    except ExcelCamError as error:
        raise click.ClickException(str(error)) from None
    if failed:
        raise click.ClickException(f"{failed:,} photographs have no regions")


if __name__ == "__main__":
    main()
