"""Knowledge bases: what is read from them, what is refused and how, and what the shipped one says."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excel_cam.classes import MAX_CLASSES, VOC_CLASSES
from excel_cam.errors import KnowledgeError
from excel_cam.files.atomic import hash_json
from excel_cam.knowledge.base import (
    ClassKnowledge,
    KnowledgeBase,
    parse_knowledge,
    prompts_alone,
    read_knowledge,
    shipped_knowledge,
    shipped_names,
)

# From METHOD's step 1, in label order.
VOC_PROMPTS = (
    "aeroplane", "bicycle", "bird avian", "boat", "bottle", "bus", "car", "cat", "chair seat", "cow", "diningtable",
    "dog", "horse", "motorbike", "person with clothes,people,human", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor screen",
)  # fmt: skip
VOC_BACKGROUND = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway",
    "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley",
    "bridge", "sign",
)  # fmt: skip

Record = dict[str, Any]

RECORD: Record = {
    "dataset": "pets",
    "template": "a clean origami {}.",
    "classes": [
        {"name": "cat", "prompt": "house cat", "sentences": ["it has whiskers.", "its ears are pointed."]},
        {"name": "dog", "sentences": ["it has a wet nose.", "it wags its tail.", "it wears a collar."]},
        {"name": "fish", "sentences": []},
    ],
    "background": ["grass", "sky"],
    "provenance": {"author": "a person"},
}


def changed(**changes: Any) -> Record:
    return {**copy.deepcopy(RECORD), **changes}


def with_first_class(**changes: Any) -> Record:
    """The record with its first class changed; an entry that becomes `...` is removed."""
    record = copy.deepcopy(RECORD)
    merged = {**record["classes"][0], **changes}
    record["classes"][0] = {key: value for key, value in merged.items() if value is not ...}
    return record


def without(key: str) -> Record:
    return {name: value for name, value in RECORD.items() if name != key}


def parsed(record: Any) -> KnowledgeBase:
    return parse_knowledge(json.dumps(record), "pets.json")


# ---- what is read


def test_a_knowledge_base_is_read_in_label_order() -> None:
    assert parsed(RECORD) == KnowledgeBase(
        dataset="pets",
        templates=("a clean origami {}.",),
        classes=(
            ClassKnowledge("cat", "house cat", ("it has whiskers.", "its ears are pointed.")),
            ClassKnowledge("dog", "dog", ("it has a wet nose.", "it wags its tail.", "it wears a collar.")),
            ClassKnowledge("fish", "fish", ()),
        ),
        background=("grass", "sky"),
    )
    assert parsed(RECORD).sentence_count == 5


def test_several_templates_stay_in_order() -> None:
    assert parsed(changed(template=["a photo of a {}.", "{}"])).templates == ("a photo of a {}.", "{}")


def test_spaces_around_texts_do_not_count() -> None:
    record = with_first_class(name=" cat ", sentences=["\tit has whiskers.\n"])
    assert parsed(record).classes[0] == ClassKnowledge("cat", "house cat", ("it has whiskers.",))


def test_provenance_may_be_absent_and_decides_nothing() -> None:
    assert parsed(without("provenance")).content() == parsed(RECORD).content()


def test_a_background_may_be_empty() -> None:
    assert parsed(changed(background=[])).background == ()


def test_as_many_classes_as_labels_can_tell_apart() -> None:
    assert len(parsed(changed(classes=TOO_MANY[:MAX_CLASSES])).classes) == 254


@pytest.mark.parametrize(
    ("background", "left"),
    [
        (["grass", "cat", "sky"], ("grass", "sky")),  # a class
        (["house cat", "sky"], ("sky",)),  # its prompt
        (["Dog", "HOUSE CAT"], ()),  # in any case
        (["cats", "house", "cat house"], ("cats", "house", "cat house")),  # only the whole word counts
    ],
)
def test_background_words_that_are_classes_are_left_out(background: list[str], left: tuple[str, ...]) -> None:
    assert parsed(changed(background=background)).background == left


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_is_read_with_and_without_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "pets.json"
    path.write_bytes(mark + json.dumps(changed(background=["prairie à chevaux"]), ensure_ascii=False).encode())
    assert read_knowledge(path).background == ("prairie à chevaux",)


@pytest.mark.parametrize(
    "record",
    [
        changed(dataset="cats"),
        changed(template="a photo of a {}."),
        changed(background=["grass"]),
        changed(background=["sky", "grass"]),
        changed(classes=RECORD["classes"][::-1]),
        with_first_class(name="tomcat"),
        with_first_class(prompt="tomcat"),
        with_first_class(sentences=["it has whiskers.", "its ears are round."]),
        with_first_class(sentences=["its ears are pointed.", "it has whiskers."]),
    ],
)
def test_the_content_tells_every_change_of_the_text_rows(record: Record) -> None:
    assert hash_json(parsed(record).content()) != hash_json(parsed(RECORD).content())


# ---- what is refused

TOO_MANY = [{"name": f"class {index}", "sentences": []} for index in range(MAX_CLASSES + 1)]
NOT_TEXTS: list[tuple[Any, str]] = [
    (5, "a number"),
    (True, "true or false"),
    (None, "null"),
    ({}, "an object"),
    ([], "an empty list"),
    (["a"], "a list"),
]
DAMAGES: list[tuple[Any, str]] = [
    ([], "the knowledge base must be a JSON object, not an empty list"),
    ("text", "the knowledge base must be a JSON object, not a text"),
    (None, "the knowledge base must be a JSON object, not null"),
    (1.5, "the knowledge base must be a JSON object, not a number"),
    *((without(key), f"the knowledge base lacks '{key}'") for key in ("dataset", "template", "classes", "background")),
    (changed(clases=[]), "the knowledge base has an unknown key 'clases'; known: background, "),
    *((changed(dataset=value), f"dataset: expected a text, came {kind}") for value, kind in NOT_TEXTS),
    (changed(dataset="  "), "dataset: the text is empty"),
    (changed(template=5), "template: expected a list of texts, came a number"),
    (changed(template=[]), "template: expected a list of texts, came an empty list"),
    (changed(template=["{}", None]), "template, entry 2: expected a text, came null"),
    (changed(template=["{}", " "]), "template, entry 2: the text is empty"),
    *(
        (changed(template=text), f"template '{text}' must contain {{}} once, where the class name goes")
        for text in ("a photo", "{} and {}", "a {} in {braces}", "a {name}", "{} {", "} {}", "{{}}", "{}}", "{0} {}")
    ),
    (changed(template=["{}", "no place"]), "template 'no place' must contain {} once, where the class name goes"),
    (changed(classes={}), "classes must be a list with at least one class"),
    (changed(classes=[]), "classes must be a list with at least one class"),
    (changed(classes=None), "classes must be a list with at least one class"),
    (changed(classes=TOO_MANY), "255 classes; 8-bit labels hold at most 254"),
    (changed(classes=[RECORD["classes"][0], "dog"]), "class 2 must be a JSON object, not a text"),
    (with_first_class(name=...), "class 1 lacks 'name'"),
    (with_first_class(sentences=...), "class 1 lacks 'sentences'"),
    (
        with_first_class(sentence=["a"]),
        "class 1 has an unknown key 'sentence'; known: name, prompt, sentences",
    ),
    *((with_first_class(name=value), f"class 1: name: expected a text, came {kind}") for value, kind in NOT_TEXTS),
    (with_first_class(name=""), "class 1: name: the text is empty"),
    *(
        (with_first_class(prompt=value), f"class 1 (cat): prompt: expected a text, came {kind}")
        for value, kind in NOT_TEXTS
    ),
    (with_first_class(prompt=" "), "class 1 (cat): prompt: the text is empty"),
    (with_first_class(sentences="one"), "class 1 (cat): sentences: expected a list of texts, came a text"),
    (with_first_class(sentences={"1": "a"}), "class 1 (cat): sentences: expected a list of texts, came an object"),
    (with_first_class(sentences=["a", 7]), "class 1 (cat): sentences, entry 2: expected a text, came a number"),
    (with_first_class(sentences=["a", "b", "\t"]), "class 1 (cat): sentences, entry 3: the text is empty"),
    (with_first_class(sentences=["a b", "c", "A B"]), "class 1 (cat): sentence 3 repeats 1: 'a b'"),
    (with_first_class(sentences=["a", "b", " b"]), "class 1 (cat): sentence 3 repeats 2: 'b'"),
    (with_first_class(name="dog"), "class 2 repeats 1: 'dog'"),
    (changed(background="sky"), "background: expected a list of texts, came a text"),
    (changed(background=["sky", ["sea"]]), "background, entry 2: expected a text, came a list"),
    (changed(background=["sky", "sea", ""]), "background, entry 3: the text is empty"),
    (changed(background=["sky", "sea", "sky"]), "background word 3 repeats 1: 'sky'"),
]


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(KnowledgeError) as caught:
        read()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("record", "expected"), DAMAGES, ids=lambda value: value[:60] if isinstance(value, str) else ""
)
def test_a_damaged_knowledge_base_is_refused_by_file_and_entry(tmp_path: Path, record: Any, expected: str) -> None:
    path = tmp_path / "pets.json"
    path.write_text(json.dumps(record))
    message = refusal(lambda: read_knowledge(path))
    assert message.startswith(f"{path}: {expected}")
    assert message == f"{path}: {expected}" or "unknown key" in expected


def test_the_second_fault_is_told_by_its_own_class() -> None:
    record = copy.deepcopy(RECORD)
    record["classes"][1]["sentences"][2] = 3
    assert refusal(lambda: parsed(record)) == (
        "pets.json: class 2 (dog): sentences, entry 3: expected a text, came a number"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON: Expecting value (line 1, column 1)"),
        (b'{"dataset": "pets",\n "template"}', "it is not JSON: Expecting ':' delimiter (line 2, column 12)"),
        (b"[" * 200_000, "it is nested deeper than 100 levels"),
        (b"1" * 5000, "Exceeds the limit"),
        (json.dumps(RECORD).encode("utf-16"), "it is not UTF-8 text"),
        (b'{"dataset": "caf\xe9"}', "it is not UTF-8 text"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "pets.json"
    path.write_bytes(content)
    assert refusal(lambda: read_knowledge(path)).startswith(f"{path}: the knowledge base cannot be read: {reason}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    reason = "the knowledge base cannot be read"
    absent = tmp_path / "absent.json"
    assert refusal(lambda: read_knowledge(absent)) == f"{absent}: {reason}: No such file or directory"
    assert refusal(lambda: read_knowledge(tmp_path)) == f"{tmp_path}: {reason}: Is a directory"


PLACES: list[tuple[Any, ...]] = [
    ("dataset",), ("template",), ("classes",), ("classes", 0), ("classes", 1, "name"), ("classes", 0, "prompt"),
    ("classes", 1, "sentences"), ("classes", 1, "sentences", 2), ("background",), ("background", 1), ("provenance",),
]  # fmt: skip
LETTERS = st.text("ab {}.", max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=4,
)


@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_anywhere_is_read_or_refused_in_one_line(place: tuple[Any, ...], value: Any) -> None:
    record = copy.deepcopy(RECORD)
    holder: Any = record
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    try:
        knowledge = parsed(record)
    except KnowledgeError as error:
        assert str(error).startswith("pets.json: ")
        assert len(str(error).splitlines()) == 1
    else:
        assert all(template.format("x").count("x") == 1 for template in knowledge.templates)
        texts = [knowledge.dataset, *knowledge.templates, *knowledge.background]
        texts += [text for entry in knowledge.classes for text in (entry.name, entry.prompt, *entry.sentences)]
        assert all(text and text == text.strip() for text in texts)


# ---- for a data set's classes


def test_select_takes_the_order_of_the_class_list() -> None:
    chosen = parsed(RECORD).select(["fish", "cat"], ["fish", "cat"], "classes.txt")
    assert chosen.classes == (parsed(RECORD).classes[2], parsed(RECORD).classes[0])
    assert chosen.classes[1].prompt == "house cat"  # the list names no prompt, so the knowledge base's holds
    assert (chosen.dataset, chosen.templates, chosen.background) == ("pets", ("a clean origami {}.",), ("grass", "sky"))
    assert chosen.sentence_count == 2


def test_a_prompt_of_the_class_list_wins() -> None:
    chosen = parsed(RECORD).select(["cat", "dog"], ["tabby", "hound"], "classes.txt")
    assert [(entry.name, entry.prompt) for entry in chosen.classes] == [("cat", "tabby"), ("dog", "hound")]
    assert [entry.sentences for entry in chosen.classes] == [entry.sentences for entry in parsed(RECORD).classes[:2]]


def test_a_prompt_of_the_class_list_leaves_its_word_out_of_the_background() -> None:
    assert parsed(RECORD).select(["cat"], ["Grass"], "classes.txt").background == ("sky",)


def test_select_changes_the_content_by_order_and_prompt() -> None:
    selections = [(("cat", "dog"), ("cat", "dog")), (("dog", "cat"), ("dog", "cat")), (("cat", "dog"), ("cat", "pup"))]
    hashes = {hash_json(parsed(RECORD).select(*selection, "list").content()) for selection in selections}
    assert len(hashes) == 3


def test_classes_without_knowledge_are_named() -> None:
    message = refusal(lambda: parsed(RECORD).select(["cat", "cow"], ["cat", "cow"], "classes.txt"))
    assert message.startswith("the knowledge base 'pets' has no class cow, which classes.txt lists; ")
    names = ["cow", "cat", "ant", "bee", "Dog", "fly"]
    message = refusal(lambda: parsed(RECORD).select(names, names, "classes.txt"))
    assert message.startswith("the knowledge base 'pets' has no class cow, ant, bee and 2 more, which classes.txt ")


def test_prompts_alone_have_the_template_and_background_of_voc() -> None:
    knowledge = prompts_alone("folder", ["mug", "tree"], ["coffee mug", "tree"])
    assert knowledge == KnowledgeBase(
        dataset="folder",
        templates=("a clean origami {}.",),
        classes=(ClassKnowledge("mug", "coffee mug", ()), ClassKnowledge("tree", "tree", ())),
        background=tuple(word for word in VOC_BACKGROUND if word != "tree"),
    )
    assert knowledge.sentence_count == 0
    assert "sign" not in prompts_alone("folder", ["board"], ["Sign"]).background


# ---- the shipped one


def test_the_shipped_voc_names_its_classes_and_words_as_published() -> None:
    voc = shipped_knowledge("voc")
    assert voc.dataset == "voc"
    assert voc.templates == ("a clean origami {}.",)
    assert tuple(entry.name for entry in voc.classes) == VOC_CLASSES
    assert tuple(entry.prompt for entry in voc.classes) == VOC_PROMPTS
    assert voc.background == VOC_BACKGROUND


def test_the_shipped_voc_has_twenty_sentences_of_its_own_for_each_class() -> None:
    voc = shipped_knowledge("voc")
    assert [len(entry.sentences) for entry in voc.classes] == [20] * 20
    assert len({sentence for entry in voc.classes for sentence in entry.sentences}) == 400


def test_no_shipped_sentence_names_another_class() -> None:
    voc = shipped_knowledge("voc")
    words = {entry.name: {entry.name} for entry in voc.classes}
    words["person"] |= {"people", "human"}
    words["aeroplane"] |= {"airplane", "plane"}
    words["tvmonitor"] |= {"tv", "monitor", "television"}
    words["motorbike"] |= {"motorcycle"}
    words["bicycle"] |= {"bike"}
    words["sofa"] |= {"couch"}
    found = [
        (entry.name, word, sentence)
        for entry in voc.classes
        for other, names in words.items()
        if other != entry.name
        for word in sorted(names)
        for sentence in entry.sentences
        if re.search(rf"\b{word}(s|es)?\b", sentence, re.IGNORECASE)
    ]
    assert found == []


FILES = [name for name in shipped_names() if name != "context60"]  # which is context beside a background


@pytest.mark.parametrize("dataset", FILES)
def test_shipped_files_say_where_they_come_from_and_drop_no_background_word(dataset: str) -> None:
    path = Path(__file__).parents[2] / "kb" / f"{dataset}.json"
    record = json.loads(path.read_text("utf-8"))
    assert {"author", "date", "prompt"} <= record["provenance"].keys()
    knowledge = shipped_knowledge(dataset)
    assert knowledge == read_knowledge(path)
    assert list(knowledge.background) == record["background"]


# ---- what would be read otherwise than it looks


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "a\x1b[31mb", "a\u2028b", "a\ud800b"])
@pytest.mark.parametrize("place", ["name", "prompt", "sentences"])
def test_texts_with_control_characters_or_half_characters_are_refused_in_one_line(place: str, text: str) -> None:
    value = [text, "b", text] if place == "sentences" else text
    message = refusal(lambda: parsed(with_first_class(**{place: value})))
    message.encode()


def test_a_key_with_a_line_end_is_refused_in_one_line() -> None:
    refusal(lambda: parsed(changed(**{"a\nb": 1})))


def test_a_key_given_twice_is_refused() -> None:
    text = json.dumps(RECORD)[:-1] + ', "background": ["sea"]}'
    with pytest.raises(KnowledgeError, match="background"):
        parse_knowledge(text, "pets.json")


def test_background_words_that_differ_in_case_only_are_one_word_twice() -> None:
    refusal(lambda: parsed(changed(background=["sky", "Sky"])))


def test_sentences_that_differ_in_spaces_only_are_one_sentence_twice() -> None:
    refusal(lambda: parsed(with_first_class(sentences=["it has  ears.", "it has ears."])))


def test_two_classes_with_one_prompt_are_refused() -> None:
    refusal(lambda: parsed(with_first_class(prompt="dog")))
