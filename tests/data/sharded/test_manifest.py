"""Manifests: written from a folder and its tags, read a shard at a time, and refused in one line where they are bad."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from excel_cam.data.sharded.manifest import ManifestShards
from excel_cam.data.sharded.tag_rule import TagRule
from excel_cam.errors import DataError
from excel_cam.files.storage import Place

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra `shards`)")
parquet = pytest.importorskip("pyarrow.parquet")

Run = Callable[..., Result]
CLASSES = ("cat", "dog", "red panda")


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def rows(count: int) -> dict[str, Any]:
    return {
        "name": [f"{number:06d}" for number in range(count)],
        "uri": [f"{number:06d}.jpg" for number in range(count)],
        "classes": [[CLASSES[number % 3]] for number in range(count)],
    }


def shards(path: Path, per_shard: int = 1000, rule: TagRule | None = None) -> ManifestShards:
    return ManifestShards(Place(str(path)), Place(str(path.parent)), rule or TagRule(CLASSES, "own"), per_shard)


@pytest.mark.parametrize("group", [3, 7, 10, 1000])
def test_shards_are_ranges_of_rows_whatever_the_row_groups(tmp_path: Path, group: int) -> None:
    made = shards(write(tmp_path / "m.parquet", rows(25), row_group_size=group), 10)
    assert (made.count, made.images) == (3, 25)
    found = [photograph for shard in range(3) for photograph in pickle.loads(pickle.dumps(made)).photographs(shard)]
    assert [one.name for one in found] == rows(25)["name"]
    assert [one.tags for one in found] == [(number % 3,) for number in range(25)]
    assert found[7].file == Place(str(tmp_path / "000007.jpg"))
    assert [len(list(made.photographs(shard))) for shard in range(3)] == [10, 10, 5]


def test_uris_of_every_kind(tmp_path: Path) -> None:
    uris = ["a/b.jpg", "/data/c.jpg", "s3://bucket/d.jpg", "../e.jpg", "", None, "f\0.jpg", "x" * 5000]
    columns = {"name": [f"n{number}.JPG" for number in range(8)], "uri": uris, "classes": [[0]] * 8}
    made = shards(write(tmp_path / "m.parquet", columns))
    found = list(dataclasses.replace(made, root=Place("/root")).photographs(0))
    assert [str(one.file) for one in found[:4]] == [
        "/root/a/b.jpg",
        "/data/c.jpg",
        "s3://bucket/d.jpg",
        "/root/../e.jpg",
    ]
    assert all("expected the path or address of a photograph" in str(one.fault) for one in found[4:])
    assert found[0].name == "n0"


def test_classes_by_name_or_number_and_what_they_may_not_be(tmp_path: Path) -> None:
    numbers = {"name": ["a", "b", "c"], "uri": ["x"] * 3, "classes": [[2, 0], [3], None]}
    found = list(shards(write(tmp_path / "m.parquet", numbers)).photographs(0))
    assert found[0].tags == (0, 2)
    assert "class index 3 is out of range; indices of the 3 classes are 0..2" in str(found[1].fault)
    assert "expected a list of classes" in str(found[2].fault)
    text = pyarrow.array(["a", "../b", "a", None]).dictionary_encode()
    columns = {"name": text, "uri": ["x"] * 4, "classes": [[], ["cat"], ["cat"], ["cat"]]}
    found = list(shards(write(tmp_path / "m.parquet", columns)).photographs(0))
    assert [one.fault is None for one in found] == [True, False, False, False]
    assert "row 2 of" in str(found[1].fault)
    untagged = {"name": ["a"], "uri": ["x"]}
    (one,) = shards(write(tmp_path / "m.parquet", untagged), rule=TagRule((), "none")).photographs(0)
    assert (one.tags, one.fault) == ((), None)


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"name": ["a"], "classes": [["cat"]]}, "uri is not so among name, classes"),
        ({"name": ["a"], "uri": ["x"]}, "classes is not so among name, uri"),
        ({"name": [1], "uri": ["x"], "classes": [["cat"]]}, "column name holds int64; expected texts"),
        ({"name": ["a"], "uri": [b"x"], "classes": [["cat"]]}, "column uri holds binary; expected texts"),
        ({"name": ["a"], "uri": ["x"], "classes": ["cat;dog"]}, "column classes holds string; expected lists"),
        ({"name": ["a"], "uri": ["x"], "classes": [[1.5]]}, "column classes holds list<"),
        ({"name": pyarrow.array([], pyarrow.string()), "uri": pyarrow.array([], pyarrow.string()),
          "classes": pyarrow.array([], pyarrow.list_(pyarrow.string()))}, "this manifest has no rows"),
    ],
)  # fmt: skip
def test_a_manifest_of_another_form_is_told_in_one_line(
    tmp_path: Path, columns: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataError, match=r"m\.parquet") as raised:
        _ = shards(write(tmp_path / "m.parquet", columns)).count
    assert complaint in str(raised.value)


def test_damaged_manifests_are_told_in_one_line(tmp_path: Path) -> None:
    whole = write(tmp_path / "m.parquet", rows(50)).read_bytes()
    for content in (
        b"",
        b"PAR1",
        b"name,uri,classes\na,b,c\n",
        whole[:-300],
        whole[4:],
        whole[:-8] + b"\xff\xff\xff\x7fPAR1",
    ):
        (tmp_path / "m.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"m\.parquet: this manifest cannot be read as Parquet \(") as raised:
            list(shards(tmp_path / "m.parquet").photographs(0))
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=r"n\.parquet cannot be read: No such file"):
        _ = shards(tmp_path / "n.parquet").count


def test_mended_uris_make_no_other_manifest_and_other_names_do(tmp_path: Path) -> None:
    first = shards(write(tmp_path / "a.parquet", rows(30))).record()
    assert shards(write(tmp_path / "b.parquet", rows(30) | {"uri": ["z"] * 30})).record() == first
    assert shards(write(tmp_path / "c.parquet", rows(30) | {"name": [f"n{n}" for n in range(30)]})).record() != first
    assert shards(write(tmp_path / "d.parquet", rows(31))).record() != first


class Tree:
    """A folder of photographs (their bytes are never looked at here) and its tags."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tags, self.out = folder / "photos", folder / "tags.csv", folder / "m.parquet"
        for name in ("b/2.jpg", "b/1.png", "a.JPEG", "b/.hidden.jpg", "b/._1.jpg", "notes.txt"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(b"photograph")
        self.tags.write_text("name,classes\nb/2.jpg,dog\na,\nb/1,red panda\nb/1,cat\ngone,cat\n")

    def arguments(self) -> list[object]:
        return ["manifest", "--root", self.root, "--tags", self.tags, "--out", self.out]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_folder_becomes_a_manifest(excel_cam: Run, tree: Tree, tmp_path: Path) -> None:
    result = excel_cam(*tree.arguments())
    assert result.exit_code == 0, result.stderr
    assert "1 names in" in result.stderr
    assert "first gone; they are left out" in result.stderr
    assert result.stdout == f"{tree.out}\n"
    expected = [
        {"name": "a", "uri": "photos/a.JPEG", "classes": []},
        {"name": "b/1", "uri": "photos/b/1.png", "classes": ["red panda", "cat"]},
        {"name": "b/2", "uri": "photos/b/2.jpg", "classes": ["dog"]},
    ]
    assert parquet.read_table(tree.out).to_pylist() == expected
    assert "add --overwrite" in excel_cam(*tree.arguments()).stderr
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    named = ["--classes", tmp_path / "classes.txt", "--overwrite"]
    assert excel_cam(*tree.arguments(), *named).exit_code == 0
    expected[1]["classes"] = ["cat", "red panda"]
    assert parquet.read_table(tree.out).to_pylist() == expected
    for form, text in {
        "jsonl": '{"name": "a", "classes": []}\n{"name": "b/1", "classes": ["cat", "red panda"]}\n'
                 '{"name": "b/2.jpg", "classes": ["dog"]}\n',
        "json": '{"a": [], "b/1": [0, "red panda"], "b/2": ["dog"]}',
    }.items():  # fmt: skip
        tree.tags = tmp_path / f"tags.{form}"
        tree.tags.write_text(text)
        tree.out = tmp_path / "elsewhere" / f"{form}.parquet"
        assert excel_cam(*tree.arguments(), *named).exit_code == 0
        found = parquet.read_table(tree.out).to_pylist()
        assert [row["classes"] for row in found] == [row["classes"] for row in expected]
        assert found[0]["uri"] == str(tree.root / "a.JPEG")  # not below the manifest's folder: its whole path
    tree.tags.unlink()
    assert excel_cam("manifest", "--root", tree.root, "--out", tmp_path / "untagged.parquet").exit_code == 0
    assert parquet.read_table(tmp_path / "untagged.parquet").column_names == ["name", "uri"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_what_is_no_photograph_to_a_run_over_a_folder_is_none_here(excel_cam: Run, tree: Tree) -> None:
    os.mkfifo(tree.root / "pipe.jpg")
    (tree.root / "b" / "new.heic").write_bytes(b"photograph")
    result = excel_cam(*tree.arguments())
    assert result.exit_code == 0, result.stderr
    assert "HEIC is not read: convert 1 such files to JPEG or PNG, first" in result.stderr
    assert [row["name"] for row in parquet.read_table(tree.out).to_pylist()] == ["a", "b/1", "b/2"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda tree: tree.tags.write_text("name,classes\na,cat\n"), "no tags for 2 of 3 images, first 'b/1'"),
        (lambda tree: tree.tags.write_text("name,classes\n../a,cat\n"), "leaves the root"),
        (lambda tree: tree.tags.write_text("path;classes\n"), "expected the header 'name,classes'"),
        (lambda tree: tree.tags.write_bytes(b"name,classes\na\xff,cat\n"), "is not UTF-8"),
        (lambda tree: tree.tags.unlink(), "cannot be read: No such file"),
        (lambda tree: (tree.root / "a.png").write_bytes(b""), "would share the label 'a'"),
        (lambda tree: setattr(tree, "root", tree.root / "c"), "cannot be read: No such file"),
        (lambda tree: setattr(tree, "tags", tree.tags.rename(tree.tags.with_suffix(".npy"))), "need --classes"),
    ],
)  # fmt: skip
def test_what_cannot_become_a_manifest_is_told_in_one_line(
    excel_cam: Run, tree: Tree, change: Callable[[Tree], object], complaint: str
) -> None:
    change(tree)
    result = excel_cam(*tree.arguments(), "--quiet")
    assert result.exit_code in (1, 2)
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not tree.out.exists()
