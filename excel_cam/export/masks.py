"""Trainers that read label PNGs.

deeplab   VOC2012/SegmentationClassAug/<name>.png, and lines `/JPEGImages/x.jpg /SegmentationClassAug/x.png`
mmseg     ann_dir/<name>.png, splits/train.txt of bare names, and a configuration to start from
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from excel_cam.classes import ADE20K_CLASSES, CITYSCAPES_CLASSES, CONTEXT_CLASSES, IGNORE, MASK_FORMS, voc_palette
from excel_cam.errors import DataError, OutputError
from excel_cam.export.formats import Format, Images, LabelledImage, check_columns, two_columns, write_lines


def png_bytes(picture: Image.Image) -> bytes:
    """A picture as the content of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def link_to(link: Path, photographs: Path) -> bool:
    """Make `link` lead to a photograph, or to a folder of them; False where it does already.

    Raises `OutputError` where something else is there, `OSError` where there can be no links.
    """
    if link.exists() and link.resolve() == photographs.resolve():
        return False
    try:
        os.symlink(photographs.resolve(), link, target_is_directory=photographs.is_dir())
    except FileExistsError:
        raise OutputError(f"{link} is there and not the photographs of --images; remove it") from None
    return True


class MaskFormat(Format):
    """A trainer that reads label PNGs: 8-bit `L`, whatever the labels' own mode."""

    needs_background = False
    upright = True  # both trainers load photographs with OpenCV, which turns them
    folder: ClassVar[str]
    photograph_folder: ClassVar[str]

    def image_file(self, name: str) -> str:
        """The label PNG, folders of its name mirrored."""
        return f"{self.folder}/{name}.png"

    def encode(self, image: LabelledImage) -> bytes:
        """The label again, as 8-bit `L` PNG."""
        return png_bytes(Image.fromarray(self.values_of(self.mask_of(image))))

    def values_of(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The values that the trainer has for an (H, W) label's."""
        return mask

    def bytes_of(self, image: LabelledImage) -> int:
        """As the label's own file."""
        return image.label_bytes

    def link_photographs(self, out: Path, photographs: Path | None, images: Images) -> list[str]:
        """Link the folder of photographs into the export, unless it is; so the export is a complete root."""
        link = out / self.photograph_folder
        if photographs is None:
            return [f"put or link the photographs into {link}; --images DIR links them"]
        try:
            linked = link_to(link, photographs)
        except OSError as error:
            return [f"{link} could not be linked ({error.strerror}); copy the photographs there"]
        return [f"{link} links to {photographs}"] if linked else []


class DeepLab(MaskFormat):
    """kazuto1011/deeplab-pytorch: VOC's folder, which it joins to its root, with a two-column list; 255 is ignored."""

    name = "deeplab"
    folder = "VOC2012/SegmentationClassAug"
    photograph_folder = "VOC2012/JPEGImages"
    final_files = ("VOC2012/ImageSets/SegmentationAug/train_aug.txt",)

    def check_name(self, name: str) -> None:
        """Columns are parted by a space."""
        super().check_name(name)
        check_columns(name, self.name)

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write the two-column list."""
        write_lines(out / self.final_files[0], (two_columns(image) for image in images()))
        return []


class MMSegmentation(MaskFormat):
    """mmsegmentation 1.x: `BaseSegDataset` with an `ann_file` of bare names.

    Labels of ADE20K and of Pascal Context's 59 classes are numbered as its own configurations of these read them: 0 is
    ignored, classes from 1 on, and `reduce_zero_label` takes them back to 0. Cityscapes' labels are train ids already;
    their files end as that data set's do.
    """

    name = "mmseg"
    one_suffix = True
    folder = "ann_dir"
    photograph_folder = "img_dir"
    final_files = ("splits/train.txt",)
    starting_file = "excel_cam_dataset.py"

    @property
    def zero_is_ignored(self) -> bool:
        """Whether exported masks are numbered from 1 on, for `reduce_zero_label`."""
        return not self.has_background and self.class_names in (ADE20K_CLASSES, CONTEXT_CLASSES)

    @property
    def endings(self) -> tuple[str, str]:
        """What the names of photographs and of exported masks end in, which the list leaves out."""
        if self.has_background or self.class_names != CITYSCAPES_CLASSES:
            return "", ""
        form = MASK_FORMS["cityscapes"][1]
        return form.image_ending, form.ending

    def values_of(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Label values, or those + 1 with 0 for 255."""
        return np.where(mask == IGNORE, 0, mask + 1).astype(np.uint8) if self.zero_is_ignored else mask

    def image_file(self, name: str) -> str:
        """The label PNG, folders of its name mirrored."""
        return super().image_file(self._listed(name) + self.endings[1])

    def _listed(self, name: str) -> str:
        return name.removesuffix(self.endings[0])

    def check_name(self, name: str) -> None:
        """Lines are stripped."""
        super().check_name(name)
        if name != name.strip():
            raise DataError(f"name '{name}' begins or ends with a space, which mmseg's list loses; rename the file")

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write the list of names."""
        write_lines(out / self.final_files[0], (self._listed(image.name) for image in images()))
        if self.zero_is_ignored:
            return [f"{self.name}: classes are numbered from 1, 0 is ignored: keep reduce_zero_label=True"]
        return []

    def starting_content(self, out: Path, suffix: str) -> bytes:
        """A data-set configuration."""
        names, (image_ending, ending) = self.label_names, self.endings
        colours = voc_palette()
        first = int(not self.has_background)  # black is for the background
        palette = [list(colours[3 * value : 3 * value + 3]) for value in range(first, first + len(names))]
        root = Path(os.path.realpath(out))
        text = _CONFIGURATION.format(
            root=str(root), itself=str(root / self.starting_file), names=names, palette=palette, count=len(names),
            suffix=image_ending + suffix, mask_suffix=f"{ending}.png", reduce=self.zero_is_ignored,
            zero=_ZERO[self.has_background, self.zero_is_ignored], images=self.photograph_folder, labels=self.folder,
            split=self.final_files[0],
        )  # fmt: skip
        return text.encode()


# (there is a background class, masks are numbered from 1 on) -> what their 0 is
_ZERO = {
    (True, False): "0 is background, a class like the others",
    (False, False): "0 is the first class",
    (False, True): "0 is ignored, 1 the first class",
}
_CONFIGURATION = """\
# Pseudo-labels from excel-cam for mmsegmentation 1.x. Name this file in a configuration of yours:
#     _base_ = ['your_model.py', {itself!r}]
#     model = dict(decode_head=dict(num_classes={count}), auxiliary_head=dict(num_classes={count}))
dataset_type = 'BaseSegDataset'
data_root = {root!r}
metainfo = dict(
    classes={names!r},
    palette={palette!r},
)
crop_size = (512, 512)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label={reduce}),  # {zero}
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path={images!r}, seg_map_path={labels!r}),
        ann_file={split!r},
        img_suffix={suffix!r},
        seg_map_suffix={mask_suffix!r},
        ignore_index=255,
        reduce_zero_label={reduce},
        pipeline=train_pipeline,
    ),
)
"""
