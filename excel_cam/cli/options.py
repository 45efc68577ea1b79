"""Command-line options shared by commands; those of the method's settings are built from `Settings` itself."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.core import ParameterSource

from excel_cam.classes import DATASET_CLASSES, SPLITS, WITHOUT_BACKGROUND
from excel_cam.errors import SettingsError, UsageError
from excel_cam.files.processors import processors
from excel_cam.labels.regions.settings import RegionChoice, VoteSettings
from excel_cam.labels.shards import Shard, chosen_shard
from excel_cam.model.words_file import RECORDED, recorded_settings
from excel_cam.settings import PRESETS, WINDOW_WORDS, Backend, ModelChoice, Settings, check_backend
from excel_cam.shipped import SHIPPED_MODEL, locate_shipped
from excel_cam.wording import OVERWRITE_HAND_MADE

if TYPE_CHECKING:
    from excel_cam.run.settle import Work

Command = TypeVar("Command", bound=Callable[..., Any])


class KnowledgePath(click.Path):  # type: ignore[type-arg,unused-ignore]
    """A knowledge base: the name of a shipped one, which goes before a file or folder of that name, or a file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name or file as a path, as `find_knowledge` takes its text."""
        from excel_cam.knowledge.base import shipped_names

        names = shipped_names()
        if str(value) in names:
            return Path(value)
        path: Any = super().convert(value, param, ctx)
        return path.absolute() if str(path) in names else path  # ./voc is a file


class LabelsPath(click.Path):  # type: ignore[type-arg,unused-ignore]
    """Finished labels: a folder, of files or of shards, or the address of shards in a storage (`s3://...`)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A `Place` for an address, a path for a folder."""
        if ":" in str(value):  # else it is a path, for which the code of storages need not be loaded
            from excel_cam.files.storage import Place

            if (place := Place(str(value))).is_remote:
                return place
        return super().convert(value, param, ctx)


class Address(click.Path):  # type: ignore[type-arg,unused-ignore]
    """A folder of this machine, as a path; what lies in a storage (`s3://...`), and tars, as the text they are."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path or address."""
        text = os.fspath(value)
        return text if _ELSEWHERE.search(text) else super().convert(value, param, ctx)


_ELSEWHERE = re.compile(r"://|\.tar(?=$|[,}])")
FILE = click.Path(dir_okay=False, path_type=Path)
KNOWLEDGE = KnowledgePath(dir_okay=False, path_type=Path)
PHOTOGRAPHS = click.Path(path_type=Path)  # files, or folders of them
FOLDER = click.Path(file_okay=False, path_type=Path)
LABELS = LabelsPath(file_okay=False, path_type=Path)
FOLDER_OR_ADDRESS = Address(file_okay=False, path_type=Path)
DATA_SETS = (*DATASET_CLASSES, "demo", "folder")
LEARNABLE = tuple(name for name in DATA_SETS if name not in WITHOUT_BACKGROUND)  # what the trained half can take
ALL_SPLITS = tuple(dict.fromkeys(split for splits in SPLITS.values() for split in splits))
STARTS_AGAIN_META = "excel_cam.starts_again"  # True with --overwrite; absent for commands that never go on
CONFIG_META = "excel_cam.config"  # where a command's context keeps the path of its config file
MOST_THREADS = 1024
MOST_PHOTOGRAPHS = 1024  # in one batch; and threads that decode them
_SOURCE_NAMES = {ParameterSource.COMMANDLINE: "command line", ParameterSource.ENVIRONMENT: "environment"}
_DEFAULTS = ModelChoice()


def with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """A command with these options, in their order."""
    for option in reversed(options):
        command = option(command)
    return command


root_option = click.option(
    "--root", type=FOLDER, help="The data set's folder; looked for when left out, but for that of a `folder`."
)

root_or_tars_option = click.option(
    "--root", type=FOLDER_OR_ADDRESS, metavar="DIR|TARS",
    help="The data set's folder, looked for when left out; or tars, such as 'tars/*.tar'.",
)  # fmt: skip

split_option = click.option(
    "--split", type=click.Choice(ALL_SPLITS), metavar="NAME",
    help="Left out, the training split: train_aug of voc, train2014 or the only one of coco.",
)  # fmt: skip

knowledge_option = click.option(
    "--kb", "knowledge", type=KNOWLEDGE, metavar="NAME|FILE",
    help="Knowledge base, by file or name; left out, the data set's own.",
)  # fmt: skip

lvc_option = click.option(
    "--lvc",
    metavar="DIR|FILE|demo",
    help="A trained calibration: the folder of `excel-cam train`, its adapter, or the demo's.",
)

png_mode_option = click.option(
    "--png-mode", type=click.Choice(["L", "P"]), default="L", show_default=True,
    help="8-bit values, or VOC's palette, which some readers turn into colours.",
)  # fmt: skip


def overwrite_option(help_text: str) -> Callable[[Command], Command]:
    """`--overwrite` of a command that else goes on where it was stopped; what was chosen is told to who ends it."""

    def note(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
        ctx.meta[STARTS_AGAIN_META] = value
        return value

    return click.option("--overwrite", is_flag=True, callback=note, help=help_text)


def overwrite_hand_made_option(
    help_text: str = "Replace hand-made labels too, those of `excel-cam import`.",
) -> Callable[[Command], Command]:
    """The one option by which a command may replace labels that people made."""
    return click.option(OVERWRITE_HAND_MADE, is_flag=True, help=help_text)


def region_options(*, required: bool = False) -> Callable[[Command], Command]:
    """`--regions` and the settings of their vote; see `chosen_vote`."""
    defaults = VoteSettings()
    options = [
        click.option("--regions", type=click.Path(path_type=Path), required=required, metavar="DIR|FILE",
                     help="Regions that vote on each label: id maps, masks or COCO's run lengths by name."),
        click.option("--region-share", type=float, default=defaults.region_share, show_default=True, metavar="SHARE",
                     help="A region takes the value that holds more than this share of it."),
        click.option("--component-share", type=float, default=defaults.component_share, show_default=True,
                     metavar="SHARE", help="Else it joins a class of which it covers a component to at least this."),
        click.option("--fill-ignored", is_flag=True, help="Regions also decide pixels of 255, which else stay so."),
        click.option("--allow-missing-regions", is_flag=True,
                     help="Leave labels without regions as they are, instead of refusing to begin."),
    ]  # fmt: skip

    return lambda command: with_options(command, options)


def chosen_vote(ctx: click.Context) -> RegionChoice | None:
    """The regions a command was called with; None without any. Raises `UsageError` for settings of a vote alone."""
    p = ctx.params
    settings = VoteSettings(
        region_share=p["region_share"], component_share=p["component_share"], fill_ignored=p["fill_ignored"]
    )
    if p["regions"] is not None:
        return RegionChoice(path=p["regions"], settings=settings, allow_missing=p["allow_missing_regions"])
    if settings != VoteSettings() or p["allow_missing_regions"]:
        raise UsageError("--region-share, --component-share, --fill-ignored and --allow-missing-regions need --regions")
    return None


class Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Numbers with commas between, as many as are expected; a config file may also give them as a list."""

    def __init__(self, name: str, example: str, count: int | None = None) -> None:
        self.name, self.example, self.count = name, example, count

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Read the numbers; ranges are checked by `Settings`."""
        parts = value if isinstance(value, tuple | list) else str(value).split(",")
        try:
            numbers = tuple(float(part) for part in parts)
        except (ValueError, TypeError):
            numbers = ()
        if not numbers or len(numbers) != (self.count or len(numbers)):
            expected = "two numbers with a comma between" if self.count == 2 else "numbers with commas between"
            self.fail(f"'{value}' is not {expected}, such as {self.example}", param, ctx)
        return numbers


class Bands(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Whole numbers with commas between; a config file may also give them as a list."""

    name = "R,G,B|BAND"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read the numbers; which are possible is checked by `Settings`."""
        parts = value if isinstance(value, tuple | list) else str(value).split(",")
        if not parts or not all(str(part).strip().isdecimal() for part in parts):
            self.fail(f"'{value}' is not whole numbers with commas between, such as 3,2,1", param, ctx)
        return tuple(int(part) for part in parts)


class WindowSide(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of pixels, or one of two words; which numbers are possible is checked by `Settings`."""

    name = "auto|off|SIDE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read the number."""
        if value in WINDOW_WORDS:
            return str(value)
        if not str(value).strip().isdecimal():
            self.fail(f"'{value}' is neither auto nor off nor a whole number of pixels", param, ctx)
        return int(value)


class BatchSize(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of photographs, or `auto`.

    More than MOST_PHOTOGRAPHS would only be held in memory: a batch is closed at 100 megapixels anyway.
    """

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read the number."""
        return "auto" if value == "auto" else click.IntRange(1, MOST_PHOTOGRAPHS).convert(value, param, ctx)


def _option_type(entry: dataclasses.Field[Any]) -> Any:
    if entry.metadata["choices"]:
        return click.Choice(entry.metadata["choices"])
    kind = entry.metadata["kind"]
    if kind == "range":
        return Numbers("LOW,HIGH", "0.25,0.55", 2)
    if kind == "numbers":
        return Numbers("SCALE,...", "0.75,1,1.5")
    if kind == "bands":
        return Bands()
    if kind == "windows":
        return WindowSide()
    return None if kind is bool else kind  # Click tells a flag by its two spellings


def _shown_default(default: Any) -> Any:
    return ",".join(f"{value:g}" for value in default) if isinstance(default, tuple) else default is not None


def settings_options(*groups: str) -> Callable[[Command], Command]:
    """Options for the settings of `groups` (`text`, `image`), and `--preset`."""

    def decorate(command: Command) -> Command:
        for entry in reversed(dataclasses.fields(Settings)):
            if entry.metadata["group"] in groups:
                command = click.option(
                    entry.metadata["flag"], entry.name, type=_option_type(entry), default=entry.default,
                    show_default=_shown_default(entry.default), help=entry.metadata["help"],
                )(command)  # fmt: skip
        return click.option(
            "--preset", type=click.Choice(list(PRESETS)), default="paper", show_default=True,
            help="Settings to start from; single ones change by the options below. See `excel-cam presets`.",
        )(command)  # fmt: skip

    return decorate


def chosen_settings(ctx: click.Context) -> tuple[Settings, dict[str, str]]:
    """The settings a command was called with, and where each that is not the preset's came from."""
    model = chosen_model(ctx).name
    recorded = recorded_settings(model)
    settings = PRESETS[ctx.params["preset"]]
    if _attributes(ctx, settings) != "clustered":
        recorded.pop("clusters", None)  # nobody asked for it, and it has no meaning then
    given: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for entry in dataclasses.fields(Settings):
        if source := source_name(ctx, entry.name):
            given[entry.name] = ctx.params[entry.name]
            sources[entry.name] = source
        else:
            sources[entry.name] = f"{RECORDED}{model}" if entry.name in recorded else f"preset {ctx.params['preset']}"
    try:
        return dataclasses.replace(settings, **recorded | given), sources
    except SettingsError as error:
        raise click.UsageError(str(error), ctx) from None


def _attributes(ctx: click.Context, preset: Settings) -> str:
    return str(ctx.params["attributes"]) if source_name(ctx, "attributes") else preset.attributes


def source_name(ctx: click.Context, name: str) -> str | None:
    """Where a parameter's value comes from, or None where it is the default."""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.DEFAULT_MAP:
        return f"config file {ctx.meta.get(CONFIG_META)}"
    return _SOURCE_NAMES.get(source) if source is not None else None


def model_options(command: Command) -> Command:
    """Options that choose the model, its weights, device and precision."""
    options = [
        click.option("--model", default=_DEFAULTS.name, show_default=True,
                     help="open_clip model name, excel-cam-demo (comes with the package, for trying and testing; the "
                     "default for the demo data set), or an open_clip model configuration (.json)."),
        click.option("--pretrained", default=_DEFAULTS.pretrained, show_default=True,
                     help="Weights by open_clip's name for them, from the Hugging Face cache or fetched."),
        click.option("--weights", type=FILE, help="Weights file instead: open_clip, OpenAI's .pt, or safetensors."),
        click.option("--device", default=_DEFAULTS.device, show_default=True, help="auto, cpu, cuda or cuda:INDEX."),
        click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default=_DEFAULTS.precision,
                     show_default=True, help="Matrix products of the image tower; auto is fp32 on a CPU."),
        click.option("--threads", type=click.IntRange(1, MOST_THREADS), show_default="processors this process may use",
                     help="Threads that compute on a CPU, in generate a photograph each, which changes no label."),
    ]  # fmt: skip
    return with_options(command, options)


backend_option = click.option(
    "--backend", type=click.Choice(get_args(Backend)), default=_DEFAULTS.backend, show_default=True,
    help="What computes the image tower; openvino (extra `fast`) is faster on a CPU, in fp32.",
)  # fmt: skip


def chosen_model(ctx: click.Context) -> ModelChoice:
    """The model a command was called with."""
    p = ctx.params
    name = p["model"]
    if p.get("dataset") == "demo" and not any(_is_given(ctx, option) for option in ("model", "pretrained", "weights")):
        name = SHIPPED_MODEL
    backend = p.get("backend", _DEFAULTS.backend)
    choice = ModelChoice(name, p["pretrained"], p["weights"], p["device"], p["precision"], p["threads"], backend)
    check_backend(choice)
    return locate_shipped(choice)


def _is_given(ctx: click.Context, parameter: str) -> bool:
    return ctx.get_parameter_source(parameter) in _SOURCE_NAMES


def refuse_two_name_sources(dataset: str | None, classes: Path | None) -> None:
    """Raise `UsageError` where class names are given twice."""
    if dataset is not None and classes is not None:
        raise UsageError("give the class names with either --dataset or --classes")


devices_option = click.option(
    "--devices", metavar="all|0,1,...",
    help="All GPUs of this machine, or those of these numbers, a process each; cpu,cpu for two on the CPU.",
)  # fmt: skip


def chosen_work(ctx: click.Context) -> Work:
    """How the work of a command is spread; raises `UsageError` where it is said in two ways."""
    from excel_cam.run.devices.choose import chosen_devices
    from excel_cam.run.settle import Work

    p, workers = ctx.params, ctx.params["workers"]
    devices: tuple[str, ...] = ()
    if p["devices"] is not None:
        if (source := source_name(ctx, "device")) is not None:
            raise UsageError(f"--devices says which devices, and --device ({source}) another; leave one of them out")
        devices = chosen_devices(p["devices"])
        for device in devices:
            check_backend(dataclasses.replace(chosen_model(ctx), device=device))
        if source_name(ctx, "workers") is None:
            workers = max(1, min(workers, processors() // len(devices)))  # of each process
    shard = chosen_shard(p["shard"], os.environ)
    return Work(batch_size=p["batch_size"], workers=workers, shard=shard, devices=devices)


class ShardType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """`I/N` on the command line or in a config file."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """Read a share."""
        if isinstance(value, Shard):
            return value
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", str(value).strip())
        if not found or not int(found[1]) < int(found[2]):
            self.fail(f"'{value}' is not I/N with I from 0 to N - 1, such as 0/4 for the first of four", param, ctx)
        return Shard(int(found[1]), int(found[2]), "--shard")
