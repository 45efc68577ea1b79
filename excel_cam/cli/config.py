"""Config files (`--config FILE.toml`): read, checked against the commands' own options, and printed back.

    [generate]
    preset = "tta"
    scales = [0.75, 1, 1.5]

    [kb.build]
    dataset = "voc"

    [roots]
    voc = "/data/VOCdevkit"

A table's keys are its command's long options without the dashes; `_` and `-` mean the same inside a key. The order of
precedence is Click's: command line, environment, config file, default.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from excel_cam.cli.options import CONFIG_META, FILE, BatchSize, Numbers, chosen_settings, source_name
from excel_cam.cli.terminal import show
from excel_cam.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Command = TypeVar("Command", bound=Callable[..., Any])
CONFIG_VARIABLE = "EXCEL_CAM_CONFIG"
ROOTS = ("voc", "coco", "context", "ade20k", "cityscapes")  # data sets whose folder the table [roots] may tell
_ROOTS_META = "excel_cam.roots"
_NOT_SETTINGS = ("config", "print_config", "help")


def config_options(command: Command) -> Command:
    """Options `--config` and `--print-config`; the latter prints instead of running the command."""

    @functools.wraps(command)
    def run(*arguments: Any, print_config: bool, **options: Any) -> Any:
        if print_config:
            return show(format_config(click.get_current_context()).removesuffix("\n"))
        return command(*arguments, **options)

    option = click.option("--config", type=FILE, is_eager=True, expose_value=False, envvar=CONFIG_VARIABLE,
                          show_envvar=True, callback=_use_config,
                          help="TOML file of settings: table [generate], [label], [kb.build] or [roots].")  # fmt: skip
    printing = click.option("--print-config", is_flag=True, is_eager=True, allow_from_autoenv=False,
                            help="Print the settings in effect as a config file, with sources, and exit.")  # fmt: skip
    return option(printing(run))  # type: ignore[return-value,unused-ignore]


class RequiredOption(click.Option):
    """An option that must be given, except where the configuration alone is printed."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Check the value as Click does."""
        try:
            return super().process_value(ctx, value)
        except click.MissingParameter:
            if ctx.params.get("print_config"):
                return None
            raise


def configured_roots(ctx: click.Context) -> Mapping[str, Path]:
    """The folders of data sets that the config file's table [roots] tells."""
    roots: Mapping[str, Path] = ctx.meta.get(_ROOTS_META, {})
    return roots


def _use_config(ctx: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Check a whole config file and make the running command's table its defaults."""
    if path is None:
        return None
    content = _read_toml(path)
    roots = content.pop("roots", {})
    _check_keys(roots, ROOTS, f"{path}: [roots]")
    for key, value in roots.items():
        if not isinstance(value, str) or "\0" in value:
            raise UsageError(f"{path}: [roots] {key}: {_shown(value)} is not the name of a folder, in quotes")
    ctx.meta[_ROOTS_META] = {key: Path(os.path.expanduser(value)) for key, value in roots.items()}
    ctx.meta[CONFIG_META] = path
    ctx.default_map = _command_values(content, ctx.find_root().command, ctx, path, ()).get(_table_name(ctx), {})
    return path


def _table_name(ctx: click.Context) -> tuple[str, ...]:
    """A command's name below the program's, ("kb", "build"), which is also its table's."""
    return () if ctx.parent is None else (*_table_name(ctx.parent), str(ctx.command.name))


def _command_values(
    table: Any, command: click.Command, ctx: click.Context, path: Path, names: tuple[str, ...]
) -> dict[tuple[str, ...], dict[str, Any]]:
    """Check the table of a command, or of a group of commands; the values by command and parameter."""
    where = f"{path}: [{'.'.join(names)}]" if names else str(path)
    if not isinstance(command, click.Group):
        return {names: _option_values(table, command, ctx, where)}
    inner = {name: found for name, found in command.commands.items() if _takes_config(found)}
    _check_keys(table, [*inner, *([] if names else ["roots"])], where, "table")
    values: dict[tuple[str, ...], dict[str, Any]] = {}
    for name in inner.keys() & table.keys():
        values |= _command_values(table[name], inner[name], ctx, path, (*names, name))
    return values


def _takes_config(command: click.Command) -> bool:
    if isinstance(command, click.Group):
        return any(_takes_config(inner) for inner in command.commands.values())
    return any(parameter.name == "config" for parameter in command.params)


def _option_values(table: Any, command: click.Command, ctx: click.Context, where: str) -> dict[str, Any]:
    """The values of one command's table, by parameter; raises `UsageError` for the first that is wrong."""
    options = {option_key(parameter): parameter for parameter in command.params if parameter.name not in _NOT_SETTINGS}
    _check_keys(table, options, where)
    values: dict[str, Any] = {}
    for written, value in table.items():
        option = options[_plain(written)]
        try:
            values[str(option.name)] = _checked(option, value, ctx)
        except click.BadParameter as error:
            raise UsageError(f"{where} {written}: {error.message}") from None
    return values


def _checked(option: click.Parameter, value: Any, ctx: click.Context) -> Any:
    """A TOML value as Click takes it from a command line; raises `click.BadParameter`."""
    kind = option.type
    if isinstance(kind, click.types.BoolParamType):
        expected, accepted = "true or false", isinstance(value, bool)
    elif isinstance(kind, click.types.IntParamType):
        expected, accepted = "a valid integer", isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(kind, click.types.FloatParamType):
        expected, accepted = "a valid float", isinstance(value, int | float) and not isinstance(value, bool)
    elif isinstance(kind, Numbers):
        expected, accepted = f"a list of numbers, such as [{kind.example}]", isinstance(value, str) or _numbers(value)
    elif isinstance(kind, BatchSize):
        accepted = value == "auto" or (isinstance(value, int) and not isinstance(value, bool))
        expected = 'a valid integer or "auto"'
    else:
        expected, accepted = "a text in quotes", isinstance(value, str)
    if not accepted:
        raise click.BadParameter(f"{_shown(value)} is not {expected}.")
    if isinstance(value, str) and "\0" in value:
        raise click.BadParameter(f"{_shown(value)} holds a NUL character, which nothing can be named by.")
    if isinstance(kind, click.Path):
        value = os.path.expanduser(value)  # as a shell does on the command line
    option.type_cast_value(ctx, value)
    return value


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(part) in (int, float) for part in value)


def _check_keys(table: Any, known: Iterable[str], where: str, what: str = "key") -> None:
    """Raise `UsageError` for what is no table, or for its first key that is not known, with the nearest known one."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {_shown(table)} is not a table; write it as [table] with its keys below")
    known = list(known)
    seen: set[str] = set()
    for key in table:
        plain = _plain(key)
        if plain not in known:
            near = difflib.get_close_matches(plain, known, n=1)
            hint = f"nearest: {near[0]}" if near else f"known: {', '.join(known)}"
            raise UsageError(f"{where} has no {what} {_shown(key)} ({hint})")
        if plain in seen:
            raise UsageError(f"{where} has {what} '{plain}' twice, with - and with _; keep one of them")
        seen.add(plain)


def option_key(parameter: click.Parameter) -> str:
    """What a config file calls an option: its longest spelling, without dashes at its front."""
    return _plain(max(parameter.opts, key=len).lstrip("-"))


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: the config file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: the config file is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: the config file is not TOML: {error}") from None


def format_config(ctx: click.Context) -> str:
    """The options in effect as the text of a config file; `--config` reads it back to the same settings."""
    settings, sources = chosen_settings(ctx)
    lines = [f"[{'.'.join(_table_name(ctx))}]"]
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if name in _NOT_SETTINGS:
            continue
        value = getattr(settings, name) if name in sources else ctx.params[name]
        source = _printable(sources.get(name) or source_name(ctx, name) or "default")
        key = option_key(parameter)
        lines.append(f"# {key} is not set" if value is None else f"{key} = {_toml_value(value)}  # {source}")
    if roots := configured_roots(ctx):
        lines += ["", "[roots]", *(f"{key} = {_toml_value(value)}" for key, value in roots.items())]
    return "\n".join(lines) + "\n"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(part) for part in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    # JSON's escapes are TOML's too; the one character that only TOML escapes is DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
