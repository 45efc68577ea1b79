"""A drawing in place of a pictogram."""

from __future__ import annotations

import numpy as np
from compose import CLASSES
from drawings import CLASS_CODES, CLASS_KINDS, SIDE, Drawing


def disc(index: int, family: str = "noto", code: str = "", world: str = "seen", kind: str = "") -> Drawing:
    """A coloured disc in place of a class's drawing."""
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[(y - SIDE / 2) ** 2 + (x - SIDE / 2) ** 2 < (SIDE / 2) ** 2] = (index * 12, 255 - index * 12, 128, 255)
    pixels[SIDE // 2, SIDE // 2] = (255, 255, 255, 255)  # a second colour: not drawn in ink
    kind = kind or next(iter(CLASS_KINDS[CLASSES[index]]))
    return Drawing(CLASSES[index], family, code or CLASS_CODES[CLASSES[index]].split()[0], pixels, kind, world)
