"""What a model would run on here, and the weights that can be had without a network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import torch
from open_clip import get_model_config, get_pretrained_cfg, list_pretrained

from excel_cam.files.processors import processors
from excel_cam.model.clip import resolve_device, resolve_precision
from excel_cam.model.weights import cached_weights


@dataclass(frozen=True)
class Hardware:
    """What `auto` comes to. device: with the GPU's name and memory. threads: of torch on a CPU."""

    device: str
    precision: str
    threads: int
    processors: int


@dataclass(frozen=True)
class Weights:
    """Weights that are there: what `--model` and `--pretrained` call them, their file and its bytes."""

    model: str
    pretrained: str
    path: Path
    size: int


def hardware() -> Hardware:
    """The device, precision and threads that a run takes unless told otherwise."""
    device = resolve_device("auto")
    name = str(device)
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        name = f"{device}: {gpu.name}, {gpu.total_memory / 1e9:.0f} GB; CUDA {torch.version.cuda}"
    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        threads = min(threads, processors())
    return Hardware(name, resolve_precision("auto", device), threads, processors())


def weights_at_hand() -> list[Weights]:
    """Weights of vision transformers in the local Hugging Face cache, by name; no network is used."""
    found = []
    for model, tag in list_pretrained():
        record, config = get_pretrained_cfg(model, tag), get_model_config(model) or {}
        # Under a name with another activation, the same file would be refused.
        if not model.startswith("ViT-") or bool(record.get("quick_gelu")) != bool(config.get("quick_gelu")):
            continue
        path = cached_weights(record)
        if path is not None:
            found.append(Weights(model, tag, path, path.stat().st_size))
    return found


def hub_cache() -> Path:
    """The folder into which weights are fetched."""
    return Path(huggingface_hub.constants.HF_HUB_CACHE)
