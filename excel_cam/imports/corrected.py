"""What every reader of a tool's files gives: corrected labels, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import BACKGROUND_NAMES, IGNORE, IGNORED_NAMES
from excel_cam.errors import DataError
from excel_cam.files.images.open_image import MAX_PIXELS
from excel_cam.wording import Report, first_lines, quoted


@dataclass(frozen=True)
class Corrected:
    """One image's label as a tool holds it.

    entries: what the tool calls the image, the likeliest first: a name, a file, an address. where: its file or place
    in one, for messages. label: (H, W) uint8 values, upright as tools show photographs; None where the tool says that
    nothing is in the image, and not how large it is.
    """

    entries: tuple[str, ...]
    where: str
    label: NDArray[np.uint8] | None


@dataclass(frozen=True)
class LabelValues:
    """Label values by the names that a tool has for them. has_background: whether label 0 is background."""

    class_names: tuple[str, ...]
    has_background: bool = True

    @property
    def greatest(self) -> int:
        """The greatest label value of a class."""
        return len(self.class_names) - (not self.has_background)

    @property
    def unlabelled(self) -> int:
        """The value of pixels that nobody has given a label: background, or without one those to ignore."""
        return 0 if self.has_background else IGNORE

    @cached_property
    def by_name(self) -> Mapping[str, int]:
        """Classes come first: one of them may be called as other pixels are elsewhere."""
        others = {**dict.fromkeys(BACKGROUND_NAMES, self.unlabelled), **dict.fromkeys(IGNORED_NAMES, IGNORE)}
        return others | {name: value for value, name in enumerate(self.class_names, start=int(self.has_background))}

    def of(self, name: object, where: str) -> int:
        """The value of a label of that name; raises `DataError` where no class is called so."""
        value = self.by_name.get(name) if isinstance(name, str) else None
        if value is None:
            raise DataError(
                f"{where}: label {quoted(name)} is none of the classes ({first_lines(self.class_names)}); rename it in "
                "the tool, or give the class list with --classes"
            )
        return value


_MOST_COMPARED = 10**9  # a minute's work, and a hundred times what people draw

# Reads what a tool wrote at a path; of things left out it tells `Report`.
Reader = Callable[[Path, LabelValues, Report], Iterator[Corrected]]


def checked_size(height: object, width: object, where: str) -> tuple[int, int]:
    """(H, W) as a file gives them; raises `DataError` for what cannot be an image's size."""
    if not (type(height) is int and type(width) is int and height > 0 and width > 0):  # true is no size
        raise DataError(f"{where}: expected the image's height and width, found {quoted(height)} and {quoted(width)}")
    if height * width > MAX_PIXELS:
        raise DataError(f"{where}: {width:,} x {height:,} pixels, at most {MAX_PIXELS // 10**6} megapixels are read")
    return height, width


def checked_points(points: object, height: int, where: str) -> list[tuple[float, float]]:
    """(x, y) of an outline, or of the two ends of another shape; raises `DataError` where they are something else.

    height: of the image. Every row is compared with every side of an outline, so there may be only so many.
    """
    if isinstance(points, list) and len(points) * height > _MOST_COMPARED:
        raise DataError(f"{where}: an outline of {len(points):,} points in {height:,} rows is not read")
    if isinstance(points, list) and all(_is_point(point) for point in points):
        return [(float(x), float(y)) for x, y in points]
    raise DataError(f"{where}: expected points as [x, y] pairs, found {quoted(points)}")


def _is_point(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(is_coordinate(part) for part in point)


def is_coordinate(value: object) -> bool:
    """Whether that is a number that can be drawn: an integer beyond any image, or none at all, cannot."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MAX_PIXELS < value < MAX_PIXELS
