"""Read a JSON file of any size entry by entry, in bounded memory: what stands at its top level, one value at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from excel_cam.errors import DataError
from excel_cam.wording import quoted

CHUNK = 1 << 22  # bytes read at a time
LONGEST_ENTRY = 1 << 22  # bytes; an entry of COCO has some thousands

_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^\s,:\[\]{}\"]+")
_STRUCTURE = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """One value of a JSON file, not yet parsed."""

    key: str  # its key in the top-level object, "" in a top-level array
    number: int | None  # its place in the array of objects under `key`, from 1; None when that is one value
    text: bytes
    line: int  # of its first character, from 1
    offset: int  # of its first character, in bytes

    def where(self, path: Path) -> str:
        """File, line and place of the entry, for the beginning of a message."""
        words = [quoted(self.key)] if self.key else []
        if self.number is not None:
            words.append(f"entry {self.number:,}")
        return ": ".join([f"{path}:{self.line}", *([" ".join(words)] if words else [])])

    def parse(self, path: Path) -> Any:
        """The entry's value; DataError, naming file, line and byte, when it is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error)
            raise DataError(f"{self.where(path)} (byte {self.offset:,}): not JSON: {reason}; mend the file") from None


def read_entries(path: Path, what: str, longest: int | None = None) -> Iterator[Entry]:
    """The entries of a JSON file in their order: each value of its object, each element of its array.

    Where a value of the top-level object is an array of objects, its elements come one by one, which bounds the
    memory for files of any size. Only brackets and strings are checked here; `Entry.parse` checks the rest.
    longest: most bytes of one entry, by default LONGEST_ENTRY.
    Raises DataError, which calls the file `what` and names the line and byte, when it is damaged.
    """
    try:
        with path.open("rb") as stream:
            yield from _Reader(path, stream, LONGEST_ENTRY if longest is None else longest).entries()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: this {what} cannot be read: {reason}") from error


class _Reader:
    """A window on a file that moves forward; `data[at]` is the next byte."""

    def __init__(self, path: Path, stream: IO[bytes], longest: int) -> None:
        self.path = path
        self.longest = longest
        self.stream = stream
        self.data = stream.read(CHUNK)
        self.at = len(_BYTE_ORDER_MARK) if self.data.startswith(_BYTE_ORDER_MARK) else 0
        self.before = 0  # bytes of the file before `data`
        self.line = 1  # of `data[counted]`
        self.counted = 0

    def entries(self) -> Iterator[Entry]:
        opening = self.peek()
        if opening == b"[":
            yield from self.elements("")
        elif opening == b"{":
            yield from self.values()
        else:
            self.refuse("a JSON object or array")
        if self.peek():
            self.refuse("the end of the file")

    def values(self) -> Iterator[Entry]:
        """The values of the object that begins here."""
        self.at += 1
        while self.peek() == b'"':
            key_line, key_offset = self.place()
            key = Entry("", None, self.take_value(), key_line, key_offset).parse(self.path)
            if self.peek() != b":":
                self.refuse(f"':' after {quoted(key)}")
            self.at += 1
            if self.peek() == b"[" and self.peek(1) == b"{":
                yield from self.elements(key)
            else:
                yield self.entry(key, None)
            if self.peek() != b",":
                break
            self.at += 1
            if self.peek() != b'"':
                self.refuse("a key in double quotes")
        if self.peek() != b"}":
            self.refuse("a key in double quotes, ',' or '}'")
        self.at += 1

    def elements(self, key: str) -> Iterator[Entry]:
        """The elements of the array that begins here."""
        self.at += 1
        number = 0
        while self.peek() != b"]" or number:
            number += 1
            yield self.entry(key, number)
            if self.peek() != b",":
                break
            self.at += 1
        if self.peek() != b"]":
            self.refuse(f"',' or ']' after entry {number:,}" + (f" of {quoted(key)}" if key else ""))
        self.at += 1

    def entry(self, key: str, number: int | None) -> Entry:
        self.peek()
        line, offset = self.place()
        return Entry(key, number, self.take_value(), line, offset)

    def place(self) -> tuple[int, int]:
        """Line and byte of the next character."""
        self.line += self.data.count(b"\n", self.counted, self.at)
        self.counted = self.at
        return self.line, self.before + self.at

    def peek(self, beyond: int = 0) -> bytes:
        """The next byte that is no white space, b"" at the end of the file; the window moves to it.

        With `beyond`, the one after that many bytes and further white space instead, and the window stays.
        """
        byte = self.data[self.at + beyond : self.at + beyond + 1]
        if byte > b" ":  # the usual case, without the search for white space
            return byte
        while True:
            at = _SPACE.match(self.data, self.at + beyond).end()  # type: ignore[union-attr]  # matches nothing too
            if not beyond:
                self.at = at
            if at < len(self.data):
                return self.data[at : at + 1]
            if not self.grow():
                return b""

    def grow(self) -> bool:
        """Widen the window by as much as it holds, dropping what was passed; False at the end of the file."""
        kept = len(self.data) - self.at
        if kept > self.longest:
            self.refuse(f"an entry of at most {self.longest >> 20} MB")
        more = self.stream.read(max(CHUNK, kept))
        self.place()
        self.data = self.data[self.at :] + more
        self.before += self.at
        self.at = self.counted = 0
        return bool(more)

    def take_value(self) -> bytes:
        """The value that begins here, as it stands; the window moves past it."""
        while (end := self.value_end()) is None:
            if not self.grow():
                self.refuse("the rest of an entry that begins here", "the end of the file")
        text = self.data[self.at : end]
        self.at = end
        return text

    def value_end(self) -> int | None:
        """Where the value that begins here ends; None when the window is too short to tell."""
        first = self.data[self.at : self.at + 1]
        if first == b"{" and (end := self.flat_object_end()) is not None:
            return end
        if first and first in b'{["':
            return self.nested_end()
        match = _SCALAR.match(self.data, self.at)
        if match is None:
            self.refuse("a value")
        if match.end() < len(self.data):
            return match.end()
        # A number at the window's edge may go on behind it.
        return self.value_end() if self.grow() else len(self.data)

    def flat_object_end(self) -> int | None:
        """The end of an object without escapes, and without braces inside; None when it may be another.

        Searching for the next brace passes over a polygon's numbers far faster than parsing them. After an even
        number of quotes the brace stands outside of strings; as the only other brace is the first, it closes that.
        """
        close = self.data.find(b"}", self.at)
        if close < 0 or self.data.count(b"{", self.at, close) != 1:
            return None
        odd = self.data.count(b'"', self.at, close) % 2
        return None if odd or self.data.find(b"\\", self.at, close) >= 0 else close + 1

    def nested_end(self) -> int | None:
        """The end of the array, object or string that begins here."""
        depth, in_string = 0, False
        for token in _STRUCTURE.finditer(self.data, self.at):
            mark = token[0]
            if mark == b'"':
                in_string = not in_string
            elif not in_string:
                depth += (mark in b"[{") - (mark in b"]}")
            if depth == 0 and not in_string:
                return token.end()
        return None

    def refuse(self, expected: str, found: str | None = None) -> NoReturn:
        line, offset = self.place()
        found = found or (quoted(self.data[self.at : self.at + 1].decode("latin-1")) if self.peek() else "the end")
        raise DataError(
            f"{self.path}:{line}: damaged JSON at byte {offset:,}: expected {expected}, found {found}; mend the file "
            "or fetch it again"
        )
