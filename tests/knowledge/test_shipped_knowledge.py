"""The shipped knowledge bases: complete, as published, and short enough for CLIP."""

from __future__ import annotations

from collections import Counter

import open_clip
import pytest

from excel_cam.classes import COCO_CLASSES, DATASET_CLASSES
from excel_cam.knowledge.base import shipped_knowledge, shipped_names

CONTEXT_LENGTH = 77  # tokens, the two special ones included
# Where METHOD's step 1 gives COCO's classes another name in prompts.
COCO_PROMPTS = {
    "person": "person with clothes,people,human", "motorcycle": "motorbike", "airplane": "aeroplane",
    "bird": "bird avian", "backpack": "backpack,bag", "umbrella": "umbrella,parasol", "handbag": "handbag,purse",
    "tie": "necktie", "baseball glove": "glove", "spoon": "dessertspoon", "chair": "chair seat", "couch": "sofa",
    "potted plant": "pottedplant", "dining table": "diningtable", "tv": "tvmonitor screen",
    "remote": "remote control", "hair drier": "hairdrier,blowdrier",
}  # fmt: skip
COCO_BACKGROUND = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway",
    "railroad", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley", "bridge",
)  # fmt: skip


@pytest.mark.parametrize("dataset", shipped_names())
def test_twenty_sentences_for_each_class_and_none_twice(dataset: str) -> None:
    knowledge = shipped_knowledge(dataset)
    assert tuple(entry.name for entry in knowledge.classes) == DATASET_CLASSES[dataset]
    assert {len(entry.sentences) for entry in knowledge.classes} == {20}
    counts = Counter(sentence for entry in knowledge.classes for sentence in entry.sentences)
    assert [sentence for sentence, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("dataset", shipped_names())
def test_no_text_is_longer_than_clip_reads(dataset: str) -> None:
    knowledge = shipped_knowledge(dataset)
    tokenizer = open_clip.SimpleTokenizer()
    texts = [
        f"{template.format(entry.name)} {sentence}".lower()
        for template in knowledge.templates
        for entry in knowledge.classes
        for sentence in entry.sentences
    ]
    assert max(len(tokenizer.encode(text)) + 2 for text in texts) <= CONTEXT_LENGTH


@pytest.mark.parametrize("dataset", shipped_names())
def test_sentences_are_plain_lower_case_and_end(dataset: str) -> None:
    for entry in shipped_knowledge(dataset).classes:
        for sentence in entry.sentences:
            assert sentence.isascii(), sentence
            assert sentence == sentence.lower(), sentence
            assert sentence.endswith("."), sentence
            assert 5 <= len(sentence.split()) <= 22, sentence


def test_coco_is_prompted_as_published() -> None:
    coco = shipped_knowledge("coco")
    assert coco.dataset == "coco"
    assert coco.templates == ("a clean origami {}.",)
    assert {entry.name: entry.prompt for entry in coco.classes} == {
        name: COCO_PROMPTS.get(name, name) for name in COCO_CLASSES
    }
    assert coco.background == COCO_BACKGROUND
