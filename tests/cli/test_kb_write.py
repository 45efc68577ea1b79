"""`kb write` with the real client against a local server that misbehaves."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, quote

import pytest
from chat_server import (
    CLASSES,
    Behaviour,
    ChatServer,
    Question,
    Reply,
    chat_server,
    completion,
    good_answer,
    good_sentences,
    well_behaved,
)
from click.testing import Result

pytest.importorskip("openai", reason="openai, extra llm, is not installed")

from excel_cam.files.secrets import Secrets
from excel_cam.knowledge import language_model
from excel_cam.knowledge.base import read_knowledge
from excel_cam.knowledge.credentials import read_address
from excel_cam.knowledge.language_model import LanguageModelChoice

KEY = "sk-secret-0123456789abcdef"
Write = Callable[..., Result]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The key in the environment, no proxy, and no long waits between tries."""
    monkeypatch.setenv("EXCEL_CAM_LLM_KEY", KEY)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(language_model, "LONGEST_BACKOFF", 0.01)
    return


@pytest.fixture
def write(tmp_path: Path, excel_cam: Callable[..., Result]) -> Write:
    """Run `kb write` for the five classes; afterwards the key is in no output and no file."""
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))

    def run(server: ChatServer, *options: object) -> Result:
        result = excel_cam(
            "kb", "write", "--classes", tmp_path / "classes.txt", "--out", tmp_path / "my.json",
            "--llm-url", server.url, "--llm-model", "m", "--timeout", 5, *options,
        )  # fmt: skip
        for text in (result.output, *(path.read_text() for path in tmp_path.iterdir())):
            assert KEY not in text
        return result

    return run


def journal(tmp_path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (tmp_path / "my.json.answers.jsonl").read_text().splitlines()]


def test_writes_a_knowledge_base_with_one_question_per_class(tmp_path: Path, write: Write) -> None:
    with chat_server(well_behaved) as server:
        result = write(server, "--temperature", 0.5)
    assert result.exit_code == 0, result.output
    assert server.asked() == dict.fromkeys(CLASSES, 1)
    question = server.questions[0]
    assert question.headers["authorization"] == f"Bearer {KEY}"
    assert (question.body["model"], question.body["temperature"]) == ("m", 0.5)
    assert question.body["response_format"]["json_schema"]["schema"]["required"] == ["class", "sentences"]
    base = read_knowledge(tmp_path / "my.json")
    assert [entry.name for entry in base.classes] == CLASSES
    assert base.classes[3].sentences == tuple(good_sentences("life jacket", 20))
    record = json.loads((tmp_path / "my.json").read_text())
    origin = record["provenance"]
    assert (origin["parameters"]["model"], origin["parameters"]["url"]) == ("m", server.url)
    assert origin["parameters"]["temperature"] == 0.5
    assert origin["prompt"].startswith("Write {count} sentences")
    assert origin["date"]
    assert {entry["class"]: entry["answer"] for entry in journal(tmp_path)} == {
        name: good_answer(name, 20) for name in CLASSES
    }


def first_time(stumble: Behaviour) -> Behaviour:
    """Misbehave on the first question for each class, behave from then on."""
    return lambda question: well_behaved(question) if question.earlier else stumble(question)


def slow(question: Question) -> Reply:
    time.sleep(0.8)
    return well_behaved(question)


LATIN = completion("x").replace(b"x", "größe".encode("latin-1"))
STUMBLES: dict[str, Behaviour] = {
    "500": lambda _: Reply(b"oops", 500),
    "503 with an echo": lambda _: Reply(json.dumps({"error": {"message": f"key {KEY} busy"}}).encode(), 503),
    "429": lambda _: Reply(b"{}", 429, Retry_After="0"),
    "429 in milliseconds": lambda _: Reply(b"{}", 429, retry_after_ms="20"),
    "time-out": slow,
    "broken JSON": lambda _: Reply(b'{"choices": [{"mess'),
    "not JSON at all": lambda _: Reply(b"<html>proxy</html>", 200, Content_Type="text/html"),
    "wrong schema": lambda _: Reply(b'{"result": "fine"}'),
    "wrong types": lambda _: Reply(b'{"choices": {"0": 1}}'),
    "a list": lambda _: Reply(b"[1, 2]"),
    "empty choices": lambda _: Reply(b'{"choices": []}'),
    "no content": lambda _: Reply(completion(None)),
    "cut stream": lambda q: Reply(well_behaved(q).body[:90], length=4000),
    "empty body": lambda _: Reply(b""),
    "wrong encoding": lambda _: Reply(LATIN),
}


@pytest.mark.parametrize("name", STUMBLES)
def test_asks_again_where_no_answer_came(tmp_path: Path, write: Write, name: str) -> None:
    with chat_server(first_time(STUMBLES[name])) as server:
        result = write(server, "--timeout", 0.4 if name == "time-out" else 5)
    assert result.exit_code == 0, result.output
    assert server.asked() == dict.fromkeys(CLASSES, 2)
    assert read_knowledge(tmp_path / "my.json").sentence_count == 100
    assert len(journal(tmp_path)) == 5


def test_waits_as_long_as_the_server_says_with_every_thread(write: Write) -> None:
    times: list[tuple[float, bool]] = []

    def behave(question: Question) -> Reply:
        refuse = not times
        times.append((time.monotonic(), refuse))
        return Reply(b"{}", 429, Retry_After="1") if refuse else well_behaved(question)

    with chat_server(behave) as server:
        assert write(server, "--concurrency", 1).exit_code == 0
    assert [refused for _, refused in times] == [True] + [False] * 5
    assert times[1][0] - times[0][0] >= 1


def test_a_wait_that_is_too_long_is_left_for_later(tmp_path: Path, write: Write) -> None:
    with chat_server(lambda _: Reply(b"{}", 429, Retry_After="86400")) as server:
        result = write(server)
    assert result.exit_code == 1
    assert "asks to wait 86,400 s; run the same command then" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: http://127.0.0.1")
    assert not (tmp_path / "my.json").exists()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": formatdate(0, usegmt=True)}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert language_model._retry_after(headers) == expected


def test_retry_after_a_date() -> None:
    seconds = language_model._retry_after({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert seconds == pytest.approx(100, abs=2)


def test_gives_up_after_the_attempts_and_says_where_it_stands(write: Write) -> None:
    with chat_server(STUMBLES["503 with an echo"]) as server:
        result = write(server, "--attempts", 3, "--concurrency", 1)
    assert result.exit_code == 1
    assert "the server answers 503, 3 times; the answers so far are kept" in result.stderr
    assert server.asked() == {CLASSES[0]: 3}


def test_a_server_that_is_not_there(write: Write) -> None:
    result = write(ChatServer("http://127.0.0.1:9/v1"), "--attempts", 2)
    assert result.exit_code == 1
    assert "the connection failed" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (401, {"message": f"Incorrect API key provided: {KEY}."}, "set EXCEL_CAM_LLM_KEY or OPENAI_API_KEY"),
        (404, {"message": "model m not found"}, "check --llm-url and --llm-model"),
        (429, {"message": "no money left", "code": "insufficient_quota"}, "no money left"),
    ],
)
def test_refusals_that_do_not_pass_end_at_once(write: Write, status: int, error: dict[str, str], expected: str) -> None:
    with chat_server(lambda _: Reply(json.dumps({"error": error}).encode(), status)) as server:
        result = write(server, "--concurrency", 1)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert len(server.questions) == 1


def test_a_server_without_schemas_is_asked_without(write: Write) -> None:
    def behave(question: Question) -> Reply:
        if "response_format" in question.body:
            return Reply(b'{"error": {"message": "response_format is not supported"}}', 400)
        return Reply(completion(f"Sure! Here they are:\n```json\n{good_answer(question.name, 20)}\n```"))

    with chat_server(behave) as server:
        result = write(server, "--concurrency", 4)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("asking without one") == 1
    assert sum("response_format" not in question.body for question in server.questions) == 5


def test_fewer_sentences_are_completed_and_more_are_cut(tmp_path: Path, write: Write) -> None:
    def behave(question: Question) -> Reply:
        sentences = good_sentences(question.name, 30)
        if question.name == "coral":
            sentences = good_sentences("coral", 17) if not question.earlier else good_sentences("coral", 3, start=17)
        return Reply(completion(json.dumps({"class": question.name, "sentences": sentences})))

    with chat_server(behave) as server:
        assert write(server).exit_code == 0
    assert server.asked() == {**dict.fromkeys(CLASSES, 1), "coral": 2}
    (again,) = [question for question in server.questions if question.earlier]
    assert again.count == 3
    assert good_sentences("coral", 17)[16] in again.prompt
    base = read_knowledge(tmp_path / "my.json")
    assert [len(entry.sentences) for entry in base.classes] == [20] * 5
    assert base.classes[0].sentences == tuple(good_sentences("forklift", 20))


def test_only_what_failed_the_checks_is_asked_again(tmp_path: Path, write: Write) -> None:
    bad = ["a kayak with yellow paddles rests on it", "it is very popular and important.", "word " * 90]

    def behave(question: Question) -> Reply:
        if question.name != "crane" or question.earlier:
            return Reply(completion(json.dumps({"sentences": good_sentences(question.name, question.count, start=50)})))
        return Reply(completion(json.dumps({"class": "crane", "sentences": bad + good_sentences("crane", 17)})))

    with chat_server(behave) as server:
        result = write(server)
    assert result.exit_code == 0
    (again,) = [question for question in server.questions if question.earlier]
    assert (again.name, again.count) == ("crane", 3)
    assert "names the class 'kayak'" in again.prompt
    assert 'refused: "it is very popular and important."' in result.stderr
    sentences = read_knowledge(tmp_path / "my.json").classes[4].sentences
    assert sentences == tuple(good_sentences("crane", 17) + good_sentences("crane", 3, start=50))


def test_a_class_that_stays_incomplete_is_an_error_or_accepted(tmp_path: Path, write: Write) -> None:
    def behave(question: Question) -> Reply:
        return Reply(completion(good_answer(question.name, 5 if question.name == "kayak" else 20)))

    with chat_server(behave) as server:
        result = write(server, "--rounds", 1)
        assert result.exit_code == 1
        assert "missing for kayak (5 of 20); raise --rounds to ask more often, or take fewer" in result.stderr
        assert not (tmp_path / "my.json").exists()
        assert server.asked()["kayak"] == 2
        assert write(server, "--rounds", 1, "--at-least", 5).exit_code == 0
        assert server.asked() == {**dict.fromkeys(CLASSES, 1), "kayak": 2}
    assert len(read_knowledge(tmp_path / "my.json").classes[2].sentences) == 5


def test_what_was_answered_is_never_asked_twice(tmp_path: Path, write: Write) -> None:
    broken = True

    def behave(question: Question) -> Reply:
        if broken and question.name == "kayak":
            return Reply(b"{}", 401)
        return Reply(completion(good_answer(question.name, 18 if not question.earlier else 20)))

    with chat_server(behave) as server:
        assert write(server, "--concurrency", 1).exit_code == 1
        assert server.asked() == {"forklift": 1, "coral": 1, "kayak": 1}
        path = tmp_path / "my.json.answers.jsonl"
        path.write_bytes(path.read_bytes() + b'{"key": "cut of')
        broken = False
        result = write(server, "--concurrency", 1)
        assert result.exit_code == 0, result.output
        assert "2 answers are in" in result.stderr
        # The round of completions follows from the first answers, so it is asked once as well.
        assert server.asked() == {"forklift": 2, "coral": 2, "kayak": 2, "life jacket": 2, "crane": 2}
        before = (tmp_path / "my.json").read_bytes()
        assert write(server).exit_code == 1  # my.json is there
        assert write(server, "--overwrite").exit_code == 0
        assert len(server.questions) == 10
    assert json.loads(before)["classes"] == json.loads((tmp_path / "my.json").read_bytes())["classes"]


def test_a_killed_run_loses_no_answer(tmp_path: Path, write: Write) -> None:
    hold = threading.Event()

    def behave(question: Question) -> Reply:
        if question.name in ("life jacket", "crane") and not question.earlier:
            hold.wait(20)
        return well_behaved(question)

    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    with chat_server(behave) as server:
        command = [sys.executable, "-m", "excel_cam", "kb", "write", "--classes", "classes.txt", "--out", "my.json",
                   "--llm-url", server.url, "--llm-model", "m", "--concurrency", "1", "--timeout", "5"]  # fmt: skip
        process = subprocess.Popen(command, cwd=tmp_path, env=os.environ, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while len(server.questions) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        hold.set()
        assert len(journal(tmp_path)) == 3
        result = write(server)
    assert result.exit_code == 0, result.output
    assert server.asked() == {**dict.fromkeys(CLASSES, 1), "life jacket": 2}


def test_an_interrupted_run_saves_the_answers_on_their_way(tmp_path: Path, write: Write) -> None:
    hold = threading.Event()

    def behave(question: Question) -> Reply:
        if question.name == "coral":
            hold.wait(20)
        return well_behaved(question)

    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    with chat_server(behave) as server:
        command = [sys.executable, "-m", "excel_cam", "kb", "write", "--classes", "classes.txt", "--out", "my.json",
                   "--llm-url", server.url, "--llm-model", "m", "--concurrency", "1", "--timeout", "30"]  # fmt: skip
        process = subprocess.Popen(command, cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while len(server.questions) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("waiting for the answers on their way" in line for line in lines)
        hold.set()
        assert any("the same command goes on from here" in line for line in lines)
        assert process.wait(20) == 130
        process.stderr.close()
        assert [entry["class"] for entry in journal(tmp_path)] == ["forklift", "coral"]
        assert write(server).exit_code == 0
    assert server.asked() == dict.fromkeys(CLASSES, 1)


def test_a_key_in_an_answer_is_taken_out(tmp_path: Path, write: Write) -> None:
    def behave(question: Question) -> Reply:
        sentences = [f"a blue label that reads {KEY} on steel", *good_sentences(question.name, 19)]
        if question.name != "coral":
            sentences = good_sentences(question.name, 20)
        return Reply(completion(json.dumps({"sentences": sentences})))

    with chat_server(behave) as server:
        assert write(server).exit_code == 0
    assert "[key]" in read_knowledge(tmp_path / "my.json").classes[1].sentences[0]


def test_a_placeholder_for_a_key_is_left_in_sentences(
    tmp_path: Path, excel_cam: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCEL_CAM_LLM_KEY", "bolt")
    (tmp_path / "classes.txt").write_text("kayak")
    out = tmp_path / "my.json"
    with chat_server(well_behaved) as server:
        excel_cam("kb", "write", "--classes", tmp_path / "classes.txt", "--out", out, "--llm-url", server.url,
                  "--llm-model", "m")  # fmt: skip
    assert read_knowledge(out).classes[0].sentences == tuple(good_sentences("kayak", 20))


def test_a_list_of_two_hundred_classes(tmp_path: Path, write: Write) -> None:
    names = [f"thing{number}" for number in range(200)]
    (tmp_path / "classes.txt").write_text("\n".join(names))
    with chat_server(well_behaved) as server:
        result = write(server, "--concurrency", 8, "--sentences", 10)
    assert result.exit_code == 0, result.output[-500:]
    assert server.asked() == dict.fromkeys(names, 1)
    assert [entry.name for entry in read_knowledge(tmp_path / "my.json").classes] == names


def test_an_answer_of_nothing_is_asked_for_again_in_later_rounds(write: Write) -> None:
    def behave(question: Question) -> Reply:
        return Reply(completion("")) if question.name == "crane" else well_behaved(question)

    with chat_server(behave) as server:
        result = write(server, "--rounds", 1, "--attempts", 2)
    assert result.exit_code == 1
    assert "missing for crane (0 of 20)" in result.stderr
    assert server.asked()["crane"] == 4


def test_without_the_client_one_line_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    result = write(ChatServer("http://127.0.0.1:9/v1"))
    assert result.exit_code == 1
    assert "pip install '.[llm]'" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (["--llm-url", "localhost:11434/v1"], 1, "expected an address such as http://localhost:11434/v1"),
        (["--at-least", "21"], 2, "--at-least is more than --sentences"),
        (["--answers", "a.jsonl"], 2, "either --answers, or --llm-url with --llm-model"),
        (["--template", "no place"], 1, "must contain {} once"),
    ],
)
def test_options_that_cannot_be(write: Write, options: list[str], status: int, expected: str) -> None:
    result = write(ChatServer("http://127.0.0.1:9/v1"), *options)
    assert result.exit_code == status
    assert expected in result.stderr


def test_a_key_that_cannot_be(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCEL_CAM_LLM_KEY", "schlüssel")
    result = write(ChatServer("http://127.0.0.1:9/v1"))
    assert result.exit_code == 1
    assert "the key in EXCEL_CAM_LLM_KEY holds characters that no key has" in result.stderr


def test_secrets_in_the_address_are_not_kept(tmp_path: Path, write: Write) -> None:
    with chat_server(well_behaved) as server:
        private = ChatServer(server.url.replace("http://", "http://user:pass-word@"))
        assert write(private).exit_code == 0
    assert "pass-word" not in "".join(path.read_text() for path in tmp_path.iterdir())


# ---- what must not be told, and what an address may be


def spellings(secret: str) -> dict[str, str]:
    """A secret as servers and libraries may write it."""
    encoded = secret.encode()
    return {
        "plain": secret,
        "behind much": "x" * 190 + secret,
        "cut off": secret[:-1],
        "percent": "".join(f"%{byte:02X}" for byte in encoded),
        "twice percent": quote(quote(secret, safe=""), safe=""),
        "JSON": "".join(f"\\u{byte:04X}" for byte in encoded),
        "JSON in JSON": json.dumps(json.dumps(secret)),
        "HTML": "".join(f"&#{byte};" for byte in encoded),
        "base64": base64.b64encode(encoded).decode(),
        "basic": base64.b64encode(b"user:" + encoded).decode(),
        "url base64": base64.urlsafe_b64encode(b"?" + encoded + b":x").decode(),
        "hex": encoded.hex().upper(),
    }


@pytest.mark.parametrize("spelling", spellings(KEY))
def test_the_key_is_in_no_message_however_it_is_spelt(write: Write, spelling: str) -> None:
    text = spellings(KEY)[spelling]
    with chat_server(lambda _: Reply(json.dumps({"error": {"message": f"no: {text}"}}).encode(), 401)) as server:
        result = write(server)
    assert result.exit_code == 1
    assert "[key]" in result.stderr or spelling == "behind much"
    for part in (text[-14:], text[:14], KEY[:9]):
        if part != "x" * 14:
            assert part not in result.output


@pytest.mark.parametrize("secret", ["pass/w+rd=?&\u00e9 x", 'quo"ted\\secret', "plain-secret-1", "=====+++++"])
def test_secrets_are_found_in_every_spelling(secret: str) -> None:
    secrets = Secrets([secret])
    for text in spellings(secret).values():
        assert secrets.redact(f"<{text}>").startswith("<")
        assert "[key]" in secrets.redact(f"<{text}>")
    assert secrets.redact("nothing of it") == "nothing of it"


def with_parts(url: str, userinfo: str = "", query: str = "") -> str:
    return url.replace("://", f"://{userinfo}") + query


def test_keys_in_the_address_are_sent_where_they_belong_and_shown_nowhere(tmp_path: Path, write: Write) -> None:
    user, word, value = "some.body", "pa/ss:w@rd\u00e9", "value+of/key=="
    with chat_server(well_behaved) as server:
        plain = server.url
        userinfo = f"{quote(user)}:{quote(word, safe='')}@"
        server.url = with_parts(plain, userinfo, f"?api-key={quote(value, safe='')}&key=b&key=c")
        result = write(server)
    assert result.exit_code == 0, result.output
    assert "the key of the environment is not sent" in result.stderr
    question = server.questions[0]
    expected = base64.b64encode(f"{user}:{word}".encode()).decode()
    assert question.headers["authorization"] == f"Basic {expected}"
    assert parse_qsl(question.query) == [("api-key", value), ("key", "b"), ("key", "c")]
    for text in (result.output, *(path.read_text() for path in tmp_path.iterdir())):
        for secret in (user, word, quote(word, safe=""), value, quote(value, safe=""), expected):
            assert secret not in text
    assert json.loads((tmp_path / "my.json").read_text())["provenance"]["parameters"]["url"] == plain


def test_an_echo_of_the_address_is_not_shown(write: Write) -> None:
    def echo(question: Question) -> Reply:
        return Reply(json.dumps({"error": {"message": f"{question.headers} {question.query}"}}).encode(), 404)

    with chat_server(echo) as server:
        server.url = with_parts(server.url, "name:secret-word@", "?key=query-secret")
        result = write(server)
    assert result.exit_code == 1
    for secret in ("secret-word", "query-secret", base64.b64encode(b"name:secret-word").decode()[:20]):
        assert secret not in result.output


@pytest.mark.parametrize(
    "address",
    [
        "", "localhost:11434", "ftp://host/v1", "http://", "http:///v1", "http://:80/v1", "http://host:port/v1",
        "http://host:99999/v1", "http://host:0/v1", "http://ho st/v1", "http://host/v 1", "http://[::1/v1", "http://::1/v1",
        "http://[zz]/v1", "http://host\n/v1", "http://\u2100/v1", "http://a..b/v1", f"http://{'a' * 64}.com/v1",
        "http://user:pa/sword99@host/v1", "http://user:pa#sword99@host/v1", "http://user:p\x1bsword99@host/v1",
        "http://\ud800/v1", "http://xn--\u00fc/v1",
    ],
)  # fmt: skip
def test_odd_addresses_are_one_line_that_tells_nothing_of_them(write: Write, address: str) -> None:
    result = write(ChatServer(address), "--attempts", 1)
    assert result.exit_code == 1
    assert result.stderr.count("\n") <= 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert "sword99" not in result.output


def test_addresses_may_be_ipv6_or_not_ascii() -> None:
    assert read_address("http://[::1]:8080/v1").base == "http://[::1]:8080/v1"
    assert read_address("https://b\u00fccher.example/v1").base == "https://b\u00fccher.example/v1"


@pytest.mark.parametrize(
    "key", ["a8F3kd92LmQx71Zp", "sk_live_4f9a8b7c6d5e4f3a", "0123abcd-4567-89ef-0123-456789abcdef"]
)
def test_a_key_in_the_path_is_shown_nowhere(key: str) -> None:
    address = read_address(f"https://gateway.example/v1/{key}/openai-compatible/my-gpt-4o-deployment")
    assert address.shown == "https://gateway.example/v1/[key]/openai-compatible/my-gpt-4o-deployment"
    assert key in address.base  # what is asked
    assert key not in Secrets(address.secrets).redact(f"404 for /v1/{key}/openai-compatible/chat/completions")
    assert LanguageModelChoice(url=address.base, name="model").public_url == address.shown


def packed(coding: str, content: bytes) -> Reply:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "br": bytes}[coding]
    return Reply(pack(content), Content_Encoding=coding)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_answers_are_read(write: Write, coding: str) -> None:
    with chat_server(lambda question: packed(coding, well_behaved(question).body)) as server:
        assert write(server).exit_code == 0


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_answers_that_unpack_without_end_are_not_held(write: Write, coding: str) -> None:
    reply = packed(coding, bytes(300_000_000))
    with chat_server(lambda _: reply) as server:
        tracemalloc.start()
        result = write(server, "--attempts", 1, "--concurrency", 1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert result.exit_code == 1
    assert "which was not asked for" in result.stderr if coding == "br" else "longer than 16,000,000" in result.stderr
    assert peak < 100_000_000


def test_an_address_without_v1_is_hinted_and_no_empty_file_is_left(tmp_path: Path, write: Write) -> None:
    with chat_server(lambda _: Reply(b"{}", 404)) as server:
        server.url = server.url.removesuffix("/v1")
        result = write(server, "--attempts", 1)
    assert result.exit_code == 1
    assert f"most servers answer below /v1: --llm-url {server.url}/v1" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["classes.txt"]
