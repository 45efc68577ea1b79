"""Libraries that load pairs of photograph and mask.

hf         Hugging Face `datasets`: masks/, metadata.jsonl with the features `image` and `mask`, id2label.json
fiftyone   FiftyOne's ImageSegmentationDirectory: data/, labels/, and a script that loads them with their class names
"""

from __future__ import annotations

import json
from pathlib import Path

from excel_cam.classes import IGNORE, IGNORED_NAMES
from excel_cam.errors import DataError
from excel_cam.export.formats import Images
from excel_cam.export.masks import MaskFormat
from excel_cam.files.atomic import json_bytes, json_line, replacing, write_atomically


class HuggingFace(MaskFormat):
    """`datasets.load_dataset("FOLDER")`: an image folder whose metadata name two pictures per row."""

    name = "hf"
    upright = True
    folder = "masks"
    photograph_folder = "images"
    final_files = ("metadata.jsonl", "id2label.json")

    def check_name(self, name: str) -> None:
        """Addresses of other machines are refused by the loader."""
        super().check_name(name)
        if "://" in name or name.rpartition("/")[2] == "metadata":
            raise DataError(f"name '{name}' holds '://', or is that of the metadata's own file; rename the file")

    def finish(self, out: Path, images: Images) -> list[str]:
        """Write the rows, and what the label values stand for."""
        with replacing(out / self.final_files[0]) as part, part.open("w", encoding="utf-8") as stream:
            for image in images():
                photograph = f"{self.photograph_folder}/{image.name}{image.suffix}"
                stream.write(json_line({"file_name": photograph, "mask_file_name": self.image_file(image.name)}))
        names = dict(enumerate(self.label_names))
        write_atomically(out / self.final_files[1], json_bytes(names))
        return [
            f'hf: datasets.load_dataset("imagefolder", data_dir={json.dumps(str(out))}, split="train") has the '
            "features image and mask; 255 in a mask is to be ignored"
        ]


class FiftyOne(MaskFormat):
    """A folder for FiftyOne, and the script that loads it."""

    name = "fiftyone"
    upright = True
    folder = "labels"
    photograph_folder = "data"
    starting_file = "load_in_fiftyone.py"

    def finish(self, out: Path, images: Images) -> list[str]:
        """All there is to say is in the script."""
        return [f"fiftyone: python {out / self.starting_file} loads and shows them"]

    def starting_content(self, out: Path, suffix: str) -> bytes:
        """The script."""
        targets = {**dict(enumerate(self.label_names)), IGNORE: IGNORED_NAMES[0]}
        return _SCRIPT.format(targets=targets).encode()


_SCRIPT = """\
# Pseudo-labels from excel-cam in FiftyOne: running this shows them, `load()` gives the data set.
from pathlib import Path

import fiftyone as fo

MASK_TARGETS = {targets!r}


def load():
    dataset = fo.Dataset.from_dir(
        dataset_dir=str(Path(__file__).parent),
        dataset_type=fo.types.ImageSegmentationDirectory,
        label_field="pseudo_labels",
    )
    dataset.default_mask_targets = MASK_TARGETS
    dataset.save()
    return dataset


if __name__ == "__main__":
    fo.launch_app(load()).wait()
"""
