"""Pillow's guards against what grows without bound on decoding, set once for photographs and labels alike."""

from __future__ import annotations

from PIL import Image, PngImagePlugin

MAX_PIXELS = 500_000_000  # more than any camera's; a 500-megapixel RGB image is 1.5 GB decoded

# Pillow warns from 89 megapixels on and refuses above twice that, which is less than some telephones' photographs. From
# here on it warns above our own limit, where we refuse, and refuses by itself above twice our limit.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# Programs that make pictures keep their settings in a PNG's text, more of it than the megabyte that Pillow reads. It is
# nothing to us, but Pillow refuses the picture; all text of one may take this many bytes, as Pillow has it by itself.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
