"""The texts of training, and which of them an image matches: classes, backgrounds, sentences, parts, views, colours.

Class names come first, for patches learn from them (`losses.patch_loss`); no sentence stands with them there. Sentences
are texts of their own, true of the drawings that they describe and of no others, with the class's name or without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from attributes import PARTS, VIEWS, holds, parts_of, view_holds
from compose import CLASSES, STYLES, TINTS, Scene
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
# Texts of each sort in one batch.
SOME_TINTED, SOME_PAIRS, SOME_KINDS, SOME_SENTENCES, SOME_MIXED, SOME_PARTS, SOME_VIEWS = 10, 6, 6, 30, 6, 8, 3
SOME_BANKED = 2  # sentences of each class by which its maps' rows are enriched
NAMED = 0.6  # share of the sentences that stand with their class's name, as a knowledge base's texts do
UNTOLD = 0.15  # of the sentences about what drawings do not show, which are true with their class
UNNAMED = "a clean origami thing. {}"
# Classes whose sentences may hold of each other (four legs, wheels): without a name, nobody could say.
ALIKE = (
    "bird cat cow dog horse sheep", "aeroplane bicycle bus car motorbike train boat", "chair sofa diningtable",
    "bottle pottedplant",
)  # fmt: skip
Column = tuple[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Targets:
    """texts: n strings. matches: (images, n) float32, 1 where the text is true of the image, 0 where not. known: the
    same shape, 0 where nobody could say. enriching: which texts are the bank of
    attributes, sentences with their class's name as the method encodes them (step 1.3)."""

    texts: list[str]
    matches: NDArray[np.float32]
    known: NDArray[np.float32]
    enriching: list[int]


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
        texts += [UNNAMED, *PARTS, *VIEWS, *STYLES, "a thing with, of"]
        return texts

    def _class_text(self, rng: Generator, name: str) -> str:
        kind = rng.random()
        if kind < 0.4:
            return ORIGAMI.format(self.prompts[name])
        names = SYNONYMS.get(name, (name,))
        chosen = names[rng.integers(len(names))]
        return (ORIGAMI if kind < 0.7 else OTHER_TEMPLATES[rng.integers(len(OTHER_TEMPLATES))]).format(chosen)

    def targets(self, rng: Generator, scenes: Sequence[Scene]) -> Targets:
        """One text per class and background word, and some of each other sort, against all scenes."""
        columns: list[Column] = []
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
        columns += self._sentences(rng, scenes) + self._mixed(rng, scenes) + self._parts(rng, scenes)
        columns += self._views(rng, scenes) + self._tinted(rng, scenes) + self._pairs(rng, scenes)
        columns += [(f"a {style}", [(float(style in s.styles), 1.0) for s in scenes]) for style in STYLES]
        bank = self._bank(rng)
        first = len(columns)
        columns += [(text, [(0.0, 0.0)] * len(scenes)) for text in bank]
        values = np.array([column for _text, column in columns], np.float32)
        return Targets(
            [text for text, _ in columns],
            values[..., 0].T.copy(),
            values[..., 1].T.copy(),
            list(range(first, len(columns))),
        )

    def _bank(self, rng: Generator) -> list[str]:
        """Sentences of every class with its name, as a bank of attributes has them; what they match is not asked."""
        return [
            f"{ORIGAMI.format(name)} {lines[place]}".lower()
            for name, lines in self.sentences.items()
            for place in rng.choice(len(lines), SOME_BANKED, replace=False)
        ]

    def _sentences(self, rng: Generator, scenes: Sequence[Scene]) -> list[Column]:
        """Sentences with their class's name, or without any: true of the drawings that they describe."""
        columns: list[Column] = []
        while len(columns) < SOME_SENTENCES:
            index = int(rng.integers(len(CLASSES)))
            name = CLASSES[index]
            place = int(rng.integers(len(self.sentences[name])))
            named = rng.random() < NAMED
            line = self.sentences[name][place]
            if holds(name, place, set(), set()) is None and not (named and rng.random() < UNTOLD):
                continue
            text = f"{ORIGAMI.format(name)} {line}".lower() if named else UNNAMED.format(line).lower()
            columns.append((text, [_told(scene, index, place, named) for scene in scenes]))
        return columns

    def _mixed(self, rng: Generator, scenes: Sequence[Scene]) -> list[Column]:
        """A class's name with a sentence of quite another class: true of nothing."""
        columns: list[Column] = []
        for _ in range(SOME_MIXED):
            first, second = (CLASSES[int(i)] for i in rng.permutation(len(CLASSES))[:2])
            own = [int(p) for p in range(len(self.sentences[second])) if holds(second, p, set(), set()) is not None]
            line = self.sentences[second][own[int(rng.integers(len(own)))]]
            near = any({first, second} <= set(group.split()) for group in ALIKE)
            columns.append((f"{ORIGAMI.format(first)} {line}".lower(), [(0.0, float(not near))] * len(scenes)))
        return columns

    def _parts(self, rng: Generator, scenes: Sequence[Scene]) -> list[Column]:
        columns: list[Column] = []
        for part in rng.choice(list(PARTS), SOME_PARTS, replace=False):
            template = ("{}", "a thing with {}", UNNAMED.format("it has {}."))[rng.integers(3)]
            owners = {CLASSES.index(name) for name in PARTS[part]}
            column = []
            for scene in scenes:
                seen = scene.part == part or any(
                    part in parts_of(CLASSES[index], kind) for index, kinds in scene.kinds.items() for kind in kinds
                )
                column.append((float(seen), float(seen or not scene.doubtful & owners)))
            columns.append((template.format(part), column))
        return columns

    def _views(self, rng: Generator, scenes: Sequence[Scene]) -> list[Column]:
        columns: list[Column] = []
        for view in rng.choice(list(VIEWS), SOME_VIEWS, replace=False):
            column = []
            for scene in scenes:
                told = any(
                    view_holds(view, CLASSES[index], kind) for index, kinds in scene.kinds.items() for kind in kinds
                )
                column.append((float(told), float(told or not scene.doubtful)))
            columns.append((str(view), column))
        return columns

    def _tinted(self, rng: Generator, scenes: Sequence[Scene]) -> list[Column]:
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

    def _pairs(self, rng: Generator, scenes: Sequence[Scene]) -> list[Column]:
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


def _told(scene: Scene, index: int, place: int, named: bool) -> tuple[float, float]:
    """Whether a class's sentence is true of a scene, and whether that is known."""
    name = CLASSES[index]
    shown = scene.shown if not scene.part else set()
    told = holds(name, place, scene.kinds.get(index, set()), shown)
    if index in scene.classes and told is not False:
        return 1.0, float(told or named)
    if index in scene.doubtful:
        return 0.0, 0.0
    group = next((set(group.split()) for group in ALIKE if name in group.split()), {name})
    others = {CLASSES[i] for i in scene.classes | scene.doubtful} & group - {name}
    return 0.0, float(named or not others)
