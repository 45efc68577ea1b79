"""Prompts, and answers read however they are wrapped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excel_cam.errors import DataError
from excel_cam.knowledge.prompts import Request, joint_prompt, read_answer, read_answers, sentence_prompt

SENTENCES = ["it has a red boom.", "its cab is small and yellow."]
JSON = json.dumps({"class": "crane", "sentences": SENTENCES})


def test_a_prompt_names_everything_asked_for_on_one_line() -> None:
    prompt = sentence_prompt(
        Request(name="crane", prompt_name="construction crane", count=7, kept=["one."], refused=[("two.", "too long")]),
        ["kayak", "coral"],
    )
    assert "\n" not in prompt
    for part in ("Write 7 sentences", "crane (construction crane)", "kayak, coral", '["one."]', '["two. (too long)"]'):
        assert part in prompt
    assert prompt.endswith('{"class": "crane", "sentences": ["...", "..."]}')
    plain = sentence_prompt(Request(name="crane", prompt_name="crane", count=7), [])
    assert "(" not in plain
    assert "Do not use" not in plain
    assert "refused" not in plain


@pytest.mark.parametrize(
    "answer",
    [
        JSON,
        f"Sure, here you are:\n```json\n{JSON}\n```\nAnything else?",
        f"<think>They want {{json}} like [this]</think>{JSON}",
        json.dumps(SENTENCES),
        json.dumps({"crane": SENTENCES}),
        json.dumps({"class": "crane", "sentences": [{"text": text} for text in SENTENCES]}),
        json.dumps({"class": "crane", "sentences": [*SENTENCES, 3, None, ""]}),
        json.dumps({"sentences": "1. it has a red boom.\n2. its cab is small and yellow."}),
        '{"class": "crane", "sentences": ["it has a red boom.", "its cab is small and yellow.", "and then it',
        '{"class": "crane", "sentences": ["it has a red boom." "its cab is small and yellow."]}',
        "1. it has a red boom.\n2) its cab is small and yellow.",
        "Here:\n- **it has a red boom.**\n- its cab  is small and yellow.\n",
        '* "it has a red boom."\n• “its cab is small and yellow.”',
        JSON + JSON,
    ],
)
def test_an_answer_is_read_in_any_wrapping(answer: str) -> None:
    assert read_answer(answer) == SENTENCES


@pytest.mark.parametrize("answer", ["", "I cannot help with that.", "{}", "[", "[" * 5000, '{"sentences": 5}', "{{{"])
def test_an_answer_without_sentences_has_none(answer: str) -> None:
    assert read_answer(answer) == []


@given(st.text())
def test_any_text_gives_clean_sentences(answer: str) -> None:
    for sentence in read_answer(answer):
        assert sentence == " ".join(sentence.split()) != ""


@given(st.lists(st.text("abc xyz.'é", min_size=1).map(lambda text: f"a{text.strip()}b"), unique=True), st.data())
def test_sentences_that_came_whole_survive_a_cut(sentences: list[str], data: st.DataObject) -> None:
    expected = list(dict.fromkeys(" ".join(sentence.split()) for sentence in sentences))
    answer = json.dumps({"class": "crane", "sentences": sentences}, ensure_ascii=False)
    assert read_answer(answer) == expected
    cut = data.draw(st.integers(len('{"class": "crane", "sentences": ['), len(answer)))
    survivors = read_answer(answer[:cut])
    assert survivors == expected[: len(survivors)]
    assert len(survivors) >= answer[:cut].count('", "') - 1


def test_class_names_are_known_in_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    entries = [{"class": name, "sentences": ["red."]} for name in ("CAFE\u0301", "Tea pot", "crane", "Crane")]
    path.write_text("\n".join(map(json.dumps, entries)))
    assert list(read_answers(path, ["caf\u00e9", "tea  pot", "Crane", "crane"])) == [
        "caf\u00e9",
        "tea  pot",
        "crane",
        "Crane",
    ]


def test_pasted_answers_are_joined_by_class(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(
        "ChatGPT said:\n```json\n" + JSON + "\n```\n"
        '{"class": "Life  Jacket",\n "sentences": ["it is\n orange."]}\n'
        '[{"class": "crane", "answer": "- it has a long jib."}]\n'
    )
    assert read_answers(path, ["crane", "life jacket"]) == {
        "crane": [*SENTENCES, "it has a long jib."],
        "life jacket": ["it is orange."],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no answers in this file"),
        ("only talk", "no answers in this file"),
        ('\n\n{"class": "crane", "sentences": ["a', ":3: this answer is not whole JSON"),
        ('{"class": "crane", "sentences": [“a”]}', ":1: this answer is not whole JSON"),
        ('{"class": "crain", "sentences": []}', "'crain' is not one of the 2 classes (nearest: crane)"),
        ('{"sentences": ["a"]}', ":1: expected"),
        ('["a"]', ":1: expected"),
        ('{"class": "crane", "prompt": "Write"}', "this is the prompt; paste the answer to it"),
        ('{"class": "crane"}', "has no 'sentences' (add them)"),
    ],
)
def test_answers_that_cannot_be_used_are_named_by_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_answers(path, ["crane", "kayak"])
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_prompt_asks_for_several_classes_each_with_what_it_lacks() -> None:
    crane = Request(name="crane", prompt_name="construction crane", count=7, kept=["one."], refused=[("two.", "no")])
    prompt = joint_prompt([crane, Request(name="kayak", prompt_name="kayak", count=20)], ["crane", "kayak", "coral"])
    head, first, second = prompt.replace("\n\n", "\n").split("\n")
    assert '{"class": "crane", "sentences": ["...", "..."]}' in head
    assert "than its own: crane, kayak, coral." in head
    assert first == (
        '- "crane" (construction crane): 7 sentences. These are there already: ["one."]. '
        'These were refused: ["two. (no)"].'
    )
    assert second == '- "kayak": 20 sentences.'
