"""Knowledge bases as text for people: listed, shown, compared, and what enrichment adds to a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from excel_cam.knowledge.base import ClassKnowledge, KnowledgeBase

Array = NDArray[np.float64]


def list_lines(bases: dict[str, KnowledgeBase]) -> Iterator[str]:
    """A line per knowledge base: name, classes, sentences, background words."""
    yield f"{'name':<8}  classes  sentences  background words"
    for name, base in bases.items():
        yield f"{name:<8}  {len(base.classes):>7}  {base.sentence_count:>9,}  {len(base.background):>16}"


def show_lines(base: KnowledgeBase) -> Iterator[str]:
    """A knowledge base at a glance: its templates, classes with label values, and background words."""
    yield f"{base.dataset}: {len(base.classes)} classes, {base.sentence_count:,} sentences"
    for template in base.templates:
        yield f"template: {template}"
    yield "label  sentences  class"
    for label, entry in enumerate(base.classes, start=int(base.has_background)):
        prompt = "" if entry.prompt == entry.name else f" (prompt: {entry.prompt})"
        yield f"{label:>5}  {len(entry.sentences):>9}  {entry.name}{prompt}"
    yield f"background words: {', '.join(base.background) or 'none'}"
    if not base.has_background:
        yield "no background class: every pixel gets one of the classes"


def show_class_lines(base: KnowledgeBase, entry: ClassKnowledge) -> Iterator[str]:
    """One class: its label value, prompts and sentences."""
    yield f"{entry.name}: label {base.classes.index(entry) + int(base.has_background)}"
    for template in base.templates:
        yield f"prompt: {template.format(entry.prompt)}"
    for number, sentence in enumerate(entry.sentences, start=1):
        yield f"{number:>3}  {sentence}"


def attribute_lines(
    base: KnowledgeBase, shares: Array, bank: Array, sentences: Array, top: int, nearest: int
) -> Iterator[str]:
    """The attributes that one class's row draws on most, each by the sentences nearest to it.

    shares: (B,) of the class. bank: (D, B). sentences: (n, D) rows of all sentences in order. A share is shown against
    1 / B, what each attribute would have if all were alike.
    """
    owners = [(entry.name, sentence) for entry in base.classes for sentence in entry.sentences]
    for rank, attribute in enumerate(np.argsort(-shares, kind="stable")[:top], start=1):
        yield f"{rank:>3}. share {shares[attribute]:.4%} ({shares[attribute] * len(shares):.3f} x even)"
        distances = ((sentences - bank[:, attribute]) ** 2).sum(axis=1)
        for number in np.argsort(distances, kind="stable")[:nearest]:
            name, sentence = owners[number]
            yield f"       {name}: {sentence}"


def difference_lines(first: KnowledgeBase, second: KnowledgeBase) -> Iterator[str]:
    """What the second knowledge base has otherwise than the first; nothing when they are the same."""
    yield from _changed("dataset", first.dataset, second.dataset)
    yield from _lost_and_new("template", first.templates, second.templates)
    yield from _changed("background_class", str(first.has_background).lower(), str(second.has_background).lower())
    yield from _lost_and_new("background word", first.background, second.background)
    old, new = ({entry.name: entry for entry in base.classes} for base in (first, second))
    yield from _lost_and_new("class", list(old), list(new))
    common = [name for name in old if name in new]
    if common != [name for name in new if name in old]:
        yield "~ the classes stand in another order: labels differ"
    for name in common:
        yield from _changed(f"{name}: prompt", old[name].prompt, new[name].prompt)
        yield from _lost_and_new(f"{name}: sentence", old[name].sentences, new[name].sentences)


def _changed(what: str, old: str, new: str) -> Iterator[str]:
    if old != new:
        yield f"~ {what}: {old} -> {new}"


def _lost_and_new(what: str, old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    yield from (f"- {what}: {text}" for text in old if text not in new)
    yield from (f"+ {what}: {text}" for text in new if text not in old)
