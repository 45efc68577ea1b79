"""Which shards there are in an output folder, by one listing of it: committed, being made, or left behind."""

from __future__ import annotations

import re
from dataclasses import dataclass

from excel_cam.files.storage import Place

_FILE = re.compile(r"labels-([0-9]{5,9})\.(tar|parquet|running)")


def tar_of(out: Place, shard: int) -> Place:
    """The tar of a shard."""
    return out.child(f"labels-{shard:05d}.tar")


def index_of(out: Place, shard: int) -> Place:
    """The index of a shard: where it is there, the shard is committed."""
    return out.child(f"labels-{shard:05d}.parquet")


def running_of(out: Place, shard: int) -> Place:
    """The file that says who is at work on a shard."""
    return out.child(f"labels-{shard:05d}.running")


def is_shard_file(name: str) -> bool:
    """Whether a file's name is one of those that shards have."""
    return _FILE.fullmatch(name) is not None


@dataclass(frozen=True)
class Listing:
    """Numbers of shards, ascending.

    committed: those with an index. begun: not committed, with a `.running` file. left: not committed, with nothing but
    a tar, as a worker leaves it that died between the two.
    """

    committed: tuple[int, ...]
    begun: tuple[int, ...]
    left: tuple[int, ...]


def list_shards(out: Place) -> Listing:
    """List an output folder, once. Raises `DataError` where it cannot be listed."""
    found: dict[str, set[int]] = {"tar": set(), "parquet": set(), "running": set()}
    for name in out.names():
        if match := _FILE.fullmatch(name):
            found[match[2]].add(int(match[1]))
    committed = found["parquet"]
    begun = found["running"] - committed
    left = found["tar"] - committed - begun
    return Listing(tuple(sorted(committed)), tuple(sorted(begun)), tuple(sorted(left)))
