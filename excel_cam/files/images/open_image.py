"""The one place where images are opened: formats chosen by the caller, sizes refused before anything is decoded.

Nothing but the formats asked for is tried, whatever a file is called: Pillow would hand an EPS file to Ghostscript,
which runs programs. Pillow's own limits are settings of the whole process, and belong to whoever imports this package:
ours stand in their place only while an image is open here.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, PngImagePlugin

from excel_cam.files.part import File, Part

PHOTOGRAPHS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
MASKS = ("PNG",)
MAX_PIXELS = 500_000_000  # more than any camera's; a 500-megapixel RGB image is 1.5 GB decoded
# Bytes of a decoded mask: 8-bit ones have MAX_PIXELS at most, coloured ones, for `doctor` to turn back, fewer pixels.
MAX_MASK_BYTES = 1 << 30
_BYTES_PER_PIXEL = {"LA": 2, "RGB": 3, "RGBA": 4, "I": 4, "I;16": 2, "I;16B": 2}  # others have one

# Pillow's MAX_IMAGE_PIXELS warns from less than some telephones' photographs on; the size is checked here instead. Its
# 1 MB for a text chunk is less than some programs write; 64 MB, of all chunks together, are what it admits by itself.
_LIMITS = ((Image, "MAX_IMAGE_PIXELS", None), (PngImagePlugin, "MAX_TEXT_CHUNK", 64 << 20))


class _OwnLimits:
    """Our limits in place of the process's own, from the first image opened to the last one closed, in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._found: list[int | None] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._found = [getattr(module, name) for module, name, _limit in _LIMITS]
                for module, name, limit in _LIMITS:
                    setattr(module, name, limit)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                for (module, name, _limit), found in zip(_LIMITS, self._found, strict=True):
                    setattr(module, name, found)


_own_limits = _OwnLimits()


def require_plain_file(file: File) -> None:
    """Raise OSError for what is not a plain file: a pipe or device would be waited for, or never end."""
    if isinstance(file, Path) and not stat.S_ISREG(os.stat(file).st_mode):
        raise OSError(errno.EINVAL, "not a file", str(file))


@contextmanager
def open_image(source: File | bytes, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """A Pillow image of one of `formats`, which may be decoded inside the block; its size is admitted.

    source: its file, or the bytes of one. formats: PHOTOGRAPHS or MASKS. At most MAX_PIXELS pixels, and of masks
    MAX_MASK_BYTES bytes, will be decoded.
    Raises `Image.DecompressionBombError` for more, by the file's header; OSError for what is not a plain file; and
    what Pillow raises: UnidentifiedImageError for another format, nearly anything for a damaged file.
    """
    content = source.content() if isinstance(source, Part) else source
    if isinstance(content, Path):
        require_plain_file(content)
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    with _own_limits, Image.open(file, formats=formats) as image:
        pixels, size = image.width * image.height, f"{image.width:,} x {image.height:,} pixels"
        if pixels > MAX_PIXELS:
            raise Image.DecompressionBombError(
                f"too large to decode safely: {size}, at most {MAX_PIXELS // 10**6} megapixels are read; reduce it"
            )
        if formats == MASKS and pixels * _BYTES_PER_PIXEL.get(image.mode, 1) > MAX_MASK_BYTES:
            raise Image.DecompressionBombError(
                f"too large to decode safely: {size} of mode {image.mode}; save it as 8-bit L"
            )
        yield image
