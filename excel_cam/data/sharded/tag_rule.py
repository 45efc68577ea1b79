"""Where the tags of photographs in shards come from: beside each, one file for all, everything, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from excel_cam.errors import DataError
from excel_cam.files.lists import drop_image_suffix
from excel_cam.tags.lookup import ClassLookup, Tags
from excel_cam.tags.read import read_tags
from excel_cam.tags.records import classes_of_list


@dataclass(frozen=True)
class TagRule:
    """How photographs get their tags.

    kind: `own`, what stands beside each photograph; `file`, a tags file of all; `all`, every class; `none`, no tags.
    """

    class_names: tuple[str, ...]
    kind: Literal["own", "file", "all", "none"]
    file: Path | None = None

    def __getstate__(self) -> dict[str, Any]:  # another process reads the file itself
        return {name: self.__dict__[name] for name in ("class_names", "kind", "file")}

    @cached_property
    def lookup(self) -> ClassLookup:
        """The classes by name and index."""
        return ClassLookup(self.class_names)

    @cached_property
    def _of_file(self) -> Tags:
        assert self.file is not None
        return {drop_image_suffix(name): tags for name, tags in read_tags(self.file, self.class_names).items()}

    def check(self) -> None:
        """Raise `DataError` now where the tags file cannot be read."""
        if self.kind == "file":
            _ = self._of_file

    def tags(self, name: str, own: object, where: str) -> tuple[int, ...]:
        """The tags of a photograph. own: the list of classes beside it; used where the rule says so.

        Raises `DataError` where it has none: a photograph without classes has to be said, not guessed.
        """
        if self.kind == "none":
            return ()
        if self.kind == "all":
            return tuple(range(len(self.class_names)))
        if self.kind == "own":
            return classes_of_list(own, self.lookup, where)
        if (found := self._of_file.get(name)) is None:
            raise DataError(f"{where}: {self.file} has no line for it; add one (with empty classes for none)")
        return found
