"""The texts of training, and which of them an image matches: classes, kinds, colours, pairs and backgrounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from compose import CLASSES, TINTS, Scene
from numpy.typing import NDArray

Generator = np.random.Generator
ORIGAMI = "a clean origami {}."
OTHER_TEMPLATES = (
    "a photo of a {}.",
    "{}",
    "a {}.",
    "a picture of a {}.",
    "there is a {}.",
    "a small {}.",
    "a large {}.",
)
SYNONYMS = {
    "aeroplane": ("aeroplane", "airplane", "plane"), "bicycle": ("bicycle", "bike"), "bird": ("bird", "bird avian"),
    "boat": ("boat", "ship"), "car": ("car", "motor car"), "chair": ("chair", "chair seat", "seat"),
    "diningtable": ("diningtable", "dining table"), "motorbike": ("motorbike", "motorcycle", "scooter"),
    "person": ("person", "person with clothes,people,human", "human", "man or woman"),
    "pottedplant": ("pottedplant", "potted plant", "plant in a pot"), "sofa": ("sofa", "couch"),
    "train": ("train", "railway train"), "tvmonitor": ("tvmonitor", "tvmonitor screen", "tv monitor", "screen"),
}  # fmt: skip
KINDS = {
    "an animal": "bird cat cow dog horse sheep", "a vehicle": "aeroplane bicycle boat bus car motorbike train",
    "furniture": "chair diningtable sofa", "a thing with wheels": "bicycle bus car motorbike train",
    "a thing with wings": "aeroplane bird", "an animal with four legs": "cat cow dog horse sheep",
    "an animal with fur": "cat dog", "an animal with hooves": "cow horse sheep", "a pet": "cat dog",
    "a thing with windows": "aeroplane bus car train", "a thing to sit on": "chair sofa",
    "a thing that flies": "aeroplane bird", "a living thing": "bird cat cow dog horse person pottedplant sheep",
    "a thing made of metal": "aeroplane bicycle bus car motorbike train", "a thing with green leaves": "pottedplant",
    "a thing with two wheels": "bicycle motorbike", "a thing of glass or plastic": "bottle tvmonitor",
}  # fmt: skip
SOME_TINTED, SOME_PAIRS, SOME_KINDS = 16, 8, 8  # texts of each sort in one batch


@dataclass(frozen=True)
class Targets:
    """texts: n strings. matches: (images, n) float32, 1 where the text is true of the image, 0 where not. known: the
    same shape, 0 where nobody could say."""

    texts: list[str]
    matches: NDArray[np.float32]
    known: NDArray[np.float32]


class Captions:
    """Texts for batches of scenes, with the sentences of a knowledge base file."""

    def __init__(self, knowledge: Path) -> None:
        record = json.loads(knowledge.read_text("utf-8"))
        self.background: list[str] = record["background"]
        self.prompts = {entry["name"]: entry["prompt"] for entry in record["classes"]}
        self.sentences = {entry["name"]: entry["sentences"] for entry in record["classes"]}

    def vocabulary(self) -> list[str]:
        """Texts that hold every word used anywhere here."""
        texts = [ORIGAMI, *OTHER_TEMPLATES, *KINDS, *TINTS, *self.background, *self.prompts.values(), "a and b, with"]
        texts += [name for names in SYNONYMS.values() for name in names] + list(self.prompts)
        texts += [f"{ORIGAMI.format(name)} {line}".lower() for name in self.prompts for line in self.sentences[name]]
        return texts

    def _class_text(self, rng: Generator, name: str) -> str:
        kind = rng.random()
        if kind < 0.25:
            return ORIGAMI.format(self.prompts[name])
        sentences = self.sentences[name]
        if kind < 0.55:
            return f"{ORIGAMI.format(name)} {sentences[rng.integers(len(sentences))]}".lower()
        names = SYNONYMS.get(name, (name,))
        chosen = names[rng.integers(len(names))]
        return (ORIGAMI if kind < 0.7 else OTHER_TEMPLATES[rng.integers(len(OTHER_TEMPLATES))]).format(chosen)

    def targets(self, rng: Generator, scenes: Sequence[Scene]) -> Targets:
        """One text per class and background word, and some of each other sort, against all scenes."""
        columns: list[tuple[str, list[tuple[float, float]]]] = []
        for index, name in enumerate(CLASSES):
            columns.append((self._class_text(rng, name), [_has(scene, {index}) for scene in scenes]))
        for word in self.background:
            template = ORIGAMI if rng.random() < 0.5 else OTHER_TEMPLATES[rng.integers(4)]
            columns.append(
                (template.format(word), [(float(word in s.shown), float(word not in s.unclear)) for s in scenes])
            )
        for kind in rng.choice(list(KINDS), SOME_KINDS, replace=False):
            members = {CLASSES.index(name) for name in KINDS[kind].split()}
            columns.append((str(kind), [_has(scene, members) for scene in scenes]))
        columns += self._tinted(rng, scenes) + self._pairs(rng, scenes)
        values = np.array([column for _text, column in columns], np.float32)
        return Targets([text for text, _ in columns], values[..., 0].T.copy(), values[..., 1].T.copy())

    def _tinted(self, rng: Generator, scenes: Sequence[Scene]) -> list[tuple[str, list[tuple[float, float]]]]:
        found = sorted({(index, tint) for s in scenes for index, tints in s.tints.items() for tint in tints if tint})
        chosen = [found[place] for place in rng.permutation(len(found))[:SOME_TINTED]]
        columns = []
        for index, tint in chosen:
            column = []
            for scene in scenes:
                tints = scene.tints.get(index, set())
                known = tint in tints or ("" not in tints and index not in scene.doubtful)
                column.append((float(tint in tints), float(known)))
            columns.append((f"a {tint} {CLASSES[index]}", column))
        return columns

    def _pairs(self, rng: Generator, scenes: Sequence[Scene]) -> list[tuple[str, list[tuple[float, float]]]]:
        rich = [scene for scene in scenes if len(scene.classes) > 1]
        columns = []
        for place in rng.permutation(len(rich))[:SOME_PAIRS]:
            first, second = rng.permutation(sorted(rich[place].classes))[:2]
            both = [(_has(scene, {int(first)}), _has(scene, {int(second)})) for scene in scenes]
            column = [(a[0] * b[0], float((a[1] and b[1]) or (a == (0, 1)) or (b == (0, 1)))) for a, b in both]
            columns.append((f"a {CLASSES[first]} and a {CLASSES[second]}", column))
        return columns


def _has(scene: Scene, members: set[int]) -> tuple[float, float]:
    """Whether a scene shows one of the classes, and whether that is known."""
    if scene.classes & members:
        return 1.0, 1.0
    return 0.0, float(not scene.doubtful & members)
