"""Whether a photograph can be decoded, fits its label, and is there only once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import ExifTags

from excel_cam.doctor.findings import Collector
from excel_cam.files.atomic import hash_file
from excel_cam.files.images.masks import DAMAGE_ERRORS
from excel_cam.files.images.open_image import PHOTOGRAPHS, open_image
from excel_cam.files.images.rasters import raster_size
from excel_cam.files.machine import raise_if_machine
from excel_cam.wording import size_text


def check_photograph(name: str, label_size: tuple[int, int] | None, path: Path | None, found: Collector) -> None:
    """Note what is wrong with the photograph of a label of that (H, W); `path` None: there is none."""
    if path is None:
        found.add("no-photograph", name)
        return
    try:
        with open_image(path, PHOTOGRAPHS) as image:
            size = image.height, image.width
            # JPEGs are read to their end, which shows where one is cut off, but only every 8th pixel is worked out.
            image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    except (*DAMAGE_ERRORS, MemoryError) as error:
        raise_if_machine(error, path)
        own = raster_size(path)  # of bands that only rasterio reads
        if own is None:
            found.add("damaged-photograph", name)
            return
        size, turned = own, False
    if turned:
        found.add("turned-photograph", name)
    if label_size is not None and size != label_size:
        found.add("wrong-size", f"{name} ({size_text(label_size)}, photograph {size_text(size)})")


def same_files(photographs: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """(name, first name) of each photograph whose bytes are those of one before it; few files have to be read."""
    by_length: dict[int, list[str]] = {}
    for name in sorted(photographs):
        try:
            by_length.setdefault(photographs[name].stat().st_size, []).append(name)
        except OSError as error:
            raise_if_machine(error, photographs[name])
            continue  # a broken link: noted as damaged, or without a label
    for names in by_length.values():
        first_with: dict[str, str] = {}
        if len(names) > 1:
            for name in names:
                first = first_with.setdefault(hash_file(photographs[name]), name)
                if first != name:
                    yield name, first
