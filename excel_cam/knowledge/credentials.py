"""What must not be told of a language model: keys in the environment and in addresses."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit
from urllib.request import getproxies

from excel_cam.errors import LanguageModelError
from excel_cam.files.secrets import STAND_IN

_KEY_RUN = 16  # letters and digits in a row, both among them: a word of a path is rarely so long, a key never shorter


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
        path = "/".join(STAND_IN if _looks_like_a_key(unquote(part)) else part for part in parts.path.split("/"))
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
