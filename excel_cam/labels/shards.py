"""Which share of a data set's images this process labels: `--shard I/N`, or what a launcher's variables say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from excel_cam.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Share `index` (from 0) of `count`, and what said so. 0 of 1 is the whole."""

    index: int = 0
    count: int = 1
    source: str = ""

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Whether this share is everything."""
        return self.count == 1

    @property
    def file_part(self) -> str:
        """What sets the names of this share's own files apart: "" for the whole, else such as ".shard-0-of-3"."""
        return "" if self.is_whole else f".shard-{self.index}-of-{self.count}"

    def select(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """Every `count`-th item: the shares of 0..count-1 are disjoint and complete, and as alike as can be."""
        return tuple(items[self.index :: self.count])


WHOLE = Shard()


def chosen_shard(given: Shard | None, environ: Mapping[str, str]) -> Shard:
    """The share asked for, else torchrun's, else that of a Slurm array, else everything.

    torchrun sets RANK and WORLD_SIZE; a Slurm array SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, whose ids begin at
    SLURM_ARRAY_TASK_MIN and lie SLURM_ARRAY_TASK_STEP apart. A count of 1 says nothing, nor does half of a pair.
    Raises `UsageError` where the variables contradict one another.
    """
    if given is not None:
        return given
    for place, count, first, step in (
        ("RANK", "WORLD_SIZE", None, None),
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"),
    ):
        if not environ.get(place) or not environ.get(count):
            continue
        total = _number(environ, count, least=1)
        if total == 1:
            continue
        offset = _number(environ, place) - (_number(environ, first, default=0) if first else 0)
        apart = _number(environ, step, least=1, default=1) if step else 1
        if offset % apart or not 0 <= offset // apart < total:
            named = [name for name in (place, count, first, step) if name and environ.get(name)]
            raise UsageError(
                f"{', '.join(f'{name}={environ[name]}' for name in named)} name no share of the images; "
                f"give --shard I/N, or --shard 0/1 for all of them"
            )
        return Shard(offset // apart, total, f"{place} and {count}")
    return WHOLE


def _number(environ: Mapping[str, str], name: str, least: int = 0, default: int | None = None) -> int:
    text = environ.get(name, "").strip()
    if not text and default is not None:
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise UsageError(
            f"{name}={text} is not a whole number of at least {least}; give --shard I/N, or --shard 0/1 for all images"
        )
    return int(text)
