"""The masks of a folder by the names of their images, whatever form a data set's own masks have."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE, MaskForm
from excel_cam.errors import DataError
from excel_cam.files.images.masks import mask_names, mask_path, read_indices, read_mask

_UNKNOWN = -1  # in a table of values: stands for nothing


@dataclass(frozen=True)
class MaskFolder:
    """A folder of masks. forms: what a mask may be, the first that is there first; without any, as labels are."""

    folder: Path
    forms: tuple[MaskForm, ...] = ()

    def __str__(self) -> str:
        return str(self.folder)

    def names(self) -> list[str]:
        """Sorted names of the images that have a mask. Raises `DataError` where the folder cannot be listed."""
        files = mask_names(self.folder)
        if not self.forms:
            return files
        images = {_image_name(file, form) for file in files for form in self.forms if file.endswith(form.ending)}
        return sorted(images)

    def path(self, name: str) -> Path:
        """The mask of the image of that name; where there is none, where the first form would have it.

        Raises `DataError` for a name that leaves the folder.
        """
        return self._find(name)[0]

    def read(self, name: str, greatest: int, class_count: int | None = None) -> NDArray[np.integer[Any]]:
        """(H, W) label values of an image's mask, each in 0..`greatest` or 255; see `read_mask`.

        Raises `DataError` for a damaged file, one that holds no class indices, and values that the form does not know.
        """
        path, form = self._find(name)
        return read_mask(path, greatest, class_count) if form is None else _translated(path, form)

    def _find(self, name: str) -> tuple[Path, MaskForm | None]:
        if not self.forms:
            return mask_path(self.folder, name), None
        places = [
            (mask_path(self.folder, name.removesuffix(form.image_ending) + form.ending), form) for form in self.forms
        ]
        return next(((path, form) for path, form in places if os.path.isfile(path)), places[0])


def _image_name(file: str, form: MaskForm) -> str:
    return file.removesuffix(form.ending) + form.image_ending


def _translated(path: Path, form: MaskForm) -> NDArray[np.uint8]:
    """A mask's values as label values."""
    table = np.full(IGNORE + 1, _UNKNOWN, np.int16)
    table[[*form.values, IGNORE]] = [*form.values.values(), IGNORE]
    mask = read_indices(path)
    values = table[mask.clip(0, IGNORE)]
    wrong = (values == _UNKNOWN) | (mask > IGNORE)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{path}: expected values {min(form.values)}..{max(form.values)} or 255, got {mask[row, column]} at row "
            f"{row}, column {column} ({np.count_nonzero(wrong)} such pixels); check --dataset and the mask"
        )
    return values.astype(np.uint8)
