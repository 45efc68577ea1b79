"""The command line: parse, call one function, print. The docstrings are the help texts."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from excel_cam import __version__
from excel_cam.cli.commands.doctor import doctor
from excel_cam.cli.commands.evaluate import evaluate
from excel_cam.cli.commands.export import export
from excel_cam.cli.commands.generate import generate
from excel_cam.cli.commands.kb import kb
from excel_cam.cli.commands.label import label
from excel_cam.cli.commands.presets import presets
from excel_cam.cli.commands.segment import segment
from excel_cam.cli.commands.tags import tags
from excel_cam.cli.commands.train import train
from excel_cam.cli.commands.view import view
from excel_cam.cli.exits import EXIT_INTERRUPTED, EXIT_PIPE_CLOSED
from excel_cam.errors import ExcelCamError


class OneLineErrors(click.Group):
    """A group whose commands turn the errors a user can mend into one line and the right exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ExcelCamError as error:
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Stopped; the same command goes on from here.", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # Nobody reads on. Standard output is exchanged so that its flush at exit does not fail once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_PIPE_CLOSED)


@click.group(
    cls=OneLineErrors,
    context_settings={
        "help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "EXCEL_CAM",
    },
)  # fmt: skip
@click.version_option(__version__, prog_name="excel-cam", allow_from_autoenv=False)
def cli() -> None:
    """Segmentation labels from image-level labels, without training.

    \b
        excel-cam generate --dataset voc --root VOCdevkit/VOC2012 --out labels/
        excel-cam evaluate --labels labels/ --truth VOCdevkit/VOC2012/SegmentationClass --dataset voc
    """


for _command in (generate, tags, presets, label, evaluate, export, doctor, view, train, segment, kb):
    cli.add_command(_command)
