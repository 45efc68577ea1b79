"""Readers of files from outside take memory in bounds, whatever a small file announces."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from excel_cam.errors import DataError
from excel_cam.files.arrays.npy_dictionary import read_npy
from excel_cam.files.arrays.npz import read_npz
from excel_cam.files.json_file import parse_json, read_json
from excel_cam.labels.class_maps import read_maps

Run = Callable[..., Result]


@pytest.fixture
def _within_100_mb() -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000


def npy(header: dict[str, object], content: bytes) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, content in members.items():
            stream.writestr(f"{name}.npy", content)
    return path


HUGE = npy({"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}, b"")
OBJECTS = npy({"descr": "|O", "fortran_order": False, "shape": ()}, pickle.dumps(1))
NEGATIVE = npy({"descr": "<f8", "fortran_order": False, "shape": (-1, -8)}, bytes(64))


@pytest.mark.usefixtures("_within_100_mb")
@pytest.mark.parametrize("harm", [HUGE, OBJECTS, NEGATIVE, b"", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", None])
def test_npz_archives_are_checked_before_they_are_unpacked(tmp_path: Path, harm: bytes | None) -> None:
    good = npy({"descr": "<f8", "fortran_order": False, "shape": (2,)}, bytes(16))
    if harm is None:
        harm = npy({"descr": "|u1", "fortran_order": False, "shape": (160 << 20,)}, bytes(160 << 20))
    path = archive(tmp_path / "a.npz", dict.fromkeys(("keys", "low", "high", "size"), good) | {"maps": harm})
    del harm
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match="expected class maps"):
        read_maps(path, 20)


def test_npz_arrays_are_numpys(tmp_path: Path) -> None:
    arrays = {"a": np.arange(12, dtype=">i4").reshape(3, 4).T, "b": np.array(["x", "yz"]), "c": np.float16(3)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    for name, array in read_npz(tmp_path / "a.npz", list(arrays), 1000).items():
        np.testing.assert_array_equal(array, arrays[name])
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_npz(tmp_path / "a.npz", ["a"], 10)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[60] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(Exception, match=r".+"):
        read_npz(tmp_path / "a.npz", ["a"], 1000)


ONE_OBJECT: dict[str, object] = {"descr": "|O", "fortran_order": False, "shape": ()}
BYTEARRAY = pickle.PROTO + b"\x05" + pickle.BYTEARRAY8 + (1 << 31).to_bytes(8, "little") + b"."
MEMO = pickle.PROTO + b"\x04N" + pickle.LONG_BINPUT + (1 << 31).to_bytes(4, "little") + b"."


@pytest.mark.usefixtures("_within_100_mb")
@pytest.mark.parametrize(
    ("header", "content"),
    [
        (ONE_OBJECT, BYTEARRAY),
        (ONE_OBJECT, MEMO),
        ({"descr": [("name", "<U2"), ("classes", "<U2")], "fortran_order": False, "shape": (1,)}, b"\xff" * 16),
        ({"descr": [("name", "|i1")], "fortran_order": False, "shape": (1 << 40,)}, b"\xff" * 16),
    ],
)
def test_npy_dictionaries(tmp_path: Path, header: dict[str, object], content: bytes) -> None:
    path = tmp_path / "tags.npy"
    path.write_bytes(npy(header, content))
    with pytest.raises(DataError) as caught:
        read_npy(path)
    assert "\n" not in str(caught.value)


def test_one_array_named_again_and_again(tmp_path: Path) -> None:
    row = np.ones(1000)
    records = np.empty(200, object)
    records[:] = [{"name": str(index), "classes": row} for index in range(200)]
    np.save(tmp_path / "tags.npy", records)
    with pytest.raises(DataError, match="repeats one array"):
        read_npy(tmp_path / "tags.npy")


def test_more_objects_than_any_tags_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excel_cam.files.arrays.pickles.MAX_OBJECTS", 1000)
    (tmp_path / "tags.npy").write_bytes(npy(ONE_OBJECT, b"\x80\x04(" + b"}" * 2000 + b"l."))
    with pytest.raises(DataError, match="more than 1,000 objects"):
        read_npy(tmp_path / "tags.npy")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff", "not UTF-8 text (byte 0)"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested deeper than 100 levels"),
        ("[NaN]", "NaN is no number"),
        ("1" * 5000, "Exceeds the limit"),
        ("", "not JSON: Expecting value (line 1, column 1)"),
    ],
)
def test_json_that_is_none(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_json(text)
    assert reason in str(caught.value)
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as shown:
        read_json(tmp_path / "a.json", "list of things", remedy="mend it")
    assert str(shown.value).startswith(f"{tmp_path / 'a.json'}: the list of things cannot be read: ")
    assert str(shown.value).endswith("; mend it")


def test_json_of_another_kind_or_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"expected an object as list, found an array \(\[1\]\); mend it"):
        read_json(path, "list", remedy="mend it")
    monkeypatch.setattr("excel_cam.files.json_file.MAX_BYTES", 2)
    with pytest.raises(DataError, match="longer than 2 bytes"):
        read_json(path, "list", remedy="mend it")
    assert read_json(tmp_path / "none.json", "list", remedy="", optional=True) is None


DAMAGED_RECORDS = [
    "",
    "[" * 50_000,
    "[]",
    "null",
    "7",
    '{"identity": 3}',
    '{"identity": ' + '{"a":' * 150 + "1" + "}" * 151,
]


@pytest.mark.parametrize("text", DAMAGED_RECORDS)
def test_a_damaged_run_record_is_one_line(excel_cam: Run, arguments: list[str], tmp_path: Path, text: str) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    (out / "run.json").write_text(text)
    result = excel_cam(*arguments, "--out", out)
    assert result.exit_code == 1
    assert f"Error: {out / 'run.json'}: " in result.stderr
    assert "remove it or choose another --out" in result.stderr.splitlines()[-1]


def test_damaged_lines_of_failures_are_passed_over(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    lines = [
        "[" * 50_000,
        "[]",
        '{"name": []}',
        '{"name": {}, "reason": 3}',
        '{"name": "x", "reason": "kept"}',
    ]
    (out / "failed.jsonl").write_text("\n".join(lines) + "\n")
    assert excel_cam(*arguments, "--out", out).exit_code == 0
    assert (out / "failed.jsonl").read_text() == '{"name": "x", "reason": "kept"}\n'


def test_a_list_of_failures_that_is_a_folder_is_one_line(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "labels" / "failed.jsonl").mkdir(parents=True)
    result = excel_cam(*arguments, "--out", tmp_path / "labels")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: {tmp_path / 'labels' / 'failed.jsonl'}: ")
