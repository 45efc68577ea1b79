"""`excel-cam doctor` as a function: look at every label, its photograph and its tags, and say what is wrong.

One label at a time; what is kept of each is its name and a digest.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.classes import IGNORE, MAX_CLASSES
from excel_cam.doctor.findings import LOWER_BACKGROUND, MAKE_AGAIN, MAKE_SHARDS_AGAIN, Collector, Finding, errors_left
from excel_cam.doctor.labels import fix_label, look_at_label
from excel_cam.doctor.photographs import check_photograph, same_files
from excel_cam.doctor.tags import Suspicion, judge_by_maps, judge_by_scores
from excel_cam.errors import DataError, UsageError
from excel_cam.files.atomic import remove_stale_parts
from excel_cam.files.images.masks import mask_path, value_counts, values_text
from excel_cam.labels.claims import Work, claimed
from excel_cam.labels.folder import photographs_of
from excel_cam.labels.label_files import LabelFiles
from excel_cam.tags.lookup import Tags
from excel_cam.tags.match import match_names
from excel_cam.tags.scores import Scores

MOSTLY = 0.5  # share of 255 above which a label is worth a warning


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What is examined. class_names None: the class list is not known, and what needs it is not looked for.

    has_background: whether label 0 is background; else it is the first class. scores: of all classes, by image, and
    cams: class maps, which tags are held against. predicted_tags: what is known of tags that were
    predicted, not given.
    """

    labels: LabelFiles
    class_names: tuple[str, ...] | None = None
    images: Path | None = None
    tags: Tags | None = None
    fix: bool = False
    fix_command: tuple[str, ...] = ()  # what mends the fixable findings, as typed
    has_background: bool = True
    scores: Scores | None = None
    cams: LabelFiles | None = None
    predicted_tags: str | None = None

    @property
    def greatest(self) -> int:
        """The greatest label value of a class."""
        count = MAX_CLASSES if self.class_names is None else len(self.class_names)
        return count if self.has_background or self.class_names is None else count - 1


@dataclass(frozen=True)
class Diagnosis:
    """The result: findings, errors first, and what the labels hold.

    pixels: of all readable labels. background_pixels: None where there is no background class. class_images,
    class_pixels: by class name, of the labels where they are in range.
    """

    labels: int
    findings: tuple[Finding, ...]
    pixels: int
    ignored_pixels: int
    background_pixels: int | None
    class_images: Mapping[str, int]
    class_pixels: Mapping[str, int]
    predicted_tags: str | None = None

    @property
    def failed(self) -> bool:
        """Whether errors are left."""
        return errors_left(self.findings)

    def share(self, pixels: int) -> float:
        """That count of pixels as a share of all, 0..1; 0 without any."""
        return pixels / self.pixels if self.pixels else 0.0

    def to_json_dict(self) -> dict[str, Any]:
        """The diagnosis as JSON can hold it."""
        background = self.background_pixels
        return {
            "labels": self.labels, "ok": not self.failed, "ignored_share": round(self.share(self.ignored_pixels), 6),
            "background_share": None if background is None else round(self.share(background), 6),
            "classes": [
                {"name": name, "images": self.class_images[name], "share": round(self.share(pixels), 6)}
                for name, pixels in self.class_pixels.items()
            ],
            **({} if self.predicted_tags is None else {"predicted_tags": self.predicted_tags}),
            "findings": [finding.to_json_dict() for finding in self.findings],
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """The diagnosis for a terminal."""
        for finding in self.findings:
            yield str(finding)
        ignored = 100 * self.share(self.ignored_pixels)
        background = ""
        if self.background_pixels is not None:
            background = f"background {100 * self.share(self.background_pixels):.1f} %, "
        seen = sum(1 for count in self.class_images.values() if count)
        classes = f"{seen} of {len(self.class_images)} classes seen; " if self.class_images else ""
        yield f"{self.labels:,} labels: {classes}{background}255 (ignored) {ignored:.1f} %"
        if self.predicted_tags is not None:
            yield f"tags: {self.predicted_tags}"
        if not self.findings:
            yield "nothing wrong found"


@dataclass
class _Counts:
    """What the labels hold, summed."""

    found: Collector = field(default_factory=Collector)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    first_with: dict[bytes, str] = field(default_factory=dict)  # digest of a label -> the first name that has it


def examine(
    examination: Examination, on_label: Callable[[], None] = lambda: None,
    on_total: Callable[[int], None] = lambda _: None,
) -> Diagnosis:  # fmt: skip
    """Examine every label; mends what is safe to mend where `fix` is set. `on_label` is called after each,
    `on_total` is told before how many there are.

    Raises `DataError` where there are no labels or a folder cannot be read, `UsageError` for labels in shards that were
    to be mended, `OutputError` where a fix is not written, or a run that writes labels is at work in the folder.
    """
    labels = examination.labels
    if examination.fix and labels.folder is None:
        raise UsageError(
            f"{labels}: labels in shards stay as they are; unpack them with `excel-cam unpack {labels} --to labels/`, "
            "then mend that folder"
        )
    names = labels.names()
    if not names:
        raise DataError(
            f"{labels}: no label PNGs in this folder; labels are <name>.png, other formats lose their values"
        )
    on_total(len(names))
    if not examination.fix or labels.folder is None:
        return _examine_all(examination, names, on_label)
    with claimed({labels.folder: Work()}):
        for folder in {mask_path(labels.folder, name).parent for name in names}:
            remove_stale_parts(folder)
        return _examine_all(examination, names, on_label)


def _examine_all(examination: Examination, names: Sequence[str], on_label: Callable[[], None]) -> Diagnosis:
    """Examine the labels of these names; see `examine`."""
    labels = examination.labels
    photographs = None if examination.images is None else photographs_of(examination.images, labels.folder, names)
    tags = None if examination.tags is None else match_names(examination.tags, set(names), "--tags")
    counts = _Counts()
    for name in names:
        size = _examine_label(examination, name, None if tags is None else tags.get(name), counts)
        if photographs is not None:
            check_photograph(name, size, photographs.get(name), counts.found)
        on_label()
    if photographs is not None:
        for name in sorted(set(photographs).difference(names)):
            counts.found.add("no-label", name)
        for name, first in same_files(photographs):
            counts.found.add("same-photograph", f"{name} (as {first})")
    if tags is not None:
        for name in names:
            if name not in tags:
                counts.found.add("no-tags", name)
        for name in sorted(set(tags).difference(names)):
            counts.found.add("tags-without-label", name)
        for suspicion in _suspicions(examination, tags):
            value = suspicion.index + int(examination.has_background)
            counts.found.add(suspicion.code, f"{suspicion.name} ({_class_name(value, examination)})")
    return _conclude(examination, len(names), counts)


def _suspicions(examination: Examination, tags: Tags) -> Iterable[Suspicion]:
    """The tags that look wrong by scores or class maps, each once."""
    found = [] if examination.scores is None else judge_by_scores(tags, examination.scores)
    if examination.cams is not None and examination.class_names is not None:
        found += judge_by_maps(tags, examination.cams, len(examination.class_names))
    return dict.fromkeys(found)


def _examine_label(
    examination: Examination, name: str, tags: Sequence[int] | None, counts: _Counts
) -> tuple[int, int] | None:
    """Look at one label, count what it holds, mend it where asked; returns its (H, W), None where it is unreadable."""
    file, found = examination.labels.file(name), counts.found
    look = look_at_label(file, examination.greatest)
    if look.fault is not None:
        mend = examination.fix and look.can_be_fixed
        if mend and look.mask is not None and isinstance(file, Path):
            fix_label(file, look.mask)
        found.add(look.fault, name, fixed=mend)
    if look.out_of_range:
        found.add("out-of-range", name)
    elif look.mask is not None:
        _count(examination, name, look.mask.astype(np.uint8, copy=False), tags, counts)
    return look.size


def _count(
    examination: Examination, name: str, mask: NDArray[np.uint8], tags: Sequence[int] | None, counts: _Counts
) -> None:
    """Count the pixels of one label in range, and note what is odd about them."""
    found, pixels = counts.found, value_counts(mask)
    counts.pixels += pixels
    counts.images += pixels > 0
    first = int(examination.has_background)  # label value of the first class
    present = [int(value) for value in np.flatnonzero(pixels) if first <= value != IGNORE]
    named = {value: f"{name} ({_class_name(value, examination)})" for value in present}
    if not present and (tags is None or len(tags)):
        found.add("all-background" if examination.has_background else "nothing-labelled", name)
    if pixels[IGNORE] > MOSTLY * mask.size and (present or examination.has_background):
        found.add("mostly-ignored", name)
    if examination.has_background and len(present) == 1 and pixels[0] == pixels[IGNORE] == 0:
        found.add("one-class", named[present[0]])
    if tags is not None:
        tagged = {tag + first for tag in tags}
        for value in sorted(tagged.difference(present)):
            found.add("tag-without-pixel", f"{name} ({_class_name(value, examination)})")
        for value in sorted(set(present).difference(tagged)):
            found.add("pixel-without-tag", named[value])
    if present:  # labels without a class are alike for good reason
        digest = hashlib.blake2b(mask.tobytes(), digest_size=16, key=str(mask.shape).encode()).digest()
        earlier = counts.first_with.setdefault(digest, name)
        if earlier != name:
            found.add("same-label", f"{name} (as {earlier})")


def _class_name(value: int, examination: Examination) -> str:
    if examination.class_names is None:
        return f"class {value}"
    return examination.class_names[value - examination.has_background]


def _require_classes(counts: _Counts, has_background: bool) -> None:
    """Where no label at all holds a class, say that alone: what else is odd about them comes from it."""
    values = [int(value) for value in np.flatnonzero(counts.pixels)]
    classless = {0, IGNORE} if has_background else {IGNORE}
    # Labels whose values are in doubt may hold classes; labels of images without tags are rightly empty.
    kinds = counts.found.examples.keys()
    if {*values} <= classless and kinds & {"all-background", "nothing-labelled"} and not kinds & {
        "out-of-range", "unknown-colours", "transparent", "one-bit"
    }:  # fmt: skip
        counts.found.drop("all-background", "nothing-labelled", "mostly-ignored", "tag-without-pixel")
        counts.found.add("no-class", values_text(values))


def _conclude(examination: Examination, labels: int, counts: _Counts) -> Diagnosis:
    has_background = examination.has_background
    _require_classes(counts, has_background)
    numbered = list(enumerate(examination.class_names or (), start=int(has_background)))
    images = {name: int(counts.images[value]) for value, name in numbered}
    pixels = {name: int(counts.pixels[value]) for value, name in numbered}
    for name, count in images.items():
        if not count and "no-class" not in counts.found.examples:
            counts.found.add("unseen-class", name)
    fix, again = shlex.join(examination.fix_command), MAKE_AGAIN
    if examination.labels.folder is None:
        fix, again = f"excel-cam unpack {examination.labels} --to labels/", MAKE_SHARDS_AGAIN
    findings = counts.found.findings(
        fix=fix, again=again, labels=str(examination.labels), images=str(examination.images),
        lower=LOWER_BACKGROUND if has_background else "look at them",
    )  # fmt: skip
    total, ignored = int(counts.pixels.sum()), int(counts.pixels[IGNORE])
    background = int(counts.pixels[0]) if has_background else None
    return Diagnosis(labels, findings, total, ignored, background, images, pixels, examination.predicted_tags)
