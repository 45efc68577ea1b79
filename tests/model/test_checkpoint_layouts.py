"""Weights as people have them: other names, wrappers and prefixes, transformers' layout, shards, and what is none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import refusal, save_archive, tensors_equal
from click.testing import Result
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from excel_cam.model.clip import load_model
from excel_cam.model.weight_files import hash_weights
from excel_cam.model.weights import read_weights
from excel_cam.settings import ModelChoice

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state(tiny_model: tuple[Path, Path]) -> State:
    return torch.load(tiny_model[1], weights_only=True)


def loaded(tiny_model: tuple[Path, Path], weights: Path) -> State:
    return load_model(ModelChoice(str(tiny_model[0]), weights=weights, device="cpu")).towers.state_dict()


def transformers_state(state: State) -> State:
    """open_clip's tensors by transformers' names: written from those names, not from the code under test."""
    renamed: State = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
        "text_projection.weight": state["text_projection"].T.contiguous(),
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "vision_model.embeddings.position_ids": torch.arange(17).unsqueeze(0),
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.embeddings.position_ids": torch.arange(77).unsqueeze(0),
    }
    for theirs, ours in (
        ("vision_model.pre_layrnorm", "visual.ln_pre"),
        ("vision_model.post_layernorm", "visual.ln_post"),
        ("text_model.final_layer_norm", "ln_final"),
    ):
        renamed |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    for theirs, ours in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
        numbers = {int(found[1]) for key in state if (found := re.match(rf"{ours}\.resblocks\.(\d+)\.", key))}
        for number in numbers:
            block, source = f"{theirs}.encoder.layers.{number}", f"{ours}.resblocks.{number}"
            for kind in ("weight", "bias"):
                parts = state[f"{source}.attn.in_proj_{kind}"].chunk(3)
                for part, tensor in zip("qkv", parts, strict=True):
                    renamed[f"{block}.self_attn.{part}_proj.{kind}"] = tensor.clone()
                renamed[f"{block}.self_attn.out_proj.{kind}"] = state[f"{source}.attn.out_proj.{kind}"]
                renamed[f"{block}.layer_norm1.{kind}"] = state[f"{source}.ln_1.{kind}"]
                renamed[f"{block}.layer_norm2.{kind}"] = state[f"{source}.ln_2.{kind}"]
                renamed[f"{block}.mlp.fc1.{kind}"] = state[f"{source}.mlp.c_fc.{kind}"]
                renamed[f"{block}.mlp.fc2.{kind}"] = state[f"{source}.mlp.c_proj.{kind}"]
    return renamed


# ---- known by content


@pytest.mark.parametrize("name", ["9f1c0e5d", "weights.bin", "weights.pt"])
def test_safetensors_are_known_by_content(
    tiny_model: tuple[Path, Path], state: State, tmp_path: Path, name: str
) -> None:
    save_file(state, tmp_path / name)
    assert tensors_equal(loaded(tiny_model, tmp_path / name), state)


def test_a_torch_file_that_is_called_safetensors(tiny_model: tuple[Path, Path], state: State, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    shutil.copy(tiny_model[1], path)
    assert tensors_equal(loaded(tiny_model, path), state)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a git-lfs pointer"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<html><head>", "a web page"),
        (b"<?xml version='1.0'?><Error/>", "an XML document"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "an HDF5 file"),
        (b"GGUF\3\0\0\0", "a GGUF file"),
        (b"\x1f\x8b\x08" + b"\0" * 64, "packed with gzip"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ""])
def test_what_is_no_weights_file_is_named(tmp_path: Path, content: bytes, expected: str, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert refusal(lambda: read_weights(path)).startswith(f"{path}: {expected}")


# ---- wrappers and prefixes


@pytest.mark.parametrize(
    "keys",
    [("state_dict",), ("model_state_dict",), ("model",), ("module",), ("ema",), ("state_dict_ema",), ("model_ema",),
     ("state_dict", "model")],
)  # fmt: skip
@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "model.", "_orig_mod.", "clip.", "clip_model.", "module._orig_mod.", "model._orig_mod.module.",
     "net.encoder.clip.", "_fsdp_wrapped_module.", "lightning_module.model."],
)  # fmt: skip
def test_wrappers_and_prefixes_are_taken_off(state: State, tmp_path: Path, keys: tuple[str, ...], prefix: str) -> None:
    small = {key: tensor for key, tensor in state.items() if "token_embedding" not in key}
    content: object = {f"{prefix}{key}": tensor for key, tensor in small.items()}
    for key in reversed(keys):
        content = {"epoch": 3, "global_step": 7, key: content, "optimizer_states": [{"lr": 0.1}]}
    torch.save(content, tmp_path / "last.ckpt")
    assert tensors_equal(read_weights(tmp_path / "last.ckpt")[0], small)


def test_a_compiled_tower_inside_a_model(state: State, tmp_path: Path) -> None:
    compiled = {key.replace("visual.", "visual._orig_mod.", 1): tensor for key, tensor in state.items()}
    torch.save(compiled, tmp_path / "w.pt")
    assert tensors_equal(read_weights(tmp_path / "w.pt")[0], state)


def test_tensors_of_other_modules_are_left_out(tiny_model: tuple[Path, Path], state: State, tmp_path: Path) -> None:
    content = {f"model.{key}": tensor for key, tensor in state.items()} | {"loss.weight": torch.ones(3)}
    torch.save({"state_dict": content}, tmp_path / "w.ckpt")
    assert tensors_equal(loaded(tiny_model, tmp_path / "w.ckpt"), state)


def test_two_models_in_one_file_are_not_chosen_between(state: State, tmp_path: Path) -> None:
    both = {f"{name}.{key}": tensor for name in ("student", "teacher") for key, tensor in state.items()}
    torch.save(both, tmp_path / "w.pt")
    assert "holds 2 models, under 'student.' and 'teacher.'" in refusal(lambda: read_weights(tmp_path / "w.pt"))


def test_weights_before_their_average(state: State, tmp_path: Path) -> None:
    torch.save({"ema": {"visual.class_embedding": torch.ones(1)}, "model": state}, tmp_path / "w.pt")
    assert tensors_equal(read_weights(tmp_path / "w.pt")[0], state)


# ---- transformers


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_transformers_layout_is_converted_exactly(
    tiny_model: tuple[Path, Path], state: State, tmp_path: Path, suffix: str, prefix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    renamed = {f"{prefix}{key}": tensor for key, tensor in transformers_state(state).items()}
    save_file(renamed, path) if suffix == ".safetensors" else torch.save(renamed, path)
    assert tensors_equal(loaded(tiny_model, path), state)


def shards_of(content: State, folder: Path, suffix: str) -> Path:
    """Write tensors as two shards and their index, as transformers does; returns the index."""
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    names = sorted(content)
    halves = {1: names[::2], 2: names[1::2]}  # so that queries and keys of one block lie in two files
    places = {}
    for number, half in halves.items():
        file = f"{stem}-{number:05d}-of-00002{suffix}"
        part = {name: content[name] for name in half}
        save_file(part, folder / file) if suffix == ".safetensors" else torch.save(part, folder / file)
        places |= dict.fromkeys(half, file)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("layout", ["transformers", "open_clip"])
def test_shards_are_read_by_their_index(
    tiny_model: tuple[Path, Path], state: State, tmp_path: Path, suffix: str, layout: str
) -> None:
    index = shards_of(transformers_state(state) if layout == "transformers" else state, tmp_path, suffix)
    assert tensors_equal(loaded(tiny_model, index), state)


def test_the_fingerprint_of_shards_is_that_of_all(state: State, tmp_path: Path) -> None:
    index = shards_of(state, tmp_path, ".safetensors")
    before = hash_weights(index)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert hash_weights(index) != before


def test_one_shard_alone_names_the_index(tiny_model: tuple[Path, Path], state: State, tmp_path: Path) -> None:
    for content in (state, transformers_state(state)):
        shards_of(content, tmp_path, ".safetensors")
        text = refusal(lambda: loaded(tiny_model, tmp_path / "model-00001-of-00002.safetensors"))
        assert text.endswith("it is one of 2 shards: pass their index, model.safetensors.index.json")


def test_an_index_without_its_shards(state: State, tmp_path: Path) -> None:
    index = shards_of(state, tmp_path, ".safetensors")
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "1 of its 2 files are not beside it, first model-00002" in refusal(lambda: read_weights(index))
    for text in ("", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../b.safetensors"}}'):
        index.write_text(text)
        assert refusal(lambda: read_weights(index)).startswith(f"{index}: ")


def test_one_tower_alone_names_the_file_to_get(state: State, tmp_path: Path) -> None:
    for tower, what in (("vision_model", "text tower"), ("text_model", "image tower")):
        part = {key: tensor for key, tensor in transformers_state(state).items() if key.startswith(tower)}
        save_file(part, tmp_path / "w.safetensors")
        text = refusal(lambda: read_weights(tmp_path / "w.safetensors"))
        assert f"holds no {what}" in text
        assert "get the weights of the whole CLIP (model.safetensors of its repository)" in text


def test_another_model_of_the_library_is_refused(state: State, tmp_path: Path) -> None:
    save_file(transformers_state(state) | {"vision_model.head.probe": torch.ones(1)}, tmp_path / "w.safetensors")
    text = refusal(lambda: read_weights(tmp_path / "w.safetensors"))
    assert "no CLIP that is read: it has tensor 'vision_model.head.probe'" in text


def test_the_activation_beside_the_file_is_heeded(tiny_model: tuple[Path, Path], state: State, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(transformers_state(state), path)
    for activation in ("quick_gelu", "gelu_new"):
        (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"hidden_act": activation}}))
        assert tensors_equal(loaded(tiny_model, path), state)
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"hidden_act": "gelu"}}))
    text = refusal(lambda: loaded(tiny_model, path))
    assert text.endswith("trained with plain GELU, but model tiny-quickgelu has QuickGELU; use --model tiny")


def test_an_archive_among_them_still_says_its_activation(state: State, tmp_path: Path) -> None:
    save_archive({key: tensor for key, tensor in state.items() if "token" not in key}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt")[1] is True


def test_labels_are_the_same_from_any_layout(
    excel_cam: Callable[..., Result], arguments: list[str], state: State, tmp_path: Path
) -> None:
    index = shards_of(transformers_state(state), tmp_path, ".safetensors")
    labels = []
    for out, more in (("plain", []), ("sharded", ["--weights", index])):
        result = excel_cam(*arguments, "--out", tmp_path / out, "--attributes", "none", *more)
        assert result.exit_code == 0, result.stderr
        labels.append([np.asarray(Image.open(path)).tobytes() for path in sorted((tmp_path / out).glob("*.png"))])
    assert len(labels[0]) == 6
    assert labels[0] == labels[1]
