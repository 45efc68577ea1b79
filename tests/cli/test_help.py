"""Help texts: one screen each, options in groups, every option explained somewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import CliRunner, Result

from excel_cam.cli.help import GroupedCommand
from excel_cam.cli.main import cli

Run = Callable[..., Result]
SCREEN = 54  # lines of 110 columns


def all_commands(
    group: click.Group = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(all_commands())


def help_of(words: tuple[str, ...], flag: str) -> str:
    result = CliRunner().invoke(cli, [*words, flag], prog_name="excel-cam", terminal_width=110)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_a_screen(words: tuple[str, ...]) -> None:
    assert len(help_of(words, "--help").splitlines()) <= SCREEN


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_named_at_once_and_explained_somewhere(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    short = help_of(words, "--help")
    whole = help_of(words, "--help-all") if isinstance(command, GroupedCommand) else short
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.opts[0] in "".join(short.split())  # which may be broken at a hyphen
            assert any(line.strip().startswith(tuple(option.opts)) for line in whole.splitlines()), option
            assert option.help


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """What a command computes with is loaded when it runs: `--help` and completion are to be there at once."""
    code = (
        "import sys, excel_cam.cli.main\n"
        "needless = {'numpy', 'torch', 'PIL', 'pyarrow', 'fsspec', 'ray', 'socket', 'tempfile', 'csv'}\n"
        "print(*sorted(needless & set(sys.modules)), *(m for m in sys.modules if m == 'excel_cam.files.storage'))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
