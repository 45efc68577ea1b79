"""Ask a language model for a whole class list, in rounds; each answer is on disk before the next step."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from excel_cam.errors import OutputError
from excel_cam.files.atomic import check_writable, hash_json, json_line
from excel_cam.files.json_file import parse_json_line
from excel_cam.knowledge.base import KnowledgeBase
from excel_cam.knowledge.check import TokenLimit
from excel_cam.knowledge.language_model import LanguageModel
from excel_cam.knowledge.prompts import read_answer
from excel_cam.knowledge.selection import Selection, select_sentences
from excel_cam.wording import Report, first_lines

# Shows how far so many questions have got; what it gives is called after each answer.
Progress = Callable[[int], AbstractContextManager[Callable[[], object]]]


class Journal:
    """Answers on disk, one JSON object per line, each written the moment it comes, so that none is asked for twice."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier run left; raises `OutputError` when the file cannot be read or appended to.

        Where there is none, it is only made with the first answer.
        """
        self.path = path
        self.answers: dict[str, str] = {}
        self._lock = threading.Lock()
        content = b""
        check_writable(path.parent)
        try:
            with contextlib.suppress(FileNotFoundError), path.open("rb+") as stream:
                content = stream.read()
                if content and not content.endswith(b"\n"):
                    stream.write(b"\n")  # a killed run's cut line ends here, the next begins on its own
        except OSError as error:
            raise OutputError(f"{path}: the file of answers cannot be written: {error.strerror}") from None
        for line in content.splitlines():
            entry = parse_json_line(line)
            if isinstance(entry, dict) and isinstance(entry.get("key"), str) and isinstance(entry.get("answer"), str):
                self.answers[entry["key"]] = entry["answer"]

    def add(self, entry: dict[str, Any]) -> None:
        """Append an answer (`key`, `answer`, and where it came from) and have it on disk before going on."""
        with self._lock:
            self.answers[entry["key"]] = entry["answer"]
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as stream:
                    stream.write(json_line(entry))
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError as error:
                raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None


@dataclass(frozen=True)
class Interview:
    """Asking a language model class by class, several at a time, in rounds.

    A round's prompts follow from the answers of the rounds before alone, never from the order in which they came: so a
    run that was interrupted finds every answer it has already had in the journal.
    """

    model: LanguageModel
    journal: Journal
    concurrency: int
    report: Report
    progress: Progress

    def ask_until_complete(self, empty: KnowledgeBase, wanted: int, rounds: int, tokens: TokenLimit) -> Selection:
        """Ask for every class, then up to `rounds` times more for what was refused or missing."""
        offered: dict[str, list[str]] = {entry.name: [] for entry in empty.classes}
        selection = select_sentences(empty, offered, wanted, tokens)
        for number in range(rounds + 1):
            prompts = selection.prompts()
            if not prompts:
                break
            if number:
                self.report(f"asking again for {first_lines(selection.missing(wanted))}")
            for name, answer in self._ask_all(prompts, number).items():
                offered[name] += [text for text in read_answer(answer) if text not in offered[name]]
            selection = select_sentences(empty, offered, wanted, tokens)
        return selection

    def _ask_all(self, prompts: dict[str, str], number: int) -> dict[str, str]:
        """The answers to one round's prompts by class, in the order of `prompts`."""
        waiting: SimpleQueue[str] = SimpleQueue()
        outcomes: SimpleQueue[tuple[str, str | Exception]] = SimpleQueue()
        for name in prompts:
            waiting.put(name)

        def work() -> None:
            with contextlib.suppress(Empty):
                while not self.model.is_stopped:
                    name = waiting.get_nowait()
                    try:
                        outcomes.put((name, self._ask_once(name, prompts[name], number)))
                    except Exception as error:  # raised again by the thread that waits for it
                        outcomes.put((name, error))

        # Daemons: a second Ctrl-C leaves at once, without waiting for what is on its way.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self.concurrency, len(prompts)))]
        for thread in threads:
            thread.start()
        answers: dict[str, str] = {}
        try:
            with self.progress(len(prompts)) as advance:
                while len(answers) < len(prompts):
                    name, outcome = outcomes.get()
                    if isinstance(outcome, Exception):
                        raise outcome
                    answers[name] = outcome
                    advance()
        except BaseException:
            self.model.stop()  # those that wait give up; answers on their way are still taken and saved
            if any(thread.is_alive() for thread in threads):
                self.report("waiting for the answers on their way, to save them; Ctrl-C leaves at once")
            raise
        finally:
            for thread in threads:
                thread.join()
        return {name: answers[name] for name in prompts}

    def _ask_once(self, name: str, prompt: str, number: int) -> str:
        """One answer, from the journal where it has been asked for before."""
        choice = self.model.choice
        asked = {"model": choice.name, "temperature": choice.temperature, "round": number, "prompt": prompt}
        key = hash_json(asked)[:32]
        if key not in self.journal.answers:
            answer = self.model.ask(prompt)
            if not answer:
                return ""  # nothing came: that is no answer, a later run may ask again
            date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            self.journal.add({"key": key, "class": name, **asked, "date": date, "answer": answer})
        return self.journal.answers[key]


def journal_path(out: Path) -> Path:
    """The file of answers beside a knowledge base."""
    return out.with_name(f"{out.name}.answers.jsonl")
