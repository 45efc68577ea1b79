"""Files on web servers, read through fsspec's session: also from servers that do not know of ranges.

Bounded in time and tries, unlike that library's own reading, and never more bytes than were asked for.
"""

from __future__ import annotations

import io
import re
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from excel_cam.files.remote.addresses import without_credentials

if TYPE_CHECKING:
    from fsspec.asyn import AsyncFileSystem

PAUSES = (1.0, 4.0)  # seconds before a request is tried again, and once more
BLOCK = 8 << 20  # bytes that are read ahead in a stream
_CHUNK = 1 << 20
_PASSING = (429, 500, 502, 503, 504)
_GONE = (404, 410)


class RefusedError(Exception):
    """A server answered with an error. status: as HTTP has it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server says {status} {reason}".rstrip())
        self.status = status


def exists(system: AsyncFileSystem, url: str) -> bool:
    """Whether a server has something there; where it does not say, `RefusedError` and what the network raises."""
    try:
        _patiently(system, url, 0, 1, None)
    except RefusedError as error:
        if error.status in _GONE:
            return False
        raise
    return True


def read(system: AsyncFileSystem, url: str, offset: int, size: int | None) -> bytes:
    """The bytes from `offset`, `size` of them at most. Raises `RefusedError`, and what the network raises."""
    into = io.BytesIO()
    _patiently(system, url, offset, None if size is None else offset + size, into)
    return into.getvalue()


def size(system: AsyncFileSystem, url: str) -> int | None:
    """Bytes of a file, None where a server does not say; raises `RefusedError` and what the network raises."""
    return _patiently(system, url, 0, 1, None).size


def stream(system: AsyncFileSystem, url: str) -> Any:
    """A file that can be sought in: piece by piece where the server can, else a copy of it on this machine."""
    found = _patiently(system, url, 0, 1, None)
    if found.in_pieces and found.size is not None:
        return _Pieces(system, url, found.size)
    copy = tempfile.TemporaryFile()  # noqa: SIM115, its reader closes it
    try:
        _patiently(system, url, 0, None, copy)
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy


@dataclass(frozen=True)
class _Found:
    """What a server said of a file: its size, and whether parts of it can be had."""

    size: int | None
    in_pieces: bool


class _Pieces(io.RawIOBase):
    """A file on a server that knows of ranges, of `size` bytes."""

    def __init__(self, system: AsyncFileSystem, url: str, size: int) -> None:
        self._system, self._url, self._size, self._at = system, url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        content = read(self._system, self._url, self._at, wanted)
        if len(content) < wanted:
            raise EOFError(f"it ends at byte {self._at + len(content):,} of the {self._size:,} that were announced")
        buffer[:wanted] = content
        self._at += wanted
        return wanted


def _patiently(system: AsyncFileSystem, url: str, offset: int, end: int | None, into: BinaryIO | None) -> _Found:
    """`_fetch`, tried again where the trouble may pass."""
    import aiohttp
    from fsspec.asyn import sync

    for pause in (*PAUSES, None):
        try:
            return cast(_Found, sync(system.loop, _fetch, system, url, offset, end, into))
        except (aiohttp.ClientError, TimeoutError, RefusedError) as error:
            if pause is None or isinstance(error, aiohttp.InvalidURL) or _is_final(error):
                raise
            time.sleep(pause)
        if into is not None:
            into.seek(0)
            into.truncate()
    raise AssertionError


def _is_final(error: Exception) -> bool:
    return isinstance(error, RefusedError) and error.status not in _PASSING


async def _fetch(
    system: AsyncFileSystem, url: str, offset: int, end: int | None, into: BinaryIO | None
) -> _Found:  # fmt: skip
    """Write the bytes from `offset` to before `end` into a stream, if any.

    Raises `RefusedError`, and whatever aiohttp raises, as when less came than was announced.
    """
    session = await system.set_session()
    headers = {"Accept-Encoding": "identity"}  # ranges are of the bytes as they lie there
    if offset or end is not None:
        headers["Range"] = f"bytes={offset}-{'' if end is None else end - 1}"
    async with session.get(system.encode_url(url), headers=headers) as answer:
        if answer.status >= 400 and answer.status != 416:
            raise RefusedError(answer.status, without_credentials(answer.reason or ""))
        begin, total = _content_range(answer.headers.get("Content-Range", ""))
        if answer.status == 416:  # nothing from there on
            return _Found(total, in_pieces=True)
        if answer.status != 206:  # the file from its beginning
            begin, total = 0, answer.content_length
        elif begin != offset:
            raise RefusedError(answer.status, "with other bytes than were asked for")
        if into is not None:
            await _copy(answer.content, into, skip=offset - begin, most=None if end is None else end - offset)
        return _Found(total, in_pieces=answer.status == 206)


async def _copy(content: Any, into: BinaryIO, skip: int, most: int | None) -> None:
    """Copy `most` bytes of an answer behind the first `skip`; what comes later is left unread."""
    async for chunk in content.iter_chunked(_CHUNK):
        part = chunk[skip:] if most is None else chunk[skip : skip + most]
        skip = max(0, skip - len(chunk))
        into.write(part)
        if most is not None:
            most -= len(part)
            if most <= 0:
                return


def _content_range(text: str) -> tuple[int | None, int | None]:
    """Where a range begins and how large the whole is: "bytes 3-6/10" → 3, 10; "bytes */10" → None, 10."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", text.strip())
    begin, total = (None, None) if match is None else match.groups()
    return None if begin is None else int(begin), None if total in (None, "*") else int(total)
