"""Drawn photographs, and the tags of a small VOC set of them."""

from __future__ import annotations

import numpy as np
from PIL import Image


def draw_photograph(height: int, width: int, seed: int) -> Image.Image:
    """Soft coloured blobs on a gradient: something with edges and smooth parts, as photographs have."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    canvas = np.stack([rows / height * 90 + 60, columns / width * 90 + 60, np.full((height, width), 110.0)], axis=-1)
    for _ in range(4):
        row, column, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.1, 0.3) * min(height, width)
        inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        canvas[inside] = rng.uniform(0, 255, 3)
    return Image.fromarray((canvas + rng.normal(0, 4, canvas.shape)).clip(0, 255).astype(np.uint8))


VOC_TAGS = {
    "2007_000001": "cat sofa",
    "2007_000002": "person",
    "2007_000003": "",
    "2008_000004": "dog horse person",
    "2008_000005": "tvmonitor",
    "2009_000006": "bird boat",
}
