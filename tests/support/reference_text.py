"""A second text side, written from the method's step 1, and how text banks are held against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import reference
from numpy.typing import NDArray

from excel_cam.model.text_bank import TextBank

TOLERANCE = 1e-6
HEADS = 2  # of the tiny model's text tower
EDGE = 77  # tokens that CLIP's text tower reads, the two special ones included
Array = NDArray[Any]
Embed = Callable[[Sequence[str]], Array]


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def reference_plain(record: dict[str, Any], embed: Embed) -> Array:
    """Steps 1.1 and 1.2 from the record as it stands in its file."""
    taken = {entry["name"].lower() for entry in record["classes"]}
    prompts = [entry.get("prompt", entry["name"]) for entry in record["classes"]]
    prompts += [word for word in record["background"] if word not in taken]
    templates = [record["template"]] if isinstance(record["template"], str) else record["template"]
    over_templates = [embed([t.replace("{}", prompt) for prompt in prompts]) for t in templates]
    return unit(np.mean(over_templates, axis=0))


def reference_sentences(record: dict[str, Any], embed: Embed) -> Array:
    """Step 1.3: plain class names, lower case; the mean over several templates is made unit again."""
    template = record["template"]
    rows = [
        embed(
            [
                f"{opening.replace('{}', entry['name'])} {sentence}".lower()
                for entry in record["classes"]
                for sentence in entry["sentences"]
            ]
        )
        for opening in ([template] if isinstance(template, str) else template)
    ]
    mean = np.mean(rows, axis=0)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def assert_clusters(bank: Array, points: Array) -> float:
    """Assert that the columns of bank (D, B) are the means of the points nearest to them; returns the inertia."""
    centres = bank.T.astype(np.float64)
    distances = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    members = distances.argmin(axis=1)
    for index, centre in enumerate(centres):
        assert np.abs(points[members == index].mean(axis=0) - centre).max() < TOLERANCE
    return float(distances.min(axis=1).sum())


def assert_agrees(
    bank: TextBank, record: dict[str, Any], embed: Embed, clusters: int, keep: float, strength: float
) -> float:
    plain = reference_plain(record, embed)
    foreground = len(record["classes"])
    assert {array.dtype for array in (bank.plain, bank.bank, bank.text)} == {np.dtype(np.float32)}
    assert bank.plain.shape == plain.shape
    assert np.abs(bank.plain - plain).max() < TOLERANCE
    assert bank.bank.shape == (plain.shape[1], clusters)
    inertia = assert_clusters(bank.bank, reference_sentences(record, embed))
    assert np.abs(bank.text - reference.enrich(plain, bank.bank, foreground, keep, strength)).max() < TOLERANCE
    np.testing.assert_array_equal(bank.text[foreground:], bank.plain[foreground:])
    assert bank.foreground == foreground
    return inertia
