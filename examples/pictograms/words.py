"""The words of training: rows of a small token table, and texts as such rows."""

from __future__ import annotations

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

CONTEXT = 48  # tokens that a text may have
SHORT = 12  # tokens: longer texts are embedded apart, so that short ones need not be padded to their length
WORD_DROP = 0.05  # share of words read as <unknown>, so that the row for them means nothing in particular


class Words:
    """The token rows in use: row 0 is <unknown>, then start, end and the rest in the tokenizer's order."""

    def __init__(self, texts: list[str]) -> None:
        self.tokenizer = SimpleTokenizer(context_length=CONTEXT)
        used = {token for text in texts for token in self.tokenizer.encode(text)}
        # The end-of-text token is found by open_clip as the largest of a row.
        special = [self.tokenizer.sot_token_id, self.tokenizer.eot_token_id]
        self.ids = [-1, *sorted(used - set(special)), *special]
        self.rows = {token: row for row, token in enumerate(self.ids)}
        self._cache: dict[str, list[int]] = {}

    def encode(self, texts: list[str], rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
        """Short texts and long ones apart, each as (places, (n, longest) int64 rows, zero padded)."""
        lines = []
        for text in texts:
            if text not in self._cache:
                self._cache[text] = [self.rows[token] for token in self.tokenizer.encode(text)]
            line = [0 if rng.random() < WORD_DROP else row for row in self._cache[text]]
            lines.append([len(self.ids) - 2, *line, len(self.ids) - 1])
        groups = []
        for places in (
            [i for i, t in enumerate(lines) if len(t) <= SHORT],
            [i for i, t in enumerate(lines) if len(t) > SHORT],
        ):
            if places:
                rows = torch.zeros(len(places), max(len(lines[i]) for i in places), dtype=torch.long)
                for row, place in enumerate(places):
                    rows[row, : len(lines[place])] = torch.tensor(lines[place])
                groups.append((torch.tensor(places), rows))
        return groups
