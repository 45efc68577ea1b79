"""What must not be told: keys in the environment and in addresses, and how they are kept out of what is printed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit
from urllib.request import getproxies

from excel_cam.errors import LanguageModelError

SHORTEST_SECRET = 8  # characters; shorter keys are placeholders for local servers ("none", "ollama"), and words
_KEY_RUN = 16  # letters and digits in a row, both among them: a word of a path is rarely so long, a key never shorter
_RECOGNISED = 12  # characters from a secret's first one on that give it away, where a server cut it off
_STAND_IN = "[key]"
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


@dataclass(frozen=True)
class Address:
    """An `--llm-url` in parts. base: without user name, password and query; what is asked."""

    base: str
    query: tuple[tuple[str, str], ...]
    user: str = ""
    password: str = ""

    @property
    def authorization(self) -> str | None:
        """The header that user name and password are sent in."""
        if not self.user and not self.password:
            return None
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")

    @property
    def path_secrets(self) -> list[str]:
        """The parts of the path that look like keys, as some gateways have them there."""
        return [part for part in map(unquote, urlsplit(self.base).path.split("/")) if _looks_like_a_key(part)]

    @property
    def shown(self) -> str:
        """The address as it may be printed and stored."""
        parts = urlsplit(self.base)
        path = "/".join(_STAND_IN if _looks_like_a_key(unquote(part)) else part for part in parts.path.split("/"))
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))

    @property
    def secrets(self) -> list[str]:
        """Every part that may be secret, in whole and with what stands beside it."""
        pair = [f"{self.user}:{self.password}"] if self.authorization else []
        return [
            self.user,
            self.password,
            *pair,
            *self.path_secrets,
            *(text for key, value in self.query for text in (value, f"{key}={value}")),
        ]


def read_address(text: str) -> Address:
    """An `--llm-url` in parts; raises `LanguageModelError`, which repeats nothing of it, where it is none."""
    if re.search(r"[\s\x00-\x1f\x7f-\x9f\\]", text):
        raise _no_address("it holds a space, control character or backslash")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise _no_address("its host cannot be read") from None
    if parts.scheme not in ("http", "https"):
        raise _no_address("it begins with neither http:// nor https://")
    try:
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        is_port = False
    if not is_port:
        raise _no_address("its port is no number from 1 to 65535; a password with / ? # or @ needs these as %2F %3F …")
    try:
        is_host = bool(host) and (":" in host or bool(host.encode("idna")))
    except UnicodeError:  # a part of the name that is empty or too long, or has characters that none has
        is_host = False
    if not is_host:
        raise _no_address("it names no host that can be")
    base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return Address(base, query, unquote(parts.username or ""), unquote(parts.password or ""))


def _looks_like_a_key(part: str) -> bool:
    """Whether a part of a path is made as keys are: a long run of letters and digits, or long and hexadecimal."""
    runs = re.findall(rf"\w{{{_KEY_RUN},}}", part, re.ASCII)
    if any(re.search("[0-9]", run) and re.search("[A-Za-z]", run) for run in runs):
        return True
    return bool(re.fullmatch("[0-9a-fA-F]{24,}", part.replace("-", "")))


def _no_address(reason: str) -> LanguageModelError:
    return LanguageModelError(
        f"--llm-url cannot be used: {reason}; expected an address such as http://localhost:11434/v1"
    )


def proxy_secrets() -> list[str]:
    """User names and passwords in the proxies' addresses of the environment."""
    found: list[str] = []
    for proxy in getproxies().values():
        user, _, password = urlsplit(proxy).netloc.rpartition("@")[0].partition(":")
        found += [unquote(user), unquote(password)]
    return found


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
                pieces += [text[at : found.start()], _STAND_IN]
                at = found.end()
                for one in rest:
                    following = one.match(text, at)
                    if following is None:
                        break
                    at = following.end()
            text = "".join([*pieces, text[at:]])
        for coded in self._coded:
            text = coded.sub(_STAND_IN, text)
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
