"""What a language model is asked for a class's sentences, and its answers read, however they are wrapped."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excel_cam.errors import DataError
from excel_cam.files.lists import read_text
from excel_cam.wording import quoted

_QUALITIES = (
    "looks like in a photograph: visible parts, shape, "
    "material, colour, texture, usual size and usual surroundings. Each sentence states one concrete visible fact in "
    "6 to 20 words, is clearly different from the others and does not fit other things as well. "
    "Leave out purpose, history, opinion, sound, smell and taste."
)
PROMPT = (
    f"Write {{count}} sentences in English that say what a {{described}} {_QUALITIES}"
    "{others}{kept}{refused} "
    'Answer with nothing but one line of JSON: {{"class": {name}, "sentences": ["...", "..."]}}'
)
JOINT_PROMPT = (
    f"Write sentences in English that say what each thing in the list below {_QUALITIES}{{others}} "
    "Answer with nothing but one line of JSON for each thing, with its name as it stands here: "
    '{{"class": {name}, "sentences": ["...", "..."]}}\n\n{lines}'
)
SCHEMA = {
    "type": "object",
    "properties": {"class": {"type": "string"}, "sentences": {"type": "array", "items": {"type": "string"}}},
    "required": ["class", "sentences"],
    "additionalProperties": False,
}
_MOST_STARTS = 200  # places in one answer where JSON is looked for
_DECODER = json.JSONDecoder(strict=False)  # line ends inside texts, as pasted answers have them
_BRACKET = re.compile(r"[{\[]")
_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_WHOLE_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"(?!\s*:)', re.DOTALL)
_LIST_LINE = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.):])\s+(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is still wanted of a class: `count` sentences, beside those that are kept and without those refused.

    refused: (sentence, what was wrong with it). prompt_name: which sense of the name is meant, where it differs.
    """

    name: str
    prompt_name: str
    count: int
    kept: Sequence[str] = ()
    refused: Sequence[tuple[str, str]] = ()


def sentence_prompt(request: Request, other_names: Sequence[str]) -> str:
    """The request for one class, on one line."""
    name, meant = request.name, request.prompt_name
    return PROMPT.format(
        count=request.count,
        described=name if meant == name else f"{name} ({meant})",
        name=_quoted_name(name),
        others=f" Do not use any of these words: {', '.join(other_names)}." if other_names else "",
        kept=_kept_part(request),
        refused=_refused_part(request),
    )


def _kept_part(request: Request) -> str:
    return f" These are there already: {_as_list(request.kept)}." if request.kept else ""


def _refused_part(request: Request) -> str:
    refused = [f"{text} ({why})" for text, why in request.refused]
    return f" These were refused: {_as_list(refused)}." if refused else ""


def joint_prompt(requests: Sequence[Request], all_names: Sequence[str]) -> str:
    """The request for several classes, with a line for each, to be pasted into a chat."""
    lines = []
    for request in requests:
        meant = "" if request.prompt_name == request.name else f" ({request.prompt_name})"
        lacking = f"{request.count} sentences.{_kept_part(request)}{_refused_part(request)}"
        lines.append(f"- {_quoted_name(request.name)}{meant}: {lacking}")
    others = f" No sentence uses the name of another thing than its own: {', '.join(all_names)}."
    return JOINT_PROMPT.format(
        others=others if len(all_names) > 1 else "", name=_quoted_name(requests[0].name), lines="\n".join(lines)
    )


def _quoted_name(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _as_list(texts: Sequence[str]) -> str:
    return json.dumps(list(texts), ensure_ascii=False)


def read_answer(text: str) -> list[str]:
    """The sentences of one answer: from JSON, also fenced, wrapped in talk or cut off, else from a list's lines."""
    text = _THINKING.sub("", text)
    for value in _json_values(text):
        if sentences := _sentences_in(value):
            return sentences
    if _BRACKET.search(text):
        # Cut off or broken JSON: what stands whole between quotation marks, after the key if there is one.
        whole = _WHOLE_TEXT.findall(text.partition('"sentences"')[2] or text)
        return _cleaned(part.replace('\\"', '"') for part in whole)
    return _cleaned(_LIST_LINE.findall(text))


def _json_values(text: str) -> Iterator[Any]:
    end = 0
    for _, match in zip(range(_MOST_STARTS), _BRACKET.finditer(text), strict=False):
        if match.start() < end:
            continue  # inside a value already read
        try:
            value, end = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        yield value


def _sentences_in(value: Any) -> list[str]:
    """Texts of `{"sentences": [...]}`, of a list, or of the only list that an object of another schema has."""
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = value.get("sentences", lists[0] if len(lists) == 1 else None)
    if isinstance(value, str):
        return _cleaned(_LIST_LINE.findall(value) or value.splitlines())
    if not isinstance(value, list):
        return []
    flat = (next(iter(item.values()), "") if isinstance(item, dict) and len(item) == 1 else item for item in value)
    return _cleaned(item for item in flat if isinstance(item, str))


def _cleaned(texts: Any) -> list[str]:
    """Sentences on one line each, without list marks, quotation marks around them, emphasis or repeats."""
    cleaned = []
    for text in texts:
        text = " ".join(unicodedata.normalize("NFC", text).split())
        text = re.sub(r"^(?:[-*•]|\d{1,3}[.):])\s+", "", text).replace("**", "").strip('"“” ')
        if text:
            cleaned.append(text)
    return list(dict.fromkeys(cleaned))


def read_answers(path: Path, class_names: Sequence[str]) -> dict[str, list[str]]:
    """The sentences of each class from a file of pasted answers, those of several answers for one class joined.

    The file holds objects `{"class": ..., "sentences": [...]}`, one after another; `"answer"` may hold an answer as
    it came instead of `"sentences"`. What stands between objects (code fences, talk) is passed over.
    Raises DataError with the line for anything that begins as JSON and cannot be used.
    """
    text = read_text(path, "file of answers")
    answers: dict[str, list[str]] = {}
    position = 0
    while match := _BRACKET.search(text, position):
        where = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
        try:
            value, position = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
            raise DataError(f"{where}: this answer is not whole JSON ({reason}); mend it or paste it again") from None
        for entry in value if isinstance(value, list) else [value]:
            name, sentences = _read_entry(entry, class_names, where)
            answers.setdefault(name, []).extend(sentences)
    if not answers:
        raise DataError(f'{path}: no answers in this file; expected {{"class": ..., "sentences": [...]}} per class')
    return answers


def _folded(name: str) -> str:
    """A class name as chats may change it: case, spaces, and how accents are composed."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def _read_entry(entry: Any, class_names: Sequence[str], where: str) -> tuple[str, list[str]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("class"), str):
        raise DataError(
            f'{where}: expected {{"class": ..., "sentences": [...]}}, found {quoted(entry)}; put the class in'
        )
    by_folded = {_folded(name): name for name in class_names}
    written = entry["class"]
    name = written if written in class_names else by_folded.get(_folded(written))
    if name is None:
        near = difflib.get_close_matches(_folded(written), by_folded, n=3)
        hint = f"nearest: {', '.join(by_folded[folded] for folded in near)}" if near else "see the class list"
        raise DataError(f"{where}: {quoted(written)} is not one of the {len(class_names)} classes ({hint})")
    if isinstance(entry.get("answer"), str):
        return name, read_answer(entry["answer"])
    if "sentences" not in entry:
        hint = "this is the prompt; paste the answer to it" if "prompt" in entry else "add them"
        raise DataError(f"{where}: class {name} has no 'sentences' ({hint})")
    return name, _sentences_in(entry)
