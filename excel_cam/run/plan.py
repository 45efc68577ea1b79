"""Which images of a run still need a label: what is there compared with what would be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from excel_cam.data.dataset import Sample
from excel_cam.errors import DataError, ImageError, OutputError
from excel_cam.files.images.photographs import stored_sizes
from excel_cam.files.machine import raise_if_machine
from excel_cam.labels.class_maps import read_maps_stamp
from excel_cam.labels.identity import Identity
from excel_cam.labels.png import FoundLabel, find_label, refuse_picture
from excel_cam.labels.records import differences
from excel_cam.wording import first_lines


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where labels go and how they are written."""

    out: Path
    png_mode: str = "L"
    overwrite: bool = False
    cams: Path | None = None  # folder for class maps
    overwrite_hand_made: bool = False

    @property
    def folders(self) -> list[Path]:
        """The folders that are written to, each once however it is spelt."""
        chosen = [self.out] if self.cams is None else [self.out, self.cams]
        return list({folder.resolve(): folder for folder in chosen}.values())


@dataclass(frozen=True)
class Plan:
    """Which images still need a label. `stale` have one that was made otherwise.

    hand_made: names of those whose label a person made, which stays; where its class maps are not there, and asked for,
    it is not among `done`.
    """

    samples: tuple[Sample, ...]
    done: frozenset[str]
    stale: tuple[Sample, ...]
    hand_made: frozenset[str] = frozenset()

    @property
    def pending(self) -> int:
        """Images without a label of this identity."""
        return len(self.samples) - len(self.done)


def label_path(out: Path, sample: Sample) -> Path:
    """Where a sample's label goes: the folders of its name are mirrored."""
    return out / f"{sample.name}.png"


def maps_path(folder: Path, sample: Sample) -> Path:
    """Where a sample's class maps go: the folders of its name are mirrored."""
    return folder / f"{sample.name}.npz"


def plan_run(samples: tuple[Sample, ...], destination: Destination, identity: Identity) -> Plan:
    """What is left to do. Raises `OutputError` where labels or maps were made otherwise and are not to be replaced."""
    plan = compare(samples, destination, identity)
    if destination.overwrite:
        return replace(plan, done=frozenset() if destination.cams else plan.hand_made, stale=())
    if plan.stale:
        out, first = destination.out, plan.stale[0]
        what = "tags or regions" if "regions" in identity.known else "tags"
        raise OutputError(
            f"{len(plan.stale):,} labels in {out} were made otherwise, with other {what}, or by another program, "
            f"first {label_path(out, first)}; add --overwrite to replace them, or choose another --out"
        )
    return plan


def compare(samples: tuple[Sample, ...], destination: Destination, identity: Identity) -> Plan:
    """Compare what is there with what this run would make; raises `OutputError` before a photograph is lost.

    A label whose class maps are asked for and not there counts as missing.
    """
    plan = compare_labels(samples, destination, identity)
    if destination.cams is None:
        return plan
    kept = _kept_maps(samples, destination.cams, identity, destination.overwrite)
    return replace(plan, done=plan.done & kept)


def compare_labels(samples: tuple[Sample, ...], destination: Destination, identity: Identity) -> Plan:
    """Compare the labels there with what this run would make; raises `OutputError` before a photograph is lost."""
    out, stale = destination.out, []
    done, hand_made, stamps = set[str](), set[str](), _Stamps(identity)
    for sample in samples:
        path = label_path(out, sample)
        if path == sample.image_path or (sample.image_path.suffix == ".png" and _same_file(path, sample.image_path)):
            raise OutputError(f"{path}: the label would replace its own photograph; choose another --out")
        found = find_label(path)
        refuse_picture(path, found)
        if found is None:
            continue
        if found.is_hand_made:
            if not destination.overwrite_hand_made:
                hand_made.add(sample.name)
            continue
        if found.stamp != stamps.of(sample):
            stale.append(sample)
        elif still_fits(found, sample.image_path):
            done.add(sample.name)
    return Plan(samples, frozenset(done | hand_made), tuple(stale), frozenset(hand_made))


class _Stamps:
    """The stamps that samples' labels would have; those of the same tags and regions are computed once."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._known: dict[tuple[tuple[int, ...], str | None], str] = {}

    def of(self, sample: Sample) -> str | None:
        """A sample's; None where it has regions that cannot be read, which is said when its turn comes."""
        try:
            decided_by = sample.tags, sample.regions_hash
        except DataError:
            return None
        if decided_by not in self._known:
            self._known[decided_by] = self._identity.stamp(*decided_by)
        return self._known[decided_by]


def still_fits(label: FoundLabel, photograph: Path) -> bool:
    """Whether a finished label has the size of its photograph; one that was replaced since may have another.

    Only the header of a photograph is read, and only where its file has changed after the label was written: a change
    of its name or place counts, for a copy may bear an old time. What is missing or cannot be read fits.
    """
    try:
        status = photograph.stat()
        if max(status.st_mtime_ns, status.st_ctime_ns) <= label.written:
            return True
        return label.size in stored_sizes(photograph)
    except OSError as error:
        raise_if_machine(error, photograph)
        return True
    except ImageError:
        return True


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _kept_maps(samples: Sequence[Sample], folder: Path, identity: Identity, overwrite: bool) -> set[str]:
    """Names of the samples whose class maps are there, made as this run would make them.

    Raises `OutputError` where maps were made otherwise and are not to be overwritten.
    """
    kept, stamps = set(), _Stamps(identity)
    for sample in samples:
        path = maps_path(folder, sample)
        found = read_maps_stamp(path)
        if found is not None and found == stamps.of(sample):
            kept.add(sample.name)
        elif found is not None and not overwrite:
            raise OutputError(
                f"{path}: these class maps were made otherwise, with other tags, or by another program; "
                "add --overwrite to replace them, or choose another --save-cams"
            )
    return kept


def finished_identity(
    runs: Mapping[str, dict[str, Any]], known: dict[str, Any], asked: dict[str, Any]
) -> Identity | None:
    """The identity of the labels that a run would make, where the record of an earlier run tells it.

    asked: the model as asked for; the same question gets the same answer as that run did, without loading it.
    """
    for record in runs.values():
        resolved = record["identity"].get("resolved")
        if record.get("asked") == asked and isinstance(resolved, dict):
            return Identity(known, resolved)
    return None


def refuse_other_runs(out: Path, runs: Mapping[str, dict[str, Any]], part: str, now: dict[str, Any]) -> None:
    """Raise `OutputError` where runs into this folder made their labels otherwise; `part` of their identity."""
    for record in runs.values():
        before = record["identity"].get(part, {})
        if found := differences(before, now):
            raise OutputError(
                f"{out} holds labels made otherwise: {first_lines(found)}; "
                "add --overwrite to replace them, or choose another --out"
            )
