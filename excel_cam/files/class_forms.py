"""Class lists in the forms that annotation and training tools write → the lines of a plain one.

Read: a class a line, `name` or `name: prompt name`; with a number or a colour (R G B or #rrggbb) before or after it;
`name:r,g,b::` of `labelmap.txt`; columns under a header; JSON arrays, objects and dictionaries; `names:` of YAML.
A number decides the order of a class, never its label value: labels count from 1 without gaps.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from excel_cam.errors import DataError
from excel_cam.wording import quoted

CLASS_LIST_SUFFIXES = (".txt", ".names", ".csv", ".tsv", ".json", ".yaml", ".yml")  # where a name could be meant too
_LONGEST_LINE = 300  # characters
EXPECTED = "expected one class per line, 'name' or 'name: prompt name'"

# Without underscores and case, which tools put around them.
_BACKGROUND = {"background", "bg"}
_IGNORED = {"ignore", "ignored", "void", "unlabeled", "unlabelled"}
_HEADINGS_OF_NAMES = ("name", "names", "class", "classes", "class_name", "class_names", "label", "labels", "category",
                      "categories")  # fmt: skip
_HEADINGS_OF_NUMBERS = ("id", "idx", "index", "class_id", "label_id", "category_id", "value", "number")
_OTHER_HEADINGS = ("color", "colour", "r", "g", "b", "red", "green", "blue", "rgb", "hex", "supercategory", "parts",
                   "actions", "color_rgb", "prompt")  # fmt: skip
_HEADINGS = {*_HEADINGS_OF_NAMES, *_HEADINGS_OF_NUMBERS, *_OTHER_HEADINGS}
_SECTION = re.compile(r"(names|classes|class_names|labels|categories|id2label)[ \t]*:[ \t]*(?=[\[{\n]|$)", re.MULTILINE)
_FLOW_ITEM = re.compile(r"""\s*(?:(\d+)\s*:)?\s*("[^"]*"|'[^']*'|[^,"']+)\s*(?:,|$)""")

_APART = r"[\s,;:=|]+"
_NUMBER = r"(?P<number>\d{1,6})"
_COLOUR = rf"(?:[\[(]?\s*\d{{1,3}}{_APART}\d{{1,3}}{_APART}\d{{1,3}}\s*[\])]?|\#[0-9A-Fa-f]{{6}})"
_NAME = r"(?P<name>\S|\S.*?\S)"
# The most telling first: a form holds where every line has it.
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?P<name>[^:]+):{_COLOUR}?:[^:]*:[^:]*",
        rf"{_NUMBER}{_APART}{_NAME}{_APART}{_COLOUR}",
        rf"{_NUMBER}{_APART}{_COLOUR}{_APART}{_NAME}",
        rf"{_NAME}{_APART}{_NUMBER}{_APART}{_COLOUR}",
        rf"{_COLOUR}{_APART}{_NAME}",
        rf"{_NAME}{_APART}{_COLOUR}",
        rf"{_NUMBER}(?:[.)]\s*|{_APART}){_NAME}",
        rf"{_NAME}{_APART}{_NUMBER}",
    )
)


@dataclass(frozen=True)
class ClassLine:
    """One class of a list. number: the one that stands beside its name, None where none does."""

    where: str  # file and line, or entry
    text: str  # `name` or `name: prompt name`
    number: int | None = None


def plain_lines(source: str, text: str, has_background: bool) -> tuple[list[ClassLine], str | None]:
    """The classes of a list in label order, and a line for the user where anything was dropped from it.

    source: its name, for messages. has_background: label 0 is background, so that a line for it is no class; else every
    line is one. Raises DataError, naming file and line, for forms that are none of those above.
    """
    lines, dropped = _lines_of(source, text)
    return order_lines(source, lines, dropped, has_background)


def order_lines(
    source: str, lines: list[ClassLine], dropped: list[str], has_background: bool
) -> tuple[list[ClassLine], str | None]:
    """As `plain_lines`, of lines that are parted already; dropped: what was left out of them so far."""
    if lines and all(line.number is None for line in lines):
        lines = _without_numbers(lines, dropped)
    else:
        dropped.append("the numbers")
    lines = _without_others(lines, dropped, has_background)
    note = None
    if dropped and lines:
        first = lines[0].text.partition(":")[0].strip()
        note = (
            f"{source}: dropped {', '.join(dict.fromkeys(dropped))}; {len(lines):,} classes, label "
            f"{1 if has_background else 0} is {quoted(first)}"
        )
    return lines, note


def _lines_of(source: str, text: str) -> tuple[list[ClassLine], list[str]]:
    """The parts of a list that may be classes, and what was dropped around them."""
    stripped = text.strip()
    if stripped[:1] in ("[", "{"):
        return _from_json(source, text), []
    if section := next((found for found in _SECTION.finditer(text) if _is_section(text, found)), None):
        return _from_section(source, text, section), []
    lines = [
        ClassLine(f"{source}:{number}", line.strip().rstrip(",;").rstrip())
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.lstrip().startswith("#") and line.strip() != "---"
    ]
    if lines and all(line.text.startswith("- ") for line in lines):
        lines = [replace(line, text=line.text[2:].strip()) for line in lines]
    return _without_header(lines)


# ---- JSON and YAML


def _from_json(source: str, text: str) -> list[ClassLine]:
    try:
        content = json.loads(text)
    except ValueError as error:
        start = text.index(text.strip()[0])
        if text[start] == "[" and text.strip().find("]") == len(text.strip()) - 1:
            return _from_flow(source, text, start)  # quoted as Python does, or without any quotes
        line = getattr(error, "lineno", 1)
        raise DataError(f"{source}:{line}: not JSON: {getattr(error, 'msg', error)}; or {EXPECTED}") from None
    except RecursionError:
        raise DataError(f"{source}: JSON that is nested too deep; {EXPECTED}") from None
    return list(_from_value(source, content))


def _from_value(source: str, content: Any) -> Iterator[ClassLine]:
    """Classes of parsed JSON: names, objects with one, or a dictionary between names and numbers either way."""
    if isinstance(content, dict):
        inner = [content[key] for key in (*_HEADINGS_OF_NAMES, "id2label", "label2id") if key in content]
        if inner and isinstance(inner[0], dict | list):
            yield from _from_value(source, inner[0])
            return
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for place, (key, value) in enumerate(pairs, start=1):
        where = f"{source}, entry {place:,}"
        name, number = value, None
        if isinstance(content, dict):
            name, number = (value, key) if isinstance(value, str) else (key, value)
            if isinstance(number, str) and re.fullmatch(r"\d{1,6}", number):
                number = int(number)
        elif isinstance(value, dict):
            name = next((value[heading] for heading in _HEADINGS_OF_NAMES if heading in value), None)
            number = next((value[heading] for heading in _HEADINGS_OF_NUMBERS if heading in value), None)
        is_number = isinstance(number, int) and not isinstance(number, bool)
        if not isinstance(name, str) or not (is_number or (number is None and not isinstance(content, dict))):
            raise DataError(
                f'{where}: expected a class name, {{"id": 1, "name": "cat"}}, or a dictionary of names and numbers, '
                f"found {quoted({key: value} if isinstance(content, dict) else value)}"
            )
        yield ClassLine(where, name.strip(), number if is_number else None)


def _is_section(text: str, found: re.Match[str]) -> bool:
    """Whether a key of YAML holds the classes: in brackets, or on lines below that are indented or have a dash."""
    if text[found.end() : found.end() + 1] in ("[", "{"):
        return True
    return re.match(r"\n(?:\s*\n)*(?:[ \t]+\S|-[ \t])", text[found.end() :]) is not None


def _from_section(source: str, text: str, section: re.Match[str]) -> list[ClassLine]:
    if text[section.end() : section.end() + 1] in ("[", "{"):
        return _from_flow(source, text, section.end())
    first = text.count("\n", 0, section.end()) + 2
    lines = []
    for number, line in enumerate(text[section.end() + 1 :].split("\n"), start=first):
        item = re.sub(r"\s+#.*", "", line).strip()
        if not item or item.startswith("#"):
            continue
        if not line[0].isspace() and not line.startswith("-"):
            break
        item = item.removeprefix("-").strip()
        if re.match(r"(?:name|id)\s*:", item):
            raise DataError(f"{source}:{number}: found {quoted(item)}; {EXPECTED}, or '- name' in YAML")
        lines.append(ClassLine(f"{source}:{number}", item))
    return lines


def _from_flow(source: str, text: str, start: int) -> list[ClassLine]:
    """The classes of `[cat, 'dog']` or `{0: cat, 1: dog}`, whose bracket is at `start`."""
    number = text.count("\n", 0, start) + 1
    inner = text[start + 1 : _closing(text, start)].strip().removesuffix(",")
    lines: list[ClassLine] = []
    at = 0
    while at < len(inner):
        item = _FLOW_ITEM.match(inner, at)
        where = f"{source}:{number + inner.count(chr(10), 0, at)}"
        if item is None:
            raise DataError(f"{where}: found {quoted(inner[at:])} in a list between brackets; {EXPECTED}")
        lines.append(ClassLine(where, _unquoted(item[2].strip()), None if item[1] is None else int(item[1])))
        at = item.end()
    return lines


def _closing(text: str, start: int) -> int:
    end = text.find({"[": "]", "{": "}"}[text[start]], start)
    return end if end >= 0 else len(text)


# ---- lines


def _without_header(lines: list[ClassLine]) -> tuple[list[ClassLine], list[str]]:
    """Lines below a header, those of columns by its headings; as they are where there is none."""
    if not lines:
        return lines, []
    head = lines[0].text.rstrip(":,;")
    parting = next((sign for sign in ("\t", ";", ",") if sign in head), None)
    headings = [_plain(cell) for cell in (head.split(parting) if parting else head.split())]
    if not set(headings) <= _HEADINGS or len(lines) == 1:
        return lines, []
    names = [heading for heading in headings if heading in _HEADINGS_OF_NAMES]
    if len(headings) > 1 and len(names) != 1:
        raise DataError(f"{lines[0].where}: a header with {len(names)} columns of names; {EXPECTED}")
    if parting is None:
        return lines[1:], ["the header"]
    numbers = [heading for heading in headings if heading in _HEADINGS_OF_NUMBERS]
    of_name = headings.index(names[0])
    of_number = headings.index(numbers[0]) if numbers else None
    return [_of_columns(line, parting, len(headings), of_name, of_number) for line in lines[1:]], ["the header"]


def _of_columns(line: ClassLine, parting: str, count: int, of_name: int, of_number: int | None) -> ClassLine:
    cells = [cell.strip() for cell in next(csv.reader([line.text], delimiter=parting))]
    cells += [""] * (count - len(cells))
    number = None if of_number is None else cells[of_number]
    if len(cells) != count or (number is not None and not re.fullmatch(r"\d{1,6}", number)):
        raise DataError(f"{line.where}: expected {count} columns as the header has, found {quoted(line.text)}")
    return replace(line, text=cells[of_name], number=None if number is None else int(number))


def _without_numbers(lines: list[ClassLine], dropped: list[str]) -> list[ClassLine]:
    """Lines without the number or colour that stands beside every name; DataError where it does beside most."""
    # Longer lines are no names, and the forms would be tried on them for long.
    forms = _FORMS if max((len(line.text) for line in lines), default=0) <= _LONGEST_LINE else ()
    for form in forms:
        found = [form.fullmatch(line.text) for line in lines]
        like = [line for line, match in zip(lines, found, strict=True) if match]
        read = [_of_match(line, match) for line, match in zip(lines, found, strict=True) if match]
        if 2 * len(read) <= len(lines) or _is_by_chance(like, read):
            continue
        if len(read) == len(lines):
            dropped.append("the colours" if read[0].number is None else "the numbers")
            return read
        if not _is_without_gaps(read):
            continue
        odd = found.index(None)
        raise DataError(
            f"{lines[odd].where}: found {quoted(lines[odd].text)} where other lines are like "
            f"{quoted(like[0].text)}; write them all in one form, or the names alone"
        )
    return [replace(line, text=_unquoted(line.text)) for line in lines]


def _of_match(line: ClassLine, match: re.Match[str]) -> ClassLine:
    number = match.groupdict().get("number")
    return replace(line, text=_unquoted(match["name"].strip()), number=None if number is None else int(number))


def _is_by_chance(lines: Sequence[ClassLine], read: Sequence[ClassLine]) -> bool:
    """Whether numbers are part of names: "2 euro", "7 up", where a space alone parts them from the rest."""
    if any(re.search(r"[,;:=|\t]|^\d+[.)]", line.text) for line in lines):
        return False
    names = {line.text for line in read}
    return len(names) < len(read) or (len(read) == 1 and read[0].number not in (0, 1))


def _is_without_gaps(lines: Sequence[ClassLine]) -> bool:
    numbers = [line.number for line in lines if line.number is not None]
    return not numbers or numbers == list(range(numbers[0] and 1, (numbers[0] and 1) + len(numbers)))


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


# ---- order, background


def _without_others(lines: list[ClassLine], dropped: list[str], has_background: bool) -> list[ClassLine]:
    """The classes in the order of their numbers, without the lines for background and for pixels to ignore."""
    if any(line.number is not None for line in lines):
        lines = sorted(lines, key=lambda line: -1 if line.number is None else line.number)
    if has_background:
        while lines and _plain(lines[0].text) in _IGNORED:
            lines = lines[1:]
            dropped.append("the line of pixels to ignore")
        while lines and _plain(lines[-1].text) in _IGNORED:
            lines = lines[:-1]
            dropped.append("the line of pixels to ignore")
    _check_numbers(lines)
    if not has_background:
        return lines
    if lines and _plain(lines[0].text) in _BACKGROUND:
        lines = lines[1:]
        dropped.append("the line of the background")
    for line in lines:
        if _plain(line.text) in _BACKGROUND | _IGNORED:
            raise DataError(
                f"{line.where}: {quoted(line.text)} between classes; background is label 0 and pixels to ignore are "
                "255 without a line of theirs, so take it out"
            )
    return lines


def _check_numbers(lines: Sequence[ClassLine]) -> None:
    numbered = [line for line in lines if line.number is not None]
    for place, line in enumerate(numbered):
        expected = place + (numbered[0].number == 1)
        if line.number != expected or len(numbered) < len(lines):
            raise DataError(
                f"{line.where}: number {line.number} of {quoted(line.text)}, expected {expected}: labels are numbered "
                "without gaps from 0 or 1; leave the numbers out to number the classes in their order"
            )


def _plain(text: str) -> str:
    """A name without prompt name, case, quotes, and the underscores that tools put around those that are no class."""
    return text.partition(":")[0].strip().strip("\"'").casefold().strip("_")
