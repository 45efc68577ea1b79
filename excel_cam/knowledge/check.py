"""Check what a knowledge base says: sentences that would mislead enrichment, and how to mend each."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from excel_cam.knowledge.base import ClassKnowledge, KnowledgeBase
from excel_cam.knowledge.words import (
    COLOUR_NAMES,
    DAMAGED,
    GENERIC_WORDS,
    INVISIBLE,
    IRREGULAR_PLURALS,
    PURPOSE,
    STOP_WORDS,
    VISIBLE_WORDS,
)

CLIP_CONTEXT = 77  # tokens that CLIP's text towers read
NEAR_DUPLICATE = 0.75  # shared content words over all content words of two sentences (Jaccard)
FEWEST_WORDS = 4
FEWEST_TELLING_WORDS = 2  # words that are neither stop words, nor generic, nor the class's own name
FOREIGN_SHARE = 0.25  # letters outside ASCII, of all letters
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Fault:
    """One thing found: its level, where (sentence from 1, None for the class as a whole), what, and how to mend it."""

    level: Literal["error", "warning"]
    class_name: str
    sentence: int | None
    problem: str
    mend: str
    repeats: bool = False  # nearly the same as another sentence


@dataclass(frozen=True)
class TokenLimit:
    """How a model counts the tokens of a text, its two special tokens included, and how many it reads."""

    count: Callable[[str], int]
    most: int


def check_knowledge(knowledge: KnowledgeBase, tokens: TokenLimit) -> list[Fault]:
    """Every check that needs no model, in class and sentence order.

    Of two sentences that are nearly the same the later one is reported, so that leaving out what has errors keeps one.
    """
    findings = [
        *_check_counts(knowledge), *_check_prompts(knowledge, tokens), *_near_duplicates(knowledge.classes),
        *_named_classes(knowledge.classes),
    ]  # fmt: skip
    for entry in knowledge.classes:
        texts = [entry.sentence_texts(template) for template in knowledge.templates]
        for index, sentence in enumerate(entry.sentences):
            found = [*_check_length([text[index] for text in texts], tokens), *_check_worth(sentence, entry)]
            findings += [Fault(level, entry.name, index + 1, problem, mend) for level, problem, mend in found]
    order = {entry.name: index for index, entry in enumerate(knowledge.classes)}
    return sorted(findings, key=lambda finding: (order[finding.class_name], finding.sentence or 0))


_Found = tuple[Literal["error", "warning"], str, str]


def _check_counts(knowledge: KnowledgeBase) -> Iterator[Fault]:
    most = max(len(entry.sentences) for entry in knowledge.classes)
    for entry in knowledge.classes:
        count = len(entry.sentences)
        if count == 0:
            yield Fault("error", entry.name, None, "no sentences", "write some (`excel-cam kb prompts` helps)")
        elif 2 * count < most:
            problem = f"{count} sentences where another class has {most}"
            yield Fault("warning", entry.name, None, problem, "add some, or the attributes lean to other classes")


def _check_prompts(knowledge: KnowledgeBase, tokens: TokenLimit) -> Iterator[Fault]:
    for entry in knowledge.classes:
        prompts = [template.format(entry.prompt) for template in knowledge.templates]
        for level, problem, mend in _check_length(prompts, tokens):
            yield Fault(level, entry.name, None, f"its prompt: {problem}", mend)


def all_fit(knowledge: KnowledgeBase, tokens: TokenLimit) -> bool:
    """Whether the model reads every sentence whole."""
    texts = (text for entry in knowledge.classes for t in knowledge.templates for text in entry.sentence_texts(t))
    return all(tokens.count(text) <= tokens.most for text in texts)


def _check_length(texts: Sequence[str], tokens: TokenLimit) -> Iterator[_Found]:
    longest = max(tokens.count(text) for text in texts)
    if longest > tokens.most:
        problem = f"{longest} tokens in all, the model reads {tokens.most}"
        yield "error", problem, f"shorten it by {longest - tokens.most} tokens or more"


def _check_worth(sentence: str, entry: ClassKnowledge) -> Iterator[_Found]:
    """Whether one sentence by itself is readable and says something that can be seen."""
    if DAMAGED.search(sentence):
        yield "error", "damaged characters, as from a wrong encoding", "write those characters again, as UTF-8"
    letters = [character for character in sentence if character.isalpha()]
    if sum(not letter.isascii() for letter in letters) > FOREIGN_SHARE * len(letters):
        yield "warning", "not in English, which is what CLIP's text side reads", "translate it"
        return
    words = _words(sentence)
    telling = set(words) - STOP_WORDS - GENERIC_WORDS - _own_words(entry)
    if len(words) < FEWEST_WORDS or len(telling) < FEWEST_TELLING_WORDS:
        yield "error", "says nothing that tells the class apart", "name a visible part, shape, material or colour"
    elif (match := INVISIBLE.search(sentence)) and not telling & VISIBLE_WORDS:
        yield "error", f"says nothing visible ('{match[0].lower()}')", "say what can be seen instead"
    elif (match := PURPOSE.search(sentence)) and not telling & VISIBLE_WORDS:
        doing = match[0].strip().lower()
        yield "warning", f"says what it is for, not what it looks like ('{doing}')", "say what can be seen instead"


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _own_words(entry: ClassKnowledge) -> set[str]:
    return {form for word in _words(f"{entry.name} {entry.prompt}") for form in _number_forms(word)}


def _number_forms(name: str) -> set[str]:
    """A noun in lower case as it stands, and its plural by the usual rules: "life jacket" and "life jackets"."""
    stem, space, last = name.rpartition(" ")
    forms = {last, f"{last}s", f"{last}es"}
    if last.endswith("y"):
        forms.add(f"{last[:-1]}ies")
    if last.endswith(("f", "fe")):
        forms.add(f"{last.removesuffix('e')[:-1]}ves")
    for singular, plural in IRREGULAR_PLURALS.items():
        if last.endswith(singular):
            forms.add(last.removesuffix(singular) + plural)
    return {f"{stem}{space}{form}" for form in forms}


def _named_classes(classes: Sequence[ClassKnowledge]) -> Iterator[Fault]:
    """Sentences that name a class other than their own, whole words only, longer names before those within them."""
    plain = {" ".join(_words(entry.name)): entry.name for entry in classes}
    forms = {form: words for words in plain if _is_telling(words) for form in _number_forms(words)}
    # "(?!)" never matches: for class lists of nothing but letters and stop words.
    pattern = re.compile(rf"\b({'|'.join(sorted(map(re.escape, forms), key=len, reverse=True)) or '(?!)'})\b")
    for entry in classes:
        for index, sentence in enumerate(entry.sentences, start=1):
            named = {forms[match] for match in pattern.findall(" ".join(_words(sentence)))}
            for words in sorted(named - {" ".join(_words(entry.name))}):
                name, doubtful = plain[words], words in COLOUR_NAMES
                yield Fault(
                    "warning" if doubtful else "error", entry.name, index, f"names the class '{name}'",
                    "reword it, unless the colour is meant" if doubtful else "describe it without that word",
                )  # fmt: skip


def _is_telling(name: str) -> bool:
    return len(name) > 1 and name not in STOP_WORDS


def _near_duplicates(classes: Sequence[ClassKnowledge]) -> Iterator[Fault]:
    """Sentences whose content words are nearly those of an earlier one, of the same class or another.

    Two sets can only share the needed part when they share one of each one's few rarest words, so only such pairs are
    compared: 4,000 sentences take a fraction of a second, not 8 million comparisons.
    """
    places = [(entry, index) for entry in classes for index in range(len(entry.sentences))]
    contents = [_content_words(entry.sentences[index], entry) for entry, index in places]
    frequency = Counter(word for content in contents for word in content)
    earlier: defaultdict[str, list[int]] = defaultdict(list)
    for number, content in enumerate(contents):
        rarest = sorted(content, key=lambda word: (frequency[word], word))
        rarest = rarest[: len(content) - math.ceil(NEAR_DUPLICATE * len(content)) + 1]
        rivals = sorted({other for word in rarest for other in earlier[word]})
        for other in rivals:
            if len(content & contents[other]) >= NEAR_DUPLICATE * len(content | contents[other]):
                (entry, index), (rival, rival_index) = places[number], places[other]
                problem = f"nearly the same as {rival.name}, sentence {rival_index + 1}"
                mend = "say something else, or leave one of them out"
                yield Fault("error", entry.name, index + 1, problem, mend, repeats=True)
                break
        for word in rarest:
            earlier[word].append(number)


def _content_words(sentence: str, entry: ClassKnowledge) -> frozenset[str]:
    words = set(_words(sentence)) - _own_words(entry)
    return frozenset(word.removesuffix("s") for word in words - STOP_WORDS or words)


def check_embeddings(
    knowledge: KnowledgeBase, sentences: NDArray[np.float64], prompts: NDArray[np.float64]
) -> list[Fault]:
    """Sentences whose embedding is nearer to another class than to their own: warnings.

    sentences: (n, D) unit rows of all sentences in order. prompts: (K, D) unit rows of the classes' prompts.
    A class is where its prompt and its sentences point on average; the sentence judged does not count for its own.
    """
    counts = [len(entry.sentences) for entry in knowledge.classes]
    owners = np.repeat(np.arange(len(counts)), counts)
    sums = prompts.copy()
    np.add.at(sums, owners, sentences)
    cosines = sentences @ (sums / np.linalg.norm(sums, axis=1, keepdims=True)).T  # (n, K)
    rest = sums[owners] - sentences
    own = (sentences * rest).sum(axis=1) / np.linalg.norm(rest, axis=1)
    cosines[np.arange(len(owners)), owners] = own
    findings = []
    starts = np.cumsum([0, *counts])
    for number, nearest in enumerate(cosines.argmax(axis=1)):
        if nearest != owners[number]:
            entry, rival = knowledge.classes[owners[number]], knowledge.classes[nearest]
            problem = f"its embedding is nearer to '{rival.name}' ({cosines[number, nearest]:.3f}) than to its own "
            problem += f"class ({own[number]:.3f})"
            index = number - int(starts[owners[number]]) + 1
            findings.append(Fault("warning", entry.name, index, problem, "make it more particular to its class"))
    return findings


def report_lines(knowledge: KnowledgeBase, findings: Sequence[Fault]) -> Iterator[str]:
    """A line per class, then its findings with the sentence and how to mend it; totals at the end."""
    width = max(len(entry.name) for entry in knowledge.classes)
    for entry in knowledge.classes:
        own = [finding for finding in findings if finding.class_name == entry.name]
        yield f"{entry.name:<{width}}  {len(entry.sentences):>3} sentences  {_tally(own) or 'ok'}"
        for finding in own:
            place, quote = "", ""
            if finding.sentence is not None:
                place, quote = f" sentence {finding.sentence}:", f' "{entry.sentences[finding.sentence - 1]}"'
            yield f"  {finding.level}:{place}{quote} {finding.problem}; {finding.mend}"
    total = f"{len(knowledge.classes)} classes, {knowledge.sentence_count:,} sentences"
    yield f"{total}: {_tally(findings) or 'nothing to mend'}"


def _tally(findings: Sequence[Fault]) -> str:
    counts = Counter(finding.level for finding in findings)
    return ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for level in ("error", "warning") if (n := counts[level]))
