"""A folder or file wherever it lies: on a disk, or where fsspec reaches (`s3://`, `gs://`, `hf://`, `memory://`, ...).

What is written appears whole or not at all: on a disk by renaming, in an object store because an object is there once
its upload has ended. Credentials are the storage libraries' own; an address that carries some is never shown with them.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from excel_cam.errors import DataError, ExcelCamError, OutputError, UsageError
from excel_cam.files.atomic import replacing
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.remote import addresses, faults, systems, web

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True)
class Place:
    """A file or folder by its address; picklable, opens nothing until it is asked. Threads may share one.

    address: a path of this machine, `file://` before it or not, `~` for the home folder; or `SCHEME://...` as fsspec
    has it.
    """

    address: str = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", addresses.as_path(self.address))

    def __str__(self) -> str:
        return addresses.shown(self.address) if self.is_remote else self.address

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"

    @property
    def is_remote(self) -> bool:
        """Whether it lies in a storage of fsspec, and not on a path of this machine."""
        return self._scheme is not None

    @property
    def _scheme(self) -> str | None:
        return addresses.scheme_of(self.address)

    @property
    def path(self) -> Path:
        """The path on this machine; only of what is not remote."""
        assert not self.is_remote
        try:
            return Path(self.address).expanduser()
        except RuntimeError:  # no such user, or one without a home: a name like any other
            return Path(self.address)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return addresses.last_part(self.address) if self.is_remote else self.path.name

    def child(self, name: str) -> Place:
        """What lies below, `name` with '/' between its parts."""
        return Place(addresses.below(self.address, name) if self.is_remote else str(self.path / name))

    def _open(self) -> tuple[AbstractFileSystem, str]:
        """The file system and the path there; fsspec keeps the one, apart for each thread where it has to be."""
        return systems.open_system(self.address)

    def exists(self) -> bool:
        """Whether there is a file or folder; raises `DataError` where the storage does not say."""
        with self._told(DataError, "looked up"):
            if not self.is_remote:
                return self.path.exists()
            system, path = self._open()
            return web.exists(system, path) if self._scheme in addresses.WEB else bool(system.exists(path))

    def size(self) -> int:
        """Bytes of the file; raises `DataError`."""
        with self._told(DataError, "looked up"):
            if not self.is_remote:
                return self.path.stat().st_size
            system, path = self._open()
            size = web.size(system, path) if self._scheme in addresses.WEB else system.size(path)
        if size is not None:
            return int(size)
        with self.reading() as stream:  # a web server that does not say
            return stream.seek(0, io.SEEK_END)

    def names(self, suffix: str = "") -> list[str]:
        """Names of the files directly in this folder that end so, sorted; none where there is no such folder.

        One listing, however many there are. Raises `DataError`.
        """
        with self._told(DataError, "listed"):
            found = self._remote_names() if self.is_remote else self._local_names()
        return sorted(name for name in found if name.endswith(suffix))

    def _local_names(self) -> list[str]:
        try:
            with os.scandir(self.path) as entries:
                return [entry.name for entry in entries if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _remote_names(self) -> list[str]:
        system, path = self._open()
        try:
            system.invalidate_cache(path)  # not every library can be told to keep no listings
            entries = system.ls(path, detail=True)
        except FileNotFoundError:
            return []
        # A file that is listed as if it were a folder is an entry of itself.
        inside = (entry for entry in entries if entry["type"] == "file" and entry["name"].strip("/") != path.strip("/"))
        if self._scheme in addresses.WEB:
            return [addresses.last_part(entry["name"]) for entry in inside]
        return [entry["name"].rpartition("/")[2] for entry in inside]

    @contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """The file's bytes as a stream that can be sought in; raises `DataError`.

        From a web server that cannot send a part of a file, a copy in the folder for temporary files is read.
        """
        with self._told(DataError, "read"):
            stream = self._stream()
        # What goes wrong in the block that reads is no fault of the file's, unless it went wrong in reading.
        size = web.BLOCK if self.is_remote else io.DEFAULT_BUFFER_SIZE
        with io.BufferedReader(_ToldReads(self, stream), size) as told:
            yield cast(BinaryIO, told)

    def _stream(self) -> Any:
        if not self.is_remote:
            return self.path.open("rb", buffering=0)
        system, path = self._open()
        if self._scheme in addresses.WEB:
            return web.stream(system, path)
        if self._scheme == "memory":  # its files are shared, their position too
            return io.BytesIO(system.cat_file(path))
        return system.open(path, "rb", cache_type="none")

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """The file's bytes from `offset`, `size` of them where it has as many; raises `DataError`."""
        with self._told(DataError, "read"):
            if not self.is_remote:
                with self.path.open("rb") as stream:
                    stream.seek(offset)
                    return stream.read() if size is None else stream.read(size)
            if size == 0:
                return b""
            system, path = self._open()
            if self._scheme in addresses.WEB:
                return web.read(system, path, offset, size)
            try:
                return cast(bytes, system.cat_file(path, start=offset, end=None if size is None else offset + size))
            except Exception as error:
                if faults.is_beyond_the_end(error):
                    return b""
                raise

    def write(self, content: bytes | Path) -> None:
        """Put bytes, or the bytes of a file of this machine, here, whole or not at all.

        Raises `OutputError`, and `UsageError` where the storage shows half-written files, or cannot be written to.
        """
        if not self.is_remote:
            with replacing(self.path) as part:
                if isinstance(content, Path):
                    shutil.copyfile(content, part)
                else:
                    part.write_bytes(content)
            return
        self.check_writable()
        with self._told(OutputError, "written"):
            system, path = self._open()
            systems.upload(system, self._scheme or "", path, content)

    def check_writable(self) -> None:
        """Raise `UsageError` where nothing is ever written to: web servers, and storages that show half a file."""
        if self.is_remote and self._scheme not in systems.WRITABLE:
            raise UsageError(
                f"{self}: nothing is written to {self._scheme}://; choose a folder, or one of "
                f"{', '.join(f'{scheme}://' for scheme in ('s3', 'gs', 'az', 'hf'))}"
            )

    def remove(self) -> None:
        """Remove the file, where it is there; raises `OutputError`."""
        self.check_writable()
        with self._told(OutputError, "removed"):
            if not self.is_remote:
                self.path.unlink(missing_ok=True)
                return
            system, path = self._open()
            with suppress(FileNotFoundError):
                system.rm_file(path)

    @contextmanager
    def _told(self, kind: type[DataError] | type[OutputError], what: str) -> Iterator[None]:
        """Turn what systems and storage libraries raise into one line."""
        try:
            yield
        except ExcelCamError:
            raise
        except Exception as error:
            if self.is_remote:
                raise faults.fault(error, self.address, kind, what) from None
            if not isinstance(error, OSError):
                raise
            raise_if_machine(error, str(self))
            raise kind(f"{self} cannot be {what}: {error.strerror or error}") from None


class _ToldReads(io.RawIOBase):
    """The reads of a stream, with one line for what goes wrong in them."""

    def __init__(self, place: Place, stream: Any) -> None:
        self._place, self._stream = place, stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._stream.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with self._place._told(DataError, "read"):
            return int(self._stream.readinto(buffer))

    def close(self) -> None:
        self._stream.close()
        super().close()
