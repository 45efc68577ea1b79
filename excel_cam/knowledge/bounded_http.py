"""An HTTP client whose answers are bounded: a packed answer of some kilobytes may unpack to gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

MAX_ANSWER = 16_000_000  # bytes, unpacked; 200 sentences have some 20,000
MOST_REDIRECTS = 5
ENCODINGS = "gzip, deflate"  # what a server may pack an answer as
_PACKED_HEADERS = ("content-encoding", "content-length", "transfer-encoding")


class AnswerError(Exception):
    """An answer that is too long, or packed in a way that is not read."""


def bounded_client(client_class: Any, **options: Any) -> Any:
    """A client of `client_class`, which is httpx's or one that works as it does, whose answers are bounded.

    It raises `AnswerError` where the body of an answer comes to more than MAX_ANSWER bytes.
    """

    class BoundedClient(client_class):  # type: ignore[misc,unused-ignore]
        def send(self, request: Any, **options: Any) -> Any:
            """Send a request and read its answer whole; bodies of redirections are not read at all."""
            for _ in range(MOST_REDIRECTS + 1):
                response = super().send(request, **options | {"stream": True, "follow_redirects": False})
                if response.next_request is None:
                    return _read_whole(response)
                response.close()
                request = response.next_request
            raise AnswerError(f"it redirects more than {MOST_REDIRECTS} times")

    return BoundedClient(**options)


def _read_whole(response: Any) -> Any:
    """The response with its body read and unpacked."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    try:
        body = _joined(unpacked(response.iter_raw(), coding))
    finally:
        response.close()
    headers = [(key, value) for key, value in response.headers.multi_items() if key.lower() not in _PACKED_HEADERS]
    return type(response)(response.status_code, headers=headers, content=body, request=response.request)


def unpacked(blocks: Iterable[bytes], coding: str) -> Iterable[bytes]:
    """The blocks of a body as they were before they were packed, none longer than MAX_ANSWER and one byte."""
    if coding in ("identity", ""):
        yield from blocks
        return
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise AnswerError(f"it is packed as '{coding[:20]}', which was not asked for")
    unpacker: Any = None
    for block in blocks:
        if unpacker is None:
            # Deflate comes with zlib's header, as it should, or bare; gzip's is known by itself.
            is_bare = coding == "deflate" and block[:1] and block[0] & 15 != 8
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else zlib.MAX_WBITS | 32)
        try:
            yield unpacker.decompress(block, MAX_ANSWER + 1)
        except zlib.error as error:
            raise AnswerError(f"it cannot be unpacked: {error}") from None
        if unpacker.unconsumed_tail:
            raise AnswerError(f"it is longer than {MAX_ANSWER:,} bytes")


def _joined(blocks: Iterable[bytes]) -> bytes:
    body = bytearray()
    for block in blocks:
        body += block
        if len(body) > MAX_ANSWER:
            raise AnswerError(f"it is longer than {MAX_ANSWER:,} bytes")
    return bytes(body)
