"""The command `excel-cam info`: what a report of a fault needs to say of this machine, and emptying the caches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from excel_cam import __version__
from excel_cam.cli.config import config_options, configured_roots
from excel_cam.cli.terminal import show, show_record, tell
from excel_cam.wording import readable_size

_LIBRARIES = ("torch", "open_clip_torch", "numpy", "pillow", "scipy", "safetensors", "huggingface_hub", "click")
# Extra -> what it installs, with commas between
EXTRAS = {
    "coco": "pycocotools", "crf": "pydensecrf2", "fast": "numba, openvino", "llm": "openai", "browser": "selenium",
    "shards": "pyarrow", "remote": "s3fs", "ray": "ray", "geo": "rasterio",
}  # fmt: skip
_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE")


@click.command()
@click.option("--clear", is_flag=True, help="Empty excel-cam's own caches, after saying what; weights are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_options
@click.pass_context
def info(ctx: click.Context, /, clear: bool, as_json: bool) -> None:
    """Print what excel-cam finds here: what to paste into a bug report.

    \b
        excel-cam info
        excel-cam info --clear

    Versions, device, precision, threads, caches and their sizes, weights and data sets at hand, extras installed.
    Paths are shown as they are, keys and passwords are not looked at. What --clear removes is computed again when it is
    needed.
    """
    from excel_cam.files.cache import clear_cache, list_caches

    if clear:
        for cache in list_caches():
            tell(f"removing {_count(len(cache.files))}, {readable_size(cache.size)}: {cache.what} in {cache.folder}")
            clear_cache(cache)
    gathered = _gather(configured_roots(ctx))
    if as_json:
        show_record(gathered)
        return
    for line in _lines(gathered):
        show(line)


def _gather(roots: Mapping[str, Path]) -> dict[str, Any]:
    """All that is printed, as JSON can hold it. roots: folders of data sets from a config file."""
    import platform

    from excel_cam.data.found import found_data_sets
    from excel_cam.files.cache import list_caches
    from excel_cam.model.at_hand import hardware, hub_cache, weights_at_hand
    from excel_cam.shipped import SHIPPED_MODEL

    machine = hardware()
    return {
        "excel_cam": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "extras": {extra: _versions(libraries.split(", ")) for extra, libraries in EXTRAS.items()},
        "device": machine.device,
        "precision": machine.precision,
        "threads": machine.threads,
        "processors": machine.processors,
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "caches": [
            {"what": cache.what, "folder": str(cache.folder), "files": len(cache.files), "bytes": cache.size}
            for cache in list_caches()
        ],
        "weights_folder": str(hub_cache()),
        "shipped_model": SHIPPED_MODEL,
        "weights": [
            {"model": known.model, "pretrained": known.pretrained, "path": str(known.path), "bytes": known.size}
            for known in weights_at_hand()
        ],
        "data_sets": {
            name: {"root": str(root), "found": how} for name, (root, how) in found_data_sets(os.environ, roots).items()
        },
    }


def _versions(libraries: Sequence[str]) -> str | None:
    """The version of an extra's library, of each by its name where it has several; None where none is installed."""
    versions = {library: _version(library) for library in libraries}
    if len(versions) == 1 or not any(versions.values()):
        return next(iter(versions.values()))
    return ", ".join(f"{library} {version or '-'}" for library, version in versions.items())


def _version(library: str) -> str | None:
    """The version of an installed package, None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _lines(gathered: dict[str, Any]) -> Iterator[str]:
    """The same as lines, a word for what it is before each."""
    yield _line("excel-cam", f"{gathered['excel_cam']}, Python {gathered['python']}, {gathered['platform']}")
    yield _line(
        "libraries", ", ".join(f"{name} {version or 'missing'}" for name, version in gathered["libraries"].items())
    )
    yield _line("extras", ", ".join(f"{name} {version or '-'}" for name, version in gathered["extras"].items()))
    yield _line("device", f"{gathered['device']}, {gathered['precision']}")
    yield _line("threads", f"{gathered['threads']} of {gathered['processors']} processors")
    for name, value in gathered["environment"].items():
        yield _line("variable", f"{name}={value}")
    for cache in gathered["caches"]:
        size = readable_size(cache["bytes"])
        yield _line("cache", f"{cache['what']}: {_count(cache['files'])}, {size}, {cache['folder']}")
    if not gathered["caches"]:
        yield _line("cache", "none: there is no home folder; EXCEL_CAM_CACHE names another")
    yield _line("weights", f"{gathered['shipped_model']}, comes with excel-cam")
    for known in gathered["weights"]:
        size = readable_size(known["bytes"])
        yield _line("weights", f"--model {known['model']} --pretrained {known['pretrained']}: {size}, {known['path']}")
    if not gathered["weights"]:
        yield _line("weights", f"no others in {gathered['weights_folder']}")
    yield _line("data", "demo, comes with excel-cam")
    for name, place in gathered["data_sets"].items():
        yield _line("data", f"{name}: {place['root']} ({place['found']})")


def _count(files: int) -> str:
    return f"{files:,} file{'s' if files != 1 else ''}"


def _line(title: str, text: str) -> str:
    return f"{title:10} {text}"
