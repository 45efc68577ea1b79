"""Photographs in tars as webdataset has them, for tests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A plain tar of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def with_json(
    name: str, photograph: bytes, classes: list[str] | list[int], ending: str = "jpg"
) -> list[tuple[str, bytes]]:
    """A photograph and its tags as two members."""
    return [(f"{name}.{ending}", photograph), (f"{name}.json", json.dumps({"classes": classes}).encode())]


def write_tars(folder: Path, root: Path, tags: Mapping[str, str], per_tar: int) -> Path:
    """The photographs of a folder in VOC's layout, so many a tar, with tags beside them; the folder of tars."""
    names = list(tags)
    for number, start in enumerate(range(0, len(names), per_tar)):
        members = [
            member
            for name in names[start : start + per_tar]
            for member in with_json(name, (root / "JPEGImages" / f"{name}.jpg").read_bytes(), tags[name].split())
        ]
        write_tar(folder / f"{number:03d}.tar", members)
    return folder


def read_members(paths: Iterable[Path]) -> dict[str, bytes]:
    """All members of tars by name."""
    found: dict[str, bytes] = {}
    for path in sorted(paths):
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                assert stream is not None
                assert member.name not in found
                found[member.name] = stream.read()
    return found
