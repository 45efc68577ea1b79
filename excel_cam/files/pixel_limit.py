"""Pillow's guard against decompression bombs, set once for photographs and labels alike."""

from __future__ import annotations

from PIL import Image

MAX_PIXELS = 500_000_000  # more than any camera's; a 500-megapixel RGB image is 1.5 GB decoded

# Pillow warns from 89 megapixels on and refuses above twice that, which is less than some telephones' photographs. From
# here on it warns above our own limit, where we refuse, and refuses by itself above twice our limit.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
