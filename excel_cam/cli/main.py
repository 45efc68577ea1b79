"""The command line: parse, call one function, print. The docstrings are the help texts."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from typing import Any

import click

from excel_cam import __version__
from excel_cam.cli.commands.doctor import doctor
from excel_cam.cli.commands.evaluate import evaluate
from excel_cam.cli.commands.export import export
from excel_cam.cli.commands.generate import generate
from excel_cam.cli.commands.import_ import import_
from excel_cam.cli.commands.info import info
from excel_cam.cli.commands.kb.group import kb
from excel_cam.cli.commands.label import label
from excel_cam.cli.commands.presets import presets
from excel_cam.cli.commands.segment import segment
from excel_cam.cli.commands.shards.manifest import manifest
from excel_cam.cli.commands.shards.status import status
from excel_cam.cli.commands.shards.unpack import unpack
from excel_cam.cli.commands.tags import tags
from excel_cam.cli.commands.train import train
from excel_cam.cli.commands.view import view
from excel_cam.cli.commands.vote import vote
from excel_cam.cli.exits import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_PIPE_CLOSED
from excel_cam.cli.options import STARTS_AGAIN_META
from excel_cam.cli.terminal import drop_output, open_missing_streams, output_failure, tell
from excel_cam.errors import ExcelCamError
from excel_cam.wording import shown

_STOPPED = {
    False: "Stopped; the same command goes on from here.",
    True: "Stopped; with --overwrite the same command starts again from the beginning.",
    None: "Stopped; the same command starts again.",
}


class OneLineErrors(click.Group):
    """A group whose commands end whatever goes wrong with one line and the right exit status."""

    def main(  # type: ignore[override,unused-ignore]
        self, *arguments: Any, standalone_mode: bool = True, **options: Any
    ) -> Any:
        """Run the command line and end the process, unless `standalone_mode` is off."""
        run: Any = super().main
        if not standalone_mode:
            return run(*arguments, standalone_mode=False, **options)
        open_missing_streams()
        try:
            status = run(*arguments, standalone_mode=False, **options)
        except click.ClickException as error:
            status = _refuse(error)
        except click.Abort:  # interrupted before a command began
            tell("Stopped.")
            status = EXIT_INTERRUPTED
        except OSError as error:  # Click's own help, into a disk that is full
            tell(f"Error: {_reason(error)}")
            drop_output()
            status = EXIT_ERROR
        status = status if isinstance(status, int) else 0
        if (failure := output_failure()) is not None:
            tell(f"Error: standard output cannot be written: {failure}; files are whole, what was to be printed is not")
            status = status or EXIT_ERROR
        sys.exit(status)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            drop_output()  # nobody reads on
            ctx.exit(EXIT_PIPE_CLOSED)
        except KeyboardInterrupt:
            tell(_STOPPED[ctx.meta.get(STARTS_AGAIN_META)])
            ctx.exit(EXIT_INTERRUPTED)
        except Exception as error:
            if ctx.params.get("debug"):
                tell("".join(traceback.format_exception(error)).rstrip())
            tell(f"Error: {_reason(error)}")
            ctx.exit(error.exit_code if isinstance(error, ExcelCamError) else EXIT_ERROR)


def _refuse(error: click.ClickException) -> int:
    """Show what is wrong with a command's own words, such as names that a shell has put in for a `*`."""
    said = click.UsageError(shown(error.format_message()), getattr(error, "ctx", None))
    with contextlib.suppress(OSError):  # where standard error cannot be written, the exit status still tells
        (said if isinstance(error, click.UsageError) else click.ClickException(said.message)).show()
    return error.exit_code


def _reason(error: Exception) -> str:
    """What to say of an error, on one line: its own text, or that it is none that a user can mend."""
    text = re.sub(r"\s*\n\s*", " ", str(error).strip())
    if isinstance(error, ExcelCamError):
        return text
    if isinstance(error, MemoryError):
        return "not enough memory" + (f" ({text})" if text else "") + "; close other programs, or do less at a time"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be loaded by now
        return "the GPU's memory does not hold it; end other programs there, or choose another --device, such as cpu"
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{where}{error.strerror}"
    return (
        f"this is a fault of the program ({type(error).__name__}: {text[:500]}); `excel-cam --debug` before the "
        "command, or EXCEL_CAM_DEBUG=1, shows where: please report it"
    )


@click.group(
    cls=OneLineErrors,
    context_settings={
        "help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "EXCEL_CAM",
    },
)  # fmt: skip
@click.version_option(__version__, prog_name="excel-cam", allow_from_autoenv=False)
@click.option("--debug", is_flag=True, help="Show where in the program an error came up.")
def cli(debug: bool) -> None:
    """Segmentation labels from image-level labels, without training.

    \b
        excel-cam generate --dataset voc --root VOCdevkit/VOC2012 --out labels/
        excel-cam evaluate --labels labels/ --truth VOCdevkit/VOC2012/SegmentationClass --dataset voc
    """


for _command in (
    generate, tags, manifest, presets, label, vote, evaluate, export, import_, status, unpack, doctor, view, train,
    segment, kb,
    info,
):  # fmt: skip
    cli.add_command(_command)
