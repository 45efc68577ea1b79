"""What lies in the cache folder: how much, and removing it. Nothing else of that folder is looked at or touched."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from excel_cam.errors import OutputError
from excel_cam.files.atomic import cache_folder

# Folder in the cache folder -> what its files are, and how they are called: other files there are somebody else's.
_KINDS = {
    "text": ("text rows of knowledge bases", re.compile(r"[A-Za-z0-9_-]+-[0-9a-f]{32}\.npz")),
    "models": ("identities of models", re.compile(r"[0-9a-f]{32}\.json")),
}


@dataclass(frozen=True)
class Cache:
    """One kind of cached files. what: as people say it. size: of all, in bytes."""

    what: str
    folder: Path
    files: tuple[Path, ...]
    size: int


def list_caches() -> list[Cache]:
    """The kinds of files in the cache folder, also those that have none so far; empty without a home folder."""
    root = cache_folder()
    return [] if root is None else [_cache(root / name, *kind) for name, kind in _KINDS.items()]


def _cache(folder: Path, what: str, called: re.Pattern[str]) -> Cache:
    sizes: dict[Path, int] = {}
    if folder.is_symlink():  # a folder of somebody's: nothing here makes such links
        return Cache(what, folder, (), 0)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # not there so far, or not to be read
        for entry in entries:
            if called.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                sizes[Path(entry.path)] = entry.stat(follow_symlinks=False).st_size
    return Cache(what, folder, tuple(sorted(sizes)), sum(sizes.values()))


def clear_cache(cache: Cache) -> None:
    """Remove the files of a cache, which are computed again when they are needed; raises `OutputError`."""
    for path in cache.files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed: {error.strerror}; remove it by hand") from None
