"""Scenes of the picture world of which only the description matters."""

from __future__ import annotations

import numpy as np
from compose import Scene


def scene_of(classes: set[int], doubtful: set[int] = frozenset(), tints: dict[int, set[str]] | None = None,  # type: ignore[assignment]
             shown: set[str] = frozenset(), unclear: set[str] = frozenset()) -> Scene:  # type: ignore[assignment]  # fmt: skip
    """A blank scene said to show 0-based classes, perhaps others, in tints, and background words."""
    blank = np.zeros((8, 8), np.uint8)
    return Scene(np.zeros((8, 8, 3), np.uint8), blank, classes, set(doubtful), tints or {c: {""} for c in classes},
                 shown=set(shown), unclear=set(unclear))  # fmt: skip
