"""Model configurations with a vocabulary and settings of their own: the words file beside an open_clip configuration.

Beside `NAME.json` a file `NAME.words.json` may lie, with two keys:
`tokens`, the ids of CLIP's tokenizer that the rows of the token table stand for, in order, -1 for the row <unknown>
(the start and end tokens come last), and `settings`, the settings that the model was made for.
A model with such a file has a small token table: words outside it are read as <unknown>.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from excel_cam.errors import ModelError, SettingsError
from excel_cam.files.json_file import read_json
from excel_cam.settings import Settings
from excel_cam.shipped import configuration_file

WORDS_SUFFIX = ".words.json"
RECORDED = "model "  # how the source of a setting begins that a model records


def read_words(name: str) -> dict[str, Any] | None:
    """The words file of a model, or None where it has none. Raises `ModelError` when it is not as described above."""
    configuration = configuration_file(name)
    if configuration is None:
        return None
    path = configuration.with_suffix(WORDS_SUFFIX)
    content: Any = read_json(
        path, "words file of the model", remedy="mend or remove it", error=ModelError, expected=None, optional=True
    )
    if content is None and not path.exists():
        return None
    if not isinstance(content, dict) or content.keys() != {"tokens", "settings"}:
        raise ModelError(f"{path}: expected an object with the keys tokens and settings")
    tokens, settings = content["tokens"], content["settings"]
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise ModelError(f"{path}: tokens must be a list of whole numbers")
    known = {entry.name for entry in dataclasses.fields(Settings)}
    if not isinstance(settings, dict) or not settings.keys() <= known:
        raise ModelError(f"{path}: settings must be an object with keys out of {', '.join(sorted(known))}")
    try:
        Settings(**settings)
    except (SettingsError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: settings: {error}") from None
    return content


def fit_recorded(settings: Settings, sources: Mapping[str, str], sentences: int) -> Settings:
    """`settings` with the number of attributes that the model records, where nobody chose one, no more than sentences.

    sources: where each setting comes from. What a person asks for stays, and is refused where it cannot be.
    """
    recorded = sources.get("clusters", "").startswith(RECORDED)
    if not recorded or not sentences or settings.clusters is None or settings.clusters <= sentences:
        return settings
    return dataclasses.replace(settings, clusters=sentences)


def recorded_settings(name: str) -> dict[str, Any]:
    """The settings recorded with a model, such as its input size; empty for models that record none."""
    words = read_words(name)
    return dict(words["settings"]) if words else {}
