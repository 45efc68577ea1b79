"""What a model turned out to be, remembered in the cache: so finished work is known for finished without loading it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import excel_cam
from excel_cam.errors import DataError, OutputError
from excel_cam.files.atomic import cache_folder, hash_file, hash_json, json_bytes, write_atomically
from excel_cam.files.json_file import read_json
from excel_cam.model.weight_files import hash_weights
from excel_cam.model.words_file import WORDS_SUFFIX
from excel_cam.settings import ModelChoice


def asked_model(choice: ModelChoice) -> dict[str, Any]:
    """A model as asked for: weights by their content, the rest by name."""
    weights = choice.weights
    return {
        "pretrained": None if weights is not None else choice.pretrained,
        "weights": hash_weights(weights) if weights is not None and weights.is_file() else None,
        "device": choice.device,
        "precision": choice.precision,
        **({} if choice.backend == "torch" else {"backend": choice.backend}),
    }


def model_identity(choice: ModelChoice) -> str:
    """A model by its name; a configuration file by its content too, which may change under one name."""
    path = Path(choice.name)
    if path.suffix != ".json" or not path.is_file():  # what is not there is reported when it is loaded
        return choice.name
    words = path.with_suffix(WORDS_SUFFIX)
    vocabulary = f" {hash_file(words)[:16]}" if words.is_file() else ""
    return f"{path.stem} {hash_file(path)[:16]}{vocabulary}"


def remember(choice: ModelChoice, name: str, resolved: dict[str, Any]) -> None:
    """Keep the name and the resolved identity of a model that has been loaded; the cache is a help, no condition."""
    if (path := _path(choice)) is not None:
        with contextlib.suppress(OutputError):
            write_atomically(path, json_bytes({"name": name, "resolved": resolved}))


def recall(choice: ModelChoice) -> tuple[str, dict[str, Any]] | None:
    """The name and the resolved identity that the same question had the last time; None where it is not known."""
    if (path := _path(choice)) is None:
        return None
    try:
        found = read_json(path, "remembered model", remedy="remove it", optional=True)
    except DataError:
        return None
    name, resolved = (found or {}).get("name"), (found or {}).get("resolved")
    return (name, resolved) if isinstance(name, str) and isinstance(resolved, dict) else None


def _path(choice: ModelChoice) -> Path | None:
    folder = cache_folder()
    asked = [excel_cam.__version__, model_identity(choice), asked_model(choice)]
    return None if folder is None else folder / "models" / f"{hash_json(asked)[:32]}.json"
