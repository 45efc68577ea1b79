"""How shards are gone through: an engine takes their numbers and gives their commits, in whatever order they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from excel_cam.run.shards.make import Commit, ShardMaker
from excel_cam.wording import Report


class Engine(Protocol):
    """Where a run's shards are made."""

    def record(self, report: Report) -> dict[str, Any]:
        """The run record (`ShardMaker.record`), told by a process that has the model; before the first shard."""

    def run(self, shards: Sequence[int]) -> Iterator[Commit]:
        """Make these shards (`ShardMaker.make`), each once. Closing the iterator ends the work in an orderly way.

        Raises what `ShardMaker.make` raises.
        """


@dataclass(frozen=True)
class LocalEngine:
    """This process goes over the shards one after the other. told: as of `ShardMaker.make`."""

    maker: ShardMaker
    told: Callable[[int], None] = lambda _: None

    def record(self, report: Report) -> dict[str, Any]:
        """As `Engine` has it."""
        return self.maker.record(report)

    def run(self, shards: Sequence[int]) -> Iterator[Commit]:
        """As `Engine` has it."""
        for shard in shards:
            yield self.maker.make(shard, self.told)
