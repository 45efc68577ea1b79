"""Which image an entry of a list or of tags means: the known names first, then what can be stripped from it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

from excel_cam.errors import DataError
from excel_cam.files.lists import check_name, drop_image_suffix, plain_name, read_entries, unquoted
from excel_cam.files.storage import Place
from excel_cam.wording import quoted

_LAST_COLUMN = re.compile(r"[\s,;]+([^\s,;]+)\Z")
_NUMBER = re.compile(r"-?\d+")
# Folders of the layouts that lists are written in, as they stand before names.
_LAYOUT_FOLDERS = ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "images", "img_dir/train", "img_dir",
                   "ann_dir/train", "ann_dir", "labels", "images/training", "images/validation",
                   "leftImg8bit/train", "leftImg8bit/val", "leftImg8bit/test")  # fmt: skip


def read_list(source: str | IO[str], known: Collection[str], folders: Sequence[Path | Place] = ()) -> list[str]:
    """The names of a list (`--list`), each once and in order; see `read_entries` and `NameFinder.names`."""
    return NameFinder(known, folders).names(read_entries(source))


def _spellings(folder: Path | Place) -> set[str]:
    return {str(folder), str(folder.absolute())} if isinstance(folder, Path) else {str(folder)}


class NameFinder:
    """Finds the known name that an entry means.

    known: the names there are. folders: where the images and labels lie, which may stand before a name. number: the
    image's number in a name, where one number is one image however it is written (COCO). ending: what the known names
    end in and lists leave out (Cityscapes).
    """

    def __init__(
        self, known: Collection[str], folders: Sequence[Path | Place] = (),
        number: Callable[[str], int | None] | None = None, ending: str = "",
    ) -> None:  # fmt: skip
        self.known = known
        self._prefixes = tuple(f"{place}/" for folder in folders for place in _spellings(folder))
        self._number = number
        self._ending = ending

    def names(self, entries: Iterable[str]) -> list[str]:
        """The names of a list's entries, each once and in order; plain ones for images that are not known.

        entries: as they are written; a mapping also says where each stands. Raises DataError where a name differs from
        a known one in case alone, cannot be one, or there is none.
        """
        found: dict[str, None] = {}
        for entry in entries:
            where = entries[entry] if isinstance(entries, Mapping) else "--list"
            name = self.find(entry)
            if name is None:
                name = plain_name(entry)
                check_name(name, where)
                if hint := case_hint(name, self._by_case):
                    raise DataError(f"{where}: no image {quoted(name)}{hint}")
            found[name] = None
        if not found:
            raise DataError("--list: no names in this list; expected one per line")
        return list(found)

    def find(self, entry: str, columns: bool = True) -> str | None:
        """The known name that an entry means, None where it means none.

        columns: whether what follows a name on its line (numbers, a second path) may be dropped.
        """
        if entry in self.known:
            return entry
        for reading in self._readings(entry, columns):
            for name in _stems(reading):
                if name in self.known:
                    return name
                if self._ending and (whole := name + self._ending) in self.known:
                    return whole
                if not name.isascii() and (same := self._by_composition.get(composed(name))) is not None:
                    return same
                if (same := self._of_number(name)) is not None:
                    return same
        return None

    def _of_number(self, name: str) -> str | None:
        number = None if self._number is None else self._number(name)
        return None if number is None else self._by_number.get(number)

    def _readings(self, entry: str, columns: bool) -> Iterator[str]:
        """What an entry may mean, the least stripped first."""
        yield from self._paths(entry)
        if (bare := unquoted(entry)) != entry:
            yield from self._paths(bare)
        while columns and (last := _LAST_COLUMN.search(bare)):
            bare = bare[: last.start()]
            # A word after a name may belong to it; a number or a path after an image's file does not.
            if _NUMBER.fullmatch(last[1]) or drop_image_suffix(bare) != bare:
                yield from self._paths(bare)
            else:
                return

    def _paths(self, text: str) -> Iterator[str]:
        path = text.replace("\\", "/").removeprefix("./")
        yield path
        for prefix in self._prefixes:
            if path.startswith(prefix):
                yield path.removeprefix(prefix)
        if path.startswith("/"):  # from the root of a data set, or from that of a machine
            while "/" in path:
                path = path.partition("/")[2]
                yield path
        for folder in _LAYOUT_FOLDERS:
            if path.startswith(f"{folder}/"):
                yield path.removeprefix(f"{folder}/")

    @cached_property
    def _by_composition(self) -> dict[str, str]:
        return _unique((composed(name), name) for name in self.known if not name.isascii())

    @cached_property
    def _by_number(self) -> dict[int, str]:
        assert self._number is not None
        return {number: name for name in self.known if (number := self._number(name)) is not None}

    @cached_property
    def _by_case(self) -> dict[str, str]:
        return by_case(self.known)


def by_case(names: Iterable[str]) -> dict[str, str]:
    """Names without regard to case -> the name, where there is one alone."""
    return _unique((composed(name).casefold(), name) for name in names)


def case_hint(name: str, by_case_of_known: Mapping[str, str]) -> str:
    """What to add to a message on a name that is missing, where a known one differs in case alone; else nothing."""
    similar = by_case_of_known.get(composed(name).casefold())
    return "" if similar in (None, name) else f"; there is {quoted(similar)}, which differs in case: write it so"


def _stems(path: str) -> Iterator[str]:
    """A path, and without the extensions of images at its end, one after the other: scan.tif.jpg, scan.tif, scan."""
    yield path
    while (stem := drop_image_suffix(path)) != path:
        yield stem
        path = stem


def composed(name: str) -> str:
    """One spelling of letters with marks: macOS writes them in two characters, nearly all others in one."""
    return unicodedata.normalize("NFC", name)


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    twice = set()
    for key, name in pairs:
        if found.setdefault(key, name) != name:
            twice.add(key)
    return {key: name for key, name in found.items() if key not in twice}
