"""`excel-cam generate` and `excel-cam kb build` as functions: from choices to labels, or to a text bank.

Whatever can be settled without the model is settled first, so that a mistake shows at once and a finished run costs
nothing: torch is only imported when there is something to compute.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import excel_cam
from excel_cam.data.dataset import DataSet, Sample
from excel_cam.data.source import Source, choose_knowledge, open_source
from excel_cam.errors import OutputError
from excel_cam.files.atomic import first_lines, hash_file, hash_json, remove_stale_parts
from excel_cam.files.photographs import Photograph, read_photograph
from excel_cam.knowledge.base import KnowledgeBase
from excel_cam.labels.class_maps import kept_maps, maps_path, write_maps
from excel_cam.labels.png import write_label
from excel_cam.labels.records import (
    FailureLog,
    Identity,
    check_writable,
    differences,
    read_runs,
    retire_runs,
    run_file,
    write_run,
)
from excel_cam.labels.shards import WHOLE, Shard
from excel_cam.model.words_file import WORDS_SUFFIX
from excel_cam.run.execute import Outcome, Plan, execute, label_path, plan_run
from excel_cam.settings import ModelChoice, Settings, check_background, check_crf_backend

if TYPE_CHECKING:
    from excel_cam.model.clip import ClipModel
    from excel_cam.model.text_bank import TextBank
    from excel_cam.run.labeller import Labeller

Report = Callable[[str], None]
_VERSIONED = ("torch", "open_clip_torch", "numpy", "pillow", "scipy", "pydensecrf2")


@dataclass(frozen=True)
class Destination:
    """Where labels go and how they are written."""

    out: Path
    png_mode: str = "L"
    overwrite: bool = False
    cams: Path | None = None  # folder for class maps


@dataclass(frozen=True)
class Work:
    """How the work is spread; changes speed and memory, never a label on the CPU in float32."""

    batch_size: int | Literal["auto"] = "auto"
    workers: int = 2
    shard: Shard = WHOLE


@dataclass
class Generation:
    """One run: settled when made, then iterated over for the outcome of each image, in the data set's order.

    Raises, when made or while it runs, `ExcelCamError` for whatever the user has to mend.
    """

    source: Source
    destination: Destination
    model_choice: ModelChoice
    settings: Settings
    setting_sources: dict[str, str]
    work: Work
    report: Report
    data: DataSet = field(init=False)
    counts: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = {"images": 0, "labelled": 0, "kept": 0, "failed": 0}
        check_writable(self.destination.out)
        if self.destination.cams is not None:
            check_writable(self.destination.cams)
        self.data, self.root_found = open_source(self.source, self.destination.out)
        self.knowledge = choose_knowledge(self.source, self.data)
        check_background(self.knowledge.has_background, self.settings)
        check_crf_backend(self.settings.crf_backend)
        for note in (f"{self.data.name}: {self.data.root} ({self.root_found})", *self.data.notes):
            self.report(note)
        if self.settings.attributes != "none" and not self.knowledge.sentence_count:
            self.report("no sentences: class prompts alone, without enrichment")
        self._images_in_all = len(self.data.samples)
        self._take_share()

    def _take_share(self) -> None:
        shard, samples = self.work.shard, self.data.samples
        if not shard.is_whole:
            self.data = replace(self.data, samples=shard.select(samples))
            self.report(f"shard {shard} ({shard.source}): {len(self.data.samples):,} of {len(samples):,} images")

    def __iter__(self) -> Iterator[Outcome]:
        if not self.data.samples:
            return  # more shares than images
        out, started, shard = self.destination.out, time.monotonic(), self.work.shard
        earlier = read_runs(out)
        identity = self._finished_identity(earlier)
        plan = self._compare(identity) if identity else None
        if plan is not None and not plan.pending and not self.destination.overwrite:
            yield from self._count(Outcome(s, label_path(out, s), kept=True) for s in plan.samples)
            return
        self._refuse_other_runs(earlier, "known", self._known)
        model, bank = prepare_text(self.model_choice, self.knowledge, self.settings, self.report)
        identity = Identity(self._known, {"weights": model.fingerprint, "precision": model.precision})
        plan = self._plan(identity, earlier)
        labeller, batch_size = self._prepare_labeller(model, bank)

        failures = FailureLog(out, shard)
        names = {sample.name for sample in plan.samples}
        failures.start(names)
        record = self._record(identity, model, batch_size)
        self._open_record(record)

        def close(state: str) -> None:
            seconds = round(time.monotonic() - started, 1)
            work = record["work"] | {"batch_size": min(batch_size, labeller.batch_limit or batch_size)}
            write_run(out, {**record, "work": work, "state": state, "counts": self.counts, "seconds": seconds}, shard)

        try:
            yield from self._count(self._execute(plan, identity, labeller, failures, batch_size))
        except BaseException:  # an interruption too, and the end of iteration before the end of the run
            with contextlib.suppress(OutputError):  # a full disk is reported once, by what stopped the run
                close("stopped")
            raise
        failures.drop_elsewhere(names)
        if labeller.batch_limit is not None:
            self.report(f"the device's memory held {labeller.batch_limit} of the {batch_size} photographs of a batch")
        close("complete with failures" if self.counts["failed"] else "complete")

    def _prepare_labeller(self, model: ClipModel, bank: TextBank) -> tuple[Labeller, int]:
        from excel_cam.run.batch_size import automatic_batch_size
        from excel_cam.run.labeller import Labeller

        labeller = Labeller(model, bank, self.settings)
        if self.work.batch_size != "auto":
            return labeller, self.work.batch_size
        batch_size = automatic_batch_size(labeller)
        if model.device.type != "cpu":
            self.report(f"batches of {batch_size} (auto)")
        return labeller, batch_size

    def _open_record(self, record: dict[str, Any]) -> None:
        """Write this run's record; raises `OutputError` where another one appeared meanwhile that differs."""
        out, own = self.destination.out, run_file(self.work.shard)
        if self.destination.overwrite:
            retire_runs(out, record["identity"])
        write_run(out, {**record, "state": "running"}, self.work.shard)
        others = {name: other for name, other in read_runs(out).items() if name != own}
        try:
            for part in ("known", "resolved"):
                self._refuse_other_runs(others, part, record["identity"][part])
        except OutputError:
            (out / own).unlink(missing_ok=True)
            raise

    @cached_property
    def _known(self) -> dict[str, Any]:
        """What decides the labels and needs no model."""
        settings = self.settings.group("text") | self.settings.group("image")
        return {
            "settings": {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()},
            "knowledge": hash_json(self.knowledge.content()),
            "classes": list(self.data.class_names),
            "model": self._model_identity(),
            "png_mode": self.destination.png_mode,
        }

    def _model_identity(self) -> str:
        """A model by its name; a configuration file by its content too, which may change under one name."""
        path = Path(self.model_choice.name)
        if path.suffix != ".json" or not path.is_file():  # what is not there is reported when it is loaded
            return self.model_choice.name
        words = path.with_suffix(WORDS_SUFFIX)
        vocabulary = f" {hash_file(words)[:16]}" if words.is_file() else ""
        return f"{path.stem} {hash_file(path)[:16]}{vocabulary}"

    @cached_property
    def _asked(self) -> dict[str, Any]:
        """The model as asked for. The same question gets the same answer as the last run did, without loading it."""
        weights = self.model_choice.weights
        fingerprint = hash_file(weights) if weights is not None and weights.is_file() else None
        return {
            "pretrained": None if weights is not None else self.model_choice.pretrained,
            "weights": fingerprint,
            "device": self.model_choice.device,
            "precision": self.model_choice.precision,
        }

    def _finished_identity(self, earlier: Mapping[str, dict[str, Any]]) -> Identity | None:
        """The identity of the labels that this run would make, where the record of an earlier run tells it."""
        for record in earlier.values():
            resolved = record["identity"].get("resolved")
            if record.get("asked") == self._asked and isinstance(resolved, dict):
                return Identity(self._known, resolved)
        return None

    def _refuse_other_runs(self, runs: Mapping[str, dict[str, Any]], part: str, now: dict[str, Any]) -> None:
        """Raise `OutputError` where runs into this folder made their labels otherwise; `part` of their identity."""
        if self.destination.overwrite:
            return
        for record in runs.values():
            before = record["identity"].get(part, {})
            if found := differences(before, now):
                raise OutputError(
                    f"{self.destination.out} holds labels made otherwise: {first_lines(found)}; "
                    "add --overwrite to replace them, or choose another --out"
                )

    def _compare(self, identity: Identity) -> Plan:
        """What there is already; a label whose class maps are asked for and not there counts as missing."""
        plan = plan_run(self.data.samples, self.destination.out, identity)
        cams = self.destination.cams
        if cams is None:
            return plan
        kept = kept_maps(plan.samples, cams, identity, self.destination.overwrite)
        return Plan(plan.samples, plan.done & kept, plan.stale)

    def _plan(self, identity: Identity, earlier: Mapping[str, dict[str, Any]]) -> Plan:
        out = self.destination.out
        plan = self._compare(identity)
        if self.destination.overwrite:
            return Plan(plan.samples, frozenset(), ())
        self._refuse_other_runs(earlier, "resolved", identity.resolved)
        if plan.stale:
            first = plan.stale[0]
            raise OutputError(
                f"{len(plan.stale):,} labels in {out} were made otherwise, with other tags, or by another program, "
                f"first {label_path(out, first)}; add --overwrite to replace them, or choose another --out"
            )
        return plan

    def _execute(
        self, plan: Plan, identity: Identity, labeller: Labeller, failures: FailureLog, batch_size: int
    ) -> Iterator[Outcome]:
        from excel_cam.run.labeller import Labelled

        destination = self.destination
        if destination.cams is not None:
            for folder in {maps_path(destination.cams, sample).parent for sample in plan.samples}:
                remove_stale_parts(folder)

        def label_batch(photographs: Sequence[Photograph], tags: Sequence[Sequence[int]]) -> list[Labelled]:
            sizes = [photograph.size for photograph in photographs]
            return labeller.label_with_maps([photograph.pixels for photograph in photographs], tags, sizes)

        def write_result(sample: Sample, photograph: Photograph, result: Labelled, stamp: str) -> None:
            label = photograph.as_stored(result.label)
            if destination.cams is not None:  # first the maps: whoever finds the label finds them too
                maps = photograph.as_stored(result.maps)
                write_maps(maps_path(destination.cams, sample), maps, sample.tags, label.shape, stamp)
            write_label(label_path(destination.out, sample), label, destination.png_mode, stamp)

        return execute(
            plan, destination.out, identity, label_batch, write_result,
            lambda path: read_photograph(path, self.settings.working_pixels), failures,
            batch_size, self.work.workers,
        )  # fmt: skip

    def _count(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            key = "kept" if outcome.kept else "failed" if outcome.reason else "labelled"
            self.counts["images"] += 1
            self.counts[key] += 1
            yield outcome

    def _record(self, identity: Identity, model: ClipModel, batch_size: int) -> dict[str, Any]:
        """The run record, less its state."""
        settings = identity.known["settings"]
        return {
            "excel_cam": excel_cam.__version__,
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in _VERSIONED}},
            "dataset": {
                "name": self.data.name, "root": str(self.data.root), "found": self.root_found,
                "split": self.data.split,
                "images": self._images_in_all, "tags": self.data.tags_source,
            },
            "settings": {key: {"value": settings[key], "from": self.setting_sources[key]} for key in settings},
            "model": {
                "name": model.name, "weights": str(model.weights), "sha256": model.fingerprint,
                "device": str(model.device), "precision": model.precision,
            },
            "knowledge": {
                "dataset": self.knowledge.dataset, "sha256": identity.known["knowledge"],
                "background_class": self.knowledge.has_background,
            },
            "work": {
                "batch_size": batch_size, "asked_batch_size": self.work.batch_size, "workers": self.work.workers,
                "shard": None if self.work.shard.is_whole else f"{self.work.shard} ({self.work.shard.source})",
            },
            "asked": self._asked,
            "identity": {"known": identity.known, "resolved": identity.resolved},
        }  # fmt: skip


def prepare_text(
    choice: ModelChoice, knowledge: KnowledgeBase, settings: Settings, report: Report
) -> tuple[ClipModel, TextBank]:
    """Load the model and the knowledge base's text rows, from the cache where they are there; says what it did."""
    from excel_cam.model.clip import load_model
    from excel_cam.model.text_bank import build_text_bank

    model = load_model(choice)
    report(
        f"model: {model.name}, weights {model.weights} ({model.fingerprint[:12]}), {model.device}, {model.precision}"
    )
    started = time.monotonic()
    bank = build_text_bank(knowledge, model, settings)
    rows = f"{len(bank.names)} text rows ({bank.foreground} classes), {bank.bank.shape[1]} attributes"
    if bank.was_cached:
        report(f"text bank: {rows}, from the cache {bank.path}")
    else:
        texts = len(bank.names) * len(knowledge.templates) + (knowledge.sentence_count if bank.bank.shape[1] else 0)
        report(f"text bank: {rows}, from {texts:,} texts in {time.monotonic() - started:.1f} s, cached as {bank.path}")
    return model, bank


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
