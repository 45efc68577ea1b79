"""What a command says of the images it went through, and the exit status it ends with."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from excel_cam.classes import IGNORE
from excel_cam.cli.next_steps import after_labels, say_next, truth_of
from excel_cam.cli.progress import progress_bar
from excel_cam.cli.terminal import show, show_record
from excel_cam.files.images.masks import read_mask
from excel_cam.labels.png import class_shares
from excel_cam.labels.records import failed_file
from excel_cam.run.execute import Outcome, Tally
from excel_cam.run.generate import run
from excel_cam.run.photographs.label import PhotoOutcome
from excel_cam.run.settle import Request, Settled, settle
from excel_cam.wording import Report


def run_and_print(request: Request, report: Report, as_json: bool, quiet: bool) -> Tally:
    """Settle a run and go through it: progress and messages on standard error, finished labels on standard output.

    Labels are printed when asked for as JSON, or where standard output is not a terminal.
    """
    tally = Tally()
    settled = settle(request, report)
    go = run
    if request.work.devices:
        from excel_cam.run.devices.parent import run_on_devices as go
    # Those of earlier runs included, each as soon as its file is whole.
    printing = as_json or not sys.stdout.isatty()
    with (
        termination_as_interrupt(), without_image_warnings(),
        progress_bar(len(settled.data.samples), "image", quiet) as bar, closing(go(settled, report)) as outcomes,
    ):  # fmt: skip
        for outcome in outcomes:
            tally.add(outcome)
            bar.skip() if outcome.kept else bar.update()
            if outcome.reason is not None:
                report(f"failed: {outcome.sample.name}: {outcome.reason}")
            elif outcome.reason is None and printing:
                names = settled.label_names
                if as_json:
                    show_record(outcome_record(outcome, names))
                else:
                    show(outcome.path)
    report(summary(tally, settled))
    if settled.data.samples and tally.labelled + tally.kept:
        truth = truth_of(settled.data)
        say_next(report, *after_labels(settled.data, settled.request.destination.out, truth))
    return tally


def print_photographs(
    results: Generator[PhotoOutcome, None, None], names: Sequence[str], as_json: bool, report: Report
) -> bool:
    """Print what became of single photographs, each as soon as it is known; whether some of them failed."""
    failed = False
    with closing(results):
        for result in results:
            if result.reason is not None:
                failed = True
                report(f"failed: {result.reason}")
            else:
                if as_json:
                    show_record(share_record(result, names))
                else:
                    show(share_text(result, names))
    return failed


def outcome_record(outcome: Outcome, label_names: Sequence[str]) -> dict[str, Any]:
    """One label of a run as JSON can hold it; label_names: what the values 0, 1, ... stand for."""
    shares = class_shares(read_mask(outcome.path, len(label_names) - 1))
    ignored = shares.pop(IGNORE, 0.0)
    classes = {label_names[value]: round(share, 6) for value, share in shares.items()}
    return {"name": outcome.sample.name, "path": str(outcome.path), "classes": classes, "ignored": round(ignored, 6)}


def summary(tally: Tally, settled: Settled) -> str:
    """A run on one line: labels made and kept, images that failed and where the reasons are."""
    out, shard = settled.request.destination.out, settled.request.work.shard
    text = f"{tally.labelled + tally.kept:,} labels in {out} ({tally.labelled:,} new, {tally.kept:,} kept)"
    if tally.failed:
        text += f"; {tally.failed:,} images failed, see {out / failed_file(shard)}"
    return text


def share_record(result: PhotoOutcome, names: Sequence[str]) -> dict[str, Any]:
    """One labelled photograph as JSON can hold it; shares of the pixels, 0..1."""
    shares = result.shares
    classes = {name: round(shares.get(value, 0.0), 6) for value, name in enumerate(("background", *names))}
    return {
        "name": result.place.photograph.stem, "photograph": str(result.place.photograph),
        "path": str(result.place.label), "overlay": str(result.place.overlay), "classes": classes,
        "ignored": round(shares.get(IGNORE, 0.0), 6), "kept": result.kept,
    }  # fmt: skip


def share_text(result: PhotoOutcome, names: Sequence[str]) -> str:
    """One labelled photograph on one line: "photo.png  cat 23.1 %, sofa 40.0 %, background 36.9 %"."""
    shares = result.shares
    parts = [f"{name} {100 * shares.get(value, 0.0):.1f} %" for value, name in enumerate(names, start=1)]
    parts.append(f"background {100 * shares.get(0, 0.0):.1f} %")
    if IGNORE in shares:
        parts.append(f"ignored {100 * shares[IGNORE]:.1f} %")
    return f"{result.place.label}  {', '.join(parts)}{' (kept)' if result.kept else ''}"


@contextmanager
def without_image_warnings() -> Iterator[None]:
    """What is wrong with an image is its reason in failed.jsonl, or of no consequence: not for Pillow to print too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: threads wound up, the run record closed."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
