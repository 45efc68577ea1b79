"""Text Semantic Enrichment: a knowledge base and a text tower → text rows (paper section 3.2, METHOD.md step 1).

The text tower's work is done once per knowledge base, weights and settings, and kept in the cache folder.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from excel_cam.clip_model import ClipModel, unit_rows
from excel_cam.clustering import cluster_centres
from excel_cam.errors import KnowledgeError
from excel_cam.files import cache_folder, hash_json, write_atomically
from excel_cam.knowledge import KnowledgeBase
from excel_cam.settings import Settings

FORMAT = 2  # raised when the meaning of a cached file changes
CLUSTERS = {"voc": 112, "coco": 224}  # B of the paper's two data sets
SENTENCES_PER_CLUSTER = 0.28  # B = clamp(round(0.28 · sentences), 1, 224) for any other class list
MAX_CLUSTERS = 224

Array = NDArray[np.float32]


@dataclass(frozen=True)
class TextBank:
    """The text side, ready to be compared with patches; all arrays float32.

    names: T names, foreground classes in label order, then background words.
    plain: (T, D) unit rows of the prompts. bank: (D, B) attributes, not normalised: cluster centres, or with
    attributes `sentences` all the sentences' own unit rows; B is 0 without sentences.
    text: (T, D) unit rows, the foreground enriched. foreground: K. has_background: whether label 0 is background.
    path: the cached file. was_cached: whether it was there already, so that no text was encoded.
    """

    names: tuple[str, ...]
    plain: Array
    bank: Array
    text: Array
    foreground: int
    path: Path
    was_cached: bool
    has_background: bool = True


def build_text_bank(knowledge: KnowledgeBase, model: ClipModel, settings: Settings) -> TextBank:
    """The text rows of a knowledge base, from the cache or computed and cached.

    Raises `KnowledgeError` naming class and entry when a text is too long or the sentences are too few for B.
    """
    # The pooling of several templates and the clustering are fixed; everything else that decides the rows is here.
    key = hash_json(
        {"format": FORMAT, "knowledge": knowledge.content(), "model": model.name, "weights": model.fingerprint,
         "settings": settings.group("text")}
    )  # fmt: skip
    path = cache_folder() / "text" / f"{knowledge.dataset}-{key[:32]}.npz"
    names = (*(entry.name for entry in knowledge.classes), *knowledge.background)
    arrays = _read_cached(path, names)
    was_cached = arrays is not None
    if arrays is None:
        arrays = _compute(knowledge, model, settings)
        write_atomically(path, bank_bytes(names, **arrays))
    return TextBank(
        names, **arrays, foreground=len(knowledge.classes), path=path, was_cached=was_cached,
        has_background=knowledge.has_background,
    )  # fmt: skip


def bank_bytes(names: Sequence[str], plain: Array, bank: Array, text: Array) -> bytes:
    """The `.npz` file of a text bank: `names` (T), `plain` (T, D), `bank` (D, B), `text` (T, D)."""
    stream = io.BytesIO()
    np.savez(stream, names=np.array(names, dtype=np.str_), plain=plain, bank=bank, text=text)
    return stream.getvalue()


def _read_cached(path: Path, names: Sequence[str]) -> dict[str, Array] | None:
    """The cached arrays, or None when there are none to be trusted."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if tuple(stored["names"].tolist()) != tuple(names):
                return None
            return {key: stored[key] for key in ("plain", "bank", "text")}
    except (OSError, ValueError, KeyError, EOFError, SyntaxError):
        return None  # absent or damaged: computed again and replaced
    except Exception as error:
        if type(error).__name__ == "BadZipFile":
            return None
        raise


def _compute(knowledge: KnowledgeBase, model: ClipModel, settings: Settings) -> dict[str, Array]:
    plain = prompt_rows(knowledge, model)
    text = plain.copy()
    foreground = len(knowledge.classes)
    bank = np.zeros((plain.shape[1], 0))
    if settings.attributes == "clustered" and knowledge.sentence_count:
        count = cluster_count(knowledge, settings.clusters)
        bank = cluster_centres(sentence_rows(knowledge, model), count).T
        text[:foreground] = enrich_rows(plain[:foreground], bank, settings.keep, settings.strength)
    elif settings.attributes == "sentences" and knowledge.sentence_count:
        bank = sentence_rows(knowledge, model).T
        # The paper's comparison: each class hunts among its own explicit sentences only, by the same rule.
        for index, own in enumerate(sentence_slices(knowledge)):
            if own.stop > own.start:
                row = plain[index : index + 1]
                text[index] = enrich_rows(row, bank[:, own], settings.keep, settings.strength)[0]
    return {key: value.astype(np.float32) for key, value in (("plain", plain), ("bank", bank), ("text", text))}


def cluster_count(knowledge: KnowledgeBase, chosen: int | None) -> int:
    """B: as chosen, else the paper's for its data sets, else from the number of sentences. Raises `KnowledgeError`."""
    sentences = knowledge.sentence_count
    by_size = min(max(round(SENTENCES_PER_CLUSTER * sentences), 1), MAX_CLUSTERS)
    count = chosen or CLUSTERS.get(knowledge.dataset, by_size)
    if count > sentences:
        raise KnowledgeError(
            f"the knowledge base '{knowledge.dataset}' has {sentences} sentences, too few for {count} attributes; "
            "add sentences or lower --clusters"
        )
    return count


def prompt_rows(knowledge: KnowledgeBase, model: ClipModel) -> NDArray[np.float64]:
    """(T, D) unit rows: the mean over the templates' unit embeddings, normalised again."""
    prompts = [*(entry.prompt for entry in knowledge.classes), *knowledge.background]
    return _mean_rows(
        [_encode([template.format(prompt) for prompt in prompts], prompts, model) for template in knowledge.templates]
    )


def sentence_rows(knowledge: KnowledgeBase, model: ClipModel) -> NDArray[np.float64]:
    """(sentences, D) unit rows: each sentence after its class's plain name, averaged over the templates as prompts are.

    Raises `KnowledgeError` naming class and sentence when one is too long.
    """
    places = [
        f"class {entry.name}, sentence {index}"
        for entry in knowledge.classes
        for index in range(1, len(entry.sentences) + 1)
    ]
    return _mean_rows(
        [
            _encode([text for entry in knowledge.classes for text in entry.sentence_texts(template)], places, model)
            for template in knowledge.templates
        ]
    )


def sentence_slices(knowledge: KnowledgeBase) -> list[slice]:
    """Where each class's sentences stand among the rows of all sentences."""
    ends = accumulate((len(entry.sentences) for entry in knowledge.classes), initial=0)
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _mean_rows(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean(rows, axis=0)
    return mean if len(rows) == 1 else mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _encode(texts: Sequence[str], places: Sequence[str], model: ClipModel) -> NDArray[np.float64]:
    """Unit embeddings of texts; a text that is too long is an error that names its place, never cut."""
    for text, place in zip(texts, places, strict=True):
        if (tokens := model.count_tokens(text)) > model.context_length:
            raise KnowledgeError(
                f"{place} is too long: {tokens} tokens with its prompt, the model reads {model.context_length}; "
                "shorten it"
            )
    rows: Any = unit_rows(model.encode_texts(texts)).double().numpy()
    return rows


def enrich_rows(
    rows: NDArray[np.float64], bank: NDArray[np.float64], keep: float, strength: float
) -> NDArray[np.float64]:
    """Attribute hunting: add to each row the attributes it resembles most (METHOD.md step 1.5).

    rows: (K, D) unit rows. bank: (D, B). keep: share of the attributes a row may draw on. strength: λ.
    Returns (K, D) unit rows.
    """
    enriched = rows + strength * attribute_shares(rows, bank, keep) @ bank.T
    return enriched / np.linalg.norm(enriched, axis=1, keepdims=True)


def attribute_shares(rows: NDArray[np.float64], bank: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    """(K, B): how much of each attribute a row draws on; 0 for those dropped, each row's sum is 1."""
    similarities = rows @ bank
    dropped = math.floor((1 - keep) * bank.shape[1])
    for row in similarities:
        row[np.argsort(row, kind="stable")[:dropped]] = -np.inf
    # Softmax without a temperature, as in the release: the similarities of unit rows leave it nearly flat.
    shares = np.exp(similarities - similarities.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares
