"""Command-line options shared by commands; those of the method's settings are built from `Settings` itself."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from excel_cam.errors import SettingsError
from excel_cam.settings import PRESETS, ModelChoice, Settings

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
_SOURCE_NAMES = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "config file",
    ParameterSource.PROMPT: "prompt",
}
_DEFAULTS = ModelChoice()


class ScorePair(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """LOW,HIGH: two numbers."""

    name = "LOW,HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Read the two numbers; ranges are checked by `Settings`."""
        if isinstance(value, tuple):
            return value
        try:
            low, high = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not two numbers with a comma between, such as 0.25,0.55", param, ctx)
        return low, high


def _option_type(entry: dataclasses.Field[Any]) -> Any:
    if entry.metadata["choices"]:
        return click.Choice(entry.metadata["choices"])
    return {"int": int, "int | None": int, "float": float, "tuple[float, float] | None": ScorePair(), "bool": None}[
        str(entry.type)
    ]


def settings_options(*groups: str) -> Callable[[Command], Command]:
    """Options for the settings of `groups` (`text`, `image`), and `--preset`."""

    def decorate(command: Command) -> Command:
        for entry in reversed(dataclasses.fields(Settings)):
            if entry.metadata["group"] in groups:
                command = click.option(
                    entry.metadata["flag"], entry.name, type=_option_type(entry), default=entry.default,
                    show_default=entry.default is not None, help=entry.metadata["help"],
                )(command)  # fmt: skip
        return click.option(
            "--preset", type=click.Choice(list(PRESETS)), default="paper", show_default=True,
            help="Settings to start from; the options below change single ones.",
        )(command)  # fmt: skip

    return decorate


def chosen_settings(ctx: click.Context) -> tuple[Settings, dict[str, str]]:
    """The settings a command was called with, and where each that is not the preset's came from."""
    settings = PRESETS[ctx.params["preset"]]
    given: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for entry in dataclasses.fields(Settings):
        source = ctx.get_parameter_source(entry.name)
        if source in _SOURCE_NAMES:
            given[entry.name] = ctx.params[entry.name]
            sources[entry.name] = _SOURCE_NAMES[source]
        else:
            sources[entry.name] = f"preset {ctx.params['preset']}"
    try:
        return dataclasses.replace(settings, **given), sources
    except SettingsError as error:
        raise click.UsageError(str(error), ctx) from None


def model_options(command: Command) -> Command:
    """Options that choose the model, its weights, device and precision."""
    options = [
        click.option("--model", default=_DEFAULTS.name, show_default=True,
                     help="open_clip model name, or an open_clip model configuration (.json)."),
        click.option("--pretrained", default=_DEFAULTS.pretrained, show_default=True,
                     help="Weights by open_clip's name for them, from the Hugging Face cache or fetched."),
        click.option("--weights", type=FILE, help="Weights file instead: open_clip, OpenAI's .pt, or safetensors."),
        click.option("--device", default=_DEFAULTS.device, show_default=True, help="auto, cpu, cuda or cuda:INDEX."),
        click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default=_DEFAULTS.precision,
                     show_default=True, help="Matrix products of the image tower; auto is fp32 on a CPU."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def chosen_model(ctx: click.Context) -> ModelChoice:
    """The model a command was called with."""
    p = ctx.params
    return ModelChoice(p["model"], p["pretrained"], p["weights"], p["device"], p["precision"])


def default_workers() -> int:
    """Decoding threads: one per processor this process may use, 8 at most."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, count)
