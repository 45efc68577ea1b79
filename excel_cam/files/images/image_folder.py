"""Find the images under a folder and give each its name."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from excel_cam.errors import DataError, UsageError
from excel_cam.files.images.foreign import UNREAD_SUFFIXES
from excel_cam.files.images.products import holds_record, products_among
from excel_cam.files.lists import IMAGE_SUFFIXES, check_name
from excel_cam.wording import quoted


@dataclass(frozen=True)
class ImageScan:
    """The images under a root."""

    images: dict[str, Path]  # name (path under the root, with '/', without extension) -> file
    clashes: dict[str, tuple[Path, Path]]  # names that two files would share
    unread: dict[str, Path] = field(default_factory=dict)  # names of files of kinds that are not read -> file

    def path(self, name: str, root: Path) -> Path:
        """The file of that name, or the one that is not read; where there is none, where one would be expected."""
        return self.images.get(name) or self.unread.get(name) or root / f"{name}.jpg"

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines worth telling the user."""
        return (unread_note(map(str, self.unread.values())),) if self.unread else ()

    def check_names(self, names: Iterable[str]) -> None:
        """DataError if one of `names` stands for two images, or cannot be a label's name."""
        for name in names:
            check_name(name, str(self.images.get(name, "tags")))
            if name in self.clashes:
                first, second = self.clashes[name]
                raise DataError(
                    f"{first} and {second} would share the label {quoted(name)}; rename or move one of them"
                )


def scan_images(root: Path, labels_folder: Path | None = None, required: bool = True) -> ImageScan:
    """All files under `root` with the extension of an image; hidden files and folders are skipped.

    Links are followed, see `walk_folders`. `labels_folder` is not searched, and labels and overlays of this program are
    no images, wherever they lie.
    Raises DataError when a folder cannot be read or, if `required`, holds no image at all, UsageError when labels would
    lie among the images.
    """
    excluded = None if labels_folder is None else os.path.realpath(labels_folder)
    if excluded == os.path.realpath(root):
        raise UsageError(f"{labels_folder}: labels would lie among the images of --root; choose another --out")
    images: dict[str, Path] = {}
    clashes: dict[str, tuple[Path, Path]] = {}
    unread: dict[str, Path] = {}
    try:
        for prefix, files in walk_files_of_others(root, excluded):
            folder_path = Path(root, prefix)  # parsed once, not for each of its files
            for entry in files:
                name, path = prefix + os.path.splitext(entry.name)[0], folder_path / entry.name
                if is_unread(entry):
                    unread[name] = path
                if not is_image(entry):
                    continue
                if name in images:
                    first, second = sorted((images[name], path))
                    clashes[name] = (first, second)
                images[name] = path
    except OSError as error:
        folder = error.filename or root
        raise DataError(f"{folder}: this folder of images cannot be read: {error.strerror}") from error
    unread = {name: path for name, path in unread.items() if name not in images}
    if not images and required:
        raise DataError(
            f"{root}: no images in this folder; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
            + (f"; {unread_note(map(str, unread.values()))}" if unread else "")
        )
    return ImageScan(images, clashes, unread)


def unread_note(files: Iterable[str]) -> str:
    """That there are files which are not read, one at least, by what they are."""
    kinds, count, first = set[str](), 0, ""
    for file in files:
        kinds.add(UNREAD_SUFFIXES[os.path.splitext(file)[1].lower()])
        count, first = count + 1, min(first or file, file)
    return f"{', '.join(sorted(kinds))} is not read: convert {count:,} such files to JPEG or PNG, first {quoted(first)}"


def walk_files_of_others(root: Path, excluded: str | None = None) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """As `walk_folders`, without the labels and overlays that this program has written. Raises `OSError`."""
    runs: list[str] = []  # folders, met before all in them, that a run has labelled into
    for prefix, files in walk_folders(root, excluded):
        names = [entry.name for entry in files]
        if holds_record(names):
            runs.append(prefix)
        products = products_among(names, os.path.join(root, prefix), any(map(prefix.startswith, runs)))
        yield prefix, [entry for entry in files if entry.name not in products]


def is_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file may be an image, by its ending.

    Pipes and devices would block whoever opens them; broken links are images, to be recorded as missing.
    """
    is_regular = entry.is_file(follow_symlinks=False) or entry.is_symlink()
    return is_regular and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES


def is_unread(entry: os.DirEntry[str]) -> bool:
    """Whether a file is an image of a kind that is not read, by its ending."""
    return os.path.splitext(entry.name)[1].lower() in UNREAD_SUFFIXES


def walk_folders(root: Path, excluded: str | None = None) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Every folder under `root`, each once: its path below `root` with '/' at its end, and its files.

    Links to folders are followed, after all that lies under `root` itself, so that a folder has its own name and not a
    link's. One that leads back, to a folder that was seen or to one that `root` lies in, is left out. Hidden files and
    folders are too, and the folder whose real path is `excluded`. Raises `OSError`.
    """
    seen = {str(folder) for folder in Path(os.path.realpath(root)).parents}
    if excluded is not None:
        seen.add(excluded)
    own, linked = [(str(root), "")], deque[tuple[str, str]]()
    while own or linked:
        folder, prefix = own.pop() if own else linked.popleft()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        with os.scandir(folder) as scanned:
            entries = sorted((entry for entry in scanned if not entry.name.startswith(".")), key=lambda e: e.name)
        files = []
        for entry in entries:
            if not _is_folder(entry):
                files.append(entry)
            elif entry.is_symlink():
                linked.append((entry.path, f"{prefix}{entry.name}/"))
            else:
                own.append((entry.path, f"{prefix}{entry.name}/"))
        yield prefix, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
