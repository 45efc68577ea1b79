"""open_clip's model configurations, read from its files: to import the package itself takes seconds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

_ADDED: dict[str, tuple[Path, dict[str, Any]]] = {}  # configurations of people's own, by name


def add_configuration(path: Path, config: dict[str, Any]) -> str:
    """Make a configuration file known by its stem, which is returned."""
    _ADDED[path.stem] = (path, config)
    return path.stem


def find_configuration(name: str) -> dict[str, Any] | None:
    """A configuration by name, a copy; None where neither open_clip nor `add_configuration` has brought it."""
    if name in _ADDED:
        return deepcopy(_ADDED[name][1])
    if "open_clip" in sys.modules:  # to which others may have added theirs
        import open_clip

        found: dict[str, Any] | None = open_clip.get_model_config(name)
        return found
    path = package_folder() / "model_configs" / f"{name}.json"
    # A name is no path: one that leads elsewhere is not known.
    return json.loads(path.read_text("utf-8")) if Path(name).name == name and path.is_file() else None


def register(name: str) -> None:
    """Tell open_clip of a configuration that was added here."""
    import open_clip

    if name in _ADDED:
        open_clip.add_model_config(_ADDED[name][0])


@cache
def package_folder() -> Path:
    """Where open_clip lies."""
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None, "a requirement of this package"
    assert spec.origin is not None, "it is a regular package"
    return Path(spec.origin).parent


def open_clip_version() -> str:
    """The version of open_clip that is installed."""
    return importlib.metadata.version("open_clip_torch")
