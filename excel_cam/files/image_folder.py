"""Find the images under a folder and give each its name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from excel_cam.errors import DataError, UsageError
from excel_cam.files.foreign import UNREAD_SUFFIXES
from excel_cam.files.lists import IMAGE_SUFFIXES, check_name
from excel_cam.wording import quoted


@dataclass(frozen=True)
class ImageScan:
    """The images under a root."""

    images: dict[str, Path]  # name (path under the root, with '/', without extension) -> file
    clashes: dict[str, tuple[Path, Path]]  # names that two files would share
    notes: tuple[str, ...]  # lines worth telling the user
    unread: dict[str, Path] = field(default_factory=dict)  # names of files of kinds that are not read -> file

    def path(self, name: str, root: Path) -> Path:
        """The file of that name, or the one that is not read; where there is none, where one would be expected."""
        return self.images.get(name) or self.unread.get(name) or root / f"{name}.jpg"

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

    Links are followed; a folder that is there by several ways is searched once, by its own path before any link's, so
    that links may lead in circles. `labels_folder` is not searched, so that labels written under `root` are not taken
    for images by the next run.
    Raises DataError when a folder cannot be read or, if `required`, holds no image at all, UsageError when labels would
    lie among the images.
    """
    if labels_folder is not None and labels_folder.resolve() == root.resolve():
        raise UsageError(f"{labels_folder}: labels would lie among the images of --root; choose another --out")
    images: dict[str, Path] = {}
    clashes: dict[str, tuple[Path, Path]] = {}
    unread: dict[str, Path] = {}
    known_links: list[str] = []
    for prefix, entry in _files_below(root, labels_folder, known_links):
        stem, suffix = os.path.splitext(entry.name)
        name, path = prefix + stem, Path(entry.path)
        if suffix.lower() in UNREAD_SUFFIXES:
            unread[name] = path
        # Pipes and devices would block whoever opens them; broken links stay, to be recorded as missing.
        if suffix.lower() not in IMAGE_SUFFIXES or not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
            continue
        if name in images:
            first, second = sorted((images[name], path))
            clashes[name] = (first, second)
        images[name] = path
    unread = {name: path for name, path in unread.items() if name not in images}
    if not images and required:
        raise DataError(
            f"{root}: no images in this folder; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
            + (f"; {_unread_note(unread)}" if unread else "")
        )
    notes = [_unread_note(unread)] if unread else []
    if known_links:
        notes.append(
            f"{len(known_links)} linked folders are searched already by another path, first {quoted(min(known_links))}"
        )
    return ImageScan(images, clashes, tuple(notes), unread)


def _files_below(root: Path, skipped: Path | None, known_links: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every visible file below `root` with the path of its folder below it, '' or ending in '/'.

    skipped: a folder that is left out. known_links: gets the links to folders that were searched by another path.
    """
    searched = set() if skipped is None else {_identity(str(skipped))}
    pending, linked = [(str(root), "")], list[tuple[str, str]]()
    while pending or linked:
        is_link = not pending
        folder, prefix = (linked if is_link else pending).pop()
        identity = _identity(folder)
        if identity in searched and identity is not None:
            known_links += [folder] if is_link else []
            continue
        searched.add(identity)
        for entry in _visible_entries(folder):
            # A link is asked without raising: it may lead to itself.
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                (linked if entry.is_symlink() else pending).append((entry.path, f"{prefix}{entry.name}/"))
            else:
                yield prefix, entry
        linked.sort(reverse=True)  # the first by name is searched next, in whatever order the folder lists them


def _identity(folder: str) -> tuple[int, int] | None:
    """What is the same for all paths of one folder; None where it is not there."""
    try:
        status = os.stat(folder)
    except OSError:
        return None  # listing it says why
    return status.st_dev, status.st_ino


def _unread_note(unread: dict[str, Path]) -> str:
    """That there are files which are not read, by what they are."""
    kinds = sorted({UNREAD_SUFFIXES[path.suffix.lower()] for path in unread.values()})
    return (
        f"{', '.join(kinds)} is not read: convert {len(unread):,} such files to JPEG or PNG, first "
        f"{quoted(str(min(unread.values())))}"
    )


def _visible_entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: this folder of images cannot be read: {error.strerror}") from error
