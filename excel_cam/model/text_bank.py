"""Text Semantic Enrichment: a knowledge base and a text tower → text rows (paper section 3.2, step 1).

The text tower's work is done once per knowledge base, weights and settings, and kept in the cache folder.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import KnowledgeError, OutputError
from excel_cam.files.arrays.npz import read_npz
from excel_cam.files.atomic import cache_folder, hash_json, write_atomically
from excel_cam.knowledge.base import KnowledgeBase
from excel_cam.method.clustering import cluster_centres
from excel_cam.method.enrichment import enrich_rows
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_rows import prompt_rows, sentence_rows, sentence_slices
from excel_cam.model.towers.configuration import find_configuration
from excel_cam.settings import Settings

FORMAT = 1  # raised when the meaning of a cached file changes
CLUSTERS = {("voc", 20): 112, ("coco", 80): 224}  # B of the paper's two data sets, by name and number of classes
SENTENCES_PER_CLUSTER = 0.28  # B = clamp(round(0.28 · sentences), 1, 224) for any other class list
MAX_CLUSTERS = 224
MAX_BYTES = 512 << 20  # of a cached file unpacked; 51,000 sentences' rows of 1,280 numbers have 261 MB

Array = NDArray[np.float32]


@dataclass(frozen=True)
class TextBank:
    """The text side, ready to be compared with patches; all arrays float32.

    names: T names, foreground classes in label order, then background words.
    plain: (T, D) unit rows of the prompts. bank: (D, B) attributes, not normalised: cluster centres, or with
    attributes `sentences` all the sentences' own unit rows; B is 0 without sentences.
    text: (T, D) unit rows, the foreground enriched. foreground: K. has_background: whether label 0 is background.
    path: the cached file, None where it could not be kept, which `cache_trouble` then tells. was_cached: whether it
    was there already, so that no text was encoded.

    >>> bank = build_text_bank(prompts_alone("mine", ["cat"], ["cat"]), model, Settings())
    >>> isinstance(bank, TextBank), bank.text.dtype.name, len(bank.text) == len(bank.names)
    (True, 'float32', True)
    """

    names: tuple[str, ...]
    plain: Array
    bank: Array
    text: Array
    foreground: int
    path: Path | None
    was_cached: bool
    has_background: bool = True
    cache_trouble: str | None = None


def build_text_bank(knowledge: KnowledgeBase, model: ClipModel, settings: Settings) -> TextBank:
    """The text rows of a knowledge base, from the cache or computed and cached.

    >>> bank = build_text_bank(prompts_alone("mine", ["cat", "dog"], ["cat", "dog"]), model, Settings())
    >>> bank.names[:2], bank.foreground
    (('cat', 'dog'), 2)

    Raises `KnowledgeError` naming class and entry when a text is too long or the sentences are too few for B.
    """
    # The pooling of several templates and the clustering are fixed; everything else that decides the rows is here.
    # A configuration file may change under its name, and its number of heads shows in no weight's shape.
    key = hash_json(
        {"format": FORMAT, "knowledge": knowledge.content(), "model": model.name,
         "configuration": find_configuration(model.name), "weights": model.fingerprint,
         "tokens": model.known_tokens, "settings": settings.group("text")}
    )  # fmt: skip
    # Safe as a file name, whatever the knowledge base calls itself.
    label = re.sub(r"[^A-Za-z0-9-]", "_", knowledge.dataset)[:40]
    folder = cache_folder()
    path = None if folder is None else folder / "text" / f"{label}-{key[:32]}.npz"
    names = (*(entry.name for entry in knowledge.classes), *knowledge.background)
    arrays = None if path is None else _read_cached(path, names)
    was_cached, trouble = arrays is not None, None if path is not None else "there is no home folder"
    if arrays is None:
        arrays = _compute(knowledge, model, settings)
        if path is not None:
            try:
                write_atomically(path, bank_bytes(names, **arrays))
            except OutputError as error:  # the cache is a help, never a condition
                path, trouble = None, str(error)
    return TextBank(
        names, **arrays, foreground=len(knowledge.classes), path=path, was_cached=was_cached, cache_trouble=trouble,
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
        stored = read_npz(path, ("names", "plain", "bank", "text"), MAX_BYTES)
        if tuple(stored.pop("names").tolist()) != tuple(names):
            return None
        return stored if all(np.isfinite(values).all() for values in stored.values()) else None
    except Exception:  # absent or damaged, in any of the ways an archive can be: computed again and replaced
        return None


def _compute(knowledge: KnowledgeBase, model: ClipModel, settings: Settings) -> dict[str, Array]:
    plain = prompt_rows(knowledge, model)
    text = plain.copy()
    foreground = len(knowledge.classes)
    bank = np.zeros((plain.shape[1], 0))
    if settings.attributes == "clustered" and knowledge.sentence_count:
        count = cluster_count(knowledge, settings.clusters)
        bank = _cluster(sentence_rows(knowledge, model), count, knowledge).T
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
    count = chosen or CLUSTERS.get((knowledge.dataset, len(knowledge.classes)), by_size)
    if count > sentences:
        raise KnowledgeError(
            f"the knowledge base '{knowledge.dataset}' has {sentences} sentences, too few for {count} attributes; "
            "add sentences or lower --clusters"
        )
    return count


def _cluster(sentences: NDArray[np.float64], count: int, knowledge: KnowledgeBase) -> NDArray[np.float64]:
    try:
        return cluster_centres(sentences, count)
    except ValueError as error:
        raise KnowledgeError(
            f"the knowledge base '{knowledge.dataset}' cannot be clustered: {error}; "
            "make its sentences differ more or lower --clusters"
        ) from None
