"""A folder or file wherever it lies: on a disk, or where fsspec reaches (`s3://`, `gs://`, `hf://`, `memory://`, ...).

What is written appears whole or not at all: on a disk by renaming, in an object store because an object is there once
its upload has ended. Credentials are the storage libraries' own; an address that carries some is never shown with them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from excel_cam.errors import DataError, ExcelCamError, OutputError, UsageError
from excel_cam.files.atomic import replacing
from excel_cam.files.machine import raise_if_machine
from excel_cam.wording import install_hint

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")  # two letters at least: C:// is a drive
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@|\?.*")  # user and password, and what is asked for (signed addresses)


@dataclass(frozen=True)
class Place:
    """A file or folder by its address; picklable, opens nothing until it is asked.

    address: a path of this machine, or `SCHEME://...` as fsspec has it.
    """

    address: str

    def __str__(self) -> str:
        return _CREDENTIALS.sub("", self.address) if self.is_remote else self.address

    @property
    def is_remote(self) -> bool:
        """Whether it lies in a storage of fsspec, and not on a path of this machine."""
        return _SCHEME.match(self.address) is not None

    @property
    def path(self) -> Path:
        """The path on this machine; only of what is not remote."""
        assert not self.is_remote
        return Path(self.address)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.address.rstrip("/").rpartition("/")[2]

    def child(self, name: str) -> Place:
        """What lies below, `name` with '/' between its parts."""
        return Place(f"{self.address.rstrip('/')}/{name}" if self.is_remote else str(self.path / name))

    @cached_property
    def _remote(self) -> tuple[AbstractFileSystem, str]:
        """The file system of a remote address, and the path there; raises `UsageError` where no library has it."""
        import fsspec

        try:
            return cast("tuple[AbstractFileSystem, str]", fsspec.core.url_to_fs(self.address))
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self}: {error}; {install_hint('remote')}") from None

    def exists(self) -> bool:
        """Whether there is a file or folder; raises `DataError` where the storage does not say."""
        if not self.is_remote:
            return self.path.exists()
        with self._told(DataError, "looked up"):
            return bool(self._remote[0].exists(self._remote[1]))

    def size(self) -> int:
        """Bytes of the file; raises `DataError`."""
        with self._told(DataError, "looked up"):
            return int(self._remote[0].size(self._remote[1])) if self.is_remote else self.path.stat().st_size

    def names(self, suffix: str = "") -> list[str]:
        """Names of the files directly in this folder that end so, sorted; none where there is no such folder.

        One listing, however many there are. Raises `DataError`.
        """
        with self._told(DataError, "listed"):
            if not self.is_remote:
                found = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
            else:
                system, path = self._remote
                try:
                    system.invalidate_cache(path)
                    entries = system.ls(path, detail=False)
                except FileNotFoundError:
                    entries = []
                found = [str(entry).rstrip("/").rpartition("/")[2] for entry in entries]
        return sorted(name for name in found if name.endswith(suffix))

    @contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """The file's bytes as a stream that can be sought in; raises `DataError`."""
        with self._told(DataError, "read"):
            stream = self._remote[0].open(self._remote[1], "rb") if self.is_remote else self.path.open("rb")
            with stream:
                yield cast(BinaryIO, stream)

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """The file's bytes, or `size` of them from `offset`; raises `DataError`."""
        with self._told(DataError, "read"):
            if self.is_remote:
                end = None if size is None else offset + size
                return cast(bytes, self._remote[0].cat_file(self._remote[1], start=offset or None, end=end))
            with self.path.open("rb") as stream:
                stream.seek(offset)
                return stream.read() if size is None else stream.read(size)

    def write(self, content: bytes | Path) -> None:
        """Put bytes, or the bytes of a file of this machine, here, whole or not at all. Raises `OutputError`."""
        if not self.is_remote:
            with replacing(self.path) as part:
                if isinstance(content, Path):
                    shutil.copyfile(content, part)
                else:
                    part.write_bytes(content)
            return
        with self._told(OutputError, "written"):
            system, path = self._remote
            if isinstance(content, Path):
                system.put_file(str(content), path)
            else:
                system.pipe_file(path, content)

    def remove(self) -> None:
        """Remove the file, where it is there; raises `OutputError`."""
        with self._told(OutputError, "removed"):
            if not self.is_remote:
                self.path.unlink(missing_ok=True)
            elif self.exists():
                self._remote[0].rm_file(self._remote[1])

    @contextmanager
    def _told(self, kind: type[DataError] | type[OutputError], what: str) -> Iterator[None]:
        """Turn what storage libraries raise into one line."""
        try:
            yield
        except ExcelCamError:
            raise
        except OSError as error:
            raise_if_machine(error, str(self))
            raise kind(f"{self} cannot be {what}: {error.strerror or error}") from None
        except Exception as error:
            if not self.is_remote:
                raise
            # Every storage library has errors of its own: no credentials, no such bucket, refused.
            raise kind(f"{self} cannot be {what}: {' '.join(str(error).split()) or type(error).__name__}") from None
