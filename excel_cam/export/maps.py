"""What trainers that start from class maps read: dictionaries in .npy files, and image-level labels.

    irn       cam/<name>.npy: `keys` LongTensor, `cam` tensor at a quarter of the size, `high_res` numpy at full size
    clip-es   voc-cams/ or coco-cams/<name>.npy: `keys` numpy, `attn_highres` float16 at full size
    psa       cam/<name>.npy: class index -> map at full size

Class indices are 0-based everywhere. Maps are those behind the labels before refinement: each stretched to 0..1 on the
patch grid, then enlarged bilinearly (step 6.1). Every file is a pickled dictionary that old numpy and torch read too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import COCO_CLASSES, VOC_CLASSES
from excel_cam.errors import DataError
from excel_cam.export.formats import Format, Images, LabelledImage, check_columns, two_columns, write_lines
from excel_cam.files.arrays.npy_write import AsTensor, npy_bytes
from excel_cam.files.atomic import write_atomically
from excel_cam.labels.class_maps import read_maps

if TYPE_CHECKING:
    from torch import Tensor

_VOC_ID = re.compile(r"(\d{4})_(\d{6})", re.ASCII)
_OVERHEAD = 1024  # bytes of a dictionary file besides its maps, about
_FLOAT32 = 4
_FLOAT16 = 2
_PSA_NAME = slice(-15, -4)  # where PSA finds the name in the first column, such as /JPEGImages/2007_000032.jpg


class MapsFormat(Format):
    """A trainer that reads class maps."""

    needs_maps = True

    def image_file(self, name: str) -> str:
        """The dictionary file, folders of the name mirrored."""
        return f"cam/{name}.npy"

    def _write_image_labels(self, out: Path, images: Images) -> list[str]:
        """Write cls_labels.npy with IRN's whole-number keys, and cls_labels_onehot.npy with names as keys."""
        rows = {image.name: self._row(image) for image in images()}
        numbers = {name: _VOC_ID.fullmatch(name) for name in rows}
        numbered: dict[Any, NDArray[np.float32]] = {
            int(match[1] + match[2]) if match else name: rows[name] for name, match in numbers.items()
        }
        write_atomically(out / "cls_labels.npy", npy_bytes(numbered))
        write_atomically(out / "cls_labels_onehot.npy", npy_bytes(rows))
        if all(numbers.values()):
            return []
        return ["cls_labels.npy: names that are no VOC ids (2007_000032) have no number; their keys are the names"]

    def _row(self, image: LabelledImage) -> NDArray[np.float32]:
        row = np.zeros(len(self.class_names), np.float32)
        row[list(image.keys)] = 1
        return row


class IRN(MapsFormat):
    """IRN and ReCAM; what ToCo, SeCo, WeCLIP and ExCEL read is part of it."""

    name = "irn"
    final_files = ("cls_labels.npy", "cls_labels_onehot.npy", "train_aug.txt")

    def encode(self, image: LabelledImage) -> bytes:
        """`keys` (K,) int64 tensor, `cam` (K, ⌈H/4⌉, ⌈W/4⌉) float32 tensor, `high_res` (K, H, W) float32 numpy."""
        content = {
            "keys": AsTensor(np.array(image.keys, np.int64)),
            "cam": AsTensor(enlarged_maps(image, len(self.class_names), *_quarter(image.size)).numpy()),
            "high_res": enlarged_maps(image, len(self.class_names), *image.size).numpy(),
        }
        return npy_bytes(content)

    def bytes_of(self, image: LabelledImage) -> int:
        """Both sets of maps in float32."""
        return _OVERHEAD + _FLOAT32 * len(image.keys) * (_area(image.size) + _area(_quarter(image.size)))

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write image-level labels and the list of names."""
        write_lines(out / self.final_files[2], (image.name for image in images()))
        return self._write_image_labels(out, images)


class ClipES(MapsFormat):
    """CLIP-ES: its maps, and a list of names for --split_file.

    It looks for `voc`, then `coco`, in the path of the maps, and counts 21 or 81 classes by it.
    """

    name = "clip-es"
    final_files = ("train_cam.txt",)

    def image_file(self, name: str) -> str:
        """The dictionary file in a folder whose name tells CLIP-ES how many classes there can be."""
        data_set = "voc" if len(self.class_names) <= len(VOC_CLASSES) else "coco"
        return f"{data_set}-cams/{name}.npy"

    def check_name(self, name: str) -> None:
        """Its list is read up to a space or a `#`."""
        super().check_name(name)
        if "#" in name or any(character.isspace() for character in name):
            raise DataError(f"name {name!r} holds a space or a #, at which CLIP-ES ends a name; rename the file")

    def encode(self, image: LabelledImage) -> bytes:
        """`keys` (K,) int64 numpy, `attn_highres` (K, H, W) float16 numpy."""
        maps = enlarged_maps(image, len(self.class_names), *image.size).numpy().astype(np.float16)
        return npy_bytes({"keys": np.array(image.keys, np.int64), "attn_highres": maps})

    def bytes_of(self, image: LabelledImage) -> int:
        """The maps in float16."""
        return _OVERHEAD + _FLOAT16 * len(image.keys) * _area(image.size)

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write the list of names; CLIP-ES takes the greatest of an image's maps, so those without a class stop it."""
        has_class = {image.name: bool(image.keys) for image in images()}
        listed = [name for name, has in has_class.items() if has]
        write_lines(out / self.final_files[0], listed)
        notes = []
        if left_out := len(has_class) - len(listed):
            notes.append(
                f"{self.final_files[0]} leaves out {left_out:,} images without a class, on which CLIP-ES stops; "
                "they are background"
            )
        if len(listed) == 1:
            notes.append(f"{self.final_files[0]} has one name; CLIP-ES reads VOC's lists from two names up")
        if len(self.class_names) > len(COCO_CLASSES):
            notes.append(
                f"CLIP-ES counts {len(COCO_CLASSES)} classes; set n_class to {len(self.class_names) + 1} in it"
            )
        return notes


class PSA(MapsFormat):
    """PSA and MCTformer."""

    name = "psa"
    final_files = ("cls_labels.npy", "cls_labels_onehot.npy", "train_aug.txt")

    def check_name(self, name: str) -> None:
        """Columns are parted by a space."""
        super().check_name(name)
        check_columns(name, self.name)

    def encode(self, image: LabelledImage) -> bytes:
        """One entry per class: its 0-based index (int) -> (H, W) float32 numpy."""
        maps = enlarged_maps(image, len(self.class_names), *image.size).numpy()
        return npy_bytes(dict(zip(image.keys, maps, strict=True)))

    def bytes_of(self, image: LabelledImage) -> int:
        """The maps in float32."""
        return _OVERHEAD + _FLOAT32 * len(image.keys) * _area(image.size)

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write image-level labels and the two-column list."""
        lines = {image.name: two_columns(image) for image in images()}
        write_lines(out / self.final_files[2], lines.values())
        notes = self._write_image_labels(out, images)
        if others := [name for name, line in lines.items() if line.split(" ")[0][_PSA_NAME] != name]:
            notes.append(
                f"{self.final_files[2]}: PSA cuts names as long as VOC's out of the lines, and so finds no "
                f"'{others[0]}' ({len(others):,} such names); change load_img_name_list there"
            )
        return notes


def enlarged_maps(image: LabelledImage, class_count: int, height: int, width: int) -> Tensor:
    """The (K, height, width) float32 class maps of an image, 0..1; (0, height, width) where it has no class."""
    import torch

    from excel_cam.method.label_map import upsample_maps

    if image.maps is None:
        raise DataError(f"{image.name}: no class maps; give their folder with --cams")
    maps = torch.from_numpy(read_maps(image.maps, class_count).maps)
    return upsample_maps(maps, height, width) if len(maps) else torch.zeros(0, height, width)


def _quarter(size: tuple[int, int]) -> tuple[int, int]:
    """IRN's stride of 4, rounded up."""
    return -(-size[0] // 4), -(-size[1] // 4)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
