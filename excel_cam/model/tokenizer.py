"""CLIP's tokenizer: how many tokens its own towers read, and words for a token table that holds only some rows."""

from __future__ import annotations

from collections.abc import Sequence

from open_clip import SimpleTokenizer

from excel_cam.errors import ModelError
from excel_cam.knowledge.check import CLIP_CONTEXT, TokenLimit

UNKNOWN = -1  # stands in `tokens` for the row that every other word is read as


class KnownWords(SimpleTokenizer):
    """`SimpleTokenizer` whose ids are rows of a reduced token table.

    tokens: the tokenizer's id of each row; one row is `UNKNOWN`, start and end are the last two. A word is known when
    all its pieces are.
    """

    sot_token_id: int
    eot_token_id: int

    def __init__(self, tokens: Sequence[int], rows: int, name: str) -> None:
        super().__init__()
        if len(tokens) != rows or list(tokens[-2:]) != [self.sot_token_id, self.eot_token_id] or UNKNOWN not in tokens:
            raise ModelError(
                f"model {name}: its list of {len(tokens)} tokens does not fit its token table of {rows} rows "
                "(one is -1, start and end are last)"
            )
        self.tokens = tuple(tokens)
        self._row_of = {token: row for row, token in enumerate(tokens)}
        self.sot_token_id, self.eot_token_id = rows - 2, rows - 1  # the end must be the largest: texts are pooled there

    def encode(self, text: str) -> list[int]:
        """Rows of a text's tokens, without start and end."""
        return [self._row_of.get(token, self._row_of[UNKNOWN]) for token in super().encode(text)]

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the model has no row for, in order."""
        return [
            word
            for word in text.split()
            if any(token not in self._row_of for token in super(KnownWords, self).encode(word))
        ]


def clip_token_limit() -> TokenLimit:
    """The limit of CLIP's own text towers, without loading one."""
    tokenizer = SimpleTokenizer()
    return TokenLimit(lambda text: len(tokenizer.encode(text)) + 2, CLIP_CONTEXT)
