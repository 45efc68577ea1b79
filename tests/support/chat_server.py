"""A chat-completions server on this machine that can be told to misbehave."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLASSES = ["forklift", "coral", "kayak", "life jacket", "crane"]


def good_sentences(name: str, count: int, start: int = 0) -> list[str]:
    """Sentences that pass every check: each has parts of its own."""
    mark = "".join(character for character in name if character.isalnum())
    return [f"a red panel{mark}x{i} with bolt{mark}y{i} edges" for i in range(start, start + count)]


def good_answer(name: str, count: int) -> str:
    return json.dumps({"class": name, "sentences": good_sentences(name, count)})


def completion(content: Any) -> bytes:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    ).encode()


@dataclass
class Question:
    """One request as it arrived: the class asked for, how many sentences, how often it was asked before."""

    name: str
    count: int
    earlier: int
    prompt: str
    body: dict[str, Any]
    headers: dict[str, str]
    query: str


class Reply:
    """What goes back: status, body, headers; `length` may promise more than is sent."""

    def __init__(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.body, self.status = body, status
        self.headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        self.headers["Content-Length"] = str(len(body) if length is None else length)


Behaviour = Callable[[Question], Reply]


def well_behaved(question: Question) -> Reply:
    return Reply(completion(good_answer(question.name, question.count)))


@dataclass
class ChatServer:
    """The address to ask and what was asked."""

    url: str
    questions: list[Question] = field(default_factory=list)

    def asked(self) -> Counter[str]:
        return Counter(question.name for question in self.questions)


@contextmanager
def chat_server(behave: Behaviour) -> Iterator[ChatServer]:
    """Serve on a free port of this machine until the block ends."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            path, _, query = self.path.partition("?")
            assert path in ("/v1/chat/completions", "/chat/completions")
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["messages"][0]["content"]
            name = json.loads(re.search(r'"class": ("[^"]+")', prompt)[1])  # type: ignore[index]
            count = int(re.match(r"Write (\d+)", prompt)[1])  # type: ignore[index]
            with lock:
                earlier = server_record.asked()[name]
                question = Question(
                    name,
                    count,
                    earlier,
                    prompt,
                    body,
                    {key.lower(): value for key, value in self.headers.items()},
                    query,
                )
                server_record.questions.append(question)
            reply = behave(question)
            try:
                self.send_response(reply.status)
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(reply.body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client had waited long enough

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server_record = ChatServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server_record
    finally:
        server.shutdown()
        server.server_close()
