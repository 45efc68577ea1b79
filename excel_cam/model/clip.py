"""The frozen CLIP model: a name and weights → text embeddings and dense image features."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excel_cam.errors import ModelError
from excel_cam.files.json_file import read_json
from excel_cam.files.processors import processors
from excel_cam.method.calibration import DenseFeatures, check_image_tower, encode_images
from excel_cam.method.threads import threads_beside
from excel_cam.model.tokenizer import ClipTokenizer, KnownWords
from excel_cam.model.towers.clip_towers import ClipTowers, build_towers, covers
from excel_cam.model.towers.configuration import add_configuration, find_configuration, open_clip_version
from excel_cam.model.towers.other import build_with_open_clip, encode_with_open_clip
from excel_cam.model.weight_files import hash_weights
from excel_cam.model.weights import fit_weights, locate_pretrained, read_weights
from excel_cam.model.words_file import read_words
from excel_cam.settings import Backend, ModelChoice, check_backend
from excel_cam.shipped import configuration_file, locate_shipped

TEXT_BATCH = 64
_COMPILING = threading.Lock()  # threads that label side by side want the same tower
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class ClipModel:
    """A frozen two-tower model. The text tower stays on the CPU in float32, so text rows are the same everywhere.

    >>> isinstance(model, ClipModel), tuple(model.encode_texts(["a cat"]).shape)
    (True, (1, 192))
    """

    name: str
    fingerprint: str  # SHA-256 of the weights
    weights: Path
    device: torch.device
    precision: str  # fp32, bf16 or fp16: dtype of the image tower's matrix products
    visual: Any  # `towers.visual`, on `device`: our ImageTower, or open_clip's VisionTransformer
    towers: Any  # ClipTowers, or of rarer makes open_clip's CLIP or CustomTextCLIP
    tokenizer: Any  # ClipTokenizer, or open_clip's SimpleTokenizer with options of a model's own
    backend: Backend = "torch"  # what computes the image tower
    _compiled: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)  # towers, as they are first used

    @property
    def patch(self) -> int:
        """P, the patch side in pixels."""
        return int(self.visual.patch_size[0])

    @property
    def context_length(self) -> int:
        """Most tokens a text may have, its two special tokens included."""
        return int(self.towers.context_length)

    @property
    def sharpness(self) -> float:
        """The factor on cosines that the model was trained to compare by, 1..100; 100 in OpenAI's weights."""
        return min(max(float(self.towers.logit_scale.exp()), 1.0), 100.0)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text with its two special tokens."""
        return len(self.tokenizer.encode(text)) + 2

    @property
    def known_tokens(self) -> tuple[int, ...] | None:
        """What the rows of a small token table stand for; None for a model that knows every word."""
        return self.tokenizer.tokens if isinstance(self.tokenizer, KnownWords) else None

    def unknown_words(self, text: str) -> list[str]:
        """Words that a model with a small vocabulary does not know; none for any other model."""
        return self.tokenizer.unknown_words(text) if isinstance(self.tokenizer, KnownWords) else []

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor, attention: str = "svc", blocks: int = 5) -> DenseFeatures:
        """The calibrated forward pass of (n, 3, S, S) float32 network inputs by the model's backend.

        attention, blocks: as the method's `encode_images` has them, and what it raises.
        """
        if self.backend == "torch":
            return encode_images(self.visual, pixels, attention, blocks)
        from excel_cam.method.compiled.image_tower import CompiledTower

        pass_of = (pixels.shape[-1] // self.patch, attention, blocks)
        with _COMPILING:
            made, beside = self._compiled.setdefault(pass_of, {}), threads_beside()
            if beside not in made and (beside > 1 or not made):  # one image alone takes what there is
                made[beside] = CompiledTower(self.visual, *pass_of)
            tower = made.get(beside) or next(iter(made.values()))
        return tower.encode(pixels)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts of at most `context_length` tokens: (len(texts), D) float32 on the CPU, not normalised.

        Raises `ModelError` where the weights make something of them that is not finite.
        """
        tokens = self.tokenizer(list(texts), context_length=self.context_length)
        rows = torch.cat([self._encode_tokens(part) for part in tokens.split(TEXT_BATCH)])
        if not rows.norm(dim=-1).isfinite().all():  # the norms too: a row divided by infinity would be 0
            raise ModelError(
                f"{self.weights}: the text tower's rows are not finite even in fp32: its weights are damaged or too "
                "large to compute with; take others with --model or --weights"
            )
        return rows

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        if not isinstance(self.towers, ClipTowers):
            return encode_with_open_clip(self.towers, tokens)
        # Under a causal mask nothing after the end-of-text token can reach it, so the padding is not worth computing:
        # this takes a third of the time of all tokens on sentences of usual length.
        return self.towers.encode_text(tokens[:, : int(tokens.argmax(dim=-1).max()) + 1])


def load_model(
    choice: ModelChoice = ModelChoice(),  # noqa: B008 - frozen
    *,
    name: str | None = None,
    pretrained: str | None = None,
    weights: Path | str | None = None,
    device: str | None = None,
    precision: str | None = None,
    backend: Backend | None = None,
) -> ClipModel:
    """Load a frozen model, ready for inference; what is given by keyword replaces that part of `choice`.

        model = load_model(weights="ViT-B-16.pt")   # a file of weights for ViT-B/16, OpenAI's here

    >>> model = load_model(name="excel-cam-demo")
    >>> model.name, model.patch, model.precision
    ('excel-cam-demo', 16, 'fp32')

    choice.name: `excel-cam-demo` (comes with the package), an open_clip model name, or a path to an open_clip model
    configuration (`.json`); a words file beside that (see `model_words`) is read too.
    choice.pretrained: tag of weights that open_clip knows, fetched or found in the local Hugging Face cache; not used
    when choice.weights, a file that `read_weights` reads, is given.
    choice.device: `auto`, `cpu`, `cuda` or `cuda:INDEX`. choice.precision: `auto`, `fp32`, `bf16` or `fp16`.
    choice.threads: with how many torch computes on a CPU from now on, in the whole process; by default what
    OMP_NUM_THREADS says, else torch's own choice, but no more than a container's limit allows.
    choice.backend: `torch`, or `openvino` (extra `fast`), which computes the image tower on the CPU in fp32.

    On CUDA two settings of the whole process change: with `fp32`, convolutions no longer compute in TF32; a device with
    an index becomes the current one.

    Raises `SettingsError` for a backend that is not there or not for that device, `ModelError` when the model cannot
    work, or its weights cannot be had or do not fit. Random weights are never used.
    """
    parts = {
        "name": name, "pretrained": pretrained, "weights": None if weights is None else Path(weights),
        "device": device, "precision": precision, "backend": backend,
    }  # fmt: skip
    given: dict[str, Any] = {key: part for key, part in parts.items() if part is not None}
    choice = locate_shipped(dataclasses.replace(choice, **given))
    check_backend(choice)
    _set_threads(choice.threads)
    target = resolve_device(choice.device if choice.backend == "torch" else "cpu")
    precision = resolve_precision(choice.precision, target)
    name, config = _model_config(choice.name)
    path = choice.weights if choice.weights is not None else locate_pretrained(name, config, choice.pretrained)
    state, quick_gelu = read_weights(path)
    _check_activation(path, quick_gelu, name, bool(config.get("quick_gelu")))
    towers, tokenizer = _build(name, config, read_words(choice.name))
    visual = towers.visual if isinstance(towers, ClipTowers) else check_image_tower(towers.visual, name)
    fit_weights(towers, state, name, path)
    towers.requires_grad_(False)
    if target.type == "cuda" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # on by default for convolutions; float32 is to mean float32
    if target.index is not None:
        torch.cuda.set_device(target)  # pinned memory belongs to the current device: others are left alone
    _lower_precision(visual, DTYPES[precision])
    return ClipModel(
        name=name, fingerprint=hash_weights(path), weights=path, device=target, precision=precision,
        visual=visual.to(target), towers=towers, tokenizer=tokenizer, backend=choice.backend,
    )  # fmt: skip


def _lower_precision(visual: nn.Module, dtype: torch.dtype) -> None:
    """Keep the factors of an image tower's matrix products in `dtype`; norms and embeddings stay as they are."""
    for part in visual.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.to(dtype)
        elif isinstance(part, nn.MultiheadAttention):
            for factor in (part.in_proj_weight, part.in_proj_bias):
                factor.data = factor.data.to(dtype)
    visual.proj.data = visual.proj.data.to(dtype)


def computing_threads(asked: int | None) -> int:
    """With how many threads a model that is loaded here computes on a CPU; asked: `ModelChoice.threads`."""
    if asked is not None:
        return asked
    found: int = torch.get_num_threads()
    # More than there are processors for would wait for one another.
    return found if "OMP_NUM_THREADS" in os.environ else min(found, processors())


def _set_threads(asked: int | None) -> None:
    threads = computing_threads(asked)
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)


def _check_activation(path: Path, trained: bool | None, name: str, built: bool) -> None:
    """Raise `ModelError` where weights are known to be trained with another activation than the model has."""
    if trained is None or trained == built:
        return
    was, has = ("QuickGELU", "plain GELU") if trained else ("plain GELU", "QuickGELU")
    right = f"{name}-quickgelu" if trained else name.removesuffix("-quickgelu")
    raise ModelError(f"{path}: trained with {was}, but model {name} has {has}; use --model {right}")


def resolve_device(device: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:INDEX` to a device that is there; raises `ModelError`.

    `auto` shares a machine's GPUs among the processes that torchrun starts there (LOCAL_RANK).
    """
    if device == "auto":
        return torch.device(_own_gpu(os.environ) if torch.cuda.is_available() else "cpu")
    if not re.fullmatch("cpu|cuda(:(0|[1-9][0-9]*))?", device):
        raise ModelError(f"device '{device}' is not known; expected auto, cpu, cuda or cuda:INDEX")
    if device != "cpu":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(device.partition(":")[2] or 0) >= count:
            raise ModelError(
                f"device '{device}' is not there: this machine offers {count} CUDA devices; use --device cpu"
            )
    return torch.device(device)


def _own_gpu(environ: Mapping[str, str]) -> str:
    """The GPU of this process: where torchrun has started several processes on a machine, each has one in turn."""
    place = environ.get("LOCAL_RANK", "")
    return f"cuda:{int(place) % torch.cuda.device_count()}" if re.fullmatch("[0-9]{1,9}", place) else "cuda"


def resolve_precision(precision: str, device: torch.device) -> str:
    """`auto` to fp32 on a CPU, and on CUDA to bf16 where the device computes in it, else fp16."""
    if precision == "auto":
        if device.type == "cpu":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if precision not in DTYPES:
        raise ModelError(f"precision '{precision}' is not known; expected auto, {', '.join(DTYPES)}")
    return precision


def _model_config(name: str) -> tuple[str, dict[str, Any]]:
    """A model name or configuration file to the registered name and its configuration; raises `ModelError`."""
    if (path := configuration_file(name)) is not None:
        config = read_json(path, "model configuration", remedy="mend the file", error=ModelError, expected=None)
        if (
            not isinstance(config, dict)
            or "embed_dim" not in config
            or not all(isinstance(config.get(part), dict) for part in ("vision_cfg", "text_cfg"))
        ):
            raise ModelError(f"{path}: not an open_clip model configuration (embed_dim, vision_cfg, text_cfg)")
        name = add_configuration(path, config)
    registered = name.replace("/", "-")  # OpenAI writes ViT-B/16
    # A colon makes open_clip look elsewhere (hf-hub:, local-dir:); only names it has at hand are taken here.
    config = None if ":" in name else find_configuration(registered)
    if config is None:
        raise ModelError(f"model '{name}' is not known to open_clip {open_clip_version()}; use e.g. {ModelChoice.name}")
    name, vision, text = registered, config["vision_cfg"], config["text_cfg"]
    if vision.get("timm_model_name") or isinstance(vision.get("layers"), list):
        kind = "a timm model" if vision.get("timm_model_name") else "a ResNet, without class token"
        raise ModelError(
            f"model {name} cannot be used: its image tower is {kind}; choose a ViT such as {ModelChoice.name}"
        )
    if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
        raise ModelError(
            f"model {name} cannot be used: its text side is not CLIP's own; choose e.g. {ModelChoice.name}"
        )
    return name, config


def _build(name: str, config: dict[str, Any], words: dict[str, Any] | None) -> tuple[Any, Any]:
    """The two towers, their weights still to be filled in, and the tokenizer; raises `ModelError`.

    words: what the words file beside the configuration holds, where there is one.
    """
    if covers(config):
        towers, tokenizer = build_towers(config), ClipTokenizer()
    else:
        towers, tokenizer = build_with_open_clip(name, config)
    if words is not None:
        return towers, KnownWords(words["tokens"], towers.vocab_size, name)
    if (entries := config["text_cfg"].get("vocab_size", tokenizer.vocab_size)) < tokenizer.vocab_size:
        raise ModelError(
            f"model {name} cannot be used: its vocabulary has {entries} entries, CLIP's tokenizer "
            f"{tokenizer.vocab_size}; choose e.g. {ModelChoice.name}"
        )
    return towers, tokenizer


def unit_rows(embeddings: Tensor) -> Tensor:
    """Divide each row of (n, D) by its L2 norm."""
    return F.normalize(embeddings, dim=-1)
