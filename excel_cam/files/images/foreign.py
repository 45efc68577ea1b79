"""What files are that people have among their photographs and that are not read: named by ending and by content."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

from PIL import TiffImagePlugin

# Ending -> what such a file is.
UNREAD_SUFFIXES = {
    ".heic": "HEIC", ".heif": "HEIF", ".hif": "HEIF", ".avif": "AVIF", ".jxl": "JPEG XL", ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000", ".jpx": "JPEG 2000", ".jxr": "JPEG XR", ".psd": "Photoshop", ".svg": "SVG", ".eps": "EPS",
    ".pdf": "PDF", ".tga": "Targa", ".exr": "OpenEXR", ".hdr": "Radiance HDR", ".dcm": "DICOM", ".dng": "DNG (raw)",
    ".cr2": "Canon raw", ".cr3": "Canon raw", ".nef": "Nikon raw", ".arw": "Sony raw", ".orf": "Olympus raw",
    ".raf": "Fujifilm raw", ".rw2": "Panasonic raw",
}  # fmt: skip
_HEADS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the photograph itself; fetch it with `git lfs pull`"),
    (b"<!doctype html", "a web page, not a photograph; download the photograph itself"),
    (b"<html", "a web page, not a photograph; download the photograph itself"),
    (b"%pdf", "PDF is not read: convert it to JPEG or PNG"),
    (b"%!ps", "EPS is not read: convert it to JPEG or PNG"),
    (b"<svg", "SVG is not read: convert it to JPEG or PNG"),
    (b"8bps", "Photoshop is not read: convert it to JPEG or PNG"),
    (b"\xff\x0a", "JPEG XL is not read: convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjxl ", "JPEG XL is not read: convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjp  ", "JPEG 2000 is not read: convert it to JPEG or PNG"),
    (b"\xff\x4f\xff\x51", "JPEG 2000 is not read: convert it to JPEG or PNG"),
)
_BRANDS = {"avif": "AVIF", "avis": "AVIF", "crx ": "Canon raw"}  # of the container that HEIC uses as well
_HEIC_BRANDS = ("heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1")


def describe_unread(source: Path | bytes, name: str) -> str | None:
    """What a file, or the bytes of one, is that is not read, and what to do; None where that is not known.

    name: the file's, whose ending may tell.
    """
    try:
        with _opened(source) as stream:
            start = stream.read(64)
    except OSError:
        return None
    head = start.lstrip().lower() if start[:1] != b"\0" else start.lower()
    if found := next((what for magic, what in _HEADS if head.startswith(magic)), None):
        return found
    if start[4:8] == b"ftyp":
        brand = start[8:12].decode("latin-1")
        if (kind := "HEIC" if brand in _HEIC_BRANDS else _BRANDS.get(brand)) is not None:
            return f"{kind} is not read: convert it to JPEG or PNG"
        return "a film, not a photograph; take single frames of it as JPEG or PNG"
    if bands := _describe_bands(source, start):
        return bands
    suffix = os.path.splitext(name)[1].lower()
    return f"{UNREAD_SUFFIXES[suffix]} is not read: convert it to JPEG or PNG" if suffix in UNREAD_SUFFIXES else None


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _describe_bands(source: Path | bytes, start: bytes) -> str | None:
    """A TIFF by its number of bands, bits and kind of numbers, where its directory tells them."""
    if start[:4] not in (b"II*\0", b"MM\0*"):
        return None
    try:
        with _opened(source) as stream:
            directory = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
            stream.seek(directory.next)
            directory.load(stream)
        bands, bits = int(directory.get(277, 1)), directory.get(258, (1,))
        kinds = directory.get(339, (1,))
    except Exception:  # a damaged directory leads the reader into whatever comes
        return None
    kind = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}.get(kinds[0] if kinds else 1, "")
    return (
        f"a TIFF of {bands} {'band' if bands == 1 else 'bands'} of {bits[0]} {kind}bits, which is not read; save three "
        "of its bands as an 8-bit RGB TIFF or PNG"
    )
