"""Text rows against a second text side written from METHOD's step 1, their cache, and `kb build`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import reference
import torch
from click.testing import Result
from numpy.typing import NDArray

from excel_cam.errors import KnowledgeError
from excel_cam.knowledge.base import ClassKnowledge, KnowledgeBase, parse_knowledge, prompts_alone, shipped_knowledge
from excel_cam.method.enrichment import enrich_rows
from excel_cam.model import text_bank as text_bank_module
from excel_cam.model.clip import ClipModel, load_model
from excel_cam.model.text_bank import TextBank, build_text_bank, cluster_count
from excel_cam.settings import ModelChoice, Settings

TOLERANCE = 1e-6
HEADS = 2  # of the tiny model's text tower
EDGE = 77  # tokens that CLIP's text tower reads, the two special ones included

PETS: dict[str, Any] = {
    "dataset": "pets",
    "template": "a clean origami {}.",
    "classes": [
        {
            "name": "Cat",
            "prompt": "house cat, tabby",
            "sentences": [
                "Long stiff whiskers fan out beside its small nose.",
                "its ears are upright triangles with tufts inside.",
                "its pupils are vertical slits in bright sun.",
                "soft stripes ring its tail and legs.",
                "it sits upright with its tail around its paws.",
                "it sleeps curled up on a cushion.",
            ],
        },
        {
            "name": "goldfish",
            "sentences": [
                "overlapping orange scales shine like metal.",
                "a veil of a tail fin waves behind it.",
                "its round eyes bulge from the sides of its head.",
                "it is as long as a finger.",
                "it hangs in the water of a glass bowl.",
                "Its mouth opens and shuts at the surface.",
            ],
        },
        {
            "name": "parrot",
            "prompt": "parrot",
            "sentences": [
                "a thick hooked beak curves over its lower jaw.",
                "its feathers are green with red and blue patches.",
                "two toes point forward and two back around a perch.",
                "bare pale skin surrounds its eyes.",
                "a long pointed tail hangs below the perch.",
                "it clings to the bars of a domed cage.",
            ],
        },
    ],
    "background": ["grass", "sofa", "window", "parrot"],
}


def pets(**changes: Any) -> KnowledgeBase:
    return parse_knowledge(json.dumps({**PETS, **changes}), "pets.json")


def with_first_sentence(sentence: str) -> KnowledgeBase:
    knowledge = pets()
    first = dataclasses.replace(knowledge.classes[0], sentences=(sentence, *knowledge.classes[0].sentences[1:]))
    return dataclasses.replace(knowledge, classes=(first, *knowledge.classes[1:]))


@pytest.fixture(autouse=True)
def cache(_own_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, which is not there yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EXCEL_CAM_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def model(tiny_model: tuple[Path, Path]) -> ClipModel:
    config, weights = tiny_model
    return load_model(ModelChoice(str(config), weights=weights, device="cpu"))


@pytest.fixture
def pets_file(tmp_path: Path) -> Path:
    path = tmp_path / "pets.json"
    path.write_text(json.dumps(PETS))
    return path


@pytest.fixture
def no_encoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, encoding a text fails the test."""

    def forbid() -> None:
        def fail(*_: object) -> None:
            pytest.fail("a text was encoded")

        monkeypatch.setattr(ClipModel, "encode_texts", fail)

    return forbid


# ---- the second text side


Array = NDArray[Any]
Embed = Callable[[Sequence[str]], Array]


@pytest.fixture(scope="module")
def embed(tiny_model: tuple[Path, Path]) -> Embed:
    """Texts to unit rows (n, D) in float64; a text is embedded once for all tests."""
    state = torch.load(tiny_model[1], weights_only=True)
    weights = {name: tensor.numpy() for name, tensor in state.items() if not name.startswith("visual.")}
    tokenizer = open_clip.SimpleTokenizer(context_length=EDGE)
    known: dict[str, Array] = {}

    def rows(texts: Sequence[str]) -> Array:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, unit(reference.text_tower(weights, tokenizer(new).numpy(), HEADS)), strict=True))
        return np.stack([known[text] for text in texts])

    return rows


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def reference_plain(record: dict[str, Any], embed: Embed) -> Array:
    """Steps 1.1 and 1.2 from the record as it stands in its file."""
    taken = {entry["name"].lower() for entry in record["classes"]}
    prompts = [entry.get("prompt", entry["name"]) for entry in record["classes"]]
    prompts += [word for word in record["background"] if word not in taken]
    templates = [record["template"]] if isinstance(record["template"], str) else record["template"]
    over_templates = [embed([t.replace("{}", prompt) for prompt in prompts]) for t in templates]
    return unit(np.mean(over_templates, axis=0))


def reference_sentences(record: dict[str, Any], embed: Embed) -> Array:
    """Step 1.3: plain class names, lower case; the mean over several templates is made unit again."""
    template = record["template"]
    rows = [
        embed(
            [
                f"{opening.replace('{}', entry['name'])} {sentence}".lower()
                for entry in record["classes"]
                for sentence in entry["sentences"]
            ]
        )
        for opening in ([template] if isinstance(template, str) else template)
    ]
    mean = np.mean(rows, axis=0)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def assert_clusters(bank: Array, points: Array) -> float:
    """Assert that the columns of bank (D, B) are the means of the points nearest to them; returns the inertia."""
    centres = bank.T.astype(np.float64)
    distances = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    members = distances.argmin(axis=1)
    for index, centre in enumerate(centres):
        assert np.abs(points[members == index].mean(axis=0) - centre).max() < TOLERANCE
    return float(distances.min(axis=1).sum())


def assert_agrees(
    bank: TextBank, record: dict[str, Any], embed: Embed, clusters: int, keep: float, strength: float
) -> float:
    plain = reference_plain(record, embed)
    foreground = len(record["classes"])
    assert {array.dtype for array in (bank.plain, bank.bank, bank.text)} == {np.dtype(np.float32)}
    assert bank.plain.shape == plain.shape
    assert np.abs(bank.plain - plain).max() < TOLERANCE
    assert bank.bank.shape == (plain.shape[1], clusters)
    inertia = assert_clusters(bank.bank, reference_sentences(record, embed))
    assert np.abs(bank.text - reference.enrich(plain, bank.bank, foreground, keep, strength)).max() < TOLERANCE
    np.testing.assert_array_equal(bank.text[foreground:], bank.plain[foreground:])
    assert bank.foreground == foreground
    return inertia


@pytest.mark.parametrize(
    ("settings", "clusters"),
    [
        (Settings(), 5),  # round(0.28 · 18)
        (Settings(clusters=1), 1),
        (Settings(clusters=18), 18),
        (Settings(clusters=12, keep=0.7), 12),
        (Settings(clusters=10, keep=0.01, strength=3.5), 10),
        (Settings(clusters=4, keep=1.0, strength=0.0), 4),
    ],
)
def test_the_text_rows_agree_with_a_second_text_side(
    model: ClipModel, embed: Embed, settings: Settings, clusters: int
) -> None:
    bank = build_text_bank(pets(), model, settings)
    assert_agrees(bank, PETS, embed, clusters, settings.keep, settings.strength)
    assert bank.names == ("Cat", "goldfish", "parrot", "grass", "sofa", "window")
    assert np.abs(np.linalg.norm(bank.text, axis=1) - 1).max() < TOLERANCE


def test_what_is_embedded_word_for_word(model: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[str] = []
    encode = ClipModel.encode_texts

    def record(self: ClipModel, texts: Sequence[str]) -> torch.Tensor:
        embedded.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(ClipModel, "encode_texts", record)
    knowledge = pets(classes=[{**PETS["classes"][0], "sentences": ["Its EARS are pointed.", "it purrs."]}])
    build_text_bank(knowledge, model, Settings())
    assert embedded == [
        "a clean origami house cat, tabby.",
        "a clean origami grass.",
        "a clean origami sofa.",
        "a clean origami window.",
        "a clean origami parrot.",
        "a clean origami cat. its ears are pointed.",
        "a clean origami cat. it purrs.",
    ]


@pytest.mark.slow
def test_the_shipped_voc_agrees_with_a_second_text_side(model: ClipModel, embed: Embed) -> None:
    record = json.loads((Path(__file__).parents[2] / "kb" / "voc.json").read_text("utf-8"))
    bank = build_text_bank(shipped_knowledge("voc"), model, Settings())
    inertia = assert_agrees(bank, record, embed, 112, 0.9, 1.0)
    assert len(bank.names) == 45
    # Centres are means of unit rows, so shorter than 1 unless a sentence stands alone; they stay as they are.
    lengths = np.linalg.norm(bank.bank, axis=0)
    assert lengths.min() < 0.99
    assert lengths.max() < 1 + TOLERANCE
    # Far better than means of sentences put together by chance.
    points = reference_sentences(record, embed)
    by_chance = sum(part.var(axis=0).sum() * len(part) for part in np.array_split(points, 112))
    assert inertia < 0.8 * by_chance


def test_several_templates_are_averaged_and_made_unit_again(model: ClipModel, embed: Embed) -> None:
    record = {**PETS, "template": ["a clean origami {}.", "A blurry photo of one {} in the dark", "{}"]}
    bank = build_text_bank(pets(template=record["template"]), model, Settings())
    assert_agrees(bank, record, embed, 5, 0.9, 1.0)
    assert np.abs(bank.plain - build_text_bank(pets(), model, Settings()).plain).max() > 0.01


@pytest.mark.parametrize("knowledge", [pets(), prompts_alone("folder", ["mug", "pen"], ["coffee mug", "pen"])])
def test_without_attributes_the_rows_stay_plain(model: ClipModel, knowledge: KnowledgeBase) -> None:
    settings = Settings(attributes="none" if knowledge.sentence_count else "clustered")
    bank = build_text_bank(knowledge, model, settings)
    assert bank.bank.shape == (model.towers.text_projection.shape[1], 0)
    np.testing.assert_array_equal(bank.text, bank.plain)


def test_a_class_without_sentences_draws_on_those_of_others(model: ClipModel, embed: Embed) -> None:
    record = {**PETS, "classes": [*PETS["classes"], {"name": "tortoise", "sentences": []}]}
    bank = build_text_bank(pets(classes=record["classes"]), model, Settings())
    assert_agrees(bank, record, embed, 5, 0.9, 1.0)
    assert np.abs(bank.text[3] - bank.plain[3]).max() > 1e-3


# ---- attribute hunting by itself


@pytest.mark.parametrize(
    ("count", "dropped"),
    # In double precision 1 - 0.9 lies below 0.1, so that tens drop one less than they would by hand.
    [(1, 0), (9, 0), (10, 0), (11, 1), (50, 4), (100, 9), (112, 11), (224, 22)],
)
def test_the_lowest_tenth_is_dropped(count: int, dropped: int) -> None:
    # Attribute j is similarity_j along the row, plus an axis of its own on which its share shows.
    rng = np.random.default_rng(count)
    similarities = rng.permutation(np.linspace(-0.5, 0.5, count))
    bank = np.vstack([similarities, np.eye(count)])
    row = np.eye(1, count + 1)
    shares = enrich_rows(row, bank, 0.9, 1.0)[0, 1:]
    assert np.flatnonzero(shares == 0).tolist() == sorted(np.argsort(similarities)[:dropped].tolist())
    kept = shares[shares > 0]
    expected = np.exp(similarities[shares > 0])
    np.testing.assert_allclose(kept / kept.sum(), expected / expected.sum(), rtol=1e-12)


def test_enrichment_by_hand() -> None:
    # Similarities 0, ln 2 and -5; keep 0.6 drops floor(0.4 · 3) = 1, the -5. Shares 1/3 and 2/3 of two attributes
    # (0, 3) and (ln 2, 0): the row (1, 0) becomes (1 + 2 · 2/3 ln 2, 2 · 1), then unit.
    bank = np.array([[0.0, np.log(2), -5.0], [3.0, 0.0, 8.0]])
    enriched = enrich_rows(np.array([[1.0, 0.0]]), bank, 0.6, 2.0)
    expected = np.array([1 + 4 / 3 * np.log(2), 2.0])
    np.testing.assert_allclose(enriched[0], expected / np.linalg.norm(expected), rtol=1e-12)


@pytest.mark.parametrize(("count", "keep"), [(7, 0.3), (40, 0.5), (112, 0.9), (224, 0.05), (5, 1.0)])
def test_enrichment_agrees_with_the_reference(count: int, keep: float) -> None:
    rng = np.random.default_rng(count)
    rows, bank = unit(rng.normal(size=(9, 24))), rng.normal(size=(24, count))
    before = rows.copy(), bank.copy()
    ours = enrich_rows(rows, bank, keep, 1.5)
    np.testing.assert_allclose(ours, reference.enrich(rows, bank, 9, keep, 1.5), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(bank, before[1])


def test_one_attribute_is_always_left() -> None:
    # 1 - keep is 1 in double precision, which would drop them all.
    enriched = enrich_rows(np.array([[1.0, 0.0]]), np.array([[0.5, 0.0], [0.0, 1.0]]), 1e-17, 1.0)
    np.testing.assert_allclose(enriched, [[1.0, 0.0]])


# ---- how many attributes


def knowledge_of(dataset: str, classes: int, sentences: int) -> KnowledgeBase:
    entries = tuple(
        ClassKnowledge(f"class {index}", f"class {index}", tuple(f"sentence {number}" for number in range(sentences)))
        for index in range(classes)
    )
    return KnowledgeBase(dataset, ("{}",), entries, ())


@pytest.mark.parametrize(
    ("dataset", "classes", "sentences", "expected"),
    [
        ("voc", 20, 20, 112),
        ("voc", 20, 6, 112),
        ("coco", 80, 20, 224),
        ("coco", 80, 3, 224),
        ("pets", 20, 20, 112),  # round(0.28 · 400)
        ("pets", 80, 20, 224),  # 448 is over the limit
        ("pets", 40, 20, 224),  # 0.28 · 800, just at it
        ("pets", 1, 1, 1),  # 0.28, but at least 1
        ("pets", 3, 6, 5),  # 5.04
        ("pets", 9, 1, 3),  # 2.52
        ("voc", 5, 20, 28),  # some classes of voc are another class list
        ("voc", 19, 20, 106),  # 106.4
        ("coco", 79, 2, 44),  # 44.24
    ],
)
def test_the_number_of_attributes_by_default(dataset: str, classes: int, sentences: int, expected: int) -> None:
    assert cluster_count(knowledge_of(dataset, classes, sentences), None) == expected


@pytest.mark.parametrize(("dataset", "classes", "sentences"), [("voc", 20, 20), ("pets", 3, 6)])
def test_a_chosen_number_of_attributes_wins(dataset: str, classes: int, sentences: int) -> None:
    knowledge = knowledge_of(dataset, classes, sentences)
    assert [cluster_count(knowledge, chosen) for chosen in (1, 17, classes * sentences)] == [
        1, 17, classes * sentences,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("knowledge", "chosen", "numbers"),
    [
        (knowledge_of("pets", 3, 6), 19, "'pets' has 18 sentences, too few for 19 attributes"),
        (knowledge_of("voc", 20, 5), None, "'voc' has 100 sentences, too few for 112 attributes"),
        (knowledge_of("coco", 80, 2), None, "'coco' has 160 sentences, too few for 224 attributes"),
    ],
)
def test_too_few_sentences_are_refused(knowledge: KnowledgeBase, chosen: int | None, numbers: str) -> None:
    with pytest.raises(KnowledgeError) as caught:
        cluster_count(knowledge, chosen)
    assert str(caught.value) == f"the knowledge base {numbers}; add sentences or lower --clusters"


def test_sentences_that_read_the_same_are_too_few(model: ClipModel, cache: Path) -> None:
    # In lower case, as they are embedded, the two classes say the same.
    twins = [{"name": name, "sentences": ["it has a beak.", "it has two wings."]} for name in ("Bird", "bird")]
    with pytest.raises(KnowledgeError) as caught:
        build_text_bank(pets(classes=twins), model, Settings(clusters=3))
    message = str(caught.value)
    assert message.startswith("the knowledge base 'pets' cannot be clustered: 3 clusters of fewer distinct points; ")
    assert len(message.splitlines()) == 1
    assert not list(cache.rglob("*.npz"))
    assert build_text_bank(pets(classes=twins), model, Settings(clusters=2)).bank.shape[1] == 2


# ---- texts that are too long


def sentence_of(model: ClipModel, opening: str, tokens: int) -> str:
    """A sentence that makes `tokens` tokens together with its opening, the special tokens included."""
    words = " fin" * (tokens - model.count_tokens(opening))
    assert model.count_tokens(f"{opening}{words}") == tokens
    return words.strip()


def test_a_sentence_may_fill_the_text_tower_and_no_more(model: ClipModel, embed: Embed) -> None:
    longest = sentence_of(model, "a clean origami cat.", EDGE)
    knowledge = with_first_sentence(longest)
    bank = build_text_bank(knowledge, model, Settings(clusters=18))
    expected = embed([f"a clean origami cat. {longest}"])[0]
    assert np.abs(bank.bank.T - expected).max(axis=1).min() < TOLERANCE  # each sentence is a cluster of its own
    with pytest.raises(KnowledgeError) as caught:
        build_text_bank(with_first_sentence(f"{longest} fin"), model, Settings())
    assert str(caught.value) == (
        "the knowledge base 'pets': class Cat, sentence 1 is too long: 78 tokens with its prompt, the model reads 77; "
        "shorten it"
    )


def test_every_sentence_is_measured(model: ClipModel) -> None:
    knowledge = pets()
    last = dataclasses.replace(knowledge.classes[2], sentences=(*knowledge.classes[2].sentences[:5], "scale " * 90))
    knowledge = dataclasses.replace(knowledge, classes=(*knowledge.classes[:2], last))
    with pytest.raises(KnowledgeError, match="'pets': class parrot, sentence 6 is too long: 97 tokens with its prompt"):
        build_text_bank(knowledge, model, Settings())


def test_a_prompt_or_background_word_that_is_too_long_is_named(model: ClipModel) -> None:
    classes = [PETS["classes"][0], {**PETS["classes"][1], "prompt": "fish " * 90}]
    with pytest.raises(KnowledgeError, match=r"^the knowledge base 'pets': class goldfish, prompt is too long: 96 tok"):
        build_text_bank(pets(classes=classes), model, Settings())
    with pytest.raises(KnowledgeError, match=r"^the knowledge base 'pets': background word 2 is too long: 96 tokens"):
        build_text_bank(pets(background=["grass", "sky " * 90]), model, Settings())


def test_a_prompt_is_measured_in_every_template(model: ClipModel) -> None:
    with pytest.raises(KnowledgeError, match="class Cat, prompt is too long: "):
        build_text_bank(pets(template=["{}", f"{'very ' * 80}big {{}}"]), model, Settings())


# ---- the cache


def arrays_of(bank: TextBank) -> dict[str, Array]:
    return {"plain": bank.plain, "bank": bank.bank, "text": bank.text}


def assert_same(first: TextBank, second: TextBank) -> None:
    assert (first.names, first.foreground) == (second.names, second.foreground)
    for key, array in arrays_of(first).items():
        np.testing.assert_array_equal(array, arrays_of(second)[key])
        assert array.dtype == arrays_of(second)[key].dtype


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


# ---- kb build

Run = Callable[..., Result]


def test_kb_build_says_what_it_did(
    excel_cam: Run, model_arguments: list[str], cache: Path, tiny_model: tuple[Path, Path],
    no_encoding: Callable[[], None],
) -> None:  # fmt: skip
    first = excel_cam("kb", "build", *model_arguments)
    assert (first.exit_code, first.stdout) == (0, "")
    lines = first.stderr.splitlines()
    fingerprint = hashlib.sha256(tiny_model[1].read_bytes()).hexdigest()
    assert lines[0].startswith(f"model: tiny-quickgelu, weights {tiny_model[1]} ({fingerprint[:12]}), ")
    (path,) = (cache / "text").iterdir()
    assert lines[1].startswith("text bank: 45 text rows (20 classes), 112 attributes, from 445 texts in ")
    assert lines[1].endswith(f" s, cached as {path}")
    following = "next: excel-cam generate --dataset voc --out labels/"
    assert lines[2:] == [following]
    no_encoding()
    second = excel_cam("kb", "build", "--dataset", "voc", *model_arguments)
    assert (second.exit_code, second.stdout) == (0, "")
    assert second.stderr.splitlines()[1:] == [
        f"text bank: 45 text rows (20 classes), 112 attributes, from the cache {path}", following,
    ]  # fmt: skip


def test_kb_build_writes_the_bank(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path, embed: Embed
) -> None:
    out = tmp_path / "new" / "bank.npz"
    result = excel_cam("kb", "build", "--kb", pets_file, "--bank", out, *model_arguments)
    assert result.exit_code == 0
    assert "text bank: 6 text rows (3 classes), 5 attributes, from 24 texts in " in result.stderr
    assert result.stderr.splitlines()[-2:] == [
        f"written: {out}", f"next: excel-cam generate ... --kb {out.parents[1] / 'pets.json'}",
    ]  # fmt: skip
    with np.load(out, allow_pickle=False) as stored:
        content = dict(stored)
    assert list(content) == ["names", "plain", "bank", "text"]
    assert content["names"].tolist() == ["Cat", "goldfish", "parrot", "grass", "sofa", "window"]
    assert [(content[key].shape, content[key].dtype) for key in ("plain", "bank", "text")] == [
        ((6, 64), np.float32), ((64, 5), np.float32), ((6, 64), np.float32),
    ]  # fmt: skip
    plain = reference_plain(PETS, embed)
    assert np.abs(content["plain"] - plain).max() < TOLERANCE
    assert_clusters(content["bank"], reference_sentences(PETS, embed))
    assert np.abs(content["text"] - reference.enrich(plain, content["bank"], 3)).max() < TOLERANCE


def test_kb_build_writes_the_same_bytes_from_scratch_and_from_the_cache(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = []
    for index, folder in enumerate(("one", "one", "two")):
        monkeypatch.setenv("EXCEL_CAM_CACHE", str(tmp_path / folder))
        out = tmp_path / f"{index}.npz"
        result = excel_cam("kb", "build", "--kb", pets_file, "--bank", out, *model_arguments)
        assert ("from the cache" in result.stderr) == (index == 1)
        contents.append(out.read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_kb_build_without_attributes(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bank.npz"
    result = excel_cam("kb", "build", "--kb", pets_file, "--bank", out, "--attributes", "none", *model_arguments)
    assert "text bank: 6 text rows (3 classes), 0 attributes, from 6 texts in " in result.stderr
    with np.load(out) as stored:
        assert stored["bank"].shape == (64, 0)
        np.testing.assert_array_equal(stored["text"], stored["plain"])


def test_kb_build_takes_the_settings_of_the_text_side(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path, embed: Embed
) -> None:
    out = tmp_path / "bank.npz"
    options = ["--clusters", 12, "--keep", 0.7, "--strength", 2.5]
    assert excel_cam("kb", "build", "--kb", pets_file, "--bank", out, *options, *model_arguments).exit_code == 0
    with np.load(out) as stored:
        expected = reference.enrich(reference_plain(PETS, embed), stored["bank"], 3, 0.7, 2.5)
        assert stored["bank"].shape == (64, 12)
        assert np.abs(stored["text"] - expected).max() < TOLERANCE


def test_kb_build_can_be_quiet(excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "bank.npz"
    result = excel_cam("kb", "build", "--kb", pets_file, "--bank", out, "--quiet", *model_arguments)
    assert (result.exit_code, result.output) == (0, "")
    assert out.is_file()


@pytest.mark.parametrize(
    ("record", "options", "expected"),
    [
        ({**PETS, "background": None}, (), "pets.json: background: expected a list of texts, came null"),
        (PETS, ("--clusters", 19), "'pets' has 18 sentences, too few for 19 attributes"),
        ({**PETS, "background": ["sky " * 90]}, (), "background word 1 is too long"),
        (PETS, ("--kb", "absent.json"), "absent.json: the knowledge base cannot be read: No such file or directory"),
        (PETS, ("--weights", "absent.pt"), "absent.pt: no such weights file"),
        (PETS, ("--model", "nonsense"), "model 'nonsense' is not known to open_clip"),
        (PETS, ("--bank", "pets.json/bank.npz"), "pets.json/bank.npz cannot be written: "),
    ],
)
def test_kb_build_ends_with_one_line_and_status_1(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, monkeypatch: pytest.MonkeyPatch,
    record: dict[str, Any], options: tuple[Any, ...], expected: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(pets_file.parent)
    pets_file.write_text(json.dumps(record))
    result = excel_cam("kb", "build", "--kb", pets_file, *model_arguments, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("Error: ") == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert expected in last


def test_kb_build_into_a_cache_that_cannot_be_written(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, cache: Path
) -> None:
    cache.write_text("a file where a folder is wanted")
    result = excel_cam("kb", "build", "--kb", pets_file, "--quiet", *model_arguments)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "EXCEL_CAM_CACHE" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--dataset", "pets"),
        ("--keep", "0"),
        ("--keep", "1.5"),
        ("--keep", "much"),
        ("--clusters", "0"),
        ("--clusters", "2.5"),
        ("--strength", "-1"),
        ("--attributes", "some"),
        ("--preset", "draft"),
        ("--refine", "none"),
        ("--bank", "."),
        ("unexpected",),
    ],
)
def test_kb_build_refuses_wrong_usage_with_status_2(
    excel_cam: Run, model_arguments: list[str], cache: Path, options: tuple[str, ...]
) -> None:
    result = excel_cam("kb", "build", *model_arguments, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert not cache.exists()


def test_the_cached_file_is_a_plain_archive(model: ClipModel) -> None:
    with zipfile.ZipFile(build_text_bank(pets(), model, Settings()).path) as archive:
        assert archive.namelist() == ["names.npy", "plain.npy", "bank.npy", "text.npy"]
