"""What a command says of the images it went through, and the exit status it ends with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from excel_cam.classes import IGNORE
from excel_cam.files.masks import read_mask
from excel_cam.labels.png import class_shares
from excel_cam.labels.records import failed_file
from excel_cam.run.execute import Outcome, Tally
from excel_cam.run.photos import PhotoOutcome
from excel_cam.run.settle import Settled


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
