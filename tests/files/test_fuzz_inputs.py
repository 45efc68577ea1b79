"""Damaged images, knowledge bases, config files, model configurations and weights: every one ends in a clear line.

Each case is a small valid file with bytes changed, cut out, put in or left off, or with a value replaced by another.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip.factory
import pytest
import safetensors.torch
import torch
from awkward_images import colour16_bytes, rotated_bytes, scene
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from excel_cam.cli.config import tomllib
from excel_cam.cli.main import cli
from excel_cam.errors import ImageError, KnowledgeError, ModelError
from excel_cam.files.atomic import hash_json
from excel_cam.files.images import open_image
from excel_cam.files.images.photographs import read_photograph
from excel_cam.knowledge.base import parse_knowledge, read_knowledge
from excel_cam.model.clip import _model_config
from excel_cam.model.weights import read_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:::PIL"),
    pytest.mark.filterwarnings("ignore:::torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def cases(count: int) -> settings:
    """So many cases, the same in every run."""
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """One to four ways to damage a file, to be applied to its bytes in turn."""
    share = st.floats(0, 1, exclude_max=True)
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from(["change", "cut", "end", "put"]), share, st.binary(min_size=1, max_size=4)),
            min_size=1, max_size=4,
        )
    )  # fmt: skip

    def apply(content: bytes) -> bytes:
        for kind, where, new in steps:
            at = int(where * len(content))
            if kind == "end":
                content = content[:at]
            else:
                rest = content[at:] if kind == "put" else content[at + len(new) :]
                content = content[:at] + (b"" if kind == "cut" else new) + rest
        return content

    return apply


def one_line(error: BaseException, path: Path) -> None:
    text = str(error)
    assert str(path) in text
    assert len(text) > len(str(path)) + 10
    assert "\n" not in text


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


SCENE = Image.fromarray(scene(10, 14))
IMAGES = {
    "jpg": rotated_bytes(SCENE, 6), "png": colour16_bytes(np.asarray(SCENE)),
    "palette.png": saved(SCENE.quantize(8), "PNG", transparency=2),
    "gif": saved(SCENE, "GIF", save_all=True, append_images=[SCENE.rotate(90)]), "webp": saved(SCENE, "WEBP"),
    "bmp": saved(SCENE, "BMP"), "tif": saved(SCENE, "TIFF", compression="tiff_lzw"),
    "float.tif": rotated_bytes(SCENE.convert("F"), 8, "TIFF"), "ppm": saved(SCENE, "PPM"),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
@cases(22)
@given(harm=damage())
def test_damaged_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, harm: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(open_image, "MAX_PIXELS", 100_000)  # sizes that would pass cost only time here
    path = tmp_path / f"image.{name}"
    path.write_bytes(harm(IMAGES[name]))
    try:
        photograph = read_photograph(path, 65536)
    except ImageError as error:
        one_line(error, path)
    else:
        assert photograph.pixels.dtype == np.uint8
        assert photograph.pixels.shape == (*photograph.size, 3) or photograph.size[0] * photograph.size[1] > 65536
        assert photograph.as_stored(photograph.pixels[..., 0]).size == photograph.pixels[..., 0].size


KNOWLEDGE = {
    "dataset": "mine", "template": "a clean origami {}.", "background": ["ground", "sky"],
    "classes": [
        {"name": "cat", "prompt": "small cat", "sentences": ["it has whiskers.", "it has fur."]},
        {"name": "dog", "sentences": ["it has a leash."]},
    ],
    "provenance": {"author": "me"},
}  # fmt: skip
TEXT = st.text(st.characters(codec=None, categories=None), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just("{}"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "sentences"]) | TEXT, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@st.composite
def with_a_value_replaced(draw: st.DrawFn, record: dict[str, Any]) -> dict[str, Any]:
    """A copy of a JSON object in which one to three values, wherever they stand, are something else."""
    changed = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(JSON)
            break
    return changed


@cases(60)
@given(record=with_a_value_replaced(KNOWLEDGE))
@example(record=KNOWLEDGE | {"dataset": "\ud800"})
@example(record=KNOWLEDGE | {"dataset": "../../outside"})
@example(record=KNOWLEDGE | {"template": "{} {0}"})
def test_knowledge_with_other_values(record: dict[str, Any]) -> None:
    where = Path("kb.json")
    try:
        knowledge = parse_knowledge(json.dumps(record), str(where))
    except KnowledgeError as error:
        one_line(error, where)
    else:
        hash_json(knowledge.content())
        for template in knowledge.templates:
            assert "cat" in template.format("cat")


@cases(60)
@given(harm=damage())
def test_damaged_knowledge(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "kb.json"
    path.write_bytes(harm(json.dumps(KNOWLEDGE, indent=1).encode()))
    try:
        hash_json(read_knowledge(path).content())
    except KnowledgeError as error:
        one_line(error, path)


def refused_or_done(result: Result, path: Path) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 2), result.stderr
    if result.exit_code:
        last = result.stderr.splitlines()[-1]
        assert last.startswith("Error: ")
        assert str(path) in last or "expected" in last


CONFIG = b'[generate]\nsize = 64\nscales = [0.75, 1]\nflip = true\nkeep = 0.9\nout = "labels"\n[roots]\nvoc = "/data"\n'


@cases(60)
@given(harm=damage())
def test_damaged_config_files(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(harm(CONFIG))
    refused_or_done(CliRunner().invoke(cli, ["generate", "--config", str(path), "--print-config"]), path)


KEYS = [
    "size",
    "scales",
    "flip",
    "keep",
    "clusters",
    "ignore-thresholds",
    "model",
    "weights",
    "list",
    "png_mode",
    "quiet",
]
VALUES = st.sampled_from(
    ["1", "-1", "0.5", "nan", "inf", "1e400", "true", '"x"', '""', '"\\u0000"', "[]", "[1,2]", "[[1]]", '["a"]', "{}",
     "{a=1}", "1979-05-27", "07:32:00", "999999999999999999999999", '"~nobody-here/x"', '"1,2"']
)  # fmt: skip


@cases(60)
@given(entries=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=4))
def test_config_files_with_other_values(tmp_path: Path, entries: dict[str, str]) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[generate]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items()))
    result = CliRunner().invoke(cli, ["generate", "--config", str(path), "--print-config"])
    refused_or_done(result, path)
    if result.exit_code == 0:
        path.write_text(result.stdout)
        again = CliRunner().invoke(cli, ["generate", "--config", str(path), "--print-config"])
        assert tomllib.loads(again.stdout) == tomllib.loads(result.stdout)


def as_json(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


MODEL = {
    "embed_dim": 8, "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "layers": 6, "width": 8, "head_width": 4, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}  # fmt: skip


@cases(40)
@given(content=damage().map(lambda harm: harm(json.dumps(MODEL).encode())) | with_a_value_replaced(MODEL).map(as_json))
def test_damaged_model_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    for registry in ("_MODEL_CONFIG_PATHS", "_MODEL_CONFIGS"):  # other tests would read the damaged file once more
        monkeypatch.setattr(f"open_clip.factory.{registry}", copy.copy(getattr(open_clip.factory, registry)))
    path = tmp_path / "damaged-model.json"
    path.write_bytes(content)
    try:
        _model_config(str(path))
    except ModelError as error:
        assert "\n" not in str(error)
        assert "damaged-model" in str(error)


def weights_files() -> dict[str, bytes]:
    state = {"visual.proj": torch.arange(6.0).view(2, 3), "scale": torch.tensor(2.0), "half": torch.ones(3).half()}
    archive, legacy = io.BytesIO(), io.BytesIO()
    torch.save(state, archive)
    torch.save({"state_dict": state}, legacy, _use_new_zipfile_serialization=False)
    script = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    return {
        "a.safetensors": safetensors.torch.save(state), "zip.pt": archive.getvalue(), "legacy.pt": legacy.getvalue(),
        "script.pt": script.getvalue(), "pickle.pt": pickle.dumps({"a": 1}), "text.pt": b"not weights",
    }  # fmt: skip


WEIGHTS = weights_files()


@pytest.mark.parametrize("name", WEIGHTS)
@cases(25)
@given(harm=damage())
def test_damaged_weights(tmp_path: Path, name: str, harm: Callable[[bytes], bytes]) -> None:
    path = tmp_path / name
    path.write_bytes(harm(WEIGHTS[name]))
    try:
        state, _is_archive = read_weights(path)
    except ModelError as error:
        one_line(error, path)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_damaged_files_through_the_command_line(
    tmp_path: Path, excel_cam: Callable[..., Result], model_arguments: list[str], tiny_model: tuple[Path, Path]
) -> None:
    """A folder of damaged images is gone through to its end; damaged settings files leave nothing behind."""
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    rng = np.random.default_rng(0)
    for index in range(36):
        name = list(IMAGES)[index % len(IMAGES)]
        content = bytearray(IMAGES[name])
        for at in rng.integers(0, len(content), 6):
            content[at] = rng.integers(256)
        (images / f"{index}.{name.rpartition('.')[2]}").write_bytes(
            content[: rng.integers(len(content) // 2, len(content))]
        )
    (tmp_path / "classes.txt").write_text("disc\n")
    (tmp_path / "tags.csv").write_text("name,classes\n" + "".join(f"{index},disc\n" for index in range(36)))
    folder = [
        "--dataset",
        "folder",
        "--root",
        images,
        "--classes",
        tmp_path / "classes.txt",
        "--tags",
        tmp_path / "tags.csv",
    ]
    result = excel_cam("generate", *folder, "--out", out, "--size", 64, "--refine", "none", *model_arguments)
    assert result.exit_code == 3, result.stderr
    failed = [json.loads(line)["name"] for line in (out / "failed.jsonl").read_text().splitlines()]
    written = [path.stem for path in out.glob("*.png")]
    assert sorted(failed + written) == sorted(map(str, range(36)))
    assert not [path for path in out.iterdir() if path.name.startswith(".")]

    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"\x80\x02}q\x00." + bytes(range(256)))
    for arguments, status in (
        (["kb", "build", "--kb", damaged, *model_arguments], 1),
        (["kb", "build", "--model", tiny_model[0], "--weights", damaged], 1),
        (["kb", "build", "--config", damaged], 2),
    ):
        bank = tmp_path / "bank.npz"
        result = excel_cam(*arguments, "--bank", bank)
        assert result.exit_code == status
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert str(damaged) in result.stderr
        assert not bank.exists()
