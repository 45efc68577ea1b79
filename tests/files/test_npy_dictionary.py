"""The .npy dictionaries: what numpy writes is read, and nothing else in a pickle is obeyed."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from excel_cam.errors import DataError
from excel_cam.files.arrays.npy_dictionary import read_npy

ROWS = {"2007_000032": np.array([1, 0, 1], np.float32), "2007_000039": np.array([0, 0, 0], np.float32)}


def npy_with(content: bytes) -> bytes:
    """A .npy file that announces one object and holds `content` in its place."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue() + content


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, content, allow_pickle=True)  # type: ignore[arg-type]
    return stream.getvalue()


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "cls_labels.npy"
    path.write_bytes(content)
    return path


def refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        read_npy(written(tmp_path, content))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_what_numpy_saves(tmp_path: Path) -> None:
    read = read_npy(written(tmp_path, saved(ROWS)))
    assert list(read) == list(ROWS)
    np.testing.assert_array_equal(read["2007_000032"], [1, 0, 1])


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", ["?", "u1", "i8", "f4", ">f8", "f2"])
def test_reads_every_protocol_and_kind_of_number(tmp_path: Path, protocol: int, kind: str) -> None:
    content = np.empty((), object)
    content[()] = {"a": np.array([0, 1, 1], kind)}
    read = read_npy(written(tmp_path, npy_with(pickle.dumps(content, protocol))))
    np.testing.assert_array_equal(read["a"], [0, 1, 1])


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_reads_files_of_numpy_1_and_2(tmp_path: Path, core: bytes) -> None:
    content = np.empty((), object)
    content[()] = ROWS
    pickled = pickle.dumps(content, 3)  # protocol 3 names functions in lines, so a name can be exchanged
    for other in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        pickled = pickled.replace(other, core)
    assert core in pickled
    np.testing.assert_array_equal(read_npy(written(tmp_path, npy_with(pickled)))["2007_000032"], [1, 0, 1])


def test_reads_a_pickle_of_python_2(tmp_path: Path) -> None:
    # Python 2 writes array bytes as a string, with escapes: opcode S.
    pickled = (
        b"(dS'a'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00'\ntbs."
    )
    np.testing.assert_array_equal(read_npy(written(tmp_path, npy_with(pickled)))["a"], [1, 0])


def test_reads_numpy_scalars_as_plain_keys(tmp_path: Path) -> None:
    keys = [np.str_("2007_000032"), np.int64(2007000039), np.bytes_(b"c"), b"d", 5, 1.5]
    read = read_npy(written(tmp_path, saved(dict.fromkeys(keys, ROWS["2007_000032"]))))
    assert list(read) == ["2007_000032", 2007000039, b"c", b"d", 5, 1.5]
    assert {type(key) for key in read} == {str, int, bytes, float}


class Command:
    """Pickles into a call of `function`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("place", ["value", "key", "alone"])
def test_runs_no_command(tmp_path: Path, protocol: int, place: str) -> None:
    proof = tmp_path / "ran"
    command = Command(os.system, f"touch {proof}")
    content = {"value": {"a": command}, "key": {command: 1}, "alone": command}[place]
    message = refusal(tmp_path, npy_with(pickle.dumps(content, protocol)))
    assert "system" in message
    assert "nothing in it was run" in message
    assert not proof.exists()


def test_runs_no_command_of_a_file_saved_by_numpy(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    message = refusal(tmp_path, saved({"a": Command(os.mkdir, str(proof))}))
    assert "mkdir" in message
    assert not proof.exists()


@pytest.mark.parametrize(
    ("pickled", "expected"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"(S'1'\nibuiltins\neval\n.", "builtins.eval"),
        (b"ccollections\nOrderedDict\n(tR.", "collections.OrderedDict"),
        # A dotted name would walk from an admitted object to others.
        (b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.", "numpy.ndarray.__class__"),
        (b"}" + b")" + b"\x85" * 1_000_000 + b"K\x01s.", "tuples within tuples"),
        (b"}" + b"(" * 1_000 + b"t" * 1_000 + b"K\x01s.", "tuples within tuples"),
        (b"c_codecs\nencode\n}b.", "it changes a function"),
        (b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.", "array elements of type 'V8'"),
        (b"cnumpy\ndtype\n(I8\nI0\nI1\ntR.", "array elements of type 8"),
        (b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'!'\ntb.", "byte order '!'"),
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntRS'12345678'\ntR.",
            "objects where numbers",
        ),
    ],
)
def test_refuses_all_but_arrays(tmp_path: Path, pickled: bytes, expected: str) -> None:
    message = refusal(tmp_path, npy_with(pickled))
    assert "refused" in message
    assert expected in message


def test_a_long_name_from_the_file_is_cut_short(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, npy_with(b"c" + b"m" * 10_000 + b"\nn\n."))) < 500 + len(str(tmp_path))


def test_a_memo_number_out_of_all_proportion_takes_no_memory(tmp_path: Path) -> None:
    assert "found NoneType" in refusal(tmp_path, npy_with(b"\x80\x02Nr\xff\xff\xff\xff."))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(np.zeros((2, 3), np.float32)), "an array of shape (2, 3) and type float32"),
        (saved(np.array([{}, 5], object)), "an array of shape (2,) and type object"),
        (saved(["a"]), "an array of shape (1,)"),
        (saved(np.array(None, object)), "found NoneType"),
        (npy_with(pickle.dumps("text")), "found str"),
        (npy_with(pickle.dumps(np.zeros(2), 4)), "found an array"),
        (npy_with(b""), "damaged or truncated"),
        (saved(ROWS)[:-10], "damaged or truncated"),
        (npy_with(b"\x80\x02P."), "damaged or truncated"),
        (b"", "not a .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "not a .npy file"),
    ],
)
def test_says_what_came_instead_of_a_dictionary(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in refusal(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npy: this tags file cannot be read: No such file"):
        read_npy(tmp_path / "gone.npy")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.booleans())
@example(b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x00.", True)
def test_random_bytes_end_in_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, header: bool
) -> None:
    path = written(tmp_path_factory.getbasetemp(), npy_with(content) if header else content)
    try:
        assert isinstance(read_npy(path), dict)
    except DataError as error:
        assert "\n" not in str(error)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_files_end_in_a_data_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(saved(ROWS))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path_factory.getbasetemp(), bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        assert isinstance(read_npy(path), dict)
    except DataError as error:
        assert "\n" not in str(error)
