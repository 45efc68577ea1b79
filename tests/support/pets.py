"""A small knowledge base of three pets, and text banks compared."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.knowledge.base import KnowledgeBase, parse_knowledge
from excel_cam.model.text_bank import TextBank

Array = NDArray[Any]

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


def arrays_of(bank: TextBank) -> dict[str, Array]:
    return {"plain": bank.plain, "bank": bank.bank, "text": bank.text}


def assert_same(first: TextBank, second: TextBank) -> None:
    assert (first.names, first.foreground) == (second.names, second.foreground)
    for key, array in arrays_of(first).items():
        np.testing.assert_array_equal(array, arrays_of(second)[key])
        assert array.dtype == arrays_of(second)[key].dtype
