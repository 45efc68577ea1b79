"""Files that are whole or not there: atomic writing, hashing, and the cache folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files.part import File, open_file

PART_SUFFIX = ".part"
_LONGEST_NAME = 160  # bytes: with host and process id below the 255 of file systems


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, which becomes `path` once the block ends without an error.

    A reader, a run killed at any moment and a machine that loses its power leave the old file or the whole new one.
    Raises `OutputError`.
    """
    # Host and process id keep two runs that share a folder apart, and tell whether a leftover's owner still lives.
    part = path.with_name(f".{_short(path.name)}.{_host()}.{os.getpid()}{PART_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(part)
        yield part
        # First the bytes, then the name: after a power failure a name without its bytes would be an empty file.
        _flush(part)
        os.replace(part, path)
        _flush(path.parent)
    except BaseException as error:  # Ctrl-C too: nothing half-written stays
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
        raise


def check_writable(out: Path) -> None:
    """Raise `OutputError` early when nothing could be written to the folder `out`; it is not made for that."""
    try:
        nearest = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
        if not nearest.is_dir():
            raise OutputError(f"{out}: the output folder cannot be made: {nearest} is no folder")
    except OSError as error:
        raise OutputError(f"{out}: the output folder cannot be made: {error.strerror}") from None
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{out}: no permission to write there; choose another --out")


@contextlib.contextmanager
def without_empty_folders(folders: Iterable[Path]) -> Iterator[None]:
    """Remove those of the folders, and of the ones around them, that the block made and left empty."""
    made = {part for folder in folders for part in (folder, *folder.parents) if not part.exists()}
    try:
        yield
    finally:
        for folder in sorted(made, key=lambda part: len(part.parts), reverse=True):
            with contextlib.suppress(OSError):  # not empty, or never made
                folder.rmdir()


def _flush(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk itself before this returns."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return  # Windows opens no folders, and keeps renamed names by itself
    try:
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some file systems cannot be asked, and a folder that may be written to need not be readable.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) and not (is_folder and isinstance(error, PermissionError)):
            raise


def _create(part: Path) -> None:
    """An empty file of its own at a name that could be foreseen: a link that was planted there is not followed."""
    part.unlink(missing_ok=True)  # left by a killed run of the same process id, as every container's first has
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666))


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises `OutputError`."""
    with replacing(path) as part:
        part.write_bytes(content)


def free_space(folder: Path) -> int:
    """Free bytes where a folder is, or would be made."""
    folder = folder.absolute()
    while not os.path.exists(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free


def remove_stale_parts(folder: Path) -> None:
    """Remove the temporary files that killed runs of this machine left in `folder` (not in its sub-folders)."""
    host = _host()
    for part in folder.glob(f".*{PART_SUFFIX}"):
        *_, owner_host, owner_id = part.name.removesuffix(PART_SUFFIX).rsplit(".", 2)
        if owner_host == host and owner_id.isdecimal() and not is_alive(int(owner_id)):
            with contextlib.suppress(OSError):  # gone meanwhile, or a folder: nothing that hinders a run
                part.unlink()


def _short(name: str) -> str:
    """A file's name where a temporary one has room for it, else a digest of it: 255 bytes are the most there may be."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else hashlib.sha256(encoded).hexdigest()[:32]


def _host() -> str:
    # Dots part the fields of a temporary name, which has room for so much of a host.
    return socket.gethostname().replace(".", "-")[:64]


def is_alive(process_id: int) -> bool:
    """Whether a process of this machine, anybody's, has that number."""
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # someone else's process
    return True


def hash_file(file: File) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open_file(file) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON value in one canonical spelling, as 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(_encode(text)).hexdigest()


def json_bytes(value: Any) -> bytes:
    """A JSON value as readable text with a final newline."""
    return _encode(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def json_line(value: Any) -> str:
    """A JSON value on one line, newline included."""
    return _encode(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").decode()


def _encode(text: str) -> bytes:
    """JSON text as UTF-8; what file names hold beyond Unicode becomes `\\udcXX`, which is JSON's own escape."""
    return text.encode("utf-8", "backslashreplace")


def cache_folder() -> Path | None:
    """Where text banks are kept: `EXCEL_CAM_CACHE`, else `excel-cam` in the platform's folder for caches.

    None where that would lie in the home folder of a user who has none, as in some containers.
    """
    try:
        if chosen := os.environ.get("EXCEL_CAM_CACHE"):
            return Path(chosen).expanduser()
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "excel-cam"
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "excel-cam" / "cache"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "excel-cam"
    except RuntimeError:  # what pathlib raises for a home that is not to be found
        return None
