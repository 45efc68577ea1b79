"""Checks of knowledge bases: each finding by example, and none on the shipped sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from excel_cam.knowledge.base import ClassKnowledge, KnowledgeBase
from excel_cam.knowledge.check import TokenLimit, check_embeddings, check_knowledge, report_lines
from excel_cam.model.tokenizer import clip_token_limit

WORDS = TokenLimit(lambda text: len(text.split()), 30)
FINE = "its steel boom is striped in red and white."


def base_of(templates: tuple[str, ...] = ("a {}.",), **classes: list[str]) -> KnowledgeBase:
    entries = tuple(ClassKnowledge(name.replace("_", " "), name, tuple(texts)) for name, texts in classes.items())
    return KnowledgeBase("x", templates, entries, ())


def found(base: KnowledgeBase) -> list[tuple[str, str, int | None, str]]:
    return [(f.level, f.class_name, f.sentence, f.problem) for f in check_knowledge(base, WORDS)]


@pytest.mark.parametrize(
    ("sentence", "level", "problem"),
    [
        ("silver " * 29, "error", "31 tokens in all, the model reads 30"),
        ("it's striped in red \u00e2\u20ac\u2122 white", "error", "damaged characters, as from a wrong encoding"),
        ("it is striped in red \ufffd white", "error", "damaged characters, as from a wrong encoding"),
        ("у него длинная красная стрела", "warning", "not in English, which is what CLIP's text side reads"),
        ("red.", "error", "says nothing that tells the class apart"),
        ("it is a very popular kind of thing", "error", "says nothing that tells the class apart"),
        ("the crane is a crane among cranes", "error", "says nothing that tells the class apart"),
        ("builders find it useful when time runs out", "error", "says nothing visible ('useful')"),
        ("two kayaks hang from its hook", "error", "names the class 'kayak'"),
        ("Life Jackets hang from its hook", "error", "names the class 'life jacket'"),
        ("three mice run up its boom", "error", "names the class 'mouse'"),
        ("orange paint covers its boom", "warning", "names the class 'orange'"),
    ],
)
def test_a_sentence_that_misleads_is_found(sentence: str, level: str, problem: str) -> None:
    base = base_of(crane=[FINE, sentence], kayak=["a blade of metal"], life_jacket=[], mouse=[], orange=[])
    assert (level, "crane", 2, problem) in found(base)
    assert 1 not in [f.sentence for f in check_knowledge(base, WORDS) if f.class_name == "crane"]


@pytest.mark.parametrize(
    "sentence",
    [
        "the crane carries a box of steel",  # its own name
        "the handle is used for lifting and has a red grip",  # purpose, but visible too
        "a trained mousetrap sits on its boom of steel",  # other names only within words
    ],
)
def test_a_sentence_that_is_fine_is_left_alone(sentence: str) -> None:
    assert found(base_of(crane=[sentence], train=["two long rails of steel"], mouse=["its ears are pink"])) == []


def test_longer_names_come_before_the_names_within_them() -> None:
    base = base_of(hot_dog=["a sausage lies in a soft bun"], dog=["its fur is short and brown, not as hot dogs are"])
    assert found(base) == [("error", "dog", 1, "names the class 'hot dog'")]
    assert found(base_of(hot_dog=["a hot dog with yellow mustard stripes"], dog=["its fur is short and brown"])) == []


def test_class_names_of_letters_and_signs_are_not_looked_for() -> None:
    twins = base_of(Crane=["the crane has steel rails"], crane=["its boom is thin"])
    assert found(twins) == []
    assert found(base_of(a=["a red shell of steel"], **{"+": ["s and es are white letters"]})) == []


def test_near_duplicates_are_found_within_and_across_classes() -> None:
    twin = "in red and white, its boom of steel is striped."
    other = "four rubber wheels carry a low platform of wood."
    findings = found(base_of(crane=[FINE, other, twin], kayak=["a kayak: its steel boom is striped red, white"]))
    assert findings == [
        ("error", "crane", 3, "nearly the same as crane, sentence 1"),
        ("warning", "kayak", None, "1 sentences where another class has 3"),
        ("error", "kayak", 1, "nearly the same as crane, sentence 1"),
    ]


def test_near_duplicates_are_the_pairs_that_share_three_quarters() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("bcdfghjk"), rng.integers(1, 8))) for _ in range(60)]
    sets = [set(text.split()) for text in texts]
    expected = [
        number + 1
        for number, words in enumerate(sets)
        if any(len(words & other) >= 0.75 * len(words | other) for other in sets[:number])
    ]
    base = base_of(zz=texts)
    assert [f.sentence for f in check_knowledge(base, WORDS) if f.repeats] == expected
    assert 5 < len(expected) < 55


def test_classes_without_sentences_are_errors() -> None:
    assert found(base_of(crane=[FINE], kayak=[])) == [("error", "kayak", None, "no sentences")]


def test_tokens_are_those_of_the_longest_template() -> None:
    sentence = " ".join(f"red{number}" for number in range(27))
    short = base_of(crane=[sentence])
    assert found(short) == []
    longer = base_of(("a {}.", "a photo of a big {}."), crane=[sentence])
    assert found(longer) == [("error", "crane", 1, "33 tokens in all, the model reads 30")]


def test_a_prompt_that_is_too_long_is_found() -> None:
    base = base_of(crane=[FINE])
    long_prompt = replace(base, classes=(replace(base.classes[0], prompt="big " * 29 + "crane"),))
    assert found(long_prompt) == [("error", "crane", None, "its prompt: 31 tokens in all, the model reads 30")]


def test_clip_counts_its_two_special_tokens() -> None:
    limit = clip_token_limit()
    assert (limit.count("a dog"), limit.most) == (4, 77)


def test_a_sentence_nearer_to_another_class_is_warned_of() -> None:
    base = base_of(crane=[FINE, "b"], kayak=["c", "d"])
    across, along = np.eye(2)
    near_across = np.array([0.96, 0.28])
    sentences = np.stack([across, along, along, near_across[::-1]])
    findings = check_embeddings(base, sentences, np.stack([across, along]))
    assert [(f.level, f.class_name, f.sentence) for f in findings] == [("warning", "crane", 2)]
    assert "nearer to 'kayak' (0.996) than to its own class (0.000)" in findings[0].problem
    # One sentence of a class is judged against the prompt alone.
    alone = base_of(crane=[FINE], kayak=[])
    assert check_embeddings(alone, across[None], np.stack([across, along])) == []
    assert len(check_embeddings(alone, along[None], np.stack([across, along]))) == 1


def test_the_report_has_a_line_per_class_and_says_how_to_mend() -> None:
    base = base_of(crane=[FINE, "it is a thing"], kayak=["a blade of yellow plastic at each end"])
    lines = list(report_lines(base, check_knowledge(base, WORDS)))
    assert lines == [
        "crane    2 sentences  1 error",
        '  error: sentence 2: "it is a thing" says nothing that tells the class apart; '
        "name a visible part, shape, material or colour",
        "kayak    1 sentences  ok",
        "2 classes, 3 sentences: 1 error",
    ]


@pytest.mark.parametrize("name", ["voc", "context", "ade20k", "cityscapes"])
def test_the_shipped_sentences_pass(excel_cam: Callable[..., Result], name: str) -> None:
    result = excel_cam("kb", "check", name)
    assert result.exit_code == 0, result.output
    assert "nothing to mend" in result.stdout


def write_base(path: Path, **classes: list[str]) -> Path:
    entries = [{"name": name, "sentences": texts} for name, texts in classes.items()]
    path.write_text(json.dumps({"dataset": "x", "template": "a {}.", "classes": entries, "background": []}))
    return path


def test_check_fails_on_errors_only(tmp_path: Path, excel_cam: Callable[..., Result]) -> None:
    bad = write_base(tmp_path / "bad.json", crane=["it is a thing"])
    result = excel_cam("kb", "check", bad)
    assert result.exit_code == 1
    assert "error: sentence 1" in result.stdout
    doubtful = write_base(
        tmp_path / "doubtful.json", crane=["orange stripes on its steel boom"], orange=["a dimpled peel, round"]
    )
    result = excel_cam("kb", "check", doubtful)
    assert result.exit_code == 0
    assert "1 warning" in result.stdout
    result = excel_cam("kb", "check", "nosuch")
    assert result.exit_code == 1
    assert "neither a file nor a shipped knowledge base" in result.stderr


def test_check_with_a_model_compares_embeddings(
    tmp_path: Path, excel_cam: Callable[..., Result], model_arguments: list[str]
) -> None:
    texts = {f"thing{n}": [f"its panel{n}x{i} has bolt{n}y{i} edges of steel" for i in range(3)] for n in range(4)}
    path = write_base(tmp_path / "kb.json", **texts)
    assert "nothing to mend" in excel_cam("kb", "check", path).stdout
    result = excel_cam("kb", "check", path, *model_arguments)  # generated weights know no classes
    assert result.exit_code == 0
    assert "its embedding is nearer to" in result.stdout
    too_long = write_base(tmp_path / "long.json", crane=["red " * 100, FINE])
    result = excel_cam("kb", "check", too_long, *model_arguments)
    assert result.exit_code == 1
    assert "the model reads 77; shorten it by" in result.stdout
