"""Photographs in tars: what is found, and that no tar, however made, leads anywhere but to one line or a faulty row."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packed_photographs import with_json, write_tar

from excel_cam.data.sharded import source, tars
from excel_cam.data.sharded.photograph import Names, ShardPhotograph
from excel_cam.data.sharded.source import find_tars
from excel_cam.data.sharded.tag_rule import TagRule
from excel_cam.data.sharded.tars import TarShards
from excel_cam.errors import DataError, UsageError
from excel_cam.files.storage import Place

CLASSES = ("cat", "dog", "red panda")


def photographs(path: Path, rule: TagRule | None = None) -> list[ShardPhotograph]:
    return list(TarShards((Place(str(path)),), rule or TagRule(CLASSES, "own")).photographs(0))


def faults(path: Path) -> dict[str, str | None]:
    return {found.name: found.fault for found in photographs(path)}


def test_members_of_one_name_belong_together_in_either_order(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [
        ("./a/one.jpg", b"1"), ("./a/one.json", b'{"classes": ["dog", 0]}'), ("._a.jpg", b"x"), ("notes.txt", b"x"),
        ("two.json", b'{"classes": []}'), ("two.cls", b"7"), ("two.PNG", b"22"),
        ("v1.5.webp", b"3"), ("v1.5.json", b'\xef\xbb\xbf{"classes": ["RED panda"], "more": 1}'),
    ])  # fmt: skip
    assert [(found.name, found.file, found.tags, found.fault) for found in photographs(path)] == [
        ("a/one", b"1", (0, 1), None), ("two", b"22", (), None), ("v1.5", b"3", (2,), None),
    ]  # fmt: skip
    csv = tmp_path / "tags.csv"
    csv.write_text("name,classes\na/one.jpg,cat\ntwo,dog\n")
    found = photographs(path, TagRule(CLASSES, "file", csv))
    assert [one.tags for one in found] == [(0,), (1,), ()]
    assert found[2].fault is not None
    assert "has no line for it" in found[2].fault
    assert [one.tags for one in photographs(path, TagRule(CLASSES, "all"))] == [(0, 1, 2)] * 3


@pytest.mark.parametrize(
    ("json", "complaint"),
    [
        (b'{"classes": ["kat"]}', "'kat' is not one of the 3 classes (nearest: cat)"),
        (b'{"classes": [3]}', "class index 3 is out of range"),
        (b'{"classes": "cat"}', "expected a list of classes"),
        (b'["cat"]', "is not {"),
        (b"{", "cannot be read: it is not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 5000, "nested deeper"),
        (b" " * (tars.MAX_JSON_BYTES + 1), "longer than 1.0 MB"),
        (None, "'x.json', as {\"classes\": [\"cat\"]}, is not beside it"),
    ],
)  # fmt: skip
def test_tags_that_cannot_be_read_are_a_fault_of_one_photograph(
    tmp_path: Path, json: bytes | None, complaint: str
) -> None:
    members = [("x.jpg", b"1"), *([] if json is None else [("x.json", json)]), *with_json("y", b"2", ["cat"])]
    found = faults(write_tar(tmp_path / "a.tar", members))
    assert found["y"] is None
    assert complaint in str(found["x"])


def test_names_that_lead_anywhere_else_stand_by_their_place(tmp_path: Path) -> None:
    names = [
        "../up", "/absolute", "a/../../b", "C:/x", "a//b", "a\\b", "a\nb", "x" * 241, "/".join(["y" * 200] * 6),
        "twice", "twice", "(photograph 12 of shard 0)", "fine",
    ]  # fmt: skip
    path = write_tar(tmp_path / "a.tar", [(f"{name}.jpg", b"1") for name in names])
    found = photographs(path, TagRule((), "none"))
    assert [one.name for one in found if one.fault is None] == ["twice", "(photograph 12 of shard 0)", "fine"]
    assert [one.name for one in found if one.fault is not None] == [
        f"(photograph {number} of shard 0)" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11)
    ]
    assert all("\n" not in str(one.fault) for one in found)
    assert "a second photograph named 'twice'" in str(found[10].fault)


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind, name in {
            tarfile.SYMTYPE: "a.jpg", tarfile.LNKTYPE: "b.jpg", tarfile.CHRTYPE: "c.jpg", tarfile.FIFOTYPE: "d.jpg",
            tarfile.GNUTYPE_SPARSE: "e.jpg", tarfile.DIRTYPE: "f.jpg",
        }.items():  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        archive.addfile(tarfile.TarInfo("bytes\udcff.jpg"))
        archive.addfile(tarfile.TarInfo("empty.jpg"))
    found = {one.name: (one.file, one.fault) for one in photographs(tmp_path / "a.tar", TagRule((), "none"))}
    assert found["empty"] == (b"", None)
    assert all(found[name][0] == b"" and "link, device" in str(found[name][1]) for name in "abcde")
    assert "undecodable" in str(found["(photograph 6 of shard 0)"][1])
    assert len(found) == 7


def sizes_that_lie(path: Path, claimed: int) -> Path:
    member = tarfile.TarInfo("big.jpg")
    member.size = claimed
    first = tarfile.TarInfo("good.jpg")
    first.size = 4
    path.write_bytes(first.tobuf() + b"good" + bytes(508) + member.tobuf(tarfile.GNU_FORMAT) + b"short")
    return path


@pytest.mark.parametrize("claimed", [6, 1 << 20, 1 << 31, 1 << 60])
def test_a_size_is_believed_as_far_as_the_file_goes(tmp_path: Path, claimed: int) -> None:
    with pytest.raises(DataError, match=r"a\.tar: cut off within 'big.jpg'; copy or write it again"):
        photographs(sizes_that_lie(tmp_path / "a.tar", claimed), TagRule((), "none"))


def test_no_header_fills_the_memory(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        head = tarfile.TarInfo("header")
        head.type, head.size = kind, tars.MAX_HEADER_BYTES + 1
        (tmp_path / "a.tar").write_bytes(head.tobuf() + b"0" * (tars.MAX_HEADER_BYTES + 2048))
        with pytest.raises(DataError, match=r"damaged \(a header of 1.0 MB\)"):
            photographs(tmp_path / "a.tar")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    members = [*with_json("a", b"1" * 700, ["cat"]), *with_json("b/c", b"2" * 300, ["dog"])]
    return write_tar(tmp_path_factory.mktemp("tar") / "a.tar", members).read_bytes()


def test_a_tar_that_is_cut_off_is_never_taken_for_a_whole_one(tmp_path: Path, whole: bytes) -> None:
    content = whole.rstrip(b"\0")
    end = -(-len(content) // 512) * 512
    for length in [*range(0, end, 97), *range(0, end + 1, 512), end + 511]:
        (tmp_path / "a.tar").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.tar: (cut off|not a plain tar|no photographs)"):
            photographs(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(whole[: end + 512])  # one zero block is an end
    assert len(photographs(tmp_path / "a.tar")) == 2


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=12))
def test_damage_anywhere_gives_one_line_or_rows(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(whole)
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(content)
    try:
        found = photographs(path)
    except DataError as error:
        assert str(error).startswith(str(path))
        return
    assert len({one.name for one in found}) == len(found)
    again = Names(1)
    assert all(one.fault or again.admit(one.name, "", 1)[1] is None for one in found)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08" + b"x" * 600, b"text" * 300, bytes(10240)])
def test_other_files_are_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar: (not a plain tar|no photographs)"):
        photographs(tmp_path / "a.tar")
    with pytest.raises(DataError, match=r"no photographs in this tar .* such as 'x\.heic'"):
        photographs(write_tar(tmp_path / "b.tar", [("x.heic", b"1")]))


def test_tars_by_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("00", "01", "10", "b"):
        write_tar(tmp_path / f"{name}.tar", [])

    def found(pattern: str) -> list[str]:
        return [place.name for place in find_tars(str(tmp_path / pattern))]

    assert found("*.tar") == ["00.tar", "01.tar", "10.tar", "b.tar"]
    assert found("{09..11}.tar") == ["09.tar", "10.tar", "11.tar"]  # named, so expected
    assert found("{b,0{0,1}}.tar") == ["00.tar", "01.tar", "b.tar"]
    assert found("{0?,b}.tar") == ["00.tar", "01.tar", "b.tar"]
    with pytest.raises(DataError, match="no tars there"):
        found("c*.tar")
    monkeypatch.setattr(source, "MOST_TARS", 100)
    with pytest.raises(UsageError, match="more than 100 tars"):
        found("{0..99999999999}.tar")
