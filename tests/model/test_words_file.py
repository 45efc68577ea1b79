"""Models with a small vocabulary and settings of their own: the words file beside an open_clip configuration."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from open_clip import SimpleTokenizer

from excel_cam import ClipModel, Settings, build_text_bank, load_model, prompts_alone, shipped_knowledge
from excel_cam.errors import KnowledgeError, ModelError
from excel_cam.model.words_file import WORDS_SUFFIX, read_words, recorded_settings
from excel_cam.settings import ModelChoice

KNOWN = "a clean origami cat dog ."


@pytest.fixture
def small_model(tiny_model: tuple[Path, Path], tmp_path: Path) -> Path:
    """The tiny model cut down to the words of `KNOWN`, with an input size of its own; its configuration."""
    tokenizer = SimpleTokenizer()
    ids = [-1, *sorted(set(tokenizer.encode(KNOWN))), tokenizer.sot_token_id, tokenizer.eot_token_id]
    config = json.loads(tiny_model[0].read_text())
    config["text_cfg"]["vocab_size"] = len(ids)
    path = tmp_path / "small-words.json"
    path.write_text(json.dumps(config))
    weights = torch.load(tiny_model[1])
    key = next(name for name in weights if name.endswith("token_embedding.weight"))
    weights[key] = weights[key][: len(ids)]
    torch.save(weights, path.with_suffix(".pt"))
    path.with_suffix(WORDS_SUFFIX).write_text(json.dumps({"tokens": ids, "settings": {"size": 48, "clusters": 3}}))
    return path


def load(path: Path) -> ClipModel:
    return load_model(ModelChoice(str(path), weights=path.with_suffix(".pt"), device="cpu"))


def test_words_outside_the_table_are_read_as_unknown_and_named(small_model: Path) -> None:
    model = load(small_model)
    tokenizer = model.tokenizer
    known, unknown = tokenizer.encode("a dog"), tokenizer.encode("a zebra")
    assert known[0] == unknown[0]
    assert min(known) > 0
    assert set(unknown[1:]) == {0}
    assert model.unknown_words("a clean origami Zebra, cat") == ["Zebra,"]
    assert model.unknown_words("a dog.") == []
    rows = tokenizer(["a dog"], context_length=model.context_length)[0].tolist()
    assert rows[0] == tokenizer.sot_token_id
    assert rows[3] == max(rows) == tokenizer.eot_token_id
    assert torch.isfinite(model.encode_texts(["a zebra"])).all()


def test_other_models_know_every_word_and_record_nothing(tiny_model: tuple[Path, Path]) -> None:
    model = load_model(ModelChoice(str(tiny_model[0]), weights=tiny_model[1], device="cpu"))
    assert model.unknown_words("zebra") == []
    assert recorded_settings(str(tiny_model[0])) == recorded_settings("ViT-B-16-quickgelu") == {}
    assert read_words("no/such.json") is None


def test_a_class_that_the_model_does_not_know_is_refused(small_model: Path) -> None:
    knowledge = prompts_alone("mine", ["cat", "zebra"], ["cat", "zebra"])
    with pytest.raises(KnowledgeError, match=r"small-words does not know 'zebra'.*another --model"):
        build_text_bank(knowledge, load(small_model), Settings())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "the words file of the model cannot be read: it is not JSON"),
        ("[]", "expected an object with the keys tokens and settings"),
        ('{"tokens": [], "settings": {}, "more": 1}', "expected an object with the keys tokens and settings"),
        ('{"tokens": [1, "2"], "settings": {}}', "tokens must be a list of whole numbers"),
        ('{"tokens": [], "settings": {"sides": 3}}', "settings must be an object with keys out of"),
        ('{"tokens": [], "settings": {"size": 3}}', "settings: size is 3; expected between 32 and 4096"),
        ('{"tokens": [], "settings": {"size": "big"}}', "settings: '<=' not supported"),
        ('{"tokens": [-1, 49406, 49407], "settings": {}}', "list of 3 tokens does not fit its token table of"),
    ],
)
def test_a_damaged_words_file_is_named(small_model: Path, content: str, message: str) -> None:
    small_model.with_suffix(WORDS_SUFFIX).write_text(content)
    with pytest.raises(ModelError, match=message):
        load(small_model)


def test_recorded_settings_stand_behind_options_and_before_the_preset(
    excel_cam: Callable[..., Result], small_model: Path, voc_root: Path, tmp_path: Path
) -> None:
    cats = tmp_path / "cats"
    cats.mkdir()
    shutil.copy(voc_root / "JPEGImages" / "2007_000001.jpg", cats / "one.jpg")
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "tags.csv").write_text("name,classes\none,cat\n")
    # A knowledge base of known words: VOC's background words are not in this table.
    base = {"dataset": "cats", "template": "a clean origami {}.", "background": [], "classes": [
        {"name": "cat", "sentences": ["a dog.", "clean cat.", "origami dog.", "a clean zebra."]}]}  # fmt: skip
    (tmp_path / "kb.json").write_text(json.dumps(base))
    result = excel_cam(
        "generate", "--dataset", "folder", "--root", cats, "--classes", tmp_path / "classes.txt",
        "--tags", tmp_path / "tags.csv", "--kb", tmp_path / "kb.json", "--model", small_model,
        "--weights", small_model.with_suffix(".pt"), "--clusters", 2, "--out", tmp_path / "labels",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    settings = json.loads((tmp_path / "labels" / "run.json").read_text())["settings"]
    assert settings["size"] == {"value": 48, "from": f"model {small_model}"}
    assert settings["clusters"] == {"value": 2, "from": "command line"}
    assert settings["attention"] == {"value": "svc", "from": "preset paper"}


def test_the_shipped_knowledge_is_more_than_this_model_knows(small_model: Path) -> None:
    with pytest.raises(KnowledgeError, match="does not know 'aeroplane'"):
        build_text_bank(shipped_knowledge("voc"), load(small_model), Settings())


def test_other_words_are_another_text_bank(small_model: Path) -> None:
    knowledge = prompts_alone("mine", ["cat"], ["cat"])
    knowledge = dataclasses.replace(knowledge, background=())
    first = build_text_bank(knowledge, load(small_model), Settings())
    words = small_model.with_suffix(WORDS_SUFFIX)
    content = json.loads(words.read_text())
    content["tokens"][1:3] = content["tokens"][2:0:-1]
    words.write_text(json.dumps(content))
    second = build_text_bank(knowledge, load(small_model), Settings())
    assert not second.was_cached
    assert second.path != first.path
