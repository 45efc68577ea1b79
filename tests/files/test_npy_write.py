"""The .npy dictionaries for trainers: old numpy and torch read them, because they name nothing that is new."""

from __future__ import annotations

import json
import os
import pickletools
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from excel_cam.classes import VOC_CLASSES
from excel_cam.files.arrays.npy_dictionary import read_npy
from excel_cam.files.arrays.npy_write import AsTensor, npy_bytes
from excel_cam.tags.write import write_tags

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
DICTIONARY = {"keys": np.array([0, 14]), "maps": VALUES.astype(np.float16), 7: VALUES.T, "none": VALUES[:0], "é\n": "x"}

OLD_READER = """
import json, sys, numpy
told = {"numpy": numpy.__version__}
for path in sys.argv[1:]:
    for key, value in numpy.load(path, allow_pickle=True).item().items():
        kind = type(value).__module__ + "." + type(value).__name__
        if kind == "torch.Tensor":
            value = value.numpy()
        told[str(key)] = [kind, str(value.dtype), list(value.shape), float(value.sum())]
print(json.dumps(told))
"""


def names_in(content: bytes) -> set[str]:
    """Every global that a .npy file's pickle names."""
    pickled = content[content.index(b"\n") + 1 :]
    return {str(argument) for opcode, argument, _at in pickletools.genops(pickled) if "GLOBAL" in opcode.name}


def loaded(tmp_path: Path, dictionary: dict[object, object]) -> dict[object, object]:
    path = tmp_path / "d.npy"
    path.write_bytes(npy_bytes(dictionary))
    content = np.load(path, allow_pickle=True)
    assert (content.shape, content.dtype) == ((), np.dtype(object))
    return dict(content.item())


def test_it_names_what_every_numpy_has() -> None:
    content = npy_bytes({**DICTIONARY, "tensor": AsTensor(VALUES)})
    assert content.startswith(b"\x93NUMPY\x01\x00")
    assert names_in(content) == {"numpy ndarray", "numpy dtype", "torch from_numpy"}
    assert b"_core" not in content


def test_it_reads_back_the_same(tmp_path: Path) -> None:
    found = loaded(tmp_path, {**DICTIONARY, "tensor": AsTensor(np.array([3], np.int64))})
    tensor = found.pop("tensor")
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.int64
    assert found.keys() == DICTIONARY.keys()
    for key, value in DICTIONARY.items():
        assert np.array_equal(found[key], value)  # type: ignore[arg-type]
        assert getattr(found[key], "dtype", None) == getattr(value, "dtype", None)
    maps = found["maps"]
    assert isinstance(maps, np.ndarray)
    maps[0] = 1  # trainers write into what they read
    (tmp_path / "plain.npy").write_bytes(npy_bytes(dict.fromkeys(("a", 7), VALUES)))
    assert read_npy(tmp_path / "plain.npy").keys() == {"a", 7}  # type: ignore[union-attr]


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(st.sampled_from(["f2", "f4", "f8", "i8", "u1", "?"]), arrays.array_shapes(min_side=0)))
def test_any_array_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> None:
    for values in (array, array[::2], array.T):
        found = loaded(tmp_path_factory.getbasetemp(), {"a": values})["a"]
        assert isinstance(found, np.ndarray)
        assert found.dtype == values.dtype
        assert found.shape == values.shape
        assert np.array_equal(found.astype("f8"), values.astype("f8"), equal_nan=True)


@pytest.mark.parametrize("value", [np.float32(1), Path("x"), print, names_in, torch.zeros(1)])
def test_what_old_readers_might_not_have_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="numbers, strings and arrays"):
        npy_bytes({"a": value})


def exported(excel_cam: object, tmp_path: Path, to: str, cams: Path, labels: Path) -> Path:
    assert callable(excel_cam)
    out = tmp_path / to
    result = excel_cam("export", "--to", to, "--labels", labels, "--cams", cams, "--dataset", "voc", "--out", out)
    assert isinstance(result, Result)
    assert result.exit_code == 0, result.stderr
    return out


@pytest.fixture
def every_file(excel_cam: object, tmp_path: Path) -> list[Path]:
    """Every .npy file that commands write: of each export with maps, and of tags."""
    from PIL import Image

    from excel_cam.labels.class_maps import write_maps

    labels, cams = tmp_path / "labels", tmp_path / "cams"
    for folder in (labels, cams):
        folder.mkdir()
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(labels / "2007_000032.png")
    write_maps(cams / "2007_000032.npz", np.arange(8.0).reshape(2, 2, 2), (0, 14), (5, 6), "0" * 32)
    write_tags(tmp_path / "cls_labels.npy", {"2007_000032": (0, 14)}, VOC_CLASSES)
    folders = [exported(excel_cam, tmp_path, to, cams, labels) for to in ("irn", "psa", "clip-es")]
    return [tmp_path / "cls_labels.npy", *(path for folder in folders for path in sorted(folder.rglob("*.npy")))]


def test_no_command_writes_names_of_new_numpy(every_file: list[Path]) -> None:
    assert len(every_file) == 8
    for path in every_file:
        assert names_in(path.read_bytes()) <= {"numpy ndarray", "numpy dtype", "torch from_numpy"}, path


@pytest.mark.skipif("EXCEL_CAM_OLD_NUMPY" not in os.environ, reason="EXCEL_CAM_OLD_NUMPY names no Python of old numpy")
def test_an_old_numpy_reads_every_file(every_file: list[Path], tmp_path: Path) -> None:
    """EXCEL_CAM_OLD_NUMPY: a Python with numpy before 1.26; with torch too, IRN's tensors are read as well."""
    python = os.environ["EXCEL_CAM_OLD_NUMPY"]
    has_torch = subprocess.run([python, "-c", "import torch"], check=False, capture_output=True).returncode == 0
    files = [path for path in every_file if has_torch or "irn/cam" not in path.as_posix()]
    result = subprocess.run([python, "-c", OLD_READER, *files], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert tuple(map(int, told.pop("numpy").split(".")[:2])) < (1, 26)
    assert told["2007_000032"] == ["numpy.ndarray", "float32", [20], 2.0]
    assert told["2007000032"] == ["numpy.ndarray", "float32", [20], 2.0]
    assert told["attn_highres"][:3] == ["numpy.ndarray", "float16", [2, 5, 6]]
    assert told["14"][:3] == ["numpy.ndarray", "float32", [5, 6]]
    if has_torch:
        assert told["cam"][:3] == ["torch.Tensor", "float32", [2, 2, 2]]
