"""`excel-cam vote` as a function: a folder of finished labels and the regions of their photographs → another folder.

No model, no photograph: one label and one region at a time are in memory. What is there already, made of the same label
and the same regions with the same settings, is kept; hand-made labels are taken over as they are.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import excel_cam
from excel_cam.errors import DataError, OutputError, UsageError
from excel_cam.files.atomic import check_writable, hash_file, hash_json, remove_stale_parts, write_atomically
from excel_cam.files.images.masks import mask_path, read_mask
from excel_cam.files.inputs import lies_in
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.part import File
from excel_cam.files.regions.source import Regions, open_regions, require_regions
from excel_cam.labels.claims import Claims, Work, claimed
from excel_cam.labels.failures import FailureLog
from excel_cam.labels.hand_made import record_import, require_same_classes
from excel_cam.labels.identity import Identity, vote_identity
from excel_cam.labels.label_files import LabelFiles
from excel_cam.labels.png import find_label, refuse_picture, write_label
from excel_cam.labels.records import read_run, read_runs, refuse_shards, retire_runs, write_run
from excel_cam.labels.regions.settings import RegionChoice
from excel_cam.labels.regions.vote import vote
from excel_cam.run.plan import refuse_other_runs
from excel_cam.wording import OVERWRITE_HAND_MADE, Report

# What the record of a run says that stays true of labels that regions voted on.
_INHERITED = ("dataset", "settings", "model", "adapter", "knowledge")


@dataclass(frozen=True, kw_only=True)
class VoteRequest:
    """A vote as asked for. labels: finished ones. class_names: in label order. names: only those labels."""

    labels: LabelFiles
    regions: RegionChoice
    out: Path
    class_names: tuple[str, ...]
    has_background: bool = True
    names: tuple[str, ...] | None = None
    png_mode: str = "L"
    overwrite: bool = False
    overwrite_hand_made: bool = False

    @property
    def greatest(self) -> int:
        """The greatest label value of a class."""
        return len(self.class_names) - (not self.has_background)


@dataclass(frozen=True)
class VoteOutcome:
    """What became of one label: written now, kept from an earlier run, or failed with a reason.

    pixels: of one that was written now; changed: those of them with another value than before.
    """

    name: str
    path: Path
    kept: bool = False
    reason: str | None = None
    pixels: int = 0
    changed: int = 0


@dataclass(frozen=True, kw_only=True)
class SettledVote:
    """A vote whose inputs are there. hand_made: names of the labels to be taken over as people made them."""

    request: VoteRequest
    names: tuple[str, ...]
    regions: Regions
    hand_made: frozenset[str]

    @cached_property
    def source_record(self) -> dict[str, Any] | None:
        """The record of the run that made the labels, if there is one."""
        return read_run(self.request.labels.place)

    @cached_property
    def identity(self) -> Identity:
        """What decides these labels, besides each one's own label and regions."""
        request, record = self.request, self.source_record
        return vote_identity(
            None if record is None else record["identity"], classes=request.class_names, png_mode=request.png_mode,
            regions=request.regions.settings.identity(),
        )  # fmt: skip

    def stamp(self, name: str) -> str:
        """The stamp of one label. Raises `DataError` where its regions or the label before cannot be read."""
        source = self.request.labels.file(name)
        regions = self.regions.of(name)
        return self.identity.stamp((), None if regions is None else regions.fingerprint, label=_hash(source))


@dataclass
class VoteTally:
    """How many labels came out how, and how many of their pixels changed."""

    voted: int = 0
    kept: int = 0
    failed: int = 0
    pixels: int = 0
    changed: int = 0

    def add(self, outcome: VoteOutcome) -> None:
        """One more."""
        self.kept += outcome.kept
        self.failed += outcome.reason is not None
        self.voted += not outcome.kept and outcome.reason is None
        self.pixels += outcome.pixels
        self.changed += outcome.changed

    def counts(self) -> dict[str, int]:
        """As the run record has them."""
        images = self.voted + self.kept + self.failed
        return {"images": images, "labelled": self.voted, "kept": self.kept, "failed": self.failed}


def settle_vote(request: VoteRequest) -> SettledVote:
    """Look that labels and regions are there, before anything is written.

    Raises `UsageError` where `out` lies among what is read, `DataError` where labels or regions are missing.
    """
    labels = request.labels
    for folder, what in ((labels.place, "labels"), (request.regions.path, "regions")):
        if isinstance(folder, Path) and lies_in(request.out / "any", folder):
            raise UsageError(f"{request.out} lies in {folder}, whose {what} are read; choose another --out")
    names = labels.names() if request.names is None else list(dict.fromkeys(request.names))
    if not names:
        raise DataError(f"{labels}: no label PNGs in this folder; run `excel-cam generate` first")
    labels.require(names)
    if labels.folder is not None:
        require_same_classes(labels.folder, request.class_names, request.has_background)
    regions = open_regions(request.regions.path, names)
    hand_made = frozenset(name for name in names if _is_hand_made(labels.file(name)))
    if not request.regions.allow_missing:
        require_regions(regions, [name for name in names if name not in hand_made], request.regions.path)
    return SettledVote(request=request, names=tuple(names), regions=regions, hand_made=hand_made)


def run_vote(settled: SettledVote, report: Report) -> Generator[VoteOutcome, None, None]:
    """Have the regions vote; yields every label's outcome, in the order of their names.

    Raises `OutputError` where labels made otherwise are in the way, or nothing can be written. However the iteration
    ends, only whole files are left, and the same vote goes on from there.
    """
    request, known = settled.request, settled.identity.known
    check_writable(request.out)
    refuse_shards(request.out)
    require_same_classes(request.out, request.class_names, request.has_background)
    with claimed({request.out: Work(made_with={"known": hash_json(known)})}) as claims:
        if not request.overwrite:
            for part in ("known", "resolved"):
                refuse_other_runs(request.out, read_runs(request.out), part, getattr(settled.identity, part))
        done = _finished(settled, report)
        yield from _vote_all(settled, done, claims)


def _finished(settled: SettledVote, report: Report) -> set[str]:
    """Names of the labels that stay as they are. Raises `OutputError` where others are in the way."""
    request, done, stale, corrected = settled.request, set[str](), [], 0
    for name in settled.names:
        path, source = mask_path(request.out, name), request.labels.file(name)
        found = find_label(path)
        refuse_picture(path, found)
        if found is None:
            continue
        if found.is_hand_made:
            same = name in settled.hand_made and _hash(path) == _hash(source)
            if same or not request.overwrite_hand_made:
                done.add(name)
                corrected += not same
        elif request.overwrite:
            continue
        elif name not in settled.hand_made and found.stamp == _stamp_or_none(settled, name):
            done.add(name)
        else:
            stale.append(path)
    if stale:
        raise OutputError(
            f"{len(stale):,} labels in {request.out} were made otherwise, of other labels or regions, or by another "
            f"program, first {stale[0]}; add --overwrite to replace them, or choose another --out"
        )
    if corrected:
        report(f"{corrected:,} hand-made labels stay as they are; {OVERWRITE_HAND_MADE} replaces them")
    return done


def _stamp_or_none(settled: SettledVote, name: str) -> str | None:
    try:
        return settled.stamp(name)
    except DataError:  # said when its turn comes
        return None


def _vote_all(settled: SettledVote, done: set[str], claims: Claims) -> Iterator[VoteOutcome]:
    """Carry out a vote, between the opening and the closing of its record."""
    request, tally, started = settled.request, VoteTally(), time.monotonic()
    out, names = request.out, set(settled.names)
    failures = FailureLog(out)
    failures.start(names)
    record = _record(settled)
    if request.overwrite:
        retire_runs(out, record["identity"])
    write_run(out, {**record, "state": "running"})
    for folder in {mask_path(out, name).parent for name in settled.names}:
        remove_stale_parts(folder)

    def close(state: str) -> None:
        seconds = round(time.monotonic() - started, 1)
        write_run(out, {**record, "state": state, "counts": tally.counts(), "seconds": seconds})

    try:
        for name in settled.names:
            if name in done:
                outcome = VoteOutcome(name, mask_path(out, name), kept=True)
            else:
                claims.require()
                outcome = _vote_one(settled, name)
            if outcome.reason is not None:
                failures.add(name, outcome.reason)
            tally.add(outcome)
            yield outcome
    except BaseException:  # an interruption too
        if out.is_dir():  # one that was removed is not made again for this
            with contextlib.suppress(OutputError):  # a full disk is reported once, by what stopped the vote
                close("stopped")
        raise
    failures.drop_elsewhere(names)
    close("complete with failures" if tally.failed else "complete")


def _vote_one(settled: SettledVote, name: str) -> VoteOutcome:
    """Have regions vote on one label, and write it; a label or regions that cannot be read are its failure."""
    request = settled.request
    source, path = request.labels.file(name), mask_path(request.out, name)
    try:
        if isinstance(source, Path) and name in settled.hand_made:
            return _take_over(request, name, source, path)
        stamp = settled.stamp(name)
        label = read_mask(source, request.greatest, len(request.class_names)).astype(np.uint8)
        regions, voted = settled.regions.of(name), label
        if regions is not None:
            found = regions.read((label.shape[0], label.shape[1]))
            voted = vote(label, found, request.regions.settings, request.has_background)
    except DataError as error:
        return VoteOutcome(name, path, reason=str(error))
    write_label(path, voted, request.png_mode, stamp)
    return VoteOutcome(name, path, pixels=voted.size, changed=int(np.count_nonzero(voted != label)))


def _take_over(request: VoteRequest, name: str, source: Path, path: Path) -> VoteOutcome:
    """Copy a hand-made label as it is; first its classes: whoever finds the label finds them too."""
    record_import(request.out, request.class_names, request.has_background)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise_if_machine(error, source)
        raise DataError(f"{source}: cannot be read: {error.strerror or error}") from None
    write_atomically(path, content)
    return VoteOutcome(name, path)


def _record(settled: SettledVote) -> dict[str, Any]:
    """The record of the vote, less its state."""
    request, identity = settled.request, settled.identity
    before = settled.source_record or {"knowledge": {"background_class": request.has_background}}
    record = {
        "excel_cam": excel_cam.__version__, **{part: before[part] for part in _INHERITED if part in before},
        "voted_on": str(request.labels),
        "regions": request.regions.record(),
        "identity": {"known": identity.known, "resolved": identity.resolved},
    }  # fmt: skip
    return record | ({"hand_made": len(settled.hand_made)} if settled.hand_made else {})


def _is_hand_made(file: File) -> bool:
    """Whether a person made a label: one in a file of its own, then."""
    found = find_label(file) if isinstance(file, Path) else None
    return found is not None and found.is_hand_made


def _hash(file: File) -> str:
    try:
        return hash_file(file)
    except OSError as error:
        raise_if_machine(error, file)
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
