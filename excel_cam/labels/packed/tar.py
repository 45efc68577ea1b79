"""The tar of one shard: label PNGs, and class maps where they are kept, as webdataset and every tar program read it.

Members are `NAME.png` and, right behind its label, `NAME.npz`. Headers say nothing but name and size, so that the same
labels give the same bytes: plain ustar, with a pax header before names that are longer or not ASCII.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from excel_cam.errors import DataError, OutputError
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.storage import Place

_MODE = 0o644
_MOST_HEADERS = 16 << 10  # bytes before a member: its pax header holds a name, some kilobytes at most
_NEAR = 1 << 20  # bytes between two members that are taken to be read one after the other
_AHEAD = 4 << 20  # bytes that are then read at once: some hundred labels
REMEDY = "remove this shard's index (.parquet) and run the same `excel-cam generate` again: it makes the shard anew"


@dataclass(frozen=True)
class Extent:
    """Where the bytes of a member lie in its tar."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where the header of the next member begins: tars are made of whole blocks."""
        return self.offset + self.size + -self.size % tarfile.BLOCKSIZE


def name_fault(name: str) -> str | None:
    """Why a photograph of that name cannot have a label in a shard; None where it can."""
    if not name or "\0" in name:
        return "it is empty, or holds a zero byte"
    if name.startswith("/") or ".." in name.split("/"):
        return "it leads out of the folder of labels"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "it holds bytes that are no text, which an index cannot keep"
    return None


class TarWriter:
    """A shard's tar as it grows in a file of this machine, until `close`; what was there is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        with _told(path):
            self._stream = path.open("wb")

    def add(self, name: str, content: bytes) -> Extent:
        """Append a member; returns where its bytes lie. Raises `OutputError`."""
        header = tarfile.TarInfo(name)
        header.size, header.mode = len(content), _MODE  # times and owners are 0 and "" unless they are set
        head = header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        extent = Extent(self._at + len(head), len(content))
        with _told(self.path):
            for part in (head, content, bytes(extent.end - extent.offset - extent.size)):
                self._stream.write(part)
        self._at = extent.end
        return extent

    def close(self) -> int:
        """End the tar; returns its size. Raises `OutputError`."""
        ending = 2 * tarfile.BLOCKSIZE
        ending += -(self._at + ending) % tarfile.RECORDSIZE
        with _told(self.path):
            self._stream.write(bytes(ending))
            self._stream.close()
        return self._at + ending

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with _told(self.path):
            self._stream.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what a disk raises into one line."""
    try:
        yield
    except OSError as error:
        raise_if_machine(error, path)
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


class TarReader:
    """Reads a shard's tar member by member; of those that lie one after the other, several by one request.

    size: of the tar, as its index says. The tar may be anything: no more is read than is asked for, or read ahead.
    """

    def __init__(self, place: Place, size: int) -> None:
        self.place, self._size = place, size
        self._block, self._start = b"", 0

    def require_size(self) -> None:
        """Raise `DataError` where the tar is not there, or of another size than its index says."""
        if (found := self.place.size()) != self._size:
            raise DataError(
                f"{self.place}: it has {found:,} bytes, and {self._size:,} by its index: cut off, or of another run; "
                f"{REMEDY}"
            )

    def read(self, extent: Extent) -> bytes:
        """The bytes of a member. Raises `DataError` where the tar cannot be read, or ends before theirs."""
        content = self._bytes(extent.offset, extent.size)
        if len(content) != extent.size:
            raise DataError(f"{self.place}: it ends at byte {extent.offset + len(content):,}, within a file; {REMEDY}")
        return content

    def find_behind(self, extent: Extent, name: str) -> Extent | None:
        """Where the member right behind another lies, if it is a file of that name; None for anything else.

        Raises `DataError` where the tar cannot be read.
        """
        head = self._bytes(extent.end, _MOST_HEADERS)
        try:
            with tarfile.open(fileobj=BytesIO(head), mode="r:") as archive:
                member = archive.next()
        except (tarfile.TarError, ValueError, EOFError):
            return None
        if member is None or not member.isreg() or member.name != name or member.size < 0:
            return None
        return Extent(extent.end + member.offset_data, member.size)

    def _bytes(self, offset: int, size: int) -> bytes:
        end = self._start + len(self._block)
        if not self._start <= offset <= offset + size <= end:
            is_next = bool(self._block) and self._start <= offset <= end + _NEAR
            wanted = max(size, _AHEAD) if is_next else size
            self._block = self.place.read(offset, max(0, min(wanted, self._size - offset)))
            self._start = offset
        return self._block[offset - self._start :][:size]
