"""JSON read entry by entry: the same values as json.loads wherever the window ends, and damage told in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from excel_cam.errors import DataError
from excel_cam.files import json_stream
from excel_cam.files.json_stream import read_entries

TEXTS = st.text(st.sampled_from('"{}[]\\,: aé\n'), max_size=6)  # whatever could be taken for structure
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, width=32) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def flattened(value: Any) -> list[tuple[str, int | None, Any]]:
    """What entries of a JSON document are, by the words of read_entries."""
    if isinstance(value, list):
        return [("", number, item) for number, item in enumerate(value, 1)]
    found: list[tuple[str, int | None, Any]] = []
    for key, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            found += [(key, number, item) for number, item in enumerate(inner, 1)]
        else:
            found.append((key, None, inner))
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(TEXTS, JSON_VALUES, max_size=4) | st.lists(JSON_VALUES, max_size=5),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 9),
)
def test_entries_are_what_json_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, indent: int | None, ascii_only: bool, chunk: int
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    path = written(tmp_path, text)
    entries = list(read_entries(path, "file"))
    assert [(entry.key, entry.number, entry.parse(path)) for entry in entries] == flattened(value)
    for entry in entries:
        assert text[entry.offset :].startswith(entry.text)
        assert entry.line == 1 + text.count(b"\n", 0, entry.offset)


@pytest.mark.parametrize("inner", ['"}"', '"{}"', '"{", "}": 1', '"a}{"', '"\\\\}"', '"\\"}{"', '[{"}": "{"}]', '"["'])
def test_braces_in_strings_end_nothing(tmp_path: Path, inner: str) -> None:
    text = '{"x": ' + inner + ', "y": [1, 2]}'
    path = written(tmp_path, f"[{text}, 7]")
    assert [entry.text.decode() for entry in read_entries(path, "file")] == [text, "7"]


def test_a_byte_order_mark_and_white_space_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbf\r\n\t{ "a" : [\n{"b": 1} ] , "c":-1.5e3 }\n ')
    assert [(e.key, e.number, e.text, e.line) for e in read_entries(path, "file")] == [
        ("a", 1, b'{"b": 1}', 3),
        ("c", None, b"-1.5e3", 3),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ":1: damaged JSON at byte 0: expected a JSON object or array, found the end"),
        ("7", ":1: damaged JSON at byte 0: expected a JSON object or array, found '7'"),
        (b"\xff\xfe{\x00", "expected a JSON object or array, found 'ÿ'"),
        ('{"a" 1}', "expected ':' after 'a', found '1'"),
        ('{"a": 1,\n}', ":2: damaged JSON at byte 9: expected a key in double quotes, found '}'"),
        ('{"a": 1 "b"', "expected a key in double quotes, ',' or '}', found '\"'"),
        ("{a: 1}", "expected a key in double quotes, ',' or '}', found 'a'"),
        ('{"a": }', "expected a value, found '}'"),
        ('{"a": 1} x', "expected the end of the file, found 'x'"),
        ('{"a": [{"b": 1} {"b": 2}]}', "expected ',' or ']' after entry 1 of 'a', found '{'"),
        ("[1,]", "expected a value, found ']'"),
        ("[1", "expected ',' or ']' after entry 1, found the end"),
        ('[\n{"a": [1, 2', ":2: damaged JSON at byte 2: expected the rest of an entry that begins here, found the end"),
        ('{"a": "b', "damaged JSON at byte 6: expected the rest of an entry that begins here"),
        ('{"a', "damaged JSON at byte 1: expected the rest of an entry that begins here"),
    ],
)
def test_damage_is_told_with_line_and_byte(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        list(read_entries(path, "file"))
    assert str(caught.value).startswith(f"{path}:")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": [{"b": 1}, {"b" 2}]}', ":1: 'a' entry 2 (byte 17): not JSON: Expecting ':' delimiter"),
        ('[1,\nnul]', ":2: entry 2 (byte 4): not JSON: Expecting value"),
        (b'{"a": "\xff"}', ":1: 'a' (byte 6): not JSON: 'utf-8' codec can't decode"),
        ("[" + "[" * 100_000 + "]" * 100_000 + "]", ":1: entry 1 (byte 1): not JSON: maximum recursion depth"),
    ],
)  # fmt: skip
def test_damage_within_an_entry_is_told_when_it_is_parsed(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        for entry in read_entries(path, "file"):
            entry.parse(path)
    assert str(caught.value).startswith(f"{path}{expected}")


def test_an_endless_entry_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 16)
    monkeypatch.setattr(json_stream, "LONGEST_ENTRY", 64)
    for content in ('["' + "x" * 1000, "[" + "1" * 1000, "[" + "[" * 1000, '[{"a": {' + " " * 1000):
        with pytest.raises(DataError, match="expected an entry of at most"):
            list(read_entries(written(tmp_path, content), "file"))


def test_a_missing_file_is_named_by_its_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json: this tags file cannot be read: No such file"):
        list(read_entries(tmp_path / "gone.json", "tags file"))
