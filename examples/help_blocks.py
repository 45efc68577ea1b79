"""Keep the help blocks of excel_cam/cli/README.md equal to what the commands print.

    python examples/help_blocks.py --write     # renew them
    python examples/help_blocks.py             # exit status 1 where one differs

A block stands between `<!-- help: excel-cam generate -->` and `<!-- end help -->`.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
from click.testing import CliRunner

from excel_cam.cli.help import GroupedCommand
from excel_cam.cli.main import cli

README = Path(__file__).parent.parent / "excel_cam" / "cli" / "README.md"
BLOCK = re.compile(r"<!-- help: excel-cam(?P<command>[^>]*?) -->\n.*?<!-- end help -->", re.DOTALL)


def documented_commands(text: str) -> list[str]:
    """The commands that have a help block, such as `generate` or `kb build`."""
    return [match["command"].strip() for match in BLOCK.finditer(text)]


def renew(text: str) -> str:
    """That text with every help block as the command prints it now."""

    def block(match: re.Match[str]) -> str:
        arguments = match["command"].split()
        command = resolve(arguments)
        flag = "--help-all" if isinstance(command, GroupedCommand) else "--help"
        result = CliRunner().invoke(cli, [*arguments, flag], prog_name="excel-cam", terminal_width=110)
        help_text = result.stdout.rstrip()
        name = " ".join(["excel-cam", *arguments])
        return f"<!-- help: {name} -->\n```text\n{help_text}\n```\n<!-- end help -->"

    return BLOCK.sub(block, text)


def resolve(words: list[str]) -> click.Command:
    """The command that these words call."""
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


@click.command()
@click.option("--write", is_flag=True, help="Renew the blocks.")
def main(write: bool) -> None:
    """Check or renew the help blocks of excel_cam/cli/README.md."""
    text = README.read_text("utf-8")
    if write:
        README.write_text(renew(text), "utf-8")
    elif renew(text) != text:
        raise click.ClickException(
            "excel_cam/cli/README.md has help blocks that differ; run `python examples/help_blocks.py --write`"
        )


if __name__ == "__main__":
    main()
