"""Open photographs as they come: any bit depth, colour mode, orientation and size → 8-bit RGB pixels, upright.

- Orientation: EXIF's is applied, so that CLIP sees the scene upright; labels and maps are turned back to the file's.
- Animations: the first frame. Transparency: on white. 16 bits: the upper 8. 32-bit integers and floats: stretched from
  the image's own least to its greatest value.
- Large images: above `working_pixels` the pixels are reduced, JPEGs already while decoding.
"""

from __future__ import annotations

import math
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from excel_cam.errors import ImageError
from excel_cam.files.images.foreign import describe_unread
from excel_cam.files.images.open_image import PHOTOGRAPHS, open_image
from excel_cam.files.machine import raise_if_machine

WHITE = (255, 255, 255, 255)
LARGE_PIXELS = 16_000_000  # images above this are decoded one at a time, however many threads decode
_one_large_image = threading.Lock()

# EXIF orientation -> how the stored image becomes upright: swap rows and columns, then flip rows, then flip columns.
_TURNS = {
    1: (False, False, False), 2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph, and how to give a label the shape of its file.

    pixels: (H', W', 3) uint8 RGB, upright, perhaps reduced. size: (H, W) upright, at full size.
    orientation: EXIF's, 1 to 8: how the file's own rows and columns lie.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    orientation: int = 1

    def as_stored(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Turn upright planes, (..., height, width), to lie as the file's pixels do."""
        return turn_back(planes, self.orientation)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode one photograph to (H, W, 3) uint8 RGB, upright, at full size.

    >>> read_image(photo).shape
    (452, 455, 3)

    Raises `ImageError` with a reason a person understands: missing, empty, damaged, cut off, not an image, too large;
    `MachineError` where not the file is at fault.
    """
    return read_photograph(path).pixels


def read_photograph(
    source: Path | bytes, working_pixels: int | None = None, where: str | None = None
) -> Photograph:  # fmt: skip
    """Decode one photograph; above `working_pixels` (None: no bound) its pixels are reduced to about so many.

    source: its file, or the bytes of one, which `where` names in errors.
    Raises `ImageError` with a reason a person understands: missing, empty, damaged, cut off, not an image, too large;
    `MachineError` where not the file is at fault.
    """
    name = where or str(source)
    try:
        with (
            open_image(source, PHOTOGRAPHS) as image,
            _one_large_image if image.width * image.height > LARGE_PIXELS else nullcontext(),
        ):
            return _decode(image, working_pixels)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such image") from None
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise_if_machine(error, name)
        raise ImageError(f"{name}: {_reason(source, name, error)}") from None


def decode_photograph(image: Image.Image, working_pixels: int | None, where: str) -> Photograph:
    """As `read_photograph`, of an image that is open already and stays as it is; `where` names it in errors."""
    try:
        own = image.copy()
        own.format = image.format  # which tells how values beyond 8 bits are meant
        return _decode(own, working_pixels)
    except Exception as error:  # as above
        raise_if_machine(error, Path(where))
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{where}: the image cannot be decoded ({text})") from None


def stored_sizes(path: Path) -> set[tuple[int, int]]:
    """The (H, W) that a photograph's pixels can have in its file, from its header alone; raises `ImageError`.

    Two for a TIFF: it may be turned while it is decoded.
    """
    try:
        with open_image(path, PHOTOGRAPHS) as image:
            size = image.height, image.width
            return {size, size[::-1]} if image.format == "TIFF" else {size}
    except Exception as error:  # as above
        raise_if_machine(error, path)
        raise ImageError(f"{path}: {_reason(path, str(path), error)}") from None


def stored_orientation(path: Path) -> int:
    """EXIF's orientation of a photograph, 1 to 8; 1 where there is none. Raises `ImageError`."""
    try:
        with open_image(path, PHOTOGRAPHS) as image:
            return _orientation(image)
    except Exception as error:  # as above
        raise_if_machine(error, path)
        raise ImageError(f"{path}: {_reason(path, str(path), error)}") from None


def _reason(source: Path | bytes, name: str, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        if not (len(source) if isinstance(source, bytes) else source.stat().st_size):
            return "the file is empty"
        if (foreign := describe_unread(source, name)) is not None:
            return foreign
        return f"not an image, or damaged from its beginning; these formats are read: {', '.join(PHOTOGRAPHS)}"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, Image.DecompressionBombError):
        return str(error)
    text = " ".join(str(error).split()) or type(error).__name__
    if "truncated" in text.lower():
        return f"cannot be decoded: the file is cut off ({text}); copy it again"
    return f"cannot be decoded: it is damaged, or of a kind that is not read ({text})"


def _decode(image: Image.Image, working_pixels: int | None) -> Photograph:
    stored_size = image.size
    tiff_orientation = _orientation(image) if image.format == "TIFF" else 1
    if target := reduced_size(stored_size, working_pixels):
        image.draft(image.mode, target)  # JPEG alone: decodes at 1/2, 1/4 or 1/8, never below the target
    image.load()
    orientation = _orientation(image)  # not before: asking a PNG decodes it, and hides that it is damaged
    if tiff_orientation != 1 and orientation == 1:
        # Pillow has turned the TIFF upright by itself, and swapped its width and height, at the latest now.
        width, height = image.size
        return Photograph(_to_rgb(image, reduced_size(image.size, working_pixels)), (height, width), tiff_orientation)
    pixels = turn_upright(_to_rgb(image, target), orientation)
    width, height = reversed(stored_size) if _TURNS[orientation][0] else stored_size
    return Photograph(pixels, (height, width), orientation)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 where it is absent, out of range or damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF says nothing of the pixels, so the photograph is still worth labelling
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W) or (H, W, channels) values that lie as a file of that EXIF orientation does."""
    swap, flip_rows, flip_columns = _TURNS[orientation]
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def turn_back(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn upright planes, (..., height, width), to lie as a file of that EXIF orientation does."""
    swap, flip_rows, flip_columns = _TURNS[orientation]
    planes = planes[..., :: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(planes.swapaxes(-1, -2) if swap else planes)


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """The (H, W) that a file's own (H, W) has once it is turned upright."""
    return size[::-1] if _TURNS[orientation][0] else size


def reduced_size(size: tuple[int, int], working_pixels: int | None) -> tuple[int, int] | None:
    """The (width, height) of at most `working_pixels` pixels an image is reduced to, or None where it fits as it is."""
    width, height = size
    if working_pixels is None or width * height <= working_pixels:
        return None
    factor = math.sqrt(working_pixels / (width * height))
    reduced_width, reduced_height = max(1, int(width * factor)), max(1, int(height * factor))
    # One side of a very long image cannot shrink below 1, so the other has to give more.
    return (
        max(1, min(reduced_width, working_pixels // reduced_height)),
        max(1, min(reduced_height, working_pixels // reduced_width)),
    )


def _to_rgb(image: Image.Image, target: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The pixels of a loaded image as (H, W, 3) uint8 RGB, reduced to `target` (width, height)."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Grey of 16 bits. Pillow takes the upper 8 of 16-bit colours by itself, but would clip these to white.
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_stretch(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("RGB")  # palette indices and single bits cannot be averaged
    if target is not None and target != image.size:
        image = image.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return np.asarray(image.convert("RGB"))


def _stretch(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Stretch values of unknown range to 0..255; not-a-number becomes 0, an even image black."""
    values = values.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = (finite.min() / 2, finite.max() / 2) if finite.size else (0, 0)
    if low == high:
        return np.zeros(values.shape, np.uint8)
    with np.errstate(all="ignore"):  # halves: the difference of the two ends could pass float32's range
        stretched = (values / 2 - low) / (high - low) * 255
    return np.nan_to_num(stretched, nan=0).clip(0, 255).astype(np.uint8)
