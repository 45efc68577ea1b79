"""What the text tower of a shipped model makes of sentences, and what they do to the classes' rows (TSE), as a table.

python rows.py --model ../../excel_cam/demo/excel-cam-demo.json
"""

from __future__ import annotations

import argparse
import dataclasses
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from excel_cam import ClipModel, KnowledgeBase, build_text_bank, load_model, shipped_knowledge
from excel_cam.settings import ModelChoice, Settings

Rows = NDArray[np.floating]  # (n, D)


def measure(model: ClipModel, knowledge: KnowledgeBase, settings: Settings) -> dict[str, float]:
    """Each figure by what it is of. settings: those labels are made with."""

    def embed(texts: list[str]) -> Rows:
        rows = model.encode_texts([text.lower() for text in texts]).double().numpy()
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def about(name: str, sentences: tuple[str, ...]) -> list[str]:
        return [f"a clean origami {name}. {sentence}" for sentence in sentences]

    classes = knowledge.classes
    bank = build_text_bank(knowledge, model, settings)
    plain, enriched = bank.plain[: bank.foreground], bank.text[: bank.foreground]
    alike, follows = [], []
    for own in classes:
        rows = embed(about(own.name, own.sentences))
        alike.append(mean_cosine(rows))
    for (place, own), (other_place, other) in permutations(enumerate(classes), 2):
        row = embed(about(own.name, other.sentences[:1]))[0]
        follows.append(row @ plain[place] > row @ plain[other_place])
    moves = enriched - plain
    return {
        "cosine of a class's sentences with one another, each after the class's name": float(np.mean(alike)),
        "a name with another class's sentence is nearer to the name, share of all pairs": float(np.mean(follows)),
        "length of what TSE adds to a class's row": length(moves),
        "of which the same for all classes": float(np.linalg.norm(moves.mean(axis=0))),
        "of which the class's own": length(moves - moves.mean(axis=0)),
        "cosine of the rows of different classes, plain": mean_cosine(plain),
        "the same, enriched": mean_cosine(enriched),
    }


def mean_cosine(rows: Rows) -> float:
    """Of all pairs of different rows."""
    return float((rows @ rows.T)[np.triu_indices(len(rows), 1)].mean())


def length(rows: Rows) -> float:
    """The mean length."""
    return float(np.linalg.norm(rows, axis=1).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="configuration, its weights beside it")
    parser.add_argument("--clusters", type=int, default=40, help="B")
    arguments = parser.parse_args()
    weights = arguments.model.with_suffix(".safetensors")
    if not weights.is_file():
        parser.error(f"{weights}: no such file; ship.py writes it beside the configuration")
    model = load_model(ModelChoice(str(arguments.model), weights=weights, device="cpu", precision="fp32"))
    settings = dataclasses.replace(Settings(), clusters=arguments.clusters)
    print("| what | |\n|---|---|")
    for what, value in measure(model, shipped_knowledge("voc"), settings).items():
        print(f"| {what} | {value:.3f} |")


if __name__ == "__main__":
    main()
