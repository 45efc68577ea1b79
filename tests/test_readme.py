"""The README says what the commands do: help blocks are current, and no command is left out."""

from __future__ import annotations

import click
from help_blocks import README, documented_commands, renew

from excel_cam.cli.main import cli


def all_commands(group: click.Group, prefix: str = "") -> list[str]:
    found = []
    for name, command in group.commands.items():
        path = f"{prefix}{name}"
        found += all_commands(command, f"{path} ") if isinstance(command, click.Group) else [path]
    return found


def test_help_blocks_are_current() -> None:
    text = README.read_text("utf-8")
    assert renew(text) == text, "run `python examples/help_blocks.py --write`"


def test_every_command_is_documented() -> None:
    assert set(all_commands(cli)) <= set(documented_commands(README.read_text("utf-8")))
