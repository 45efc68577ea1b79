"""Texts that must not be told, and how they are kept out of what is printed and stored, however they are spelt."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

SHORTEST_SECRET = 8  # characters; shorter keys are placeholders for local servers ("none", "ollama"), and words
STAND_IN = "[key]"
_RECOGNISED = 12  # characters from a secret's first one on that give it away, where a server cut it off
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class Secrets:
    """Texts that are taken out of others, however they are spelt there.

    Spellings: as it is, with any characters as `%2F`, `\\u002f`, `\\x2f`, `&#47;` or behind a backslash, in base64,
    alone or within something longer, and in hexadecimal digits.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        # The longest first: what stands in another is gone with it.
        kept = sorted({text for text in texts if len(text) >= SHORTEST_SECRET}, key=len, reverse=True)
        starts = [min(_RECOGNISED, max(SHORTEST_SECRET, len(text) - 2)) for text in kept]
        spelt = [[_spellings(character) for character in text] for text in kept]
        self._starts = [re.compile("".join(ways[:start])) for ways, start in zip(spelt, starts, strict=True)]
        self._rests = [[re.compile(one) for one in ways[start:]] for ways, start in zip(spelt, starts, strict=True)]
        self._coded = [re.compile(one) for text in kept for one in _encodings(text.encode())]

    def redact(self, text: str) -> str:
        """`text` without any of the secrets; a secret that was cut off goes too, where its beginning is there."""
        for start, rest in zip(self._starts, self._rests, strict=True):
            pieces, at = [], 0
            while found := start.search(text, at):
                pieces += [text[at : found.start()], STAND_IN]
                at = found.end()
                for one in rest:
                    following = one.match(text, at)
                    if following is None:
                        break
                    at = following.end()
            text = "".join([*pieces, text[at:]])
        for coded in self._coded:
            text = coded.sub(STAND_IN, text)
        return text


def _spellings(character: str) -> str:
    """A pattern of the ways in which texts write one character of a secret."""
    percent = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    units = character.encode("utf-16-be", "surrogatepass").hex()
    escaped = "".join(rf"\\+u{units[at : at + 4]}" for at in range(0, len(units), 4))
    code = ord(character)
    ways = [re.escape(character), f"(?i:{percent})", f"(?i:{escaped})", f"(?i:&#x0*{code:x};)", f"&#0*{code};"]
    if code < 256:
        ways.append(rf"(?i:\\+x{code:02x})")
    if not character.isalnum():
        ways.append(rf"\\+{re.escape(character)}")
    if character in _ENTITIES:
        ways.append(f"&{_ENTITIES[character]};")
    if character == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"


def _encodings(secret: bytes) -> list[str]:
    """Patterns of a secret in hexadecimal digits, and in base64 behind any number of other bytes."""
    found = [f"(?i:{secret.hex()})"]
    for before in range(3):
        whole = base64.b64encode(bytes(before) + secret).decode("ascii").rstrip("=")
        # The first and last characters may hold bits of what stands before and behind.
        core = whole[(0, 2, 3)[before] : len(whole) - ((before + len(secret)) % 3 != 0)]
        pattern = re.escape(core).replace(r"\+", "[+-]").replace("/", "[/_]")
        found.append(f"{pattern}[A-Za-z0-9+/_=-]{{0,3}}")
    return found
