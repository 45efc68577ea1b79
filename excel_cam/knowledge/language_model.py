"""Ask a language model behind an OpenAI-compatible address, patiently: the only file that uses the `openai` client."""

from __future__ import annotations

import email.utils
import os
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from excel_cam.errors import LanguageModelError
from excel_cam.files.secrets import Secrets
from excel_cam.knowledge.bounded_http import ENCODINGS, AnswerError, bounded_client
from excel_cam.knowledge.credentials import proxy_secrets, read_address
from excel_cam.knowledge.prompts import SCHEMA
from excel_cam.wording import install_hint

KEY_VARIABLES = ("EXCEL_CAM_LLM_KEY", "OPENAI_API_KEY")
LONGEST_WAIT = 600.0  # seconds; a server that wants more is left for a later run
LONGEST_BACKOFF = 60.0  # seconds between tries when the server names no time
_MESSAGE_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class LanguageModelChoice:
    """Which model to ask, where and how. `temperature` None leaves it to the server. `timeout` in seconds."""

    url: str
    name: str
    temperature: float | None = None
    timeout: float = 120.0
    attempts: int = 6

    @property
    def public_url(self) -> str:
        """The address without what may be secret in it. Raises `LanguageModelError`."""
        return read_address(self.url).shown


class _PassingError(Exception):
    """Trouble that may pass: what it was, and the seconds the server asks to wait, if it does."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class LanguageModel:
    """A client that several threads may use; raises `LanguageModelError` when it cannot work at all.

    The key comes from the environment only and is taken out of everything that is returned or raised.
    """

    def __init__(self, choice: LanguageModelChoice, report: Callable[[str], None]) -> None:
        try:
            import openai
        except ImportError:
            raise LanguageModelError(
                f"asking a language model needs the openai package: {install_hint('llm')}; "
                "without it, see `excel-cam kb prompts`"
            ) from None
        address, key = read_address(choice.url), _key_from_environment()
        headers = {"Accept-Encoding": ENCODINGS}
        if address.authorization is not None:
            headers["Authorization"] = address.authorization
            if key:
                report("the key of the environment is not sent: --llm-url has a user name or password of its own")
        self.choice = choice
        self._openai: Any = openai
        self._report = report
        self._secrets = Secrets([key, *address.secrets, *proxy_secrets()])
        try:
            # Retries are done here: the client's own would neither wait for each other nor stop at once.
            self._client = openai.OpenAI(
                base_url=address.base, api_key=key or "none", max_retries=0, timeout=choice.timeout,
                default_headers=headers,
                http_client=bounded_client(
                    openai.DefaultHttpxClient, params=list(address.query), timeout=choice.timeout
                ),
            )  # fmt: skip
        except Exception as error:  # an address, or a proxy's, that only the client finds fault with
            raise LanguageModelError(f"--llm-url or a proxy cannot be used: {self._one_line(error)}") from None
        self._enforces_schema = True
        self._stopped = threading.Event()
        self._failure: LanguageModelError | None = None  # the first one
        self._lock = threading.Lock()
        self._not_before = 0.0  # time.monotonic() before which no thread asks: the server's Retry-After

    def stop(self) -> None:
        """Let waiting threads give up at once."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Whether no more questions are to be asked."""
        return self._stopped.is_set()

    def redact(self, text: str) -> str:
        """`text` without the key, and without what in the address may be secret."""
        return self._secrets.redact(text)

    def _one_line(self, error: BaseException) -> str:
        """An error's text on one line, cut short; the secrets go first, or half of one could be left."""
        text = " ".join(self.redact(str(error)).split()) or type(error).__name__
        return text if len(text) <= _MESSAGE_LENGTH else f"{text[:_MESSAGE_LENGTH]}…"

    def ask(self, prompt: str) -> str:
        """The answer to one prompt, tried again a bounded number of times; "" when it keeps coming back empty.

        Raises `LanguageModelError` when the server refuses, or cannot be reached in all attempts; from then on every
        thread gets that error, so that no question is asked in vain.
        """
        try:
            return self._ask_patiently(prompt)
        except LanguageModelError as error:
            with self._lock:
                self._failure = self._failure or error
            self.stop()
            raise

    def _ask_patiently(self, prompt: str) -> str:
        attempt = 1
        while True:
            self._wait_until_allowed()
            try:
                return self.redact(self._request(prompt))
            except _PassingError as trouble:
                reason = self.redact(str(trouble))
                if attempt == self.choice.attempts:
                    if str(trouble) == _EMPTY:
                        return ""
                    raise LanguageModelError(
                        f"{self.choice.public_url}: {reason}, {attempt} times; the answers so far are kept, "
                        "the same command goes on from here"
                    ) from None
                self._postpone(attempt, trouble.wait, reason)
            attempt += 1

    def _request(self, prompt: str) -> str:
        openai, arguments = self._openai, self._arguments(prompt)
        try:
            return _content(self._client.chat.completions.create(**arguments))
        except openai.APITimeoutError:
            raise _PassingError(f"no answer within {self.choice.timeout:g} s") from None
        except openai.APIStatusError as error:
            return self._after_refusal(prompt, error, with_schema="response_format" in arguments)
        except openai.APIConnectionError as error:
            raise _PassingError(f"the connection failed ({self._one_line(error.__cause__ or error)})") from None
        except (openai.APIError, AnswerError, ValueError) as error:
            # ValueError: a body that is not JSON, or not in the encoding it claims.
            raise _PassingError(f"the response cannot be read ({self._one_line(error)})") from None

    def _arguments(self, prompt: str) -> dict[str, Any]:
        arguments: dict[str, Any] = {"model": self.choice.name, "messages": [{"role": "user", "content": prompt}]}
        if self.choice.temperature is not None:
            arguments["temperature"] = self.choice.temperature
        if self._enforces_schema:
            schema = {"name": "sentences", "strict": True, "schema": SCHEMA}
            arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
        return arguments

    def _after_refusal(self, prompt: str, error: Any, with_schema: bool) -> str:
        """What to do with an HTTP status that is no success: ask without a schema, wait, or give up."""
        status, text = error.status_code, self._one_line(error)
        if status in (400, 422) and with_schema:
            with self._lock:
                if self._enforces_schema:
                    self._report("the server refuses JSON schemas; asking without one")
                self._enforces_schema = False
            return self._request(prompt)
        is_exhausted = status == 429 and getattr(error, "code", None) == "insufficient_quota"
        if (status in (408, 409, 429) or status >= 500) and not is_exhausted:
            raise _PassingError(f"the server answers {status}", _retry_after(error.response.headers)) from None
        remedy = "check --llm-url and --llm-model"
        if status in (401, 403):
            remedy = f"set {' or '.join(KEY_VARIABLES)} to a valid key"
        elif status in (404, 405) and not re.search(r"/v\d", shown := self.choice.public_url):
            remedy += f"; most servers answer below /v1: --llm-url {shown.rstrip('/')}/v1"
        raise LanguageModelError(f"{self.choice.public_url} refuses: {text}; {remedy}") from None

    def _wait_until_allowed(self) -> None:
        while (seconds := self._not_before - time.monotonic()) > 0:
            if self._stopped.wait(seconds):
                break
        if self._stopped.is_set():
            raise self._failure or LanguageModelError("stopped")

    def _postpone(self, attempt: int, wait: float | None, reason: str) -> None:
        """Wait before the next try: as long as the server says, all threads; else longer each time, this one."""
        if wait is None:
            # Spread, so that threads that failed together do not come back together.
            self._stopped.wait(min(LONGEST_BACKOFF, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0))
            return
        if wait > LONGEST_WAIT:
            raise LanguageModelError(
                f"{self.choice.public_url}: {reason} and asks to wait {wait:,.0f} s; run the same command then, "
                "the answers so far are kept"
            )
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + wait)


_EMPTY = "the response has no answer in it"


def _content(completion: Any) -> str:
    try:
        content = completion.choices[0].message.content
    except (AttributeError, TypeError, IndexError, KeyError):
        content = None
    if not isinstance(content, str) or not content.strip():
        raise _PassingError(_EMPTY)
    return content


def _retry_after(headers: Any) -> float | None:
    """Seconds to wait by the headers `retry-after-ms` or `Retry-After` (seconds or a date); None without them."""
    for header, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[header]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError):
        return None


def _key_from_environment() -> str:
    for variable in KEY_VARIABLES:
        key = os.environ.get(variable, "").strip()
        if not key:
            continue
        if not (key.isascii() and key.isprintable()):
            raise LanguageModelError(f"the key in {variable} holds characters that no key has; set it again")
        return key
    return ""
