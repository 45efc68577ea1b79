"""Read and check knowledge bases (`kb/<data set>.json`): what each class looks like, in sentences.

The file's schema:

    {"dataset": "voc", "template": "a clean origami {}.",
     "classes": [{"name": "aeroplane", "prompt": "aeroplane", "sentences": ["it has ...", ...]}, ...],
     "background": ["ground", ...], "provenance": {...}}

Classes stand in label order (label = index + 1). `template` may also be a list, whose embeddings are averaged.
`"background_class": false` says that every pixel belongs to one of the classes: no background score takes part, and
label = index, from 0. Background words then only stand against the classes in the maps; there may be none.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from excel_cam.classes import MAX_CLASSES, MAX_CLASSES_ALONE
from excel_cam.errors import KnowledgeError
from excel_cam.files.json_file import parse_json, read_json
from excel_cam.wording import first_lines

_TOP_KEYS = {"dataset", "template", "classes", "background", "background_class", "provenance"}
_OPTIONAL_KEYS = {"background_class", "provenance"}
_CLASS_KEYS = {"name", "prompt", "sentences"}
_WITH_BACKGROUND = {"context60": "context"}  # by name: the sentences of another one, beside a background class
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class ClassKnowledge:
    """One foreground class: its name, the name used in prompts, and its sentences (none: no enrichment from it)."""

    name: str
    prompt: str
    sentences: tuple[str, ...]

    def sentence_texts(self, template: str) -> list[str]:
        """What is embedded for each sentence: the template with the plain name, then the sentence, in lower case."""
        return [f"{template.format(self.name)} {sentence}".lower() for sentence in self.sentences]


@dataclass(frozen=True)
class KnowledgeBase:
    """A checked knowledge base; `classes` in label order, `background` words as embedded.

    >>> base = shipped_knowledge("voc")
    >>> base.label_names[:2], base.sentence_count
    (('background', 'aeroplane'), 400)
    """

    dataset: str
    templates: tuple[str, ...]
    classes: tuple[ClassKnowledge, ...]
    background: tuple[str, ...]
    has_background: bool = True

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the label values 0, 1, ... stand for."""
        names = tuple(entry.name for entry in self.classes)
        return ("background", *names) if self.has_background else names

    @property
    def sentence_count(self) -> int:
        """All sentences of all classes."""
        return sum(len(entry.sentences) for entry in self.classes)

    def content(self) -> dict[str, Any]:
        """Everything that decides the text rows, as JSON can hold it: the base of the knowledge base's hash."""
        return dataclasses.asdict(self)

    def select(self, names: Sequence[str], prompts: Sequence[str], source: str) -> KnowledgeBase:
        """This knowledge base for the classes `names`, in their order; a prompt that differs from its name wins.

        Raises `KnowledgeError` naming the classes it does not describe; `source` is the file the classes came from.
        """
        by_name = {entry.name: entry for entry in self.classes}
        if missing := [name for name in names if name not in by_name]:
            raise KnowledgeError(
                f"the knowledge base '{self.dataset}' has no class {first_lines(missing)}, which {source} lists; "
                "add it there, or rename it in the class list"
            )
        chosen = tuple(
            by_name[name] if prompt == name else dataclasses.replace(by_name[name], prompt=prompt)
            for name, prompt in zip(names, prompts, strict=True)
        )
        return dataclasses.replace(self, classes=chosen, background=_without_classes(self.background, chosen))


def shipped_knowledge(dataset: str) -> KnowledgeBase:
    """The knowledge base that comes with the package.

    >>> shipped_knowledge("voc").classes[7].name
    'cat'
    """
    stem = _WITH_BACKGROUND.get(dataset, dataset)
    base = parse_knowledge((resources.files("excel_cam.kb") / f"{stem}.json").read_text("utf-8"), f"kb/{stem}.json")
    return base if stem == dataset else dataclasses.replace(base, dataset=dataset, has_background=True)


def shipped_names() -> list[str]:
    """Names of the knowledge bases that come with the package."""
    files = resources.files("excel_cam.kb").iterdir()
    stems = {file.name.removesuffix(".json") for file in files if file.name.endswith(".json")}
    return sorted(stems | {name for name, stem in _WITH_BACKGROUND.items() if stem in stems})


def find_knowledge(name_or_file: str) -> KnowledgeBase:
    """A shipped knowledge base by its name, else the file of that path; raises `KnowledgeError`."""
    if name_or_file in shipped_names():
        return shipped_knowledge(name_or_file)
    path = Path(name_or_file)
    if not path.suffix and not path.exists():
        raise KnowledgeError(
            f"'{name_or_file}' is neither a file nor a shipped knowledge base ({', '.join(shipped_names())})"
        )
    return read_knowledge(path)


def read_knowledge(path: Path) -> KnowledgeBase:
    """Read and check a knowledge base file; raises `KnowledgeError` naming file, class and entry.

    >>> text = '{"dataset": "mine", "template": "a photo of a {}.", "background": ["ground"], "classes": '
    >>> text += '[{"name": "kayak", "sentences": ["it has a long narrow hull with pointed ends"]}]}'
    >>> Path("mine.json").write_text(text, encoding="utf-8") > 0
    True
    >>> read_knowledge(Path("mine.json")).classes[0].name
    'kayak'
    """
    record = read_json(
        path, "knowledge base", remedy="mend the file", error=KnowledgeError, unique_keys=True, expected=None
    )
    return _check_knowledge(record, str(path))


def prompts_alone(dataset: str, names: Sequence[str], prompts: Sequence[str]) -> KnowledgeBase:
    """A knowledge base without sentences for any class list, with the template and background words of VOC's.

    >>> prompts_alone("mine", ["cot"], ["baby's bed"]).classes
    (ClassKnowledge(name='cot', prompt="baby's bed", sentences=()),)
    """
    voc = shipped_knowledge("voc")
    classes = tuple(ClassKnowledge(name, prompt, ()) for name, prompt in zip(names, prompts, strict=True))
    return KnowledgeBase(dataset, voc.templates, classes, _without_classes(voc.background, classes))


def shipped_sentences(dataset: str, names: Sequence[str], prompts: Sequence[str]) -> KnowledgeBase:
    """A knowledge base for any class list: the sentences of VOC's and COCO's where one has the class, else none.

    Names are found there without regard to case; a prompt name that is given wins. Where both know a class, VOC's
    sentences are taken.
    """
    shipped = {
        entry.name.casefold(): entry for source in ("coco", "voc") for entry in shipped_knowledge(source).classes
    }
    knowledge = prompts_alone(dataset, names, prompts)
    classes = []
    for entry in knowledge.classes:
        described = shipped.get(entry.name.casefold())
        if described is not None:
            prompt = described.prompt if entry.prompt == entry.name else entry.prompt
            entry = dataclasses.replace(described, name=entry.name, prompt=prompt)
        classes.append(entry)
    return dataclasses.replace(knowledge, classes=tuple(classes))


def empty_knowledge(
    dataset: str,
    names: Sequence[str],
    prompts: Sequence[str],
    templates: Sequence[str] = (),
    background: Sequence[str] | None = None,
    has_background: bool = True,
) -> KnowledgeBase:
    """A knowledge base to be filled with sentences; VOC's templates and background words where none are given.

    Raises `KnowledgeError` for a template or background word that cannot be.
    """
    base = prompts_alone(dataset, names, prompts)
    if templates:
        base = dataclasses.replace(base, templates=_parse_templates(list(templates), "--template"))
    if background is not None:
        _refuse_repeats(background, "background word")
        base = dataclasses.replace(base, background=_without_classes(background, base.classes))
    return dataclasses.replace(base, has_background=has_background)


def parse_knowledge(text: str, where: str) -> KnowledgeBase:
    """Check the JSON text of a knowledge base; `where` names it in errors. Raises `KnowledgeError`."""
    try:
        record = parse_json(text, unique_keys=True)
    except ValueError as error:
        raise KnowledgeError(f"{where}: the knowledge base cannot be read: {error}; mend the file") from None
    return _check_knowledge(record, where)


def _check_knowledge(record: Any, where: str) -> KnowledgeBase:
    _check_keys(record, _TOP_KEYS, _TOP_KEYS - _OPTIONAL_KEYS, where, "the knowledge base")
    dataset = _text(record["dataset"], f"{where}: dataset")
    templates = _parse_templates(record["template"], f"{where}: template")
    if not isinstance(record["classes"], list) or not record["classes"]:
        raise KnowledgeError(f"{where}: classes must be a list with at least one class")
    has_background = record.get("background_class", True)
    if not isinstance(has_background, bool):
        raise KnowledgeError(f"{where}: background_class: expected true or false, came {_kind(has_background)}")
    limit = class_limit(has_background)
    if len(record["classes"]) > limit:
        raise KnowledgeError(f"{where}: {len(record['classes'])} classes; 8-bit labels hold at most {limit}")
    classes = tuple(_parse_class(entry, index, where) for index, entry in enumerate(record["classes"], start=1))
    _refuse_repeats([entry.name for entry in classes], f"{where}: class")
    _refuse_repeats([entry.prompt for entry in classes], f"{where}: the prompt of class")
    background = _texts(record["background"], f"{where}: background", may_be_empty=True)
    _refuse_repeats([word.lower() for word in background], f"{where}: background word")
    return KnowledgeBase(dataset, templates, classes, _without_classes(background, classes), has_background)


def class_limit(has_background: bool) -> int:
    """Most classes that 8-bit labels hold."""
    return MAX_CLASSES if has_background else MAX_CLASSES_ALONE


def _parse_templates(value: Any, place: str) -> tuple[str, ...]:
    templates = _texts([value] if isinstance(value, str) else value, place)
    for template in templates:
        if template.count("{}") != 1 or template.replace("{}", "").count("{") + template.count("}") != 1:
            raise KnowledgeError(f"{place} '{template}' must contain {{}} once, where the class name goes")
    return templates


def _parse_class(entry: Any, index: int, where: str) -> ClassKnowledge:
    _check_keys(entry, _CLASS_KEYS, {"name", "sentences"}, where, f"class {index}")
    name = _text(entry["name"], f"{where}: class {index}: name")
    place = f"{where}: class {index} ({name})"
    prompt = _text(entry.get("prompt", name), f"{place}: prompt")
    sentences = _texts(entry["sentences"], f"{place}: sentences", may_be_empty=True)
    _refuse_repeats([" ".join(sentence.lower().split()) for sentence in sentences], f"{place}: sentence")
    return ClassKnowledge(name, prompt, sentences)


def _check_keys(record: Any, known: set[str], required: set[str], where: str, what: str) -> None:
    if not isinstance(record, dict):
        raise KnowledgeError(f"{where}: {what} must be a JSON object, not {_kind(record)}")
    if absent := sorted(required - record.keys()):
        raise KnowledgeError(f"{where}: {what} lacks '{absent[0]}'")
    if unknown := sorted(record.keys() - known):
        raise KnowledgeError(f"{where}: {what} has an unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")


def _texts(values: Any, place: str, may_be_empty: bool = False) -> tuple[str, ...]:
    if not isinstance(values, list) or (not values and not may_be_empty):
        raise KnowledgeError(f"{place}: expected a list of texts, came {_kind(values)}")
    return tuple(_text(value, f"{place}, entry {index}") for index, value in enumerate(values, start=1))


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise KnowledgeError(f"{place}: expected a text, came {_kind(value)}")
    if not value.strip():
        raise KnowledgeError(f"{place}: the text is empty")
    if odd := _NOT_TEXT.search(value.strip()):
        raise KnowledgeError(f"{place}: the text holds the control or half character {odd[0]!r}; take it out")
    return value.strip()


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    if isinstance(value, list) and not value:
        return "an empty list"
    return names.get(type(value), "a number")


def _refuse_repeats(texts: Sequence[str], place: str) -> None:
    first_at: dict[str, int] = {}
    for index, text in enumerate(texts, start=1):
        if text in first_at:
            raise KnowledgeError(f"{place} {index} repeats {first_at[text]}: '{text}'")
        first_at[text] = index


def _without_classes(background: Sequence[str], classes: Sequence[ClassKnowledge]) -> tuple[str, ...]:
    """Background words that are no foreground class: a word cannot stand for both (step 1)."""
    taken = {text.lower() for entry in classes for text in (entry.name, entry.prompt)}
    return tuple(word for word in background if word.lower() not in taken)
