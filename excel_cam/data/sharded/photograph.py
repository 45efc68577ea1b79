"""A photograph of a shard, whatever the shard is made of, and the names that photographs may have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from excel_cam.errors import DataError
from excel_cam.files.lists import check_name, drop_image_suffix
from excel_cam.files.storage import Place
from excel_cam.wording import quoted

MAX_NAME_BYTES = 1000
MAX_PART_BYTES = 240  # of a file's or folder's name: file systems take 255, and an ending is added


@dataclass(frozen=True)
class ShardPhotograph:
    """One photograph to label.

    name: its label's, unique in its shard. tags: 0-based classes, ascending. file: its bytes, or where they lie.
    where: what to call it in messages. fault: why it cannot be labelled, whatever its file holds.
    """

    name: str
    tags: tuple[int, ...]
    file: bytes | Place
    where: str
    fault: str | None = None


class Shards(Protocol):
    """Photographs in numbered shards, from 0 on; picklable, so that each process opens what it needs."""

    @property
    def count(self) -> int:
        """How many shards there are."""

    @property
    def images(self) -> int | None:
        """How many photographs there are in all; None where only reading them would tell."""

    def where(self, shard: int) -> str:
        """What to call a shard in messages."""

    def photographs(self, shard: int) -> Iterator[ShardPhotograph]:
        """The photographs of a shard, in order. Raises `DataError` where it cannot be read to its end."""

    def inputs(self) -> Iterable[Place]:
        """The files that shards are read from, but for the photographs that a manifest names."""

    def record(self) -> dict[str, Any]:
        """What is labelled, as JSON can hold it: two runs whose records differ have shards that are not the same."""


class Names:
    """Names of one shard's photographs: each stands for one photograph, and for a path below any folder."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self._taken: set[str] = set()

    def admit(self, name: object, where: str, number: int) -> tuple[str, str | None]:
        """The name to file a photograph under, and what is wrong with its own, whose place `number` stands in then.

        name: a path under no folder in particular, with or without an image's ending. number: of the photograph in its
        shard, from 1 on.
        """
        fault = self._fault(name, where)
        if fault is None:
            chosen = drop_image_suffix(str(name).removeprefix("./"))
        else:
            chosen = f"(photograph {number} of shard {self._shard})"
            while chosen in self._taken:
                chosen += "'"
        self._taken.add(chosen)
        return chosen, fault

    def _fault(self, name: object, where: str) -> str | None:
        if not isinstance(name, str):
            return f"{where}: expected a text as the photograph's name, found {quoted(name)}"
        plain = drop_image_suffix(name.removeprefix("./"))
        try:
            check_name(plain, where)
        except DataError as error:
            return str(error)
        if len(plain.encode()) > MAX_NAME_BYTES or any(
            len(part.encode()) > MAX_PART_BYTES for part in plain.split("/")
        ):
            return (
                f"{where}: name {quoted(plain)} is longer than {MAX_NAME_BYTES} bytes, or {MAX_PART_BYTES} between two "
                "'/'; shorten it"
            )
        if plain in self._taken:
            return f"{where}: a second photograph named {quoted(plain)} in one shard; rename one of them"
        return None
