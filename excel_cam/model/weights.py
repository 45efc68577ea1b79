"""Weights files: find or fetch them, read them without running code, and fit them to a model exactly."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub.constants
import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from torch import Tensor

from excel_cam.errors import ModelError
from excel_cam.files.arrays.bounded import read_bounded
from excel_cam.files.json_file import MAX_BYTES, parse_json
from excel_cam.model.checkpoint import unwrapped, without_prefixes
from excel_cam.model.torchscript import is_torchscript, read_torchscript, refuse_packed
from excel_cam.model.transformers_layout import has_transformers_names, to_open_clip
from excel_cam.model.weight_files import foreign_file, is_safetensors, shard_advice, weight_files

# Where open_clip looks for OpenAI's weights, so that those at hand are found without importing it.
OPENAI_REPOSITORIES = {
    "ViT-B-32-quickgelu": "timm/vit_base_patch32_clip_224.openai/",
    "ViT-B-16-quickgelu": "timm/vit_base_patch16_clip_224.openai/",
    "ViT-L-14-quickgelu": "timm/vit_large_patch14_clip_224.openai/",
    "ViT-L-14-336-quickgelu": "timm/vit_large_patch14_clip_336.openai/",
}
# What open_clip calls a repository's weights, in the order in which it asks for them.
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

# Numbers that OpenAI's archives keep among the tensors.
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")


def locate_pretrained(name: str, config: dict[str, Any], tag: str) -> Path:
    """The local file of the weights open_clip knows as `tag`, fetched through the Hugging Face cache if need be.

    Raises `ModelError` when the tag is unknown, belongs to another activation, or the file cannot be had.
    """
    known = {"hf_hub": OPENAI_REPOSITORIES.get(name, "")}
    if tag == "openai" and config.get("quick_gelu") and (cached := cached_weights(known)):
        return cached
    from open_clip import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

    record = get_pretrained_cfg(name, tag)
    if not record:
        tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise ModelError(
            f"model {name} has no weights '{tag}' (known: {tags}); choose one, or pass a file with --weights"
        )
    if bool(record.get("quick_gelu")) != bool(config.get("quick_gelu")):
        right = name.removesuffix("-quickgelu") if config.get("quick_gelu") else f"{name}-quickgelu"
        raise ModelError(
            f"weights '{tag}' were trained with another activation than model {name} has; use --model {right}"
        )
    if cached := cached_weights(record):
        return cached
    if huggingface_hub.constants.HF_HUB_CACHE.startswith("~"):
        raise ModelError(
            f"weights '{tag}' of {name} would be fetched into the cache of a home folder, and there is none; set "
            "HF_HOME to a folder to keep them in, or pass a file with --weights"
        )
    try:
        _look_up_hub(record)
        with quiet_logs():
            path = download_pretrained(record)
    except Exception as error:  # the hub client raises whatever its transport does
        raise ModelError(_cannot_fetch(name, tag, record, error)) from None
    if not path:
        raise ModelError(f"weights '{tag}' of {name} have no address in open_clip; pass a file with --weights")
    return Path(path)


def cached_weights(record: dict[str, Any]) -> Path | None:
    """The weights of an open_clip record in the local Hugging Face cache, by the names open_clip asks for.

    Found without any network; None where they are not there.
    """
    repository, _, file = record.get("hf_hub", "").rpartition("/")
    names = list(HUB_FILES)
    if file:
        stem, suffix = os.path.splitext(file)
        names = [f"{stem}.safetensors", file] if suffix in (".bin", ".pth") else [file]
    found = (try_to_load_from_cache(repository, name) for name in names) if repository else ()
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _look_up_hub(record: dict[str, Any]) -> None:
    """Raise `OSError` where the hub's address cannot even be looked up: its client would try for most of a minute."""
    host = urlsplit(huggingface_hub.constants.ENDPOINT).hostname
    if record.get("hf_hub") and host and not getproxies() and not huggingface_hub.constants.HF_HUB_OFFLINE:
        socket.getaddrinfo(host, None)


def _cannot_fetch(name: str, tag: str, record: dict[str, Any], error: Exception) -> str:
    repository, _, file = record.get("hf_hub", "").rpartition("/")
    file = file or "open_clip_model.safetensors (or open_clip_pytorch_model.bin)"  # what open_clip asks for, in order
    wanted = f"{file} of huggingface.co/{repository}"
    if not repository:
        wanted = record.get("url", "its file")
    cache = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub"
    return (
        f"weights '{tag}' of {name} are neither in the cache ({cache}) nor could they be fetched "
        f"({type(error).__name__}); get {wanted} and pass it with --weights FILE"
    )


def read_weights(path: Path) -> tuple[dict[str, Tensor], bool | None]:
    """Read a state dict, by open_clip's names, without running any code of the file.

    `path`: a file of safetensors or torch, known by its content, OpenAI's own TorchScript archive, or an index of
    shards (`.index.json`). Returns the tensors by name, and whether they were trained with QuickGELU where that is
    known (OpenAI's archive; `config.json` beside a file of the transformers library), else None.
    Raises `ModelError` when the file is missing, damaged or something else.
    """
    state: dict[str, Tensor] = {}
    quick_gelu = None
    for file in weight_files(path):
        content, is_archive = _read_file(file)
        state |= _plain_state(file, content)
        quick_gelu = True if is_archive else quick_gelu
    try:
        state = without_prefixes(state)
        if has_transformers_names(state):
            return to_open_clip(state), _recorded_activation(path)
    except ValueError as error:
        raise ModelError(f"{path}: {error}{shard_advice(path)}") from None
    return state, quick_gelu


def _read_file(path: Path) -> tuple[Any, bool]:
    """What a file holds, and whether it is a TorchScript archive."""
    try:
        if (foreign := foreign_file(path)) is not None:
            raise ModelError(f"{path}: {foreign}")
        is_archive = is_torchscript(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice to programmers
            if is_safetensors(path):
                return load_file(path, device="cpu"), False
            if is_archive:
                return read_torchscript(path), True  # torch.jit.load would run code of the archive
            refuse_packed(path)
            with path.open("rb") as stream:  # given a path, torch would go by its ending
                return torch.load(stream, map_location="cpu", weights_only=True), False
    except ModelError:
        raise
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file") from None
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path}: not a weights file, or one that would run code when read; save its state dict alone"
        ) from None
    except Exception as error:  # a damaged file leads the readers into whatever comes
        raise ModelError(f"{path}: the weights cannot be read ({first_line(error)})") from None


def _plain_state(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the names it has for them; raises `ModelError` for anything else."""
    content = unwrapped(content)
    if not isinstance(content, dict) or not content:
        raise ModelError(f"{path}: holds no state dict (tensors by name)")
    state = {str(key): value for key, value in content.items()}
    state = {key: value for key, value in state.items() if key.rpartition(".")[2] not in _OPENAI_EXTRAS}
    if odd := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise ModelError(f"{path}: holds no plain state dict: {odd[0]!r} is not a tensor")
    return state


def _recorded_activation(path: Path) -> bool | None:
    """Whether `config.json` beside a file of the transformers library says QuickGELU; None where it does not say."""
    try:
        config = parse_json(read_bounded(path.parent / "config.json", MAX_BYTES))
        activation = config["vision_config"]["hidden_act"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is a help, no part of the weights
    return {"quick_gelu": True, "gelu": False}.get(str(activation))


def fit_weights(model: torch.nn.Module, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Copy `state` into `model`, all of it and nothing missing.

    Raises `ModelError` naming the first tensor that is missing, of another kind or shape, not finite, or too many.
    """
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        # A plain CLIP checkpoint for a model with a text module of its own.
        state = _with_text_module(state)
    expected = model.state_dict()
    refusal = f"{path}: the weights do not fit model {name}:"
    for key, tensor in expected.items():
        if key not in state:
            raise ModelError(f"{refusal} tensor '{key}' is missing{shard_advice(path)}")
        came = state[key]
        if not came.is_floating_point() or came.layout != torch.strided or came.is_meta:
            kind = f"{came.dtype}, {came.layout}, {came.device}"
            raise ModelError(f"{refusal} tensor '{key}' is not one of plain real numbers ({kind})")
        if key == "logit_scale" and came.numel() == tensor.numel():
            state = {**state, key: came.reshape(tensor.shape)}  # a scalar in some files, one element in others
        elif came.shape != tensor.shape:
            raise ModelError(f"{refusal} tensor '{key}' has shape {tuple(came.shape)}, expected {tuple(tensor.shape)}")
        if not bool(torch.isfinite(came).all()):
            raise ModelError(f"{refusal} tensor '{key}' has values that are not finite")
    if extra := [key for key in state if key not in expected]:
        raise ModelError(f"{refusal} the file has tensor {extra[0]!r}, which the model lacks")
    model.load_state_dict(state)


def _with_text_module(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A plain CLIP's tensors by the names they have where the text tower is a module of its own."""
    own = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
    return {f"text.{key}" if key.startswith(own) else key: tensor for key, tensor in state.items()}


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Hold back the log lines of libraries: what went wrong is said once, by the error that is raised."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
