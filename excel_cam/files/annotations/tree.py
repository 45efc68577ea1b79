"""A folder of files, or an archive of one as tools hand it out, read in one way; of an archive one file at a time."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from excel_cam.errors import DataError
from excel_cam.files.images.image_folder import walk_folders
from excel_cam.files.machine import raise_if_machine
from excel_cam.wording import readable_size

MAX_MEMBER = 1 << 30  # bytes of one file unpacked, as of a mask decoded
MAX_TEXT = 64_000_000  # bytes of one text
_DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError)


class Tree:
    """The files of a folder by their paths below it, with /; hidden ones are left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            found = [prefix + entry.name for prefix, files in walk_folders(root) for entry in files]
        except OSError as error:
            raise_if_machine(error, root)
            raise DataError(f"{error.filename or root}: cannot be read: {error.strerror or error}") from None
        self.files = tuple(sorted(found))

    def where(self, file: str) -> str:
        """A file's place, for messages."""
        return str(self.root / file)

    @contextmanager
    def path(self, file: str) -> Iterator[Path]:
        """The file on disk, while the block runs."""
        yield self.root / file

    def text(self, file: str) -> str:
        """A file's text. Raises `DataError` where it is none, or too long."""
        with self.path(file) as path:
            try:
                with path.open("rb") as stream:
                    content = stream.read(MAX_TEXT + 1)
                if len(content) > MAX_TEXT:
                    raise DataError(f"{self.where(file)}: longer than {readable_size(MAX_TEXT)}")
                return content.decode("utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise_if_machine(error, path)
                raise DataError(f"{self.where(file)}: expected UTF-8 text, cannot read it ({error})") from None


class OneFile(Tree):
    """A single file, where others beside it are nobody's business."""

    def __init__(self, path: Path) -> None:
        self.root, self.files = path.parent, (path.name,)


class _Archive(Tree):
    """The files of a zip archive; each is unpacked under a name of ours, whatever its own leads to."""

    def __init__(self, root: Path, archive: zipfile.ZipFile) -> None:
        self.root, self._archive = root, archive
        names = (info.filename for info in archive.infolist() if not info.is_dir())
        self.files = tuple(sorted(name for name in names if not any(p.startswith(".") for p in name.split("/"))))

    @contextmanager
    def path(self, file: str) -> Iterator[Path]:
        """The file unpacked, while the block runs. Raises `DataError` where it is damaged or too large."""
        with tempfile.TemporaryDirectory(prefix="excel-cam-") as folder:
            target = Path(folder) / f"member{os.path.splitext(file)[1]}"
            try:
                with self._archive.open(file) as member, target.open("wb") as stream:
                    self._copy(file, member, stream)
            except _DAMAGE as error:
                raise_if_machine(error, self.root)
                raise DataError(f"{self.where(file)}: cannot be unpacked ({error}); fetch the archive again") from None
            yield target

    def _copy(self, file: str, member: IO[bytes], stream: IO[bytes]) -> None:
        written = 0
        while block := member.read(1 << 20):
            written += len(block)
            if written > MAX_MEMBER:
                raise DataError(f"{self.where(file)}: more than {readable_size(MAX_MEMBER)} unpacked; it is not read")
            stream.write(block)


@contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """A folder or a zip archive, while the block runs. Raises `DataError` where it is neither."""
    if path.is_dir():
        yield Tree(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such folder or archive") from None
    except _DAMAGE as error:
        raise_if_machine(error, path)
        raise DataError(f"{path}: expected a folder or a zip archive, cannot read it ({error})") from None
    with archive:
        yield _Archive(path, archive)


@contextmanager
def temporary_file(content: bytes, suffix: str) -> Iterator[Path]:
    """A file of that content, while the block runs: for what a text holds in place of a file."""
    with tempfile.TemporaryDirectory(prefix="excel-cam-") as folder:
        path = Path(folder) / f"content{suffix}"
        path.write_bytes(content)
        yield path
