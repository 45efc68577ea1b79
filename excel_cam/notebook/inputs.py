"""What a notebook hands in, images and classes in many forms, checked → photographs and class indices."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from excel_cam.errors import DataError, ImageError
from excel_cam.files.images.photographs import Photograph, decode_photograph, read_photograph
from excel_cam.wording import quoted

_FORMS = "a path, a PIL image, or a uint8 array (H, W, 3)"


def is_one_image(images: Any) -> bool:
    """Whether `images` is one image, not several of them."""
    return not isinstance(images, list | tuple)


def check_image(image: Any, where: str) -> None:
    """Raise `ImageError` for anything that is no image in one of the accepted forms; `where` names it."""
    if isinstance(image, str | os.PathLike | Image.Image):
        return
    if not isinstance(image, np.ndarray):
        advice = "; a tensor's pixels are tensor.permute(1, 2, 0).numpy()" if hasattr(image, "permute") else ""
        raise ImageError(f"{where}: expected {_FORMS}, got {_kind(image)}{advice}")
    shape = f"an array of shape {image.shape}"
    if image.ndim == 4:
        raise ImageError(f"{where}: {shape} is a batch; give a list of images, such as list(images)")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise ImageError(
            f"{where}: {shape} is grey; colours are expected, (H, W, 3): np.dstack([image] * 3) repeats the grey"
        )
    if image.ndim == 3 and image.shape[2] == 4:
        raise ImageError(f"{where}: {shape} has a fourth channel; leave it out with image[..., :3]")
    if image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] != 3:
        raise ImageError(f"{where}: {shape} has its channels first; image.transpose(1, 2, 0) puts them last")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"{where}: {shape}; expected (H, W, 3), at least one pixel")
    if image.dtype != np.uint8:
        scale = "(image * 255).round()" if image.dtype.kind == "f" else "image"
        raise ImageError(
            f"{where}: an array of {image.dtype}; expected uint8, 0 to 255: {scale}.astype(np.uint8) where the values "
            f"reach from 0 to {'1' if image.dtype.kind == 'f' else '255'}"
        )


def read_photo(image: Any, working_pixels: int, bands: Sequence[int] | None, where: str) -> Photograph:
    """The photograph of a checked image, reduced as a file's would be; raises `ImageError`. bands: of a TIFF's file."""
    if isinstance(image, str | os.PathLike):
        return read_photograph(Path(image), working_pixels, bands=bands)
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return decode_photograph(picture, working_pixels, where)


def class_indices(classes: Any, names: Sequence[str], where: str) -> tuple[int, ...]:
    """The 0-based classes of one image in label order, from one or several names or indices.

    Raises `DataError` for a name that is not there, naming the nearest, an index beyond the classes, and a class that
    comes twice.
    """
    if isinstance(classes, dict | set | frozenset):
        raise DataError(f"{where}: expected a list of class names or indices, got {_kind(classes)}")
    one = isinstance(classes, str) or not hasattr(classes, "__iter__")
    found = [_class_index(entry, names, where) for entry in ([classes] if one else classes)]
    if repeated := [index for index in found if found.count(index) > 1]:
        raise DataError(f"{where}: class {quoted(names[repeated[0]])} comes twice; name each class once")
    return tuple(sorted(found))


def _class_index(entry: Any, names: Sequence[str], where: str) -> int:
    if isinstance(entry, str):
        if entry in names:
            return list(names).index(entry)
        folded = {name.casefold(): name for name in names}
        near = difflib.get_close_matches(entry.casefold().strip(), folded, n=3)
        hint = f"nearest: {', '.join(folded[name] for name in near)}" if near else f"there are {', '.join(names)}"
        raise DataError(f"{where}: {quoted(entry)} is not one of the {len(names)} classes ({hint})")
    if isinstance(entry, bool) or not isinstance(entry, int | np.integer):
        raise DataError(f"{where}: expected a class name or index, got {_kind(entry)}")
    if not 0 <= entry < len(names):
        raise DataError(
            f"{where}: class {entry} is beyond the {len(names)} classes, 0 ({names[0]}) to {len(names) - 1} "
            f"({names[-1]}); an index is counted from 0, without the background"
        )
    return int(entry)


def classes_of_images(classes: Any, count: int, names: Sequence[str]) -> list[tuple[int, ...]]:
    """As `class_indices`, for several images: one list each. Raises `DataError` where they do not match."""
    form = 'give one list per image, such as [["cat"], ["cat", "sofa"]]'
    if isinstance(classes, str) or not hasattr(classes, "__len__"):
        raise DataError(f"classes: one entry for {count} images; {form}")
    if len(classes) != count:
        raise DataError(f"classes: {len(classes)} lists for {count} images; {form}")
    for entry in classes:
        if isinstance(entry, str) or not hasattr(entry, "__len__"):
            raise DataError(f"classes: {quoted(entry)} stands alone where {count} images have a list each; {form}")
    return [class_indices(entry, names, f"classes[{place}]") for place, entry in enumerate(classes)]


def _kind(value: object) -> str:
    kind = type(value).__name__
    return f"{kind} {quoted(value)}" if isinstance(value, bool | int | float | str) else f"a {kind}"
