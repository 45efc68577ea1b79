"""One shard's files: the tar as other programs read and write it, the index as others read it, and damage to both."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excel_cam.errors import DataError
from excel_cam.files.storage import Place
from excel_cam.labels.packed.index import IndexHead, Row, index_bytes, read_index
from excel_cam.labels.packed.listing import index_of, list_shards, running_of, tar_of
from excel_cam.labels.packed.running import LIFETIME, Running, read_running
from excel_cam.labels.packed.tar import Extent, TarReader, TarWriter, name_fault

MEMBERS = {"a.png": b"first", "deep/ö.png": b"x" * 512, "n" * 120 + ".png": b"", "n" * 120 + ".npz": b"maps"}


def written(path: Path, members: dict[str, bytes]) -> tuple[dict[str, Extent], int]:
    with TarWriter(path) as tar:
        extents = {name: tar.add(name, content) for name, content in members.items()}
        return extents, tar.close()


def other_program(members: dict[str, bytes]) -> bytes:
    """The same tar by Python's own writer."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), 0o644
            archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def test_a_tar_is_what_another_writer_writes(tmp_path: Path) -> None:
    extents, size = written(tmp_path / "shard.tar", MEMBERS)
    assert (tmp_path / "shard.tar").read_bytes() == other_program(MEMBERS)
    assert size == (tmp_path / "shard.tar").stat().st_size
    reader = TarReader(Place(str(tmp_path / "shard.tar")), size)
    reader.require_size()
    assert {name: reader.read(extent) for name, extent in extents.items()} == MEMBERS
    assert {name: reader.read(extent) for name, extent in reversed(extents.items())} == MEMBERS
    with tarfile.open(tmp_path / "shard.tar") as archive:
        assert [(member.name, member.offset_data, member.size) for member in archive] == [
            (name, extent.offset, extent.size) for name, extent in extents.items()
        ]


@settings(max_examples=25)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=150), st.binary(max_size=1500)))
def test_any_name_and_content_comes_back(members: dict[str, bytes]) -> None:
    members = {name: content for name, content in members.items() if name_fault(name) is None}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shard.tar")
        extents, size = written(path, members)
        reader = TarReader(Place(str(path)), size)
        found = {name: reader.read(extent) for name, extent in extents.items()}
        assert found == members
        assert path.read_bytes() == other_program(members)


@pytest.mark.parametrize("name", ["", "../up", "/root", "a/../../b", "a\0b", "half \udcff"])
def test_names_that_cannot_be_packed_are_told(name: str) -> None:
    assert name_fault(name)


def test_the_file_behind_a_label_is_found_by_its_name_alone(tmp_path: Path) -> None:
    extents, size = written(tmp_path / "t.tar", MEMBERS)
    place, long = Place(str(tmp_path / "t.tar")), "n" * 120
    reader = TarReader(place, size)
    assert reader.find_behind(extents[f"{long}.png"], f"{long}.npz") == extents[f"{long}.npz"]
    assert reader.find_behind(extents["a.png"], "a.npz") is None
    assert reader.find_behind(extents[f"{long}.npz"], "a.npz") is None  # the tar's end
    (tmp_path / "t.tar").write_bytes((tmp_path / "t.tar").read_bytes()[:700] + b"\xff" * 5000)
    assert TarReader(place, size).find_behind(extents["a.png"], "a.npz") is None


def test_a_tar_cut_off_within_a_label_is_told(tmp_path: Path) -> None:
    extents, size = written(tmp_path / "t.tar", MEMBERS)
    (tmp_path / "t.tar").write_bytes((tmp_path / "t.tar").read_bytes()[:514])
    with pytest.raises(DataError, match=r"t\.tar: it ends at byte 514, within a file"):
        TarReader(Place(str(tmp_path / "t.tar")), size).read(extents["a.png"])


def test_a_header_that_announces_anything_takes_no_more_than_is_there(tmp_path: Path) -> None:
    header = tarfile.TarInfo("a.npz")
    header.type, header.size = tarfile.XHDTYPE, 1 << 50
    extents, size = written(tmp_path / "t.tar", {"a.png": b"first"})
    content = bytearray((tmp_path / "t.tar").read_bytes())
    place = extents["a.png"].end
    content[place : place + tarfile.BLOCKSIZE] = header.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "t.tar").write_bytes(content)
    assert TarReader(Place(str(tmp_path / "t.tar")), size).find_behind(extents["a.png"], "a.npz") is None


def test_members_one_after_the_other_are_read_by_few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"{number:04d}.png": bytes([number % 251]) * 3000 for number in range(300)}
    extents, size = written(tmp_path / "t.tar", members)
    asked: list[int] = []
    read = Place.read

    def counted(place: Place, offset: int = 0, size: int | None = None) -> bytes:
        assert size is not None
        asked.append(size)
        return read(place, offset, size)

    monkeypatch.setattr(Place, "read", counted)
    reader = TarReader(Place(str(tmp_path / "t.tar")), size)
    assert {name: reader.read(extent) for name, extent in extents.items()} == members
    assert len(asked) == 2  # the first alone, then some hundreds at once
    asked.clear()
    reader = TarReader(Place(str(tmp_path / "t.tar")), size)
    for name in ("0290.png", "0005.png", "0100.png"):  # from all over the tar: no byte more than is wanted
        reader.read(extents[name])
    assert asked[:2] == [3000, 3000]


HEAD = IndexHead(shard=3, identity="abc", tar_size=10_240)
ROWS = (
    Row("b/1", Extent(512, 100), "0" * 32, ((0, 0.75), (2, 0.25))),
    Row("b/2", reason="cannot be decoded"),
    Row("a", Extent(1536, 60), "1" * 32, ((255, 1.0),)),
)


def test_an_index_comes_back_and_is_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra `shards` is not installed")
    place = index_of(Place(str(tmp_path)), 3)
    place.write(index_bytes(HEAD, ROWS))
    assert place.read() == index_bytes(HEAD, ROWS)
    index = read_index(place, 3)
    assert (index.head, index.names, index.reasons) == (HEAD, ["b/1", "b/2", "a"], {"b/2": "cannot be decoded"})
    assert index.offsets.tolist() == [512, -1, 1536]
    assert index.sizes.tolist() == [100, 0, 60]
    assert index.stamps == ["0" * 32, None, "1" * 32]
    assert index.labelled == 2


def test_an_index_is_what_the_layout_says_to_others(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `shards` is not installed")
    table = parquet.read_table(io.BytesIO(index_bytes(HEAD, ROWS)))
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("name", "string"), ("offset", "int64"), ("size", "int64"), ("stamp", "string"),
        ("values", "list<element: uint8>"), ("shares", "list<element: float>"), ("reason", "string"),
    ]  # fmt: skip
    assert json.loads(table.schema.metadata[b"excel_cam"]) == {
        "format": 1, "shard": 3, "identity": "abc", "tar_size": 10_240,
    }  # fmt: skip
    assert table.to_pylist()[0] == {
        "name": "b/1", "offset": 512, "size": 100, "stamp": "0" * 32, "values": [0, 2], "shares": [0.75, 0.25],
        "reason": None,
    }  # fmt: skip
    assert table.to_pylist()[1] == {
        "name": "b/2", "offset": None, "size": None, "stamp": None, "values": None, "shares": None,
        "reason": "cannot be decoded",
    }  # fmt: skip


def changed(**columns: list[Any]) -> Callable[[], bytes]:
    """An index, sound but for a column."""

    def content() -> bytes:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(io.BytesIO(index_bytes(HEAD, ROWS)))
        for name, values in columns.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(
                place, table.schema.field(name), pyarrow.array(values, table.schema.field(name).type)
            )
        stream = io.BytesIO()
        pyarrow.parquet.write_table(table, stream)
        return stream.getvalue()

    return content


def told(**record: Any) -> Callable[[], bytes]:
    """An index whose metadata says something else."""

    def content() -> bytes:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(io.BytesIO(index_bytes(HEAD, ROWS)))
        metadata = {"format": 1, "shard": 3, "identity": "abc", "tar_size": 10_240} | record
        stream = io.BytesIO()
        pyarrow.parquet.write_table(table.replace_schema_metadata({"excel_cam": json.dumps(metadata)}), stream)
        return stream.getvalue()

    return content


def without_a_column() -> bytes:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(index_bytes(HEAD, ROWS))).drop_columns(["stamp"])
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"", "Parquet"),
        (lambda: b"no parquet at all", "Parquet"),
        (lambda: index_bytes(HEAD, ROWS)[:-9], "Parquet"),
        (without_a_column, "its columns are others"),
        (told(format=2), "format 2, of a newer excel-cam"),
        (told(format="1"), "says no format"),
        (told(shard=4), "it is the index of shard 4"),
        (told(tar_size=-1), "not as it should be"),
        (told(tar_size=None), "not as it should be"),
        (told(tar_size=1000), "beyond the end of its tar"),
        (changed(offset=[512, None, 1 << 62], size=[100, None, 1 << 62]), "beyond the end of its tar"),
        (changed(offset=[512, None, 550]), "over one another"),
        (changed(size=[100, None, 0]), "beyond the end of its tar"),
        (changed(offset=[512, 5, 1536]), "both a reason and a label's offset"),
        (changed(stamp=["x", None, None]), "stamp, or neither"),
        (changed(name=["a", "b", "a"]), "a name stands in it twice"),
        (changed(name=["../a", "b", "c"]), "leads out of the folder"),
        (changed(name=[None, "b", "c"]), "it is none"),
    ],
)
def test_an_odd_index_is_refused_in_one_line(tmp_path: Path, content: Callable[[], bytes], reason: str) -> None:
    pytest.importorskip("pyarrow", reason="the extra `shards` is not installed")
    place = Place(str(tmp_path / "labels-00003.parquet"))
    place.write(content())
    with pytest.raises(DataError, match=reason) as caught:
        read_index(place, 3)
    assert str(caught.value).startswith(f"{place}: not the index of labels in a shard (")
    assert "\n" not in str(caught.value)


def test_any_byte_changed_in_an_index_gives_an_index_or_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra `shards` is not installed")
    place, whole = Place(str(tmp_path / "labels-00003.parquet")), index_bytes(HEAD, ROWS)
    for position in range(0, len(whole), 29):
        place.path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        try:
            read_index(place, 3)
        except DataError as error:
            assert "\n" not in str(error)


def test_a_listing_tells_shards_apart(tmp_path: Path) -> None:
    out = Place(str(tmp_path))
    for place in (tar_of(out, 0), index_of(out, 0), running_of(out, 0), tar_of(out, 7), tar_of(out, 123_456)):
        place.write(b"")
    running_of(out, 12).write(b"")
    out.child("labels-7.tar").write(b"")
    listing = list_shards(out)
    assert (listing.committed, listing.begun, listing.left) == ((0,), (12,), (7, 123_456))


def test_who_is_at_work_and_for_how_long(tmp_path: Path) -> None:
    place = running_of(Place(str(tmp_path)), 1)
    assert read_running(place) is None
    now = time.time()
    mark = Running(since=now - 500, renewed=now - LIFETIME + 1)
    mark.write(place)
    assert read_running(place) == mark
    assert not mark.is_abandoned(now)
    assert mark.is_abandoned(now + 2)
    place.write(b"{")
    assert read_running(place) is None
