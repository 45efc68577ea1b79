"""The command `excel-cam presets`: which named settings there are, and in what each differs from the paper's."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from excel_cam.cli.terminal import show, show_record
from excel_cam.settings import PRESETS, Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: preset to its differences.")
def presets(as_json: bool) -> None:
    """List the presets and what each changes of the paper's settings.

    \b
        excel-cam presets
        excel-cam generate --preset tta --dataset voc --out labels/
    """
    if as_json:
        show_record({name: differences_from_paper(preset) for name, preset in PRESETS.items()})
        return
    for name, preset in PRESETS.items():
        changes = [_as_option(key, value) for key, value in differences_from_paper(preset).items()]
        show(f"{name:8} {' '.join(changes) or 'the choices behind the figures of the paper; the default'}")


def differences_from_paper(preset: Settings) -> dict[str, Any]:
    """The settings in which a preset differs from `paper`, by field."""
    paper = PRESETS["paper"]
    names = [entry.name for entry in dataclasses.fields(Settings)]
    return {name: getattr(preset, name) for name in names if getattr(preset, name) != getattr(paper, name)}


def _as_option(name: str, value: Any) -> str:
    flag = next(entry.metadata["flag"] for entry in dataclasses.fields(Settings) if entry.name == name)
    if isinstance(value, bool):
        return str(flag.split("/")[0 if value else 1])
    return f"{flag} {','.join(f'{part:g}' for part in value) if isinstance(value, tuple) else value}"
