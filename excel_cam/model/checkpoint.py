"""What training leaves around a state dict: wrappers and prefixes, taken off."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# Where checkpoints keep the state dict, the weights themselves before averages of them.
_WRAPPERS = (
    "state_dict", "model_state_dict", "model", "module", "net", "network", "clip", "clip_model", "weights", "params",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "teacher", "student",
)  # fmt: skip
_DEEPEST = 4  # wrappers around one another

# Put between the names of modules by torch's own wrappers.
_INSIDE = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PREFIX = re.compile(
    r"(?:module|model|clip|clip_model|backbone|encoder|net|network|base_model|ema|ema_model|model_ema|teacher|student)\."
)
# A tensor that every CLIP has once, in open_clip's and in transformers' names: what stands before it is a prefix.
ANCHORS = ("visual.class_embedding", "vision_model.embeddings.class_embedding")


def unwrapped(content: Any) -> Any:
    """The state dict inside a checkpoint, where it lies under one of the usual keys."""
    for _ in range(_DEEPEST):
        if not isinstance(content, dict):
            return content
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return content
        content = inner
    return content


def without_prefixes(state: dict[str, Any]) -> dict[str, Any]:
    """The state dict by the model's own names.

    Where an anchor says which prefix the model has, whatever does not bear it belongs to other modules (losses, heads)
    and is left out. Raises ValueError where it holds two models.
    """
    state = {_INSIDE.sub("", key): value for key, value in state.items()}
    prefixes = {key[: -len(anchor)] for key in state for anchor in ANCHORS if _ends_with(key, anchor)}
    if len(prefixes) > 1:
        raise ValueError(f"holds {len(prefixes)} models, under {_listed(prefixes)}; save the state dict of one")
    if prefixes:
        prefix = prefixes.pop()
        return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    while state and (found := _PREFIX.match(next(iter(state)))) and all(key.startswith(found[0]) for key in state):
        state = {key.removeprefix(found[0]): value for key, value in state.items()}
    return state


def _ends_with(key: str, anchor: str) -> bool:
    return key == anchor or key.endswith(f".{anchor}")


def _listed(prefixes: Iterable[str]) -> str:
    return " and ".join(repr(prefix) for prefix in sorted(prefixes)[:3])
