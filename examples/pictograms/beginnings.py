"""What a training begins with: the weights of other trainings, or of a model in files, with more blocks if need be."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from excel_cam.model.words_file import WORDS_SUFFIX

IMAGE_BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.(.+)")
# What a block adds to its input goes through these: where they are 0, it adds nothing.
_ADDS = ("attn.out_proj.weight", "attn.out_proj.bias", "mlp.c_proj.weight", "mlp.c_proj.bias")
_ATTENDS = ("ln_1.weight", "ln_1.bias", "attn.in_proj_weight", "attn.in_proj_bias")


def begin_with(paths: Sequence[Path], own: dict[str, Tensor], ids: Sequence[int]) -> None:
    """Give towers the weights in a file, or the mean of those in several; what none of them has stays as it was made.

    paths: checkpoints of `train.py`, or configurations as `ship.py` writes them. own: the towers' state, changed in
    place. ids: the tokens of its token table, by which words are found in another. Image towers may have fewer blocks
    than `own`, see `_deepened`. Raises as `read_weights`.
    """
    begun = [_fitted(path, own, ids) for path in paths]
    for name, value in own.items():
        value.copy_(torch.stack([weights[name].float() for weights in begun]).mean(dim=0))


def _fitted(path: Path, own: dict[str, Tensor], ids: Sequence[int]) -> dict[str, Tensor]:
    """A file's weights in the places of `own`; where it has none of that shape, `own`'s."""
    weights, tokens = read_weights(path)
    weights = _deepened(weights, own)
    fitted = {name: value.clone() for name, value in own.items()}
    for name, value in weights.items():
        if name == "token_embedding.weight":
            rows = {token: row for row, token in enumerate(tokens)}
            for row, token in enumerate(ids):
                if token in rows:
                    fitted[name][row] = value[rows[token]].to(fitted[name])
        elif name in own and own[name].shape == value.shape:
            fitted[name].copy_(value)
    return fitted


def read_weights(path: Path) -> tuple[dict[str, Tensor], list[int]]:
    """The weights in a file and the tokens of the rows of their token table. Raises `ValueError` if it is neither a
    checkpoint nor a configuration with its words and weights beside it, and OSError if it cannot be read."""
    try:
        if path.suffix == ".json":
            words: Any = json.loads(path.with_suffix(WORDS_SUFFIX).read_text())
            return load_file(path.with_suffix(".safetensors")), words["tokens"]
        content = torch.load(path, map_location="cpu", weights_only=True)
        return content["average"], content["ids"]
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError):
        raise ValueError(f"{path}: neither a checkpoint of train.py nor a model as ship.py writes it") from None


def _deepened(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an image tower with as many blocks as `own`, which does what it did with fewer.

    New blocks come after the first, before those whose attention is calibrated. They attend as the block after them
    did and add nothing yet; the rest of them is `own`'s, made by chance, so that they do not all learn the same.
    """
    missing = image_blocks(own) - image_blocks(weights)
    if missing <= 0 or image_blocks(weights) < 2:
        return weights
    deeper = {}
    for name, value in weights.items():
        block = IMAGE_BLOCK.fullmatch(name)
        place = int(block[1]) if block else 0
        deeper[f"visual.transformer.resblocks.{place + missing}.{block[2]}" if block and place else name] = value
        if block and place == 1:
            for new in range(1, 1 + missing):
                part = f"visual.transformer.resblocks.{new}.{block[2]}"
                if block[2] in _ATTENDS:
                    deeper[part] = value
                elif block[2] in _ADDS:
                    deeper[part] = torch.zeros_like(value)
    return deeper


def image_blocks(weights: dict[str, Tensor]) -> int:
    """How many blocks an image tower has."""
    return 1 + max((int(block[1]) for name in weights if (block := IMAGE_BLOCK.fullmatch(name))), default=-1)
