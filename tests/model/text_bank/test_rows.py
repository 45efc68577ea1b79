"""Text rows against a second text side written from the method's step 1, and how many attributes there are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from pets import PETS, pets, with_first_sentence
from reference_text import (
    EDGE,
    TOLERANCE,
    Embed,
    assert_agrees,
    reference_sentences,
    unit,
)

from excel_cam.errors import KnowledgeError
from excel_cam.knowledge.base import ClassKnowledge, KnowledgeBase, prompts_alone, shipped_knowledge
from excel_cam.method.enrichment import enrich_rows
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import build_text_bank, cluster_count
from excel_cam.settings import Settings


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
