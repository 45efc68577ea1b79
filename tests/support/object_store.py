"""A store of objects that speaks S3, in this process on 127.0.0.1, and web servers with habits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BUCKET = "bucket"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDFORTESTSALONE", "AWS_SECRET_ACCESS_KEY": "secretfortestsalone"}


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running moto server with an empty bucket; the environment leads there, with keys of its own."""
    server_module = pytest.importorskip("moto.server", reason='moto is not installed: pip install "moto[server]"')
    pytest.importorskip("s3fs", reason="s3fs is not installed: the extra `remote`")
    from moto.backends import get_backend

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        forget_clients()
        backend = get_backend("s3")["123456789012"]["aws"]
        backend.reset()
        backend.create_bucket(BUCKET, "us-east-1")
        yield address
    finally:
        server.stop()
        forget_clients()


def s3_backend():
    """What the server holds."""
    from moto.backends import get_backend

    return get_backend("s3")["123456789012"]["aws"]


def forget_clients() -> None:
    """Have the next request read the environment anew."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def web_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a server on 127.0.0.1 that answers every GET and HEAD so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def sends(content: bytes, *, ranges: bool = True, announced: int | None = None) -> Callable[..., None]:
    """An answer of these bytes; announced: how many are said to come, where it is not the truth."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body, status, extra = content, 200, {}
        asked = handler.headers.get("Range") if ranges else None
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or len(content)), len(content) - 1) + 1
            if begin >= len(content):
                status, body, extra = 416, b"", {"Content-Range": f"bytes */{len(content)}"}
            else:
                status, body = 206, content[begin:end]
                extra = {"Content-Range": f"bytes {begin}-{end - 1}/{len(content)}"}
        handler.send_response(status)
        for name, value in extra.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if announced is None else announced))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
        if announced is not None:
            handler.close_connection = True

    return answer
