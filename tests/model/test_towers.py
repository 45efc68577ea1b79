"""Our own towers and tokenizer against open_clip's: the same parameters, and the same bytes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from generate_weights import TINY_CONFIG
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transformer import VisionTransformer

from excel_cam.method.calibration import encode_images
from excel_cam.model import weights
from excel_cam.model.clip import ClipModel, load_model
from excel_cam.model.tokenizer import ClipTokenizer
from excel_cam.model.towers.clip_towers import ClipTowers, covers
from excel_cam.model.towers.configuration import find_configuration, open_clip_version, package_folder
from excel_cam.model.weights import quiet_logs
from excel_cam.settings import ModelChoice

TEXTS = ["a clean origami cat.", "", "dog", "it has two soft arms and a long back, " * 3, "é 雪 ½"]
THEIRS = open_clip.SimpleTokenizer()


def configured(changes: dict[str, Any]) -> dict[str, Any]:
    """The tiny configuration with two blocks and with changes, those of its towers named by `vision` and `text`."""
    config = copy.deepcopy(TINY_CONFIG)
    config["vision_cfg"] |= {"layers": 2} | changes.get("vision", {})
    config["text_cfg"] |= {"layers": 1} | changes.get("text", {})
    return config | {key: value for key, value in changes.items() if key not in ("vision", "text")}


def both(folder: Path, changes: dict[str, Any], precision: str = "fp32") -> tuple[ClipModel, Any]:
    """A model as we load it, and open_clip's own towers of the same random weights."""
    path = folder / "made.json"
    path.write_text(json.dumps(configured(changes)))
    open_clip.add_model_config(path)
    with quiet_logs():
        own = open_clip.create_model("made", load_weights=False, pretrained_text=False).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for tensor in own.state_dict().values():
        tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    torch.save(own.state_dict(), folder / "made.pt")
    return load_model(ModelChoice(str(path), weights=folder / "made.pt", device="cpu", precision=precision)), own


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"quick_gelu": False},
        {"vision": {"patch_size": 8, "head_width": 64, "image_size": 60}},
        {"vision": {"mlp_ratio": 2.5, "ls_init_value": 0.1}, "text": {"mlp_ratio": 3, "ls_init_value": 0.2}},
        {"vision": {"no_ln_pre": True}},
        {"text": {"context_length": 40, "vocab_size": 49500, "heads": 4, "width": 96}},
    ],
    ids=str,
)
def test_a_usual_model_is_ours_and_equals_open_clips_to_the_byte(tmp_path: Path, changes: dict[str, Any]) -> None:
    model, own = both(tmp_path, changes)
    assert isinstance(model.towers, ClipTowers)
    assert list(model.towers.state_dict()) == list(own.state_dict())  # in order: the first that is missing is named
    tokens = model.tokenizer(TEXTS, context_length=model.context_length)
    assert torch.equal(model.towers.encode_text(tokens), own.encode_text(tokens))
    side = 2 * model.visual.grid_size[0] * model.patch
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    ours, theirs = (encode_images(visual, pixels, blocks=1) for visual in (model.visual, own.visual))
    assert torch.equal(ours.tokens, theirs.tokens)
    assert torch.equal(ours.attention, theirs.attention)


def test_lower_precision_equals_open_clips(tmp_path: Path) -> None:
    model, own = both(tmp_path, {"vision": {"ls_init_value": 0.1}}, "bf16")
    open_clip.model.convert_weights_to_lp(own.visual, torch.bfloat16)
    theirs = own.visual.state_dict()
    assert all(
        tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name])
        for name, tensor in model.visual.state_dict().items()
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"custom_text": True},
        {"init_logit_bias": -10},
        {"nonscalar_logit_scale": True},
        {"vision": {"output_tokens": True}},
        {"vision": {"patch_dropout": 0.5}},
        {"vision": {"norm_kwargs": {"eps": 1e-3}}},
        {"vision": {"pos_embed_type": "sin_cos_2d"}},
        {"vision": {"head_width": 48}},
        {"vision": {"layers": 0}},
        {"vision": {"patch_size": [16, 16]}},
        {"vision": {"width": True}},
        {"vision": {"mlp_ratio": "4"}},
        {"text": {"pool_type": "last"}},
        {"text": {"no_causal_mask": True}},
        {"text": {"proj_bias": True}},
        {"text": {"act_kwargs": {"approximate": "tanh"}}},
        {"text": {"tokenizer_kwargs": {"clean": "whitespace"}}},
        {"text": {"heads": 3}},
        {"text": {"vocab_size": 2**40}},
    ],
    ids=str,
)
def test_what_is_not_usual_is_left_to_open_clip(changes: dict[str, Any]) -> None:
    assert not covers(configured(changes))
    assert covers(configured({}))


def test_every_configuration_of_open_clip_is_read_as_it_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in open_clip.list_models() if (package_folder() / f"model_configs/{name}.json").is_file()]
    expected = {name: open_clip.get_model_config(name) for name in names}
    monkeypatch.delitem(sys.modules, "open_clip")
    assert {name: find_configuration(name) for name in names} == expected
    assert sum(covers(config) for config in expected.values() if not config["vision_cfg"].get("timm_model_name")) > 20
    assert find_configuration("nonsense") is None
    assert find_configuration("../model_configs/RN50") is None
    assert open_clip_version() == open_clip.__version__


def test_openais_weights_are_looked_for_where_open_clip_looks() -> None:
    for name, repository in weights.OPENAI_REPOSITORIES.items():
        record = open_clip.get_pretrained_cfg(name, "openai")
        assert (record["hf_hub"], record["quick_gelu"]) == (repository, True)
    assert weights.HUB_FILES == (open_clip.constants.HF_SAFE_WEIGHTS_NAME, open_clip.constants.HF_WEIGHTS_NAME)


@settings(max_examples=150, deadline=None)
@given(st.text() | st.text("abcdefghijklmnop ,.'-&;<>\t\n0123éÉß雪½\u2019\u200b\x1b", max_size=40))
def test_texts_become_the_tokens_of_open_clip(text: str) -> None:
    assert ClipTokenizer().encode(text) == THEIRS.encode(text)


@pytest.mark.parametrize(
    "text",
    ["It's a cat's; WE'LL see, they've 'd", "<start_of_text>x<END_OF_TEXT>", "&lt;b&gt; &amp;amp; &eacute;", "a\u00a0b",
     "naïve cafÃ©", "“quoted”", "🐈‍⬛ 12345", "a_b--c!!??", "\ud83d", "ſ K"],
)  # fmt: skip
def test_odd_texts_become_the_tokens_of_open_clip(text: str) -> None:
    try:
        expected = THEIRS.encode(text)
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            ClipTokenizer().encode(text)
        return
    assert ClipTokenizer().encode(text) == expected


def test_rows_of_tokens_equal_open_clips() -> None:
    ours = ClipTokenizer()
    texts = [*TEXTS, "cat " * 75, "cat " * 90]
    assert torch.equal(ours(texts), THEIRS(texts))
    assert torch.equal(ours(texts, context_length=9), THEIRS(texts, context_length=9))
    assert (ours.vocab_size, ours.sot_token_id, ours.eot_token_id) == (
        THEIRS.vocab_size, THEIRS.sot_token_id, THEIRS.eot_token_id,
    )  # fmt: skip


def test_a_usual_model_is_loaded_without_open_clip() -> None:
    script = (
        "import sys\nfrom excel_cam import load_model\nmodel = load_model(name='excel-cam-demo', device='cpu')\n"
        "model.encode_texts(['a cat'])\nimport excel_cam.run.labeller\n"
        "assert not {'open_clip', 'torchvision', 'timm', 'torch._dynamo', 'sympy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_open_clips_towers_are_still_taken(tmp_path: Path) -> None:
    model, _own = both(tmp_path, {"custom_text": True})
    assert isinstance(model.visual, VisionTransformer)
