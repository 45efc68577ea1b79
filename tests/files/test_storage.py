"""One file or folder, on a disk or where fsspec reaches: the same answers from both."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import pytest

from excel_cam.errors import DataError, OutputError, UsageError
from excel_cam.files.storage import Place

_FRESH = itertools.count()


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return Place(str(tmp_path / "folder"))
    pytest.importorskip("fsspec")
    return Place(f"memory://bucket-{next(_FRESH)}/folder")


def test_what_is_written_is_read(folder: Place, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"0123456789")
    place = folder.child("deep/file.bin")
    assert not place.exists()
    place.write(source)
    folder.child("other.txt").write(b"text")
    assert place.exists()
    assert place.name == "file.bin"
    assert place.read() == b"0123456789"
    assert place.size() == 10
    assert place.read(3, 4) == b"3456"
    assert place.read(8) == b"89"
    with place.reading() as stream:
        stream.seek(2)
        assert stream.read(2) == b"23"
    assert folder.child("deep").names() == ["file.bin"]
    assert "other.txt" in folder.names(".txt")
    assert folder.names(".png") == []
    place.write(b"new")
    assert pickle.loads(pickle.dumps(place)).read() == b"new"
    place.remove()
    place.remove()  # what is not there need not be removed
    assert not place.exists()


def test_what_is_not_there_is_said_in_one_line(folder: Place) -> None:
    assert folder.names() == []
    with pytest.raises(DataError, match=r"missing\.bin cannot be read: "):
        folder.child("missing.bin").read()
    with pytest.raises(DataError, match=r"missing\.bin cannot be looked up: "):
        folder.child("missing.bin").size()
    with pytest.raises(DataError, match=r"missing\.bin cannot be read: "), folder.child("missing.bin").reading():
        pass


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        Place(str(tmp_path / "file")).child("below").write(b"1")


def test_an_unknown_storage_is_said_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"nowhere://a/b: .*nowhere.*\[remote\]"):
        Place("nowhere://a/b").read()


def test_credentials_in_an_address_are_not_shown() -> None:
    assert str(Place("http://me:secret@host/a/b.tar?token=secret")) == "http://host/a/b.tar"
    assert str(Place("/a/b@c?d")) == "/a/b@c?d"
