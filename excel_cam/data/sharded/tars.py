"""Photographs in webdataset's tars: `NAME.jpg` (or another image), and beside it `NAME.json` with its classes.

Nothing is unpacked, whatever a tar's headers say: members are read one after the other, links are not followed, and
sizes are believed only as far as the file goes.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from excel_cam.data.sharded.photograph import Names, ShardPhotograph
from excel_cam.data.sharded.tag_rule import TagRule
from excel_cam.errors import DataError
from excel_cam.files.atomic import hash_json
from excel_cam.files.json_file import parse_json
from excel_cam.files.lists import IMAGE_SUFFIXES
from excel_cam.files.storage import Place
from excel_cam.wording import quoted, readable_size

MAX_FILE_BYTES = 1 << 30  # of a photograph; 500 megapixels of RGB have 1.5 GB before they are compressed
MAX_JSON_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20  # of the extended headers before a member, which hold its name
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
_REMEDY = "copy or write it again"


@dataclass(frozen=True)
class TarShards:
    """Tars, each a shard, in the order of their addresses."""

    places: tuple[Place, ...]
    rule: TagRule

    @property
    def count(self) -> int:
        """How many tars there are."""
        return len(self.places)

    @property
    def images(self) -> int | None:
        """Not known before all of them are read."""
        return None

    def where(self, shard: int) -> str:
        """The tar's address."""
        return str(self.places[shard])

    def inputs(self) -> tuple[Place, ...]:
        """The tars."""
        return self.places

    def record(self) -> dict[str, Any]:
        """The tars by number and names, wherever they lie."""
        return {"kind": "tars", "shards": self.count, "names": hash_json([place.name for place in self.places])}

    def photographs(self, shard: int) -> Iterator[ShardPhotograph]:
        """The photographs of a tar in its order. Raises `DataError` where it is no tar, is cut off, or holds none."""
        place, names, number, others = self.places[shard], Names(shard), 0, ""
        with place.reading() as stream:
            for entry in _entries(stream, str(place), with_json=self.rule.kind == "own"):
                others = others or entry.other
                for member in entry.photographs:
                    number += 1
                    yield self._photograph(member, entry, names, number, place)
        if not number:
            found = f", such as {quoted(others)}" if others else ""
            raise DataError(
                f"{place}: no photographs in this tar (NAME.jpg, NAME.png, ...), only other members{found}; "
                "give tars as webdataset has them"
            )

    def _photograph(
        self, member: _Member, entry: _Entry, names: Names, number: int, place: Place
    ) -> ShardPhotograph:  # fmt: skip
        where = f"{quoted(member.name)} in {place}"
        name, fault = names.admit(member.name, where, number)
        fault = fault or (None if member.fault is None else f"{where}: {member.fault}")
        tags: tuple[int, ...] = ()
        if fault is None:
            try:
                tags = self.rule.tags(name, entry.classes(where) if self.rule.kind == "own" else None, where)
            except DataError as error:
                fault = str(error)
        return ShardPhotograph(name, tags, member.content, where, fault)


@dataclass(frozen=True)
class _Member:
    """A member that is a photograph by its name. fault: why it is not read."""

    name: str
    content: bytes = b""
    fault: str | None = None


@dataclass
class _Entry:
    """Members beside one another with one NAME. json: the bytes of NAME.json. other: any member that is neither."""

    key: str
    photographs: list[_Member]
    json: bytes | None = None
    other: str = ""

    def classes(self, where: str) -> object:
        """The list of classes that the JSON holds; raises `DataError`."""
        if self.json is None:
            expected = quoted(f"{self.key}.json")
            raise DataError(f'{where}: no tags: {expected}, as {{"classes": ["cat"]}}, is not beside it')
        if len(self.json) > MAX_JSON_BYTES:
            raise DataError(f"{where}: its .json is longer than {readable_size(MAX_JSON_BYTES)}")
        try:
            value = parse_json(self.json)
        except ValueError as error:
            raise DataError(f"{where}: its .json cannot be read: {error}") from None
        if not isinstance(value, dict) or "classes" not in value:
            raise DataError(f'{where}: its .json is not {{"classes": [...]}}, found {quoted(value)}')
        return value["classes"]


class _BoundedHeader(tarfile.TarInfo):
    """A member whose extended headers are refused where they would fill the memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {readable_size(self.size)}")
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found


def _entries(stream: BinaryIO, where: str, with_json: bool) -> Iterator[_Entry]:
    """The members of a tar by their NAMEs; those of one NAME have to be neighbours, as webdataset has it."""
    entry = _Entry("", [])
    for member, end in _members(stream, where):
        name = member.name.removeprefix("./")
        key, suffix = os.path.splitext(name)
        if member.isdir() or name.rpartition("/")[2].startswith("._"):
            continue
        if key != entry.key:
            yield entry
            entry = _Entry(key, [])
        if suffix.lower() in IMAGE_SUFFIXES:
            entry.photographs.append(_read_photograph(member, name, stream, end, where))
        elif suffix.lower() == ".json":
            if with_json and member.isreg():
                entry.json = _content(member, stream, end, where, MAX_JSON_BYTES + 1)
        else:
            entry.other = name
    yield entry


def _members(stream: BinaryIO, where: str) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """The members of a tar, each with the file's length. Raises `DataError` where it is none, damaged or cut off."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    try:
        archive = tarfile.open(fileobj=stream, mode="r:", tarinfo=_BoundedHeader)  # noqa: SIM115 - the stream is closed
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # else all headers of a tar are kept
            yield member, end
        stream.seek(archive.offset)
        block = stream.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where}: not a plain tar, or damaged ({reason}); {_REMEDY}") from None
    if len(block) < tarfile.BLOCKSIZE:
        raise DataError(f"{where}: cut off at byte {end:,}: it has no end; {_REMEDY}")
    if block.strip(b"\0"):
        raise DataError(f"{where}: damaged at byte {archive.offset:,}: no member begins there; {_REMEDY}")


def _read_photograph(member: tarfile.TarInfo, name: str, stream: BinaryIO, end: int, where: str) -> _Member:
    if not member.isreg() or member.issparse():
        return _Member(name, fault="a link, device or sparse file, which is not read; put the photograph itself there")
    if member.size > MAX_FILE_BYTES:
        if member.offset_data + member.size > end:
            raise _cut_off(where, name)
        return _Member(name, fault=f"larger than {readable_size(MAX_FILE_BYTES)}; reduce it")
    return _Member(name, _content(member, stream, end, where, MAX_FILE_BYTES))


def _content(member: tarfile.TarInfo, stream: BinaryIO, end: int, where: str, most: int) -> bytes:
    """The bytes of a member, `most` of them at most; raises `DataError` where the tar ends before theirs."""
    if member.offset_data + member.size > end:
        raise _cut_off(where, member.name)
    stream.seek(member.offset_data)
    content = stream.read(min(member.size, most))
    if len(content) < min(member.size, most):
        raise _cut_off(where, member.name)
    return content


def _cut_off(where: str, name: str) -> DataError:
    return DataError(f"{where}: cut off within {quoted(name)}; {_REMEDY}")
