"""CLIP's tokenizer: byte pairs, by the list that comes with open_clip; and words for a token table of some rows only.

Ours, equal to open_clip's `SimpleTokenizer` with its defaults, because that one takes seconds to import.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from excel_cam.errors import ModelError
from excel_cam.knowledge.check import CLIP_CONTEXT, TokenLimit
from excel_cam.model.towers.configuration import package_folder

UNKNOWN = -1  # stands in `tokens` for the row that every other word is read as
START, END = "<start_of_text>", "<end_of_text>"
MERGES = 49152 - 256 - 2  # pairs of the list that CLIP was trained with; the file goes on
WORD_END = "</w>"
# Special tokens, English endings, runs of letters, single digits, runs of all else but space.
PIECES = START + "|" + END + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipTokenizer:
    """Texts to token ids. Its list is read on first use.

    >>> ClipTokenizer().encode("a cat")
    [320, 2368]
    """

    vocab_size = 2 * 256 + MERGES + 2
    sot_token_id = vocab_size - 2
    eot_token_id = vocab_size - 1

    def encode(self, text: str) -> list[int]:
        """Ids of a text's tokens, without start and end."""
        ids, _ranks = _vocabulary()
        return [ids[part] for piece in _pieces().findall(_clean(text)) for part in _parts(piece)]

    def __call__(self, texts: Sequence[str], context_length: int = CLIP_CONTEXT) -> Tensor:
        """(len(texts), context_length) int64: start, tokens, end, then 0; what is too long loses its last tokens."""
        rows = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            tokens = [self.sot_token_id, *self.encode(text)][: context_length - 1]
            row[: len(tokens) + 1] = torch.tensor([*tokens, self.eot_token_id])
        return rows


class KnownWords(ClipTokenizer):
    """`ClipTokenizer` whose ids are rows of a reduced token table.

    tokens: the tokenizer's id of each row; one row is `UNKNOWN`, start and end are the last two. A word is known when
    all its pieces are.
    """

    def __init__(self, tokens: Sequence[int], rows: int, name: str) -> None:
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
    tokenizer = ClipTokenizer()
    return TokenLimit(lambda text: len(tokenizer.encode(text)) + 2, CLIP_CONTEXT)


@cache
def _vocabulary() -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Ids of tokens, and ranks of pairs: the lower is merged first."""
    text = gzip.decompress((package_folder() / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode("utf-8")
    pairs = [tuple(line.split()) for line in text.split("\n")[1 : 1 + MERGES]]  # the first line is a heading
    letters = list(_byte_letters().values())
    tokens = [*letters, *(letter + WORD_END for letter in letters), *map("".join, pairs), START, END]
    ranks = {(pair[0], pair[1]): rank for rank, pair in enumerate(pairs)}
    return {token: number for number, token in enumerate(tokens)}, ranks


@cache
def _byte_letters() -> dict[int, str]:
    """A printable letter for each byte: itself where Latin-1 has one, the others from code point 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


@cache
def _pieces() -> Any:
    import regex  # as open_clip: the standard library knows no classes of letters

    return regex.compile(PIECES, regex.IGNORECASE)


def _clean(text: str) -> str:
    """Mend broken Unicode and HTML, make all space single blanks and all letters small."""
    if not (text.isascii() and text.isprintable() and "&" not in text):  # nothing there to mend otherwise
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


@lru_cache(maxsize=1 << 16)
def _parts(piece: str) -> tuple[str, ...]:
    """A piece of text as tokens: its bytes' letters, of which the pair of lowest rank is joined until there is none."""
    if piece in (START, END):
        return (piece,)
    _ids, ranks = _vocabulary()
    letters = [_byte_letters()[byte] for byte in piece.encode("utf-8")]
    parts = [*letters[:-1], letters[-1] + WORD_END]
    while len(parts) > 1:
        first, second = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if (first, second) not in ranks:
            break
        joined: list[str] = []
        at = 0
        while at < len(parts):
            found = parts[at : at + 2] == [first, second]
            joined.append(first + second if found else parts[at])
            at += 2 if found else 1
        parts = joined
    return tuple(parts)
