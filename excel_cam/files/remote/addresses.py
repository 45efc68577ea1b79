"""Addresses such as `s3://bucket/folder`, and as they may be told: without user names, passwords and what is asked."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from excel_cam.errors import UsageError
from excel_cam.files.secrets import Secrets

WEB = ("http", "https")
_KEYED_BY_ENVIRONMENT = ("s3", "s3a", "gs", "gcs")  # the libraries of these take no credentials from addresses
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")  # CONTAINER@ACCOUNT: a name, no credentials
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")  # two letters at least: C:// is a drive
_CHAIN = re.compile(r"::[a-zA-Z][a-zA-Z0-9+.-]*://")  # as in simplecache::s3://...
# In any text: the host's part of an address up to the last @ in it, and everything behind a question mark, which may
# be a signature. A password that is not written as addresses want it may hold further marks: up to the next space.
_OWNER = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://([^\s/?#]*)@")
_QUERY = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+://[^\s?]*)\?\S*")


def scheme_of(address: str) -> str | None:
    """The scheme in small letters; None of a path of this machine."""
    match = _SCHEME.match(address)
    if match is None and _CHAIN.search(address):
        return address.partition("::")[0].lower()
    return None if match is None else match[1].lower()


def as_path(address: str) -> str:
    """A path of this machine, of the `file://...` and `local://...` addresses too; other addresses as they are."""
    scheme = scheme_of(address)
    if scheme not in ("file", "local"):
        return address
    path = address.partition("://")[2]
    if scheme == "file":
        path = unquote(path.removeprefix("localhost"))
    return path[1:] if re.match(r"/[a-zA-Z]:", path) else path  # file:///C:/photographs


def shown(address: str) -> str:
    """An address as it may be printed and stored."""
    if scheme_of(address) in (*WEB, "ftp", "sftp", "ssh", "smb") and not _is_readable(address):
        return f"{scheme_of(address)}://…"  # where its host begins is not to be told
    return without_credentials(address)


def without_credentials(text: str) -> str:
    """Any text, each address in it without user name, password and what is asked."""
    return _QUERY.sub(r"\1", _OWNER.sub(_without_owner, text))


def _without_owner(match: re.Match[str]) -> str:
    named = match[1].lower() in _CONTAINERS and ":" not in match[2]
    return match[0] if named else f"{match[1]}://"


def _is_readable(address: str) -> bool:
    """Whether host and port can be told apart; a password with marks of its own makes one of them odd."""
    try:
        parts = urlsplit(address)
        return parts.port != 0 and not re.search(r"\s", parts.netloc)
    except ValueError:
        return False


def secrets_of(address: str) -> Secrets:
    """What an address holds that must not be told."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return Secrets([])
    return _secrets(parts.netloc.rpartition("@")[0], parts.query)


@lru_cache(maxsize=16)  # many photographs fail behind one password
def _secrets(owner: str, query: str) -> Secrets:
    asked = [text for pair in parse_qsl(query, keep_blank_values=True) for text in (pair[1], "=".join(pair))]
    return Secrets([owner, *map(unquote, owner.split(":")), query, *asked])


def check(address: str) -> None:
    """Raise `UsageError` for an address that no library is to be given; it repeats nothing that may be secret."""
    scheme = scheme_of(address)
    if _CHAIN.search(address):
        raise UsageError(f"{without_credentials(address)}: chains of addresses (::) are not taken; give one address")
    if scheme in (*WEB, "ftp", "sftp", "ssh", "smb") and not _is_readable(address):
        raise UsageError(f"{shown(address)}: no address; a password with / ? # or @ needs these as %2F %3F %23 %40")
    if scheme in _KEYED_BY_ENVIRONMENT and "@" in address.partition("://")[2].partition("/")[0]:
        raise UsageError(
            f"{shown(address)}: credentials are not taken from such an address; {where_credentials(scheme)}"
        )


def where_credentials(scheme: str) -> str:
    """Where the library of a scheme looks for credentials."""
    if scheme in ("s3", "s3a"):
        return "give them as AWS has them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws"
    if scheme in ("gs", "gcs"):
        return "give them as Google has them: `gcloud auth application-default login`"
    if scheme == "hf":
        return "give them as Hugging Face has them: HF_TOKEN, or `hf auth login`"
    return "give them as the storage's own tools have them"


def below(address: str, name: str) -> str:
    """The address of what lies below, `name` with '/' between its parts."""
    if scheme_of(address) not in WEB:
        return f"{address.rstrip('/')}/{name}"
    address, mark, asked = address.partition("?")  # what is asked, such as a signature, counts for all that is below
    return f"{address.rstrip('/')}/{quote(name)}{mark}{asked}"


def last_part(address: str) -> str:
    """The last part of an address."""
    if scheme_of(address) in WEB:
        address = unquote(address.partition("?")[0])
    return address.rstrip("/").rpartition("/")[2]
