"""Classes by name or index, as people write them in tags, and the numbers that stand for images."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from excel_cam.classes import COCO_CLASSES
from excel_cam.errors import DataError
from excel_cam.wording import quoted

Tags = dict[str, tuple[int, ...]]  # name of an image -> 0-based class indices, ascending, each once

_VOC_NUMBERS = range(10**9, 10**10)  # 2007000032 stands for 2007_000032: ten digits
_VOC_NAME = re.compile(r"\d{4}_\d{6}", re.ASCII)
_COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{1,12})", re.ASCII)
_INDEX = re.compile(r"\d{1,9}", re.ASCII)


class ClassLookup:
    """Class indices by name: as written first, then without regard to case where that is unambiguous, then by index."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._by_name = {name: index for index, name in enumerate(class_names)}
        self._by_folded: dict[str, list[int]] = {}
        for index, name in enumerate(class_names):
            self._by_folded.setdefault(name.casefold(), []).append(index)
        self._shared: dict[tuple[int, ...], tuple[int, ...]] = {}  # of many images that show the same: one object

    def index(self, name: object, where: str) -> int:
        """The 0-based index of a class by its name, or by that index itself; DataError, which begins with `where`."""
        if isinstance(name, int) and not isinstance(name, bool):
            return self._checked(name, where)
        if not isinstance(name, str):
            raise DataError(f"{where}: expected a class name or a 0-based index, found {quoted(name)}")
        if name in self._by_name:
            return self._by_name[name]
        candidates = self._by_folded.get(name.casefold(), [])
        if len(candidates) == 1:
            return candidates[0]
        if _INDEX.fullmatch(name):
            return self._checked(int(name), where)
        known = list(self._by_name)
        near = difflib.get_close_matches(name.casefold(), self._by_folded, n=3)
        nearest = [known[index] for folded in near for index in self._by_folded[folded]]
        hint = f"nearest: {', '.join(nearest)}" if nearest else f"they begin {', '.join(known[:3])}"
        raise DataError(f"{where}: {quoted(name)} is not one of the {len(known)} classes ({hint})")

    def indices(self, names: Iterable[object], where: str) -> tuple[int, ...]:
        """The indices of `names`, ascending, each once."""
        found = tuple(sorted({self.index(name, where) for name in names}))
        return self._shared.setdefault(found, found)

    def _checked(self, index: int, where: str) -> int:
        if not 0 <= index < len(self.class_names):
            raise DataError(
                f"{where}: class index {quoted(index)} is out of range; indices of the {len(self.class_names)} classes "
                f"are 0..{len(self.class_names) - 1}"
            )
        return index


def name_of_number(number: int, class_names: Sequence[str]) -> str | None:
    """The image name a number stands for: COCO's 12 digits with COCO's classes, else VOC's 2007_000032; or None."""
    if tuple(class_names) == COCO_CLASSES:
        return f"{number:012d}" if 0 <= number < 10**12 else None
    return f"{number // 10**6}_{number % 10**6:06d}" if number in _VOC_NUMBERS else None


def number_of_name(name: str, class_names: Sequence[str]) -> int | None:
    """The number that stands for an image name, the other way round; None where there is none."""
    if tuple(class_names) == COCO_CLASSES:
        return coco_number(name)
    return int(name.replace("_", "")) if _VOC_NAME.fullmatch(name) and name[0] != "0" else None


def coco_number(name: str) -> int | None:
    """COCO's image id in a name: 9 of `000000000009`, `COCO_train2014_000000000009` and `9`; None for others."""
    match = _COCO_NAME.fullmatch(name)
    return int(match[1]) if match else None
