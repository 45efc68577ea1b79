"""The cache of text banks: what decides a file, damage, kills, two at once."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pets import arrays_of, assert_same, pets, with_first_sentence

from excel_cam.knowledge.base import KnowledgeBase, shipped_knowledge
from excel_cam.model import text_bank as text_bank_module
from excel_cam.model.clip import ClipModel, load_model
from excel_cam.model.text_bank import build_text_bank
from excel_cam.settings import ModelChoice, Settings


def test_a_second_call_encodes_nothing(model: ClipModel, cache: Path, no_encoding: Callable[[], None]) -> None:
    first = build_text_bank(pets(), model, Settings())
    assert not first.was_cached
    assert first.path.parent == cache / "text"
    assert [path for path in cache.rglob("*") if path.is_file()] == [first.path]
    no_encoding()
    second = build_text_bank(pets(provenance={"author": "someone else"}), model, Settings())
    assert second.was_cached
    assert second.path == first.path
    assert_same(first, second)


def test_settings_of_the_image_side_keep_the_cached_file(model: ClipModel, no_encoding: Callable[[], None]) -> None:
    build_text_bank(pets(), model, Settings())
    no_encoding()
    assert build_text_bank(pets(), model, Settings(size=64, attention="qk", refine="none")).was_cached


@pytest.mark.parametrize(
    ("knowledge", "settings"),
    [
        (with_first_sentence("its whiskers are short."), Settings()),
        (pets(template="a photo of a {}."), Settings()),
        (pets(background=["grass", "window", "sofa"]), Settings()),
        (pets(dataset="animals"), Settings()),
        (pets().select(["parrot", "Cat"], ["parrot", "Cat"], "classes.txt"), Settings()),
        (pets().select(["Cat", "goldfish", "parrot"], ["Cat", "carp", "parrot"], "classes.txt"), Settings()),
        (pets(), Settings(keep=0.5)),
        (pets(), Settings(clusters=6)),
        (pets(), Settings(strength=0.5)),
        (pets(), Settings(attributes="none")),
    ],
)
def test_whatever_decides_the_rows_decides_the_file(
    model: ClipModel, knowledge: KnowledgeBase, settings: Settings
) -> None:
    first = build_text_bank(pets(), model, Settings())
    before = first.path.read_bytes()
    other = build_text_bank(knowledge, model, settings)
    assert not other.was_cached
    assert other.path != first.path
    assert first.path.read_bytes() == before
    assert build_text_bank(pets(), model, Settings()).was_cached


def test_other_weights_have_another_file(model: ClipModel, tiny_model: tuple[Path, Path], tmp_path: Path) -> None:
    first = build_text_bank(pets(), model, Settings())
    state = torch.load(tiny_model[1], weights_only=True)
    state["text_projection"] = state["text_projection"].flip(0)
    torch.save(state, tmp_path / "other.pt")
    other = build_text_bank(
        pets(), load_model(ModelChoice(str(tiny_model[0]), weights=tmp_path / "other.pt")), Settings()
    )
    assert not other.was_cached
    assert other.path != first.path
    assert np.abs(other.plain - first.plain).max() > 0.01


def test_another_model_of_the_same_weights_has_another_file(tiny_model: tuple[Path, Path], tmp_path: Path) -> None:
    # The number of heads shows in no tensor's shape; the two files have one name, so the models have too.
    banks = []
    for heads in (2, 4):
        config = json.loads(tiny_model[0].read_text())
        config["text_cfg"]["heads"] = heads
        path = tmp_path / f"{heads}" / "twin-quickgelu.json"
        path.parent.mkdir()
        path.write_text(json.dumps(config))
        banks.append(build_text_bank(pets(), load_model(ModelChoice(str(path), weights=tiny_model[1])), Settings()))
    assert not banks[1].was_cached
    assert banks[0].path != banks[1].path
    assert np.abs(banks[0].plain - banks[1].plain).max() > 0.01


def test_a_model_of_another_name_has_another_file(
    model: ClipModel, tiny_model: tuple[Path, Path], tmp_path: Path
) -> None:
    first = build_text_bank(pets(), model, Settings())
    config = tmp_path / "another-quickgelu.json"
    config.write_bytes(tiny_model[0].read_bytes())
    other = build_text_bank(pets(), load_model(ModelChoice(str(config), weights=tiny_model[1])), Settings())
    assert not other.was_cached
    assert other.path != first.path


def replaced(path: Path, **arrays: Any) -> bytes:
    """The bytes of a cached file with some of its arrays exchanged; those that are `...` are left out."""
    with np.load(path) as stored:
        content = {**stored, **arrays}
    with path.open("wb") as stream:
        np.savez(stream, **{key: value for key, value in content.items() if value is not ...})
    return path.read_bytes()


def single_array(path: Path) -> bytes:
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    return path.read_bytes()


def exchanged(path: Path, before: bytes, after: bytes) -> bytes:
    assert before in path.read_bytes()
    return path.read_bytes().replace(before, after, 1)


def with_directory_byte(path: Path, offset: int, value: int) -> bytes:
    """The bytes of a cached file with one byte changed in the entry of its last array in the archive's directory."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + offset] = value
    return bytes(content)


DAMAGES: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda path: b"",
    "text": lambda path: b"no archive at all",
    "half": lambda path: path.read_bytes()[: path.stat().st_size // 2],
    "last byte gone": lambda path: path.read_bytes()[:-1],
    "first byte gone": lambda path: path.read_bytes()[1:],
    "zeros": lambda path: bytes(path.stat().st_size),
    "zeros inside": lambda path: path.read_bytes()[:3000] + bytes(64) + path.read_bytes()[3064:],
    "fewer rows": lambda path: exchanged(path, b"(45, 64)", b"(44, 64)"),
    "other kind": lambda path: exchanged(path, b"'<f4'", b"'<i4'"),
    "other order": lambda path: exchanged(path, b"order': False", b"order': True "),
    "newer archive": lambda path: with_directory_byte(path, 6, 255),
    "encrypted": lambda path: with_directory_byte(path, 8, 1),
    "other compression": lambda path: with_directory_byte(path, 10, 8),
    "one array": single_array,
    "no bank": lambda path: replaced(path, bank=...),
    "no names": lambda path: replaced(path, names=...),
    "names of another order": lambda path: replaced(path, names=np.load(path)["names"][::-1]),
    "a name less": lambda path: replaced(path, names=np.load(path)["names"][:-1]),
    "pickled names": lambda path: replaced(path, names=np.array(["a", 1], dtype=object)),
}


@pytest.fixture(scope="module")
def voc_file(model: ClipModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Name and bytes of the shipped knowledge base's: large enough that a reader does not take it in one gulp."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXCEL_CAM_CACHE", str(tmp_path_factory.mktemp("voc-cache")))
        path = build_text_bank(shipped_knowledge("voc"), model, Settings()).path
        return path.name, path.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_computed_again_and_replaced(
    model: ClipModel, voc_file: tuple[str, bytes], cache: Path, damage: str
) -> None:
    name, whole = voc_file
    path = cache / "text" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(whole)
    damaged = DAMAGES[damage](path)
    assert damaged != whole
    path.write_bytes(damaged)
    again = build_text_bank(shipped_knowledge("voc"), model, Settings())
    assert not again.was_cached
    assert again.path == path
    assert again.path.read_bytes() == whole
    assert build_text_bank(shipped_knowledge("voc"), model, Settings()).was_cached


def test_a_file_cut_anywhere_or_with_any_byte_changed_is_never_trusted(model: ClipModel) -> None:
    bank = build_text_bank(pets(), model, Settings())
    whole = bank.path.read_bytes()
    expected = arrays_of(bank)
    for length in range(0, len(whole), 29):
        bank.path.write_bytes(whole[:length])
        assert text_bank_module._read_cached(bank.path, bank.names) is None
    for place in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[place] ^= 1 + place % 255
        bank.path.write_bytes(changed)
        arrays = text_bank_module._read_cached(bank.path, bank.names)
        # Some bytes of an archive mean nothing, such as its members' dates.
        assert arrays is None or all(np.array_equal(arrays[key], expected[key]) for key in expected)


def test_a_file_rebuilt_from_scratch_has_the_same_bytes(model: ClipModel) -> None:
    first = build_text_bank(pets(), model, Settings())
    whole = first.path.read_bytes()
    first.path.unlink()
    again = build_text_bank(pets(), model, Settings())
    assert not again.was_cached
    assert again.path.read_bytes() == whole


@pytest.mark.parametrize(
    "dataset", ["../../../above", "a/b", "/root", "..", "nul\0l", "häuser & höfe", "x" * 300, "房" * 300]
)
def test_the_name_of_a_data_set_never_leads_out_of_the_cache(model: ClipModel, cache: Path, dataset: str) -> None:
    bank = build_text_bank(dataclasses.replace(pets(), dataset=dataset), model, Settings(attributes="none"))
    assert bank.path.resolve().parent == (cache / "text").resolve()
    assert [path for path in cache.parent.rglob("*") if path.is_file()] == [bank.path]
    assert build_text_bank(dataclasses.replace(pets(), dataset=dataset), model, Settings(attributes="none")).was_cached


@pytest.mark.parametrize("blocked", ["cache", "cache/text"])
def test_a_cache_that_cannot_be_written_is_gone_without(model: ClipModel, tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("a file where a folder is wanted")
    bank = build_text_bank(pets(), model, Settings())
    assert bank.path is None
    assert not bank.was_cached
    trouble = str(bank.cache_trouble)
    assert str(tmp_path / "cache" / "text") in trouble
    assert " cannot be written: " in trouble
    assert len(trouble.splitlines()) == 1


def test_a_user_without_home_goes_without_a_cache(model: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("EXCEL_CAM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    bank = build_text_bank(pets(), model, Settings())
    assert (bank.path, bank.cache_trouble) == (None, "there is no home folder")


def test_a_cached_file_that_unpacks_to_gigabytes_is_made_anew(model: ClipModel, cache: Path) -> None:
    path = build_text_bank(pets(), model, Settings()).path
    assert path is not None
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("names", "plain", "bank", "text"):
            archive.writestr(f"{name}.npy", bytes(150 << 20))
    tracemalloc.start()
    assert not build_text_bank(pets(), model, Settings()).was_cached
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_a_build_killed_while_it_writes_leaves_no_half_file(
    model: ClipModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def write_half(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_bytes", write_half)
        build_text_bank(pets(), model, Settings())
    assert not list(cache.rglob("*.npz"))
    bank = build_text_bank(pets(), model, Settings())
    assert not bank.was_cached
    assert build_text_bank(pets(), model, Settings()).was_cached


REBUILD = """
import sys
from pathlib import Path
from excel_cam.model import text_bank
from excel_cam.model.clip import load_model
from excel_cam.knowledge.base import read_knowledge
from excel_cam.settings import ModelChoice, Settings

config, weights, knowledge = sys.argv[1:]
model = load_model(ModelChoice(config, weights=Path(weights), device="cpu"))
text_bank._read_cached = lambda path, names: None
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    print(text_bank.build_text_bank(read_knowledge(Path(knowledge)), model, Settings()).path, flush=True)
"""


def test_two_processes_that_build_at_once_leave_a_whole_file(
    model: ClipModel, tiny_model: tuple[Path, Path], pets_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_text_bank(pets(), model, Settings())
    content = whole.path.read_bytes()
    monkeypatch.setattr(text_bank_module, "_read_cached", lambda path, names: None)
    other = subprocess.Popen(
        [sys.executable, "-c", REBUILD, *map(str, tiny_model), str(pets_file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    assert other.stdin is not None
    other.stdin.write("go\n")
    other.stdin.flush()
    rounds = 0
    while other.poll() is None or rounds == 0:
        assert not build_text_bank(pets(), model, Settings()).was_cached
        for _ in range(200):
            assert whole.path.read_bytes() == content
        rounds += 1
    assert other.communicate()[0].splitlines() == [str(whole.path)] * 20
    assert other.returncode == 0
    assert [path.name for path in whole.path.parent.iterdir()] == [whole.path.name]


def test_the_cached_file_is_a_plain_archive(model: ClipModel) -> None:
    with zipfile.ZipFile(build_text_bank(pets(), model, Settings()).path) as archive:
        assert archive.namelist() == ["names.npy", "plain.npy", "bank.npy", "text.npy"]
