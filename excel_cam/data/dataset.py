"""What is to be labelled: images, each with its image-level labels. Every data set opens as a `DataSet`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from excel_cam.errors import DataError
from excel_cam.tags.lookup import Tags
from excel_cam.tags.name_finder import by_case, case_hint
from excel_cam.tags.predicted import PredictedNote
from excel_cam.wording import quoted

if TYPE_CHECKING:
    from excel_cam.files.regions.region import ImageRegions


@dataclass(frozen=True, slots=True)
class Sample:
    """One image to label; there are as many as images, so it is small."""

    name: str  # path under the root, with '/', without extension; also the label's name
    image_path: Path  # the file may be missing
    tags: tuple[int, ...]  # 0-based class indices, ascending, each once; may be empty
    regions: ImageRegions | None = None  # what is known of parts of it, where such are to vote on its label

    @property
    def regions_hash(self) -> str | None:
        """SHA-256 of its regions, None without any. Raises `DataError` where they cannot be read."""
        return None if self.regions is None else self.regions.fingerprint


@dataclass(frozen=True)
class DataSet:
    """The images to label, in order, and what their classes are called."""

    name: str  # as `--dataset` has it
    root: Path
    class_names: tuple[str, ...]  # label order: the class at index i has label i + 1
    prompt_names: tuple[str, ...]  # what the text encoder is told, one per class
    samples: tuple[Sample, ...]  # at least one; names are unique
    tags_source: str  # the file or files that the tags come from
    notes: tuple[str, ...]  # lines worth telling the user
    split: str | None = None  # the split the images are of, None where they were named
    predicted_tags: PredictedNote | None = None  # where a file says that its tags were predicted, not given


def require_tags(
    names: Sequence[str], tags: Tags, source: str, advice: str, images: Collection[str] | None = None
) -> None:
    """DataError when a name has no tags: an image without classes has to be said, not guessed.

    images: those of `names` that are images, where others are among them. Where no tags are of any, they were made for
    other images, which is said too.
    """
    untagged = [name for name in names if name not in tags]
    if untagged:
        hint = case_hint(untagged[0], by_case(tags))
        known = names if images is None else images
        if tags and not hint and not any(name in known for name in tags):
            hint = f"; none of the file's {len(tags):,} names, first {quoted(next(iter(tags)))}, is an image here"
        raise DataError(
            f"{source}: no tags for {len(untagged):,} of {len(names):,} images, first {quoted(untagged[0])}{hint}; add "
            f"lines (with empty classes for none), {advice}or narrow with --list"
        )
