"""Weights files as OpenAI writes them, and what is said of those that are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from excel_cam.errors import ModelError


class Holder(nn.Module):
    """A node of a module tree that only holds tensors."""

    def forward(self) -> None:
        raise AssertionError("an archive's code was called")


def save_archive(state: dict[str, Tensor], path: Path) -> None:
    """Write a TorchScript archive of OpenAI's kind: parameters under the model's names, three numbers as buffers."""
    root = Holder()
    for name, tensor in state.items():
        *parents, leaf = name.split(".")
        node: nn.Module = root
        for parent in parents:
            if not hasattr(node, parent):
                node.add_module(parent, Holder())
            node = getattr(node, parent)
        node.register_parameter(leaf, nn.Parameter(tensor.clone(), requires_grad=False))
    for name, number in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)):
        root.register_buffer(name, torch.tensor(number))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but it is what OpenAI's files are
        torch.jit.save(torch.jit.script(root), path)


def tensors_equal(came: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return came.keys() == expected.keys() and all(torch.equal(came[key], expected[key]) for key in expected)


def refusal(action: Callable[[], object]) -> str:
    """The text of the `ModelError` that `action` ends in, which is one line."""
    with pytest.raises(ModelError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)
