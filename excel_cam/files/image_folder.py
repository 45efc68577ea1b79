"""Find the images under a folder and give each its name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from excel_cam.errors import DataError, UsageError
from excel_cam.files.lists import IMAGE_SUFFIXES, check_name
from excel_cam.wording import quoted


@dataclass(frozen=True)
class ImageScan:
    """The images under a root."""

    images: dict[str, Path]  # name (path under the root, with '/', without extension) -> file
    clashes: dict[str, tuple[Path, Path]]  # names that two files would share
    notes: tuple[str, ...]  # lines worth telling the user

    def check_names(self, names: Iterable[str]) -> None:
        """DataError if one of `names` stands for two images, or cannot be a label's name."""
        for name in names:
            check_name(name, str(self.images.get(name, "tags")))
            if name in self.clashes:
                first, second = self.clashes[name]
                raise DataError(
                    f"{first} and {second} would share the label {quoted(name)}; rename or move one of them"
                )


def scan_images(root: Path, labels_folder: Path | None = None) -> ImageScan:
    """All files under `root` with the extension of an image; hidden files and folders are skipped.

    Links to files are followed, links to folders are not (they may lead in circles) and are noted. `labels_folder`
    is not searched, so that labels written under `root` are not taken for images by the next run.
    Raises DataError when a folder cannot be read or holds no image at all, UsageError when labels would lie among
    the images.
    """
    excluded = _path_under(root, labels_folder) if labels_folder is not None else None
    if excluded == "":
        raise UsageError(f"{labels_folder}: labels would lie among the images of --root; choose another --out")
    images: dict[str, Path] = {}
    clashes: dict[str, tuple[Path, Path]] = {}
    linked_folders: list[str] = []
    pending = [(str(root), "")]
    while pending:
        folder, prefix = pending.pop()
        for entry in _visible_entries(folder):
            if entry.is_dir(follow_symlinks=False):
                if prefix + entry.name != excluded:
                    pending.append((entry.path, f"{prefix}{entry.name}/"))
                continue
            if entry.is_symlink() and os.path.isdir(entry.path):
                linked_folders.append(entry.path)
                continue
            stem, suffix = os.path.splitext(entry.name)
            # Pipes and devices would block whoever opens them; broken links stay, to be recorded as missing.
            if suffix.lower() not in IMAGE_SUFFIXES or not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                continue
            name, path = prefix + stem, Path(entry.path)
            if name in images:
                first, second = sorted((images[name], path))
                clashes[name] = (first, second)
            images[name] = path
    if not images:
        raise DataError(f"{root}: no images in this folder; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    notes = []
    if linked_folders:
        notes.append(f"{len(linked_folders)} linked folders are not searched, first {quoted(min(linked_folders))}")
    return ImageScan(images, clashes, tuple(notes))


def _visible_entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: this folder of images cannot be read: {error.strerror}") from error


def _path_under(root: Path, folder: Path) -> str | None:
    """`folder` relative to `root` with '/', '' when they are the same, None when it lies elsewhere."""
    try:
        relative = folder.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return None
    return "" if relative == "." else relative
