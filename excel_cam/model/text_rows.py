"""A knowledge base's texts → unit embeddings: prompts, background words and sentences (steps 1.1 to 1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import KnowledgeError
from excel_cam.knowledge.base import KnowledgeBase
from excel_cam.model.clip import ClipModel, unit_rows


def prompt_rows(knowledge: KnowledgeBase, model: ClipModel) -> NDArray[np.float64]:
    """(T, D) unit rows of classes, then background words: the mean over the templates, normalised again.

    Raises `KnowledgeError` naming class or background word when a prompt is too long or has a word that the model
    does not know.
    """
    prompts = [*(entry.prompt for entry in knowledge.classes), *knowledge.background]
    places = [f"class {entry.name}, prompt" for entry in knowledge.classes]
    places += [f"background word {index}" for index in range(1, len(knowledge.background) + 1)]
    for prompt in prompts:
        # A sentence can do without a word; a class that is unknown would get labels without meaning.
        if unknown := model.unknown_words(prompt):
            raise KnowledgeError(
                f"model {model.name} does not know '{unknown[0]}' (in '{prompt}'): it holds only some words; "
                "choose another --model"
            )
    texts = [[template.format(prompt) for prompt in prompts] for template in knowledge.templates]
    return _mean_rows([_encode(of_template, places, knowledge, model) for of_template in texts])


def sentence_rows(knowledge: KnowledgeBase, model: ClipModel) -> NDArray[np.float64]:
    """(sentences, D) unit rows: each sentence after its class's plain name, averaged over the templates as prompts are.

    Raises `KnowledgeError` naming class and sentence when one is too long.
    """
    places = [
        f"class {entry.name}, sentence {index}"
        for entry in knowledge.classes
        for index in range(1, len(entry.sentences) + 1)
    ]
    texts = [
        [text for entry in knowledge.classes for text in entry.sentence_texts(template)]
        for template in knowledge.templates
    ]
    return _mean_rows([_encode(of_template, places, knowledge, model) for of_template in texts])


def sentence_slices(knowledge: KnowledgeBase) -> list[slice]:
    """Where each class's sentences stand among the rows of all sentences."""
    ends = accumulate((len(entry.sentences) for entry in knowledge.classes), initial=0)
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _mean_rows(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean(rows, axis=0)
    return mean if len(rows) == 1 else mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _encode(
    texts: Sequence[str], places: Sequence[str], knowledge: KnowledgeBase, model: ClipModel
) -> NDArray[np.float64]:
    """Unit embeddings of texts; a text that is too long is an error that names its place, never cut."""
    for text, place in zip(texts, places, strict=True):
        if (tokens := model.count_tokens(text)) > model.context_length:
            raise KnowledgeError(
                f"the knowledge base '{knowledge.dataset}': {place} is too long: {tokens} tokens with its prompt, "
                f"the model reads {model.context_length}; shorten it"
            )
    rows: NDArray[np.float64] = unit_rows(model.encode_texts(texts)).double().numpy()
    return rows
