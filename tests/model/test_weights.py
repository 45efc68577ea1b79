"""Weights files: read without running their code, fitted exactly, found in the Hugging Face cache or refused."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import random
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import open_clip
import pytest
import torch
from archives import Holder, refusal, save_archive, tensors_equal
from safetensors.torch import save_file
from torch import Tensor, nn

from excel_cam.errors import ModelError
from excel_cam.model import weights
from excel_cam.model.clip import load_model
from excel_cam.model.weights import fit_weights, locate_pretrained, read_weights
from excel_cam.settings import ModelChoice

SMALL = {"image_size": 16, "patch_size": 8, "layers": 2, "width": 16, "head_width": 8}
SMALL_TEXT = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1}
TENSORS = {"first.weight": torch.arange(6.0).reshape(2, 3), "second": torch.tensor([0.5, -2.0])}
REPOSITORY = "excel-cam-tests/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

Save = Callable[[object, Path], None]


def save_old(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_plain_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def small_clip(seed: int = 0) -> open_clip.CLIP:
    torch.manual_seed(seed)
    return open_clip.CLIP(embed_dim=12, vision_cfg=SMALL, text_cfg=SMALL_TEXT).eval()


@pytest.fixture
def small_state() -> dict[str, Tensor]:
    return small_clip(seed=1).state_dict()


# ---- reading


@pytest.mark.parametrize("save", [torch.save, save_old])
@pytest.mark.parametrize("suffix", [".pt", ".bin", ""])
def test_plain_state_dict(tmp_path: Path, save: Save, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save(TENSORS, path)
    state, is_openai = read_weights(path)
    assert tensors_equal(state, TENSORS)
    assert not is_openai


@pytest.mark.parametrize("save", [torch.save, save_old])
def test_training_checkpoint_with_module_prefix(tmp_path: Path, save: Save) -> None:
    path = tmp_path / "epoch_32.pt"
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    prefixed = {f"module.{name}": tensor for name, tensor in TENSORS.items()}
    save({"epoch": 32, "name": "run", "state_dict": prefixed, "optimizer": optimizer.state_dict()}, path)
    assert tensors_equal(read_weights(path)[0], TENSORS)


def test_only_a_leading_module_prefix_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"module.a.module.b": torch.ones(1)}, path)
    assert list(read_weights(path)[0]) == ["a.module.b"]


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_model.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt"})
    state, is_openai = read_weights(path)
    assert tensors_equal(state, TENSORS)
    assert not is_openai


def test_archive_gives_its_tensors_and_is_never_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ViT-B-16.pt"
    halves = {name: tensor.half() for name, tensor in TENSORS.items()}
    save_archive(halves, path)
    for method in ("__call__", "forward"):
        monkeypatch.setattr(torch.jit.RecursiveScriptModule, method, Holder.forward, raising=False)
    state, is_openai = read_weights(path)
    assert tensors_equal(state, halves)
    assert is_openai


def test_torchs_warnings_to_programmers_are_held_back(tmp_path: Path) -> None:
    archive, checkpoint = tmp_path / "ViT-B-16.pt", tmp_path / "checkpoint.pt"
    save_archive(TENSORS, archive)
    save_plain_pickle(TENSORS, checkpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_weights(archive)
        refusal(lambda: read_weights(checkpoint))


class Harmful:
    """Unpickled the ordinary way, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def save_as_archive(content: object, path: Path) -> None:
    """Save a pickle, then dress it up as a TorchScript archive."""
    torch.save(content, path)
    with zipfile.ZipFile(path, "a") as archive:
        inside = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{inside}/constants.pkl", pickle.dumps(content))


@pytest.mark.parametrize("save", [torch.save, save_old, save_plain_pickle, save_as_archive])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_pickles_that_run_code_are_refused_unrun(tmp_path: Path, save: Save, suffix: str, depth: int) -> None:
    marker, path = tmp_path / "marker", tmp_path / f"weights{suffix}"
    content: object = Harmful(marker)
    for key in ("visual.proj", "state_dict")[:depth]:
        content = {"ok": torch.ones(1), key: content}
    save(content, path)
    assert refusal(lambda: read_weights(path)).startswith(f"{path}: ")
    assert not marker.exists()


def test_the_harmful_pickle_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Harmful(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_pickled_module_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.Linear(2, 2), path)
    assert refusal(lambda: read_weights(path)) == (
        f"{path}: not a weights file, or one that would run code when read; save its state dict alone"
    )


def test_missing_file(tmp_path: Path) -> None:
    for name in ("weights.pt", "weights.safetensors"):
        path = tmp_path / name
        assert refusal(lambda path=path: read_weights(path)) == f"{path}: no such weights file"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_folder_empty_and_garbage(tmp_path: Path, suffix: str) -> None:
    folder, empty, garbage = (tmp_path / f"{name}{suffix}" for name in ("folder", "empty", "garbage"))
    folder.mkdir()
    empty.write_bytes(b"")
    garbage.write_bytes(random.Random(0).randbytes(5000))
    for path in (folder, empty, garbage):
        assert refusal(lambda path=path: read_weights(path)).startswith(f"{path}: ")


def test_a_page_of_html_saved_as_weights(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-16.pt"
    path.write_text("<!DOCTYPE html><html><body>404</body></html>")
    assert refusal(lambda: read_weights(path)).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors", "archive"])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "whole"
    save = {"zip": torch.save, "old": save_old, "safetensors": save_file, "archive": save_archive}[kind]
    save(TENSORS, whole)
    content = whole.read_bytes()
    rng = random.Random(kind)
    path = tmp_path / ("damaged.safetensors" if kind == "safetensors" else "damaged.pt")
    refused = 0
    for cut in sorted(rng.randrange(len(content)) for _ in range(20)):
        path.write_bytes(content[:cut])
        assert refusal(lambda: read_weights(path)).startswith(f"{path}: ")
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 2, 8))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_weights(path)
        except ModelError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
    assert refused


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "holds no state dict (tensors by name)"),
        ([torch.ones(1)], "holds no state dict (tensors by name)"),
        (torch.ones(1), "holds no state dict (tensors by name)"),
        ({"state_dict": {}}, "holds no state dict (tensors by name)"),
        ({"a": torch.ones(1), "epoch": 3}, "holds no plain state dict: 'epoch' is not a tensor"),
        ({"two\nlines": 3}, r"holds no plain state dict: 'two\nlines' is not a tensor"),
        ({"models": {"a": torch.ones(1)}}, "holds no plain state dict: 'models' is not a tensor"),
    ],
)
def test_content_that_is_no_state_dict(tmp_path: Path, content: object, expected: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    assert refusal(lambda: read_weights(path)) == f"{path}: {expected}"


# ---- fitting


def test_fitting_copies_every_tensor(small_state: dict[str, Tensor]) -> None:
    model = small_clip()
    fit_weights(model, small_state, "small", Path("w.pt"))
    assert tensors_equal(model.state_dict(), small_state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_fitting_other_precisions_gives_float32(small_state: dict[str, Tensor], dtype: torch.dtype) -> None:
    model = small_clip()
    rounded = {name: tensor.to(dtype) for name, tensor in small_state.items()}
    fit_weights(model, rounded, "small", Path("w.pt"))
    assert tensors_equal(model.state_dict(), {name: tensor.float() for name, tensor in rounded.items()})


def test_the_order_of_a_file_does_not_matter(small_state: dict[str, Tensor]) -> None:
    model = small_clip()
    fit_weights(model, dict(reversed(small_state.items())), "small", Path("w.pt"))
    assert tensors_equal(model.state_dict(), small_state)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_logit_scale_as_scalar_or_one_element(small_state: dict[str, Tensor], shape: tuple[int, ...]) -> None:
    model = small_clip()
    fit_weights(model, {**small_state, "logit_scale": torch.tensor(3.0).reshape(shape)}, "small", Path("w.pt"))
    assert model.logit_scale.item() == 3.0


FIRST, LATER = "visual.class_embedding", "visual.transformer.resblocks.1.attn.in_proj_weight"  # as the model has them


def not_finite(tensor: Tensor, value: float) -> Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda tensor: None, "is missing"),
        (lambda tensor: tensor.new_ones((5, *tensor.shape)), "has shape (5, "),
        (lambda tensor: not_finite(tensor, float("nan")), "has values that are not finite"),
        (lambda tensor: not_finite(tensor, float("-inf")), "has values that are not finite"),
        (lambda tensor: not_finite(tensor, float("inf")).half(), "has values that are not finite"),
        (lambda tensor: tensor.int(), "is not one of plain real numbers (torch.int32, torch.strided, cpu)"),
        (lambda tensor: tensor * 1j, "is not one of plain real numbers (torch.complex64, torch.strided, cpu)"),
        (lambda tensor: tensor.to_sparse(), "is not one of plain real numbers (torch.float32, torch.sparse_coo, cpu)"),
        (lambda tensor: tensor.to("meta"), "is not one of plain real numbers (torch.float32, torch.strided, meta)"),
    ],
)
def test_the_first_tensor_that_differs_is_named(
    small_state: dict[str, Tensor], spoil: Callable[[Tensor], Tensor | None], expected: str
) -> None:
    model = small_clip()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for names in ((LATER,), (LATER, FIRST)):
        spoilt = {name: spoil(tensor) if name in names else tensor for name, tensor in reversed(small_state.items())}
        state = {name: tensor for name, tensor in spoilt.items() if tensor is not None}
        text = refusal(lambda state=state: fit_weights(model, state, "small", Path("w.pt")))
        assert text.startswith(f"w.pt: the weights do not fit model small: tensor '{names[-1]}' {expected}")
    assert tensors_equal(model.state_dict(), before)


def test_as_many_numbers_in_another_shape_do_not_fit(small_state: dict[str, Tensor]) -> None:
    state = {**small_state, "text_projection": small_state["text_projection"].T}
    text = refusal(lambda: fit_weights(small_clip(), state, "small", Path("w.pt")))
    assert text.endswith("tensor 'text_projection' has shape (12, 16), expected (16, 12)")


def test_both_shapes_are_told(small_state: dict[str, Tensor]) -> None:
    state = {**small_state, FIRST: torch.ones(24)}
    assert refusal(lambda: fit_weights(small_clip(), state, "small", Path("w.pt"))) == (
        f"w.pt: the weights do not fit model small: tensor '{FIRST}' has shape (24,), expected (16,)"
    )


def test_extra_tensor(small_state: dict[str, Tensor]) -> None:
    for name, shown in (("head.weight", "'head.weight'"), ("two\nlines", r"'two\nlines'")):
        state = {name: torch.ones(1), **small_state, "z": torch.ones(1)}
        assert refusal(lambda state=state: fit_weights(small_clip(), state, "small", Path("w.pt"))) == (
            f"w.pt: the weights do not fit model small: the file has tensor {shown}, which the model lacks"
        )


def test_plain_checkpoint_for_a_model_with_its_own_text_module(small_state: dict[str, Tensor]) -> None:
    model = open_clip.CustomTextCLIP(embed_dim=12, vision_cfg=SMALL, text_cfg=SMALL_TEXT).eval()
    fit_weights(model, small_state, "custom", Path("w.pt"))
    tokens = torch.tensor([[18, 3, 4, 19, 0, 0, 0, 0]])
    plain = small_clip()
    plain.load_state_dict(small_state)
    assert torch.equal(model.text.positional_embedding, small_state["positional_embedding"])
    assert torch.equal(model.encode_text(tokens), plain.encode_text(tokens))


def test_own_checkpoint_of_a_model_with_its_own_text_module() -> None:
    torch.manual_seed(2)
    state = open_clip.CustomTextCLIP(embed_dim=12, vision_cfg=SMALL, text_cfg=SMALL_TEXT).state_dict()
    model = open_clip.CustomTextCLIP(embed_dim=12, vision_cfg=SMALL, text_cfg=SMALL_TEXT)
    fit_weights(model, state, "custom", Path("w.pt"))
    assert tensors_equal(model.state_dict(), state)
    text = refusal(lambda: fit_weights(small_clip(), state, "small", Path("w.pt")))
    assert "tensor 'positional_embedding' is missing" in text


def test_tensors_missing_from_a_plain_checkpoint_keep_the_models_name(small_state: dict[str, Tensor]) -> None:
    model = open_clip.CustomTextCLIP(embed_dim=12, vision_cfg=SMALL, text_cfg=SMALL_TEXT)
    del small_state["ln_final.bias"]
    assert "tensor 'text.ln_final.bias' is missing" in refusal(
        lambda: fit_weights(model, small_state, "custom", Path("w.pt"))
    )


# ---- open_clip's own weights, through the Hugging Face cache


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tell open_clip of weights for the tiny model, in a repository that no server has; nothing leaves the machine."""

    def register(model: str = "tiny-quickgelu", file: str = "", quick_gelu: bool = True) -> None:
        record = {"url": "", "hf_hub": f"{REPOSITORY}/{file}", "quick_gelu": quick_gelu}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, model, {"generated": record})

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return register


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))  # read when the client is imported
    return cache


def fill_cache(cache: Path, weights_file: Path, name: str) -> Path:
    """Put a file into a cache in the client's own layout: blobs, refs and snapshots."""
    content = weights_file.read_bytes()
    folder = cache / f"models--{REPOSITORY.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    snapshot = folder / "snapshots" / COMMIT / name
    for path in (blob, folder / "refs" / "main", snapshot):
        path.parent.mkdir(parents=True)
    blob.write_bytes(content)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot.symlink_to(Path("..", "..", "blobs", blob.name))
    return snapshot


@pytest.fixture
def tiny_safetensors(tiny_model: tuple[Path, Path], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_file(torch.load(tiny_model[1], weights_only=True), path)
    return path


def test_cached_safetensors_are_loaded_offline(
    tiny_model: tuple[Path, Path], tiny_safetensors: Path, hub_cache: Path, registry: Callable[..., None]
) -> None:
    registry()
    snapshot = fill_cache(hub_cache, tiny_safetensors, "open_clip_model.safetensors")
    model = load_model(ModelChoice(str(tiny_model[0]), "generated", device="cpu"))
    assert model.weights == snapshot
    assert model.fingerprint == hashlib.sha256(tiny_safetensors.read_bytes()).hexdigest()
    assert tensors_equal(model.towers.state_dict(), torch.load(tiny_model[1], weights_only=True))


@pytest.mark.parametrize(
    ("file", "cached"),
    [("", "open_clip_pytorch_model.bin"), ("tiny.pt", "tiny.pt"), ("tiny.bin", "tiny.safetensors")],
)
def test_the_other_names_a_repository_may_use(
    tiny_model: tuple[Path, Path], hub_cache: Path, registry: Callable[..., None], file: str, cached: str
) -> None:
    registry(file=file)
    snapshot = fill_cache(hub_cache, tiny_model[1], cached)
    assert locate_pretrained("tiny-quickgelu", {"quick_gelu": True}, "generated") == snapshot


def test_cached_weights_need_no_network(
    tiny_safetensors: Path, hub_cache: Path, registry: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry()
    monkeypatch.setattr(open_clip, "download_pretrained", lambda _: pytest.fail("the hub was asked"))
    snapshot = fill_cache(hub_cache, tiny_safetensors, "open_clip_model.safetensors")
    assert locate_pretrained("tiny-quickgelu", {"quick_gelu": True}, "generated") == snapshot


def test_an_address_that_cannot_be_looked_up_ends_without_the_clients_retries(
    hub_cache: Path, registry: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(weights, "getproxies", dict)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda _: pytest.fail("the hub was asked"))
    text = refusal(lambda: locate_pretrained("tiny-quickgelu", {"quick_gelu": True}, "generated"))
    assert "(gaierror)" in text
    assert "--weights FILE" in text


def test_a_harmful_pickle_in_the_cache_is_refused_unrun(
    tiny_model: tuple[Path, Path], hub_cache: Path, registry: Callable[..., None], tmp_path: Path
) -> None:
    registry()
    torch.save({"visual.proj": Harmful(tmp_path / "marker")}, tmp_path / "harmful")
    snapshot = fill_cache(hub_cache, tmp_path / "harmful", "open_clip_pytorch_model.bin")
    text = refusal(lambda: load_model(ModelChoice(str(tiny_model[0]), "generated", device="cpu")))
    assert text.startswith(f"{snapshot}: not a weights file, or one that would run code")
    assert not (tmp_path / "marker").exists()


def test_cut_off_download_names_the_cached_file(
    tiny_model: tuple[Path, Path], tiny_safetensors: Path, hub_cache: Path, registry: Callable[..., None]
) -> None:
    registry()
    tiny_safetensors.write_bytes(tiny_safetensors.read_bytes()[:-1000])
    snapshot = fill_cache(hub_cache, tiny_safetensors, "open_clip_model.safetensors")
    text = refusal(lambda: load_model(ModelChoice(str(tiny_model[0]), "generated", device="cpu")))
    assert text.startswith(f"{snapshot}: the weights cannot be read (")


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("", "open_clip_model.safetensors (or open_clip_pytorch_model.bin)"),
        ("pytorch_model.bin", "pytorch_model.bin"),
    ],
)
def test_not_cached_and_offline_says_which_file_and_what_to_do(
    tiny_model: tuple[Path, Path], hub_cache: Path, registry: Callable[..., None], file: str, wanted: str
) -> None:
    registry(file=file)
    text = refusal(lambda: load_model(ModelChoice(str(tiny_model[0]), "generated", device="cpu")))
    assert text == (
        f"weights 'generated' of tiny-quickgelu are neither in the cache ({hub_cache}) nor could they be fetched "
        f"(FileNotFoundError); get {wanted} of huggingface.co/{REPOSITORY} and pass it with --weights FILE"
    )


@pytest.mark.parametrize(
    ("variables", "cache"), [({}, "~/.cache/huggingface/hub"), ({"HF_HOME": "/data/hf"}, "/data/hf/hub")]
)
def test_default_weights_offline_name_the_cache_and_the_repository(
    registry: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    cache: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    text = refusal(lambda: load_model(ModelChoice(device="cpu")))
    assert text.startswith(
        f"weights 'openai' of ViT-B-16-quickgelu are neither in the cache ({cache}) nor could they be fetched ("
    )
    assert text.endswith(
        "; get open_clip_model.safetensors (or open_clip_pytorch_model.bin) of "
        "huggingface.co/timm/vit_base_patch16_clip_224.openai and pass it with --weights FILE"
    )


def test_the_hubs_own_complaints_are_held_back(
    registry: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry()
    hub_log = logging.getLogger("excel_cam_tests.hub")

    def fail(record: object) -> str:
        hub_log.warning("Retrying in 1s [Retry 1/5].")
        raise ConnectionError("refused")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    text = refusal(lambda: locate_pretrained("tiny-quickgelu", {"quick_gelu": True}, "generated"))
    assert "(ConnectionError)" in text
    assert caplog.records == []
    hub_log.warning("heard again")
    assert len(caplog.records) == 1


def test_weights_with_an_address_but_no_repository(
    registry: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(record: object) -> str:
        raise OSError("no route")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    record = {"url": "https://example.org/tiny.pt", "hf_hub": "", "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-quickgelu", {"generated": record})
    text = refusal(lambda: locate_pretrained("tiny-quickgelu", {"quick_gelu": True}, "generated"))
    assert text.endswith("(OSError); get https://example.org/tiny.pt and pass it with --weights FILE")


def test_weights_without_any_address(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"url": "", "hf_hub": "", "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-quickgelu", {"generated": record})
    text = refusal(lambda: locate_pretrained("tiny-quickgelu", {"quick_gelu": True}, "generated"))
    assert text == "weights 'generated' of tiny-quickgelu have no address in open_clip; pass a file with --weights"


def test_unknown_tag_lists_the_known_ones(tiny_model: tuple[Path, Path]) -> None:
    assert refusal(lambda: load_model(ModelChoice(pretrained="opnai", device="cpu"))) == (
        "model ViT-B-16-quickgelu has no weights 'opnai' (known: openai, dfn2b, metaclip_400m, metaclip_fullcc); "
        "choose one, or pass a file with --weights"
    )
    text = refusal(lambda: load_model(ModelChoice(str(tiny_model[0]), device="cpu")))
    assert text.startswith("model tiny-quickgelu has no weights 'openai' (known: none)")


def test_tag_of_another_activation_names_the_right_model(registry: Callable[..., None]) -> None:
    assert refusal(lambda: load_model(ModelChoice("ViT-B-16", device="cpu"))) == (
        "weights 'openai' were trained with another activation than model ViT-B-16 has; use --model ViT-B-16-quickgelu"
    )
    registry(quick_gelu=False)
    text = refusal(lambda: locate_pretrained("tiny-quickgelu", {"quick_gelu": True}, "generated"))
    assert text.endswith("use --model tiny")


def test_in_a_process_of_its_own_the_cache_is_found_and_nothing_is_said(
    tiny_model: tuple[Path, Path], tiny_safetensors: Path, tmp_path: Path
) -> None:
    fill_cache(tmp_path / "hf" / "hub", tiny_safetensors, "open_clip_model.safetensors")
    script = (
        "import sys, open_clip\n"
        "from excel_cam.model.clip import load_model\n"
        "from excel_cam.settings import ModelChoice\n"
        "record = {'url': '', 'hf_hub': sys.argv[2], 'quick_gelu': True}\n"
        "open_clip.pretrained._PRETRAINED['tiny-quickgelu'] = {'generated': record}\n"
        "print(load_model(ModelChoice(sys.argv[1], 'generated')).fingerprint)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_model[0]), f"{REPOSITORY}/"],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""  # no word of random weights, which open_clip logs when it builds a model without any
    assert done.stdout == hashlib.sha256(tiny_safetensors.read_bytes()).hexdigest() + "\n"


def test_without_a_home_folder_nothing_is_fetched_into_a_folder_called_tilde(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "~/.cache/huggingface/hub")  # as the client has it
    assert "set HF_HOME to a folder" in refusal(lambda: load_model(ModelChoice(device="cpu")))
    assert not list(tmp_path.iterdir())
