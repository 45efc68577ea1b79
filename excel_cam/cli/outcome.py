"""What a run shows while it works: a progress bar for people, finished paths for the next program."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import click
from tqdm import tqdm

from excel_cam.classes import IGNORE
from excel_cam.files.atomic import json_line
from excel_cam.files.masks import read_mask
from excel_cam.labels.png import class_shares
from excel_cam.labels.records import failed_file
from excel_cam.run.execute import Outcome
from excel_cam.run.generate import Generation


def print_outcomes(generation: Generation, as_json: bool, quiet: bool) -> None:
    """Go through a run to its end: progress and messages to standard error, finished labels to standard output.

    Labels are printed when asked for as JSON, or where standard output is not a terminal: one per line, those of
    earlier runs included, each as soon as its file is whole.
    """
    # What is wrong with an image is its reason in failed.jsonl, or of no consequence: not for Pillow to print as well.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    printing = as_json or not sys.stdout.isatty()
    total = len(generation.data.samples)
    with tqdm(total=total, unit="image", disable=True if quiet else None, file=sys.stderr) as bar:
        for outcome in generation:
            bar.update()
            if outcome.reason is not None and not quiet:
                bar.clear()
                click.echo(f"failed: {outcome.sample.name}: {outcome.reason}", err=True)
            if outcome.reason is None and printing:
                sys.stdout.write(json_line(_describe(outcome, generation)) if as_json else f"{outcome.path}\n")
                sys.stdout.flush()
    if not quiet:
        click.echo(_summary(generation), err=True)


def _describe(outcome: Outcome, generation: Generation) -> dict[str, Any]:
    names = generation.knowledge.label_names
    shares = class_shares(read_mask(outcome.path, len(names) - 1))
    ignored = shares.pop(IGNORE, 0.0)
    classes = {names[value]: round(share, 6) for value, share in shares.items()}
    return {"name": outcome.sample.name, "path": str(outcome.path), "classes": classes, "ignored": round(ignored, 6)}


def _summary(generation: Generation) -> str:
    counts, out = generation.counts, generation.destination.out
    text = (
        f"{counts['labelled'] + counts['kept']:,} labels in {out} ({counts['labelled']:,} new, {counts['kept']:,} kept)"
    )
    if counts["failed"]:
        text += f"; {counts['failed']:,} images failed, see {out / failed_file(generation.work.shard)}"
    return text
