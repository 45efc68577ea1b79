"""What storage libraries raise → one line without credentials, that says whether the file or the way to it is at fault.

Each library has errors of its own, of which none need be installed: they are told apart by the names of their classes
and by the statuses that they carry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from excel_cam.errors import DataError, ExcelCamError, MachineError, OutputError
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.remote.addresses import scheme_of, secrets_of, shown, where_credentials, without_credentials

_LONGEST = 400  # characters of what a server says
_MOST_CAUSES = 8
_REMEDY = "the storage or the way to it fails, not this file; see whether it answers, then run the same command again"
# botocore, aiohttp, requests, httpx, google.auth and Python have one of these among the ancestors of theirs.
_OF_THE_NETWORK = {
    "HTTPClientError", "ClientConnectionError", "ClientPayloadError", "ConnectionError", "TimeoutError",
    "FSTimeoutError", "TransportError", "IncompleteRead", "IncompleteReadError", "ResponseParserError",
}  # fmt: skip
_OF_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError", "SSOError",
    "ProfileNotFound", "DefaultCredentialsError", "RefreshError", "HttpNoCredentials",
    # codes of S3
    "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch",
    "RequestTimeTooSkewed", "TokenRefreshRequired",
}  # fmt: skip


def fault(
    error: BaseException, address: str, kind: type[DataError] | type[OutputError], what: str
) -> ExcelCamError:  # fmt: skip
    """The error to raise instead. kind: where it is the file's. what: could not be done, such as "read"."""
    place, text = shown(address), one_line(error, address)
    said = f"{place} cannot be {what}: {text}"
    marks = {mark for one in _causes(error) for mark in _marks(one)}
    statuses = {status for one in _causes(error) if (status := status_of(one)) is not None}
    if marks & _OF_CREDENTIALS or 401 in statuses:
        return MachineError(f"{said}; {where_credentials(scheme_of(address) or '')}")
    if marks & _OF_THE_NETWORK or any(status == 429 or status >= 500 for status in statuses):
        return MachineError(f"{said}: {_REMEDY}")
    if isinstance(error, OSError) and error.errno is not None:
        try:
            raise_if_machine(OSError(error.errno, text), place)
        except MachineError as machine:
            return machine
    return kind(said)


def one_line(error: BaseException, address: str) -> str:
    """What an error says, cut short; secrets go first, or half of one could be left."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    if isinstance(error, FileNotFoundError) and text.strip("/") in address:  # some libraries say its path alone
        text = "not found"
    text = secrets_of(address).redact(without_credentials(text)) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        found: Any = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    elif response is not None:
        found = getattr(response, "status_code", None)
    else:
        found = getattr(error, "status", getattr(error, "code", None))
    return int(found) if isinstance(found, int) or (isinstance(found, str) and found.isdecimal()) else None


def is_beyond_the_end(error: BaseException) -> bool:
    """Whether a server said that there are no bytes from there on."""
    return any(status_of(one) == 416 for one in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    found: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if found is None:
            return
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _marks(error: BaseException) -> Iterator[str]:
    """The names of an error's class and its ancestors, and the code that S3 gives it."""
    yield from (ancestor.__name__ for ancestor in type(error).__mro__)
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        yield str(response.get("Error", {}).get("Code"))
