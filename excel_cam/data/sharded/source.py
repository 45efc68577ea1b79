"""What a run over shards is asked to label: tars, or a manifest, and whose classes they show."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Literal

from excel_cam.classes import NAMED_CLASSES
from excel_cam.data.dataset import DataSet
from excel_cam.data.sharded.manifest import ManifestShards
from excel_cam.data.sharded.photograph import Shards
from excel_cam.data.sharded.tag_rule import TagRule
from excel_cam.data.sharded.tars import TarShards
from excel_cam.data.source import Source
from excel_cam.errors import DataError, UsageError
from excel_cam.files.lists import read_class_list
from excel_cam.files.storage import Place
from excel_cam.knowledge.base import class_limit, find_knowledge
from excel_cam.settings import ROWS_PER_SHARD

MOST_TARS = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")


@dataclass(frozen=True, kw_only=True)
class ShardedInput:
    """Photographs in shards, as asked for: `manifest`, or else tars by `root`.

    root: addresses of tars, with `*`, `?`, `[...]` in the last part and `{00..99}`, `{a,b}` anywhere; with a manifest,
    what its relative uris are relative to, by default the folder it lies in. rows_per_shard: of a manifest.
    """

    root: str | None = None
    manifest: str | None = None
    rows_per_shard: int = ROWS_PER_SHARD


def open_shards(packed: ShardedInput, source: Source, *, tagless: bool = False) -> tuple[Shards, DataSet]:
    """The shards asked for, and their classes as those of a data set without samples.

    source: the data set whose classes they are, `folder` for a class list of its own; tags, where they are in a file.
    tagless: whether no tags are needed. Raises `UsageError` or `DataError`.
    """
    data = _classes(source, tagless)
    kind: Literal["own", "file", "all", "none"] = (
        "none" if tagless else "all" if source.all_classes else "own" if source.tags is None else "file"
    )
    if source.all_classes and source.tags is not None:
        raise UsageError("--all-classes is instead of --tags")
    rule = TagRule(data.class_names, kind, source.tags)
    shards: Shards
    if packed.manifest is not None:
        place = Place(packed.manifest)
        root = Place(packed.root) if packed.root is not None else place.parent
        shards = ManifestShards(place, root, rule, packed.rows_per_shard)
        told = f"{shards.count:,} shards of {packed.rows_per_shard:,} rows of {place}"
    else:
        assert packed.root is not None
        places = find_tars(packed.root)
        shards, told = TarShards(places, rule), f"{len(places):,} tars, {Place(packed.root)}"
    rule.check()
    own = "the manifest" if packed.manifest is not None else "NAME.json in the tars"
    tags = {"own": own, "file": str(source.tags), "all": "--all-classes", "none": "none"}[kind]
    return shards, replace(data, tags_source=tags, notes=(*data.notes, told))


def _classes(source: Source, tagless: bool) -> DataSet:
    notes: list[str] = []
    if tagless or source.dataset != "folder":
        if source.classes is not None:
            raise UsageError("--classes: the classes are fixed here; leave it out")
        names = prompts = () if source.dataset == "folder" else NAMED_CLASSES[source.dataset]
    else:
        if source.classes is None:
            raise UsageError("photographs in shards need --classes: a class list; or --dataset for that data set's")
        has_background = source.knowledge is None or find_knowledge(str(source.knowledge)).has_background
        names, prompts = read_class_list(source.classes, class_limit(has_background), notes.append)
    return DataSet(source.dataset, Path(), names, prompts, (), "", tuple(notes))


def find_tars(pattern: str) -> tuple[Place, ...]:
    """The tars that a pattern stands for, by address. Raises `DataError` where there are none."""
    found: dict[str, None] = {}
    for address in islice(_without_braces(pattern), MOST_TARS + 1):
        found.update(dict.fromkeys(_matching(address)))
        if len(found) > MOST_TARS:
            raise UsageError(f"--root stands for more than {MOST_TARS:,} tars; give fewer at a time")
    if not found:
        raise DataError(f"{Place(pattern)}: no tars there; give --root such as 'tars/*.tar' or 'tars/{{000..099}}.tar'")
    return tuple(Place(address) for address in sorted(found))


def _without_braces(pattern: str) -> Iterator[str]:
    """The patterns that one with `{a,b}` and `{00..99}` stands for."""
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    for choice in _choices(match[1]):
        yield from _without_braces(pattern[: match.start()] + choice + pattern[match.end() :])


def _choices(text: str) -> Iterator[str]:
    if (found := _RANGE.fullmatch(text)) is None:
        yield from text.split(",")
        return
    width = len(found[1]) if found[1].startswith("0") else 0
    yield from (f"{number:0{width}d}" for number in range(int(found[1]), int(found[2]) + 1))


def _matching(address: str) -> list[str]:
    """The addresses that one with wildcards stands for; one without, itself."""
    place = Place(address)
    if not glob.has_magic(place.name if place.is_remote else address):
        return [address]
    if not place.is_remote:
        return glob.glob(os.path.expanduser(address))
    return [place.parent.child(name).address for name in place.parent.names() if fnmatchcase(name, place.name)]
