"""Damaged tags, lists, class lists and COCO files: each ends in labels or in one clear line, and runs nothing.

Together some 400 cases. What is written is written whole, and nothing is left behind by a refusal.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from excel_cam.classes import COCO_CATEGORY_IDS, COCO_CLASSES
from excel_cam.cli.main import cli
from excel_cam.data.coco import open_coco
from excel_cam.data.folder import open_folder
from excel_cam.errors import DataError
from excel_cam.tags.read import read_tags

TAGS = {"COCO_val2014_000000000009": ["cat", "dog"], "000000000025": [], "é/x": ["potted plant"]}
RECORDS = [{"name": name, "classes": classes} for name, classes in TAGS.items()]
OBJECTS = [{"image_id": 9, "category_id": 17}, {"image_id": 25, "category_id": 90}]
INSTANCES = {
    "info": {"year": 2014},
    "images": [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 25, "file_name": "000000000025.jpg"}],
    "annotations": [
        {"segmentation": [[1.5, 2.5, 3.5]], "iscrowd": 0, "image_id": 9, "category_id": 17, "id": 1},
        {"segmentation": {"counts": "o}\\\"", "size": [3, 4]}, "iscrowd": 1, "image_id": 25, "category_id": 90},
    ],
    "categories": [
        {"id": category, "name": name}
        for category, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True)
        if category in (1, 17, 18, 90)
    ],
}  # fmt: skip


def npy_bytes(content: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, content, allow_pickle=True)
    return stream.getvalue()


def row(*indices: int) -> np.ndarray:
    return np.isin(np.arange(80), indices).astype(np.float32)


WHOLE: dict[str, list[bytes]] = {
    ".csv": [("name,classes\n" + "".join(f"{n},{';'.join(c)}\n" for n, c in TAGS.items())).encode()],
    ".json": [json.dumps(content, indent=1).encode() for content in (TAGS, RECORDS, OBJECTS, INSTANCES)],
    ".jsonl": ["\n".join(map(json.dumps, records)).encode() for records in (RECORDS, OBJECTS)],
    ".npy": [npy_bytes(content) for content in ({9: row(15), "a": row(0, 79)}, np.array(RECORDS), np.array(OBJECTS))],
}
PIECES = [b"", b"\0", b"\xff", b"\n", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"null", b"-1", b"1e999", b"NaN",
          b"../", b"\xef\xbb\xbf", b"9" * 5000, b"[" * 2000, b'"image_id"', b"cat", b"\xed\xa0\x80", b"\\ud800", b".",
          b"cposix\nsystem\n"]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` with a few bytes replaced, cut out, repeated or cut off."""
    content = whole
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4) | st.just(content[at:end] * 2))
        content = content[:at] + piece + content[end:]
    return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content


DAMAGED_TAGS = st.sampled_from([(suffix, whole) for suffix, contents in WHOLE.items() for whole in contents]).flatmap(
    lambda chosen: st.tuples(st.just(chosen[0]), damaged(chosen[1]))
)
FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def run_cleanly(folder: Path, *arguments: object) -> int:
    """Run a command; its exit status, once it is sure that an error is one line, after notes on what was read."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    if result.exit_code:
        lines = result.stderr.strip().splitlines()
        assert [line.startswith("Error: ") for line in lines] == [False] * (len(lines) - 1) + [True]
        assert str(folder) in lines[-1]
    return result.exit_code


@FUZZ
@given(DAMAGED_TAGS)
def test_damaged_tags(tmp_path_factory: pytest.TempPathFactory, chosen: tuple[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("tags")
    suffix, content = chosen
    (folder / f"t{suffix}").write_bytes(content)
    before = sorted(folder.iterdir())
    out = folder / "out.json"
    exit_code = run_cleanly(folder, "tags", "--from", folder / f"t{suffix}", "--dataset", "coco", "--out", out)
    assert exit_code in (0, 1)
    assert sorted(folder.iterdir()) == (before if exit_code else sorted([*before, out]))
    if exit_code == 0:
        assert read_tags(out, COCO_CLASSES)


@FUZZ
@given(damaged(json.dumps(INSTANCES).encode()), st.booleans())
def test_damaged_coco_json(tmp_path_factory: pytest.TempPathFactory, content: bytes, with_tags: bool) -> None:
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "val2017").mkdir()
    (root / "annotations" / "instances_val2017.json").write_bytes(content)
    tags = root / "tags.json"
    tags.write_text(json.dumps({"9": ["cat"], "25": []}))
    try:
        data_set = open_coco(root, "val2017", tags if with_tags else None, None)
    except DataError as error:
        assert str(error).startswith(str(root))
        assert "\n" not in str(error)
    else:
        assert all(sample.image_path.is_relative_to(root / "val2017") for sample in data_set.samples)
        assert all(set(sample.tags) <= set(range(80)) for sample in data_set.samples)


@FUZZ
@given(
    st.sampled_from(["classes", "tags", "list"]),
    st.data(),
)
def test_damaged_class_lists_tags_and_lists_of_a_folder(
    tmp_path_factory: pytest.TempPathFactory, which: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    whole = {
        "classes": b"# two\nred panda\ntea pot: teapot made of china\n",
        "tags": b"name,classes\na,red panda;tea pot\nsub/b.jpg,\n",
        "list": b"a\nsub/b.jpg\n# end\n",
    }
    contents = {**whole, which: data.draw(damaged(whole[which]))}
    for name, content in contents.items():
        (folder / f"{name}.csv").write_bytes(content)
    (folder / "photos" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (folder / "photos" / name).write_bytes(b"no image, which nothing here looks at")
    arguments = ("--from", folder / "tags.csv", "--classes", folder / "classes.csv", "--list", folder / "list.csv")
    exit_code = run_cleanly(folder, "tags", *arguments, "--out", folder / "out.npy")
    assert exit_code in (0, 1)
    assert (folder / "out.npy").exists() == (exit_code == 0)
    try:
        open_folder(folder / "photos", folder / "classes.csv", folder / "tags.csv", None)
    except DataError as error:
        assert "\n" not in str(error)


class Proof:
    """Pickles into a call that leaves a file behind."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("wrap", [lambda p: {"a": p}, lambda p: {9: [p]}, lambda p: np.array([{"name": p}, {}])])
def test_no_tags_file_runs_code(tmp_path: Path, protocol: int, wrap: Callable[[object], Any]) -> None:
    proof = tmp_path / "ran"
    content = wrap(Proof(os.mkdir, str(proof)))
    array = np.empty((), object)
    array[()] = content
    array = content if isinstance(content, np.ndarray) else array
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
    (tmp_path / "t.npy").write_bytes(stream.getvalue() + pickle.dumps(array, protocol))
    arguments = ("--from", tmp_path / "t.npy", "--dataset", "coco", "--out", tmp_path / "out.csv")
    assert run_cleanly(tmp_path, "tags", *arguments) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t.npy"]
