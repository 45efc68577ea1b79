"""What `excel-cam doctor` can find, how bad it is, and the line that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from excel_cam.files.images.masks import CLASSLESS_REMEDY

ERROR, WARNING = "error", "warning"
_SHOWN = 3  # examples that the text shows


@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong. `remedy` may hold {fix} (the command that mends it), {again}, {labels}, {images}."""

    severity: str
    text: str
    remedy: str


MAKE_AGAIN = "delete them and run the same `excel-cam generate` again: it makes what is missing"
MAKE_SHARDS_AGAIN = "remove their shards' .parquet and run the same `excel-cam generate` again: it makes these anew"
LOWER_BACKGROUND = "look at them; lower the background with `excel-cam generate --background-power 2`"
_LOOK_AT_TAGS = (
    "look at these photographs: the model may err as well as the tag; correct the tags file, then run the same "
    "`excel-cam generate` with --overwrite"
)

KINDS = {
    "damaged-label": Kind(ERROR, "labels cannot be read: empty, cut off, damaged, too large, or no PNG", "{again}"),
    "colour-coded": Kind(ERROR, "labels hold VOC's colours where class indices belong", "{fix}"),
    "equal-channels": Kind(ERROR, "labels hold their values three times over (RGB)", "{fix}"),
    "four-channels": Kind(ERROR, "labels have an alpha channel", "{fix}"),
    "unknown-colours": Kind(
        ERROR, "labels are pictures: colours that are not surely class indices",
        "save them again with one class index per pixel (mode L), and give the class list; photographs and overlays "
        "belong elsewhere",
    ),
    "transparent": Kind(
        ERROR, "labels have an alpha channel, and colours or transparency that stand for no class",
        "save them again with one class index per pixel (mode L)",
    ),
    "one-bit": Kind(
        ERROR, "labels have 1 bit per pixel: readers take white for 1 or for 255",
        "save them as 8-bit: Image.fromarray(numpy.asarray(Image.open(path)).astype('uint8')).save(path)",
    ),
    "sixteen-bit": Kind(ERROR, "labels have 16 bits per pixel: 8-bit readers see only 0", "{fix}"),
    "few-bits": Kind(ERROR, "labels have 2 or 4 bits per pixel: readers stretch their values (1 to 85 or 17)", "{fix}"),
    "out-of-range": Kind(
        ERROR, "labels hold values that are neither a class nor 255",
        "give the class list they were made with (--dataset or --classes), or make them again with it",
    ),
    "no-class": Kind(
        ERROR, "folder of labels without a class in any of them",
        f"{CLASSLESS_REMEDY}; if `excel-cam generate` made them: check that --weights belong to --model, and the tags",
    ),
    "wrong-size": Kind(
        ERROR, "labels have another size than their photograph",
        "label the photographs as they are now: `excel-cam generate ... --overwrite`",
    ),
    "no-photograph": Kind(
        ERROR, "labels have no photograph of their name", "check --images {images}, or delete these labels"
    ),
    "damaged-photograph": Kind(ERROR, "photographs cannot be decoded", "copy them again from where they came"),
    "palette": Kind(WARNING, "labels have a palette: imageio and OpenCV read colours from them", "{fix}"),
    "mostly-ignored": Kind(
        WARNING, "labels are more than half 255, which training skips",
        "take a narrower --ignore-thresholds LOW,HIGH, or none",
    ),
    "all-background": Kind(
        WARNING, "labels have no class at all, only 0 and 255",
        "check that their images have tags; lower the background with `excel-cam generate --background-power 2`",
    ),
    "nothing-labelled": Kind(
        WARNING, "labels are 255 from edge to edge", "check that their images have tags: others are not labelled",
    ),
    "one-class": Kind(
        WARNING, "labels are one class from edge to edge",
        "look at them; raise the background with `excel-cam generate --background-power 0.5`",
    ),
    "unseen-class": Kind(WARNING, "classes occur in no label", "check the spelling in tags and class list"),
    "tag-without-pixel": Kind(
        WARNING, "tagged classes have no pixel in their label", "{lower}"
    ),
    "pixel-without-tag": Kind(
        WARNING, "classes in labels are not among their image's tags",
        "check that --tags is the file they were made with",
    ),
    "tag-without-support": Kind(
        WARNING, "tags have nothing in their photograph that supports them", _LOOK_AT_TAGS,
    ),
    "class-there-untagged": Kind(
        WARNING, "classes look to be in a photograph that is not tagged with them", _LOOK_AT_TAGS,
    ),
    "no-tags": Kind(WARNING, "labels have no line in the tags file", "add lines to it, or give the right --tags"),
    "tags-without-label": Kind(
        WARNING, "names in the tags file have no label",
        "run the same `excel-cam generate` again: it makes what is missing",
    ),
    "no-label": Kind(
        WARNING, "photographs have no label",
        "run `excel-cam generate` again: it makes what is missing; failed.jsonl says what it could not read",
    ),
    "same-label": Kind(
        WARNING, "labels equal another one, pixel by pixel", "look whether their photographs are the same; keep one"
    ),
    "same-photograph": Kind(
        WARNING, "photographs are the same file as another one", "keep one of each, or training and test may share it"
    ),
    "turned-photograph": Kind(
        WARNING, "photographs are turned by EXIF, which only some trainers' readers follow",
        "save them as they are to be seen: `mogrify -auto-orient` on copies, then label those",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One kind of fault and where it is. fixed: how many were mended in this run."""

    code: str
    examples: tuple[str, ...]
    fixed: int
    remedy: str

    @property
    def kind(self) -> Kind:
        """What it is."""
        return KINDS[self.code]

    @property
    def count(self) -> int:
        """How many labels, photographs or classes."""
        return len(self.examples)

    def to_json_dict(self) -> dict[str, Any]:
        """The finding as JSON can hold it, all examples included."""
        return {
            "code": self.code, "severity": self.kind.severity, "count": self.count, "fixed": self.fixed,
            "message": self.kind.text, "mend": self.remedy, "examples": list(self.examples),
        }  # fmt: skip

    def __str__(self) -> str:
        shown = ", ".join(self.examples[:_SHOWN])
        more = f" and {self.count - _SHOWN:,} more" if self.count > _SHOWN else ""
        fixed = f" ({self.fixed:,} mended now)" if self.fixed else ""
        lines = [
            f"{self.kind.severity:7}  {self.code}: {self.count:,} {self.kind.text}{fixed}",
            f"         {shown}{more}",
        ]
        if self.fixed < self.count:
            lines.append(f"         mend: {self.remedy}")
        return "\n".join(lines)


@dataclass
class Collector:
    """Gathers what is found, by kind."""

    examples: dict[str, list[str]] = field(default_factory=dict)
    fixed: dict[str, int] = field(default_factory=dict)

    def add(self, code: str, example: str, fixed: bool = False) -> None:
        """One more of that kind."""
        self.examples.setdefault(code, []).append(example)
        self.fixed[code] = self.fixed.get(code, 0) + fixed

    def drop(self, *codes: str) -> None:
        """Forget what was found of these kinds."""
        for code in codes:
            self.examples.pop(code, None)

    def findings(self, **words: str) -> tuple[Finding, ...]:
        """All findings, errors first; `words` fill the remedies."""
        found = [code for code in KINDS if code in self.examples]
        return tuple(
            Finding(code, tuple(self.examples[code]), self.fixed[code], KINDS[code].remedy.format(**words))
            for code in found
        )


def errors_left(findings: Sequence[Finding]) -> bool:
    """Whether an error is there that was not mended."""
    return any(finding.kind.severity == ERROR and finding.fixed < finding.count for finding in findings)
