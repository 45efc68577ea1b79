"""Names in tags → names of images: extensions, spellings, and the numbers of COCO, dropped or completed."""

from __future__ import annotations

from collections.abc import Collection

from excel_cam.errors import DataError
from excel_cam.files.lists import drop_image_suffix
from excel_cam.tags.lookup import Tags, coco_number
from excel_cam.tags.name_finder import NameFinder
from excel_cam.wording import quoted


def match_names(tags: Tags, known: Collection[str], source: str, ending: str = "") -> Tags:
    """`tags` by the names of images: the `known` one that each means, else without an image's extension.

    ending: what known names end in and tags may leave out.
    """
    return _matched(tags, NameFinder(known, ending=ending), source, "has two lines, with and without extension")


def match_coco_names(tags: Tags, known: Collection[str], source: str) -> Tags:
    """`tags` by the names of images: a name that is not `known` stands for the known one of the same COCO number."""
    return _matched(tags, NameFinder(known, number=coco_number), source, "is there twice, in two spellings")


def _matched(tags: Tags, finder: NameFinder, source: str, how: str) -> Tags:
    matched: Tags = {}
    shared: dict[tuple[int, ...], tuple[int, ...]] = {}  # many images show the same classes: one tuple for all of them
    for written, classes in tags.items():
        if written.rpartition("/")[2].startswith("._"):  # what macOS puts beside files on foreign disks
            continue
        # Not columns: a name in tags stands alone, so what follows a space in it is its own.
        name = finder.find(written, columns=False) or drop_image_suffix(written)
        if name in matched:
            raise DataError(f"{source}: {quoted(name)} {how}; keep one of them")
        matched[name] = shared.setdefault(classes, classes)
    return matched
