"""One file or folder, on a disk or where fsspec reaches: the same answers from all of them, and no credentials told."""

from __future__ import annotations

import importlib
import itertools
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_store import BUCKET, KEYS, forget_clients, s3_backend, s3_server, sends, web_server

from excel_cam.errors import DataError, ExcelCamError, MachineError, OutputError, UsageError
from excel_cam.files.remote import faults, systems, web
from excel_cam.files.remote.addresses import without_credentials
from excel_cam.files.storage import Place

_FRESH = itertools.count()


@pytest.fixture(scope="module")
def _s3() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as monkeypatch, s3_server(monkeypatch) as address:
        yield address


@pytest.fixture(params=["disk", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return Place(str(tmp_path / "folder"))
    pytest.importorskip("fsspec")
    if request.param == "s3":
        request.getfixturevalue("_s3")
        return Place(f"s3://{BUCKET}/{next(_FRESH)}")
    return Place(f"memory://bucket-{next(_FRESH)}/folder")


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: the extra `remote`")
    monkeypatch.setattr(web, "PAUSES", (0.0, 0.0))


def test_what_is_written_is_read(folder: Place, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"0123456789")
    place = folder.child("deep/file ü#%20.bin")
    assert not place.exists()
    place.write(source)
    folder.child("other.txt").write(b"text")
    assert place.exists()
    assert place.name == "file ü#%20.bin"
    assert place.read() == b"0123456789"
    assert place.size() == 10
    assert place.read(3, 4) == b"3456"
    assert place.read(8) == b"89"
    assert place.read(8, 100) == b"89"
    assert place.read(10) == place.read(99, 5) == place.read(3, 0) == b""
    with place.reading() as stream:
        stream.seek(2)
        assert stream.read(2) == b"23"
        stream.seek(-1, 2)
        assert stream.read() == b"9"
    assert folder.child("deep").names() == ["file ü#%20.bin"]
    assert folder.names(".txt") == ["other.txt"]
    assert folder.names() == ["other.txt"]  # folders are no files
    assert folder.child("other.txt").names() == []
    place.write(b"new")
    assert pickle.loads(pickle.dumps(place)).read() == b"new"
    place.write(b"")
    assert place.read() == place.read(0, 5) == b""
    place.remove()
    place.remove()  # what is not there need not be removed
    assert not place.exists()


def test_what_others_write_is_seen_at_once(folder: Place) -> None:
    assert folder.names() == []
    other = threading.Thread(target=folder.child("theirs.bin").write, args=(b"1",))
    other.start()
    other.join()
    assert folder.child("theirs.bin").exists()
    assert folder.names() == ["theirs.bin"]


def test_threads_may_share_a_place(folder: Place) -> None:
    names = [f"{index:02d}.bin" for index in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: folder.child(name).write(name.encode() * 50), names))
        assert list(pool.map(lambda name: folder.child(name).read(6, 6), names)) == [name.encode() for name in names]

        def stream(name: str) -> bytes:
            with folder.child(names[0]).reading() as one:
                one.seek(6 * names.index(name))
                return one.read(6)

        assert set(pool.map(stream, names)) == {b"00.bin"}
    assert folder.names() == names


def test_what_is_not_there_is_said_in_one_line(folder: Place) -> None:
    assert folder.names() == []
    with pytest.raises(DataError, match=r"missing\.bin cannot be read: \w+"):
        folder.child("missing.bin").read()
    with pytest.raises(DataError, match=r"missing\.bin cannot be looked up: \w+"):
        folder.child("missing.bin").size()
    with pytest.raises(DataError, match=r"missing\.bin cannot be read: \w+"), folder.child("missing.bin").reading():
        pass


def test_what_goes_wrong_beside_reading_stays_as_it_is(folder: Place) -> None:
    folder.child("a").write(b"1")
    with pytest.raises(KeyError), folder.child("a").reading():
        raise KeyError


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        Place(str(tmp_path / "file")).child("below").write(b"1")


def test_an_unknown_storage_is_said_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"nowhere://a/b: .*nowhere; known are s3://"):
        Place("nowhere://a/b").read()


@pytest.mark.parametrize(
    ("address", "library", "remedy"),
    [("s3://b/x", "s3fs", r"\[remote\]"), ("gs://b/x", "gcsfs", "pip install gcsfs"),
     ("https://host/x", "aiohttp", r"\[remote\]"), ("abfs://c@a/x", "adlfs", "pip install adlfs")],
)  # fmt: skip
def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, address: str, library: str, remedy: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    fsspec = pytest.importorskip("fsspec")
    scheme = address.partition(":")[0]
    monkeypatch.setattr(fsspec.spec.AbstractFileSystem, "_cache", {})
    importlib.import_module("fsspec.registry")._registry.pop(scheme, None)
    with pytest.raises(UsageError, match=f"{library}.*; .*{remedy}"):
        Place(address).read()


@pytest.mark.parametrize(
    ("address", "path"),
    [("file:///a/my%20photos", "/a/my photos"), ("file://localhost/a/b", "/a/b"), ("local:///a/b%20c", "/a/b%20c"),
     ("file:///C:/photos", "C:/photos"), (r"C:\photos", r"C:\photos"), ("C://photos", "C:/photos"), ("FILE:///a", "/a"),
     ("~nobody-of-that-name/a", "~nobody-of-that-name/a")],
)  # fmt: skip
def test_paths_in_all_their_forms(address: str, path: str) -> None:
    place = Place(address)
    assert not place.is_remote
    assert place.path == Path(path)


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Place("~/labels").child("a.txt").write(b"1")
    assert (tmp_path / "labels" / "a.txt").read_bytes() == b"1"
    assert Place("~/labels").names() == ["a.txt"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/out", "sftp://host/out", "ftp://host/out"])
def test_nothing_is_written_where_half_a_file_would_be_seen(address: str) -> None:
    for attempt in (lambda: Place(address).write(b"1"), Place(address).remove, Place(address).check_writable):
        with pytest.raises(
            UsageError, match=r"nothing is written to (http|sftp|ftp)://; choose a folder, or one of s3"
        ):
            attempt()


# -- credentials ------------------------------------------------------------------------------------------------------

SECRET = "s3cretS3CRETs3cret"


@pytest.mark.parametrize(
    ("address", "shown"),
    [(f"http://me:{SECRET}@host/a/b.tar?token={SECRET}", "http://host/a/b.tar"),
     (f"https://{SECRET}@host:81/a", "https://host:81/a"),
     (f"http://me:p@{SECRET}@host/a", "http://host/a"),
     (f"http://me:p/{SECRET}@host/a", "http://…"),
     (f"s3://KEY:{SECRET}@bucket/a", "s3://bucket/a"),
     (f"simplecache::http://me:{SECRET}@host/a?{SECRET}", "simplecache::http://host/a"),
     ("abfs://container@account/a", "abfs://container@account/a"),
     ("hf://datasets/me/set@main/a.tar", "hf://datasets/me/set@main/a.tar"),
     ("/a/b@c?d", "/a/b@c?d")],
)  # fmt: skip
def test_credentials_in_an_address_are_not_shown(address: str, shown: str) -> None:
    place = Place(address)
    assert str(place) == shown
    assert SECRET not in repr(place) + f"{place}"


def test_a_signature_counts_for_what_lies_below() -> None:
    assert Place("https://host/set?sig=1").child("a b/c#d.png").address == "https://host/set/a%20b/c%23d.png?sig=1"
    assert Place("https://host/set/a%20b.png?sig=1/2").name == "a b.png"


@pytest.mark.parametrize(
    "address",
    [f"s3://KEY:{SECRET}@bucket/a", f"gs://{SECRET}@bucket/a", f"simplecache::http://me:{SECRET}@host/a",
     f"http://me:p/{SECRET}@host/a", f"http://me:{SECRET}@host:port/a", f"http://me:{SECRET}@127.0.0.1:9/a?s={SECRET}",
     f"ftp://me:{SECRET}@127.0.0.1:9/a", f"nowhere://me:{SECRET}@host/a?x={SECRET}"],
)  # fmt: skip
@pytest.mark.usefixtures("_impatient")
def test_no_error_tells_credentials(address: str) -> None:
    place = Place(address)
    for attempt in (place.read, place.exists, place.names, lambda: place.write(b"1")):
        with pytest.raises(ExcelCamError) as caught:
            attempt()
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


@given(st.text("abc/?#@:%& ", max_size=12), st.sampled_from(["q0123456", "wJalr/XUtn+FEMI==", "-_/+a b%20cd"]))
def test_no_text_of_an_error_tells_a_password_or_signature(before: str, secret: str) -> None:
    in_address = quote(secret, "")
    address = f"https://me:{in_address}@host/a?sig={quote_plus(secret)}&x=1"
    said = faults.one_line(ValueError(f"{before} {secret} failed, url='{address}'\nat {secret!r}"), address)
    assert secret not in said
    assert "\n" not in said
    assert in_address not in without_credentials(f"403 for {address}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [(FileNotFoundError("x"), DataError), (PermissionError(13, "x"), DataError), (ValueError("x"), DataError),
     (TimeoutError(), MachineError), (ConnectionResetError(104, "x"), MachineError), (OSError(5, "x"), MachineError),
     (web.RefusedError(403, "x"), DataError), (web.RefusedError(401, "x"), MachineError),
     (web.RefusedError(503, "x"), MachineError)],
)  # fmt: skip
def test_trouble_of_the_way_is_no_fault_of_the_file(error: Exception, kind: type[Exception]) -> None:
    assert type(faults.fault(error, "s3://bucket/a", DataError, "read")) is kind


# -- web servers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.usefixtures("_impatient")
def test_a_file_on_a_web_server(ranges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 100
    monkeypatch.setattr(web, "BLOCK", 1000)
    with web_server(sends(content, ranges=ranges)) as address:
        place = Place(f"{address}/a b.bin?sig=1")
        assert place.exists()
        assert place.size() == len(content)
        assert place.read() == content
        assert place.read(3, 4) == content[3:7]
        assert place.read(25_000) == content[25_000:]
        assert place.read(25_600) == place.read(30_000, 5) == b""
        assert place.read(25_598, 10) == content[-2:]
        with place.reading() as stream:
            stream.seek(20_001)
            assert stream.read(3) == content[20_001:20_004]
            stream.seek(0)
            assert stream.read() == content
    with pytest.raises(MachineError, match="cannot be read"):
        place.read()


@pytest.mark.usefixtures("_impatient")
def test_a_server_that_does_not_say_how_large_a_file_is() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"0123456789")

    with web_server(answer) as address:
        assert Place(f"{address}/a").size() == 10
        assert Place(f"{address}/a").read(2, 3) == b"234"


@pytest.mark.parametrize("announced", [20, 2_000_000])
@pytest.mark.usefixtures("_impatient")
def test_a_transfer_that_breaks_off_is_noticed(announced: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        sends(b"0123456789", announced=announced, ranges=False)(handler)

    with web_server(answer) as address:
        place = Place(f"{address}/a?sig={SECRET}")
        with pytest.raises(MachineError) as caught:
            place.read()
        assert SECRET not in str(caught.value)
        assert len(asked) == 3  # tried again, but not for ever
        with pytest.raises(MachineError), place.reading():
            pass


@pytest.mark.usefixtures("_impatient")
def test_a_server_that_is_busy_is_asked_again() -> None:
    statuses = iter([503, 429])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if (status := next(statuses, None)) is None:
            return sends(b"0123")(handler)
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        return handler.end_headers()

    with web_server(answer) as address:
        assert Place(f"{address}/a").read() == b"0123"


@pytest.mark.parametrize(
    ("status", "kind", "there"), [(404, DataError, False), (403, DataError, None), (401, MachineError, None)]
)
@pytest.mark.usefixtures("_impatient")
def test_what_a_server_refuses(status: int, kind: type[Exception], there: bool | None) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status, "No")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with web_server(answer) as address:
        place = Place(f"{address}/a")
        with pytest.raises(kind, match=f"cannot be read: the server says {status} No"):
            place.read()
        if there is None:
            with pytest.raises(kind, match="cannot be looked up"):
                place.exists()
        else:
            assert place.exists() is there


@pytest.mark.usefixtures("_impatient")
def test_a_silent_server_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "SILENT", 0.1)
    silence = threading.Event()
    with web_server(lambda _handler: silence.wait(5) and None) as address:
        start = time.monotonic()
        with pytest.raises(MachineError, match="see whether it answers"):
            Place(f"{address}/a").read()
        silence.set()
    assert time.monotonic() - start < 4


@pytest.mark.usefixtures("_impatient")
def test_the_page_of_a_folder_is_its_listing() -> None:
    page = b'<a href="../">up</a> <a href="a%20b.tar">1</a> <a href="c.txt">2</a> <a href="sub/">3</a>'

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    with web_server(answer) as address:
        assert Place(f"{address}/set").names() == ["a b.tar", "c.txt"]


# -- S3 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_s3")
def test_more_objects_than_a_page_of_a_listing_has() -> None:
    for index in range(1003):
        s3_backend().put_object(BUCKET, f"many/{index:04d}.bin", b"")
    assert len(Place(f"s3://{BUCKET}/many").names(".bin")) == 1003


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads in parts from 1 kB on, as they are from 100 MB."""
    s3fs = pytest.importorskip("s3fs")
    put = s3fs.S3FileSystem._put_file

    async def put_in_parts(self: object, source: str, target: str, **options: object) -> None:
        await put(self, source, target, chunksize=5 << 20, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_put_file", put_in_parts)
    monkeypatch.setattr(systems, "LARGE", 1000)
    forget_clients()


@pytest.mark.usefixtures("_s3", "_small_parts")
def test_a_failed_upload_leaves_neither_object_nor_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / "labels.tar"
    large.write_bytes(b"x" * (11 << 20))
    place = Place(f"s3://{BUCKET}/parts/labels.tar")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        backend = type(s3_backend())
        patch.setattr(backend, "complete_multipart_upload", lambda *_: (_ for _ in ()).throw(RuntimeError("down")))
        with pytest.raises(MachineError, match=r"parts/labels\.tar cannot be written"):
            place.write(large)
    assert not place.exists()
    assert s3_backend().list_multipart_uploads(BUCKET) == {}
    place.write(large)
    assert place.read(0, 3) == b"xxx"


@pytest.mark.usefixtures("_s3", "_small_parts")
def test_what_a_killed_upload_left_is_given_up_by_the_next(tmp_path: Path) -> None:
    large = tmp_path / "labels.tar"
    large.write_bytes(b"x" * (11 << 20))
    place, other = Place(f"s3://{BUCKET}/killed/labels.tar"), "killed/labels.tar.other"
    system, _path = systems.open_system(place.address)
    for key in ("killed/labels.tar", other):
        system.call_s3("create_multipart_upload", Bucket=BUCKET, Key=key)
    assert not place.exists()
    place.write(large)
    assert place.exists()
    assert [upload.key_name for upload in s3_backend().list_multipart_uploads(BUCKET).values()] == [other]


@pytest.mark.usefixtures("_s3")
@pytest.mark.parametrize("refused", ["ExpiredToken", "InvalidAccessKeyId", "SlowDown", "AccessDenied"])
def test_refusals_of_s3(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status = {"SlowDown": 503, "ExpiredToken": 400}.get(refused, 403)
    body = f"<Error><Code>{refused}</Code><Message>No: {refused}.</Message></Error>".encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    monkeypatch.setattr(systems, "TRIES", 1)
    with web_server(answer) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        forget_clients()
        with pytest.raises(DataError if refused == "AccessDenied" else MachineError) as caught:
            Place(f"s3://{BUCKET}/a").read()
    forget_clients()
    assert f"No: {refused}." in str(caught.value)
    assert not any(key in str(caught.value) for key in KEYS.values())


@pytest.mark.usefixtures("_s3")
def test_a_transfer_from_s3_that_breaks_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(sends(b"0123456789", announced=20)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        forget_clients()
        with pytest.raises(MachineError, match=f"s3://{BUCKET}/a cannot be read"):
            Place(f"s3://{BUCKET}/a").read()
    forget_clients()


@pytest.mark.usefixtures("_s3")
def test_s3_is_asked_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        time.sleep(0.3)
        handler.close_connection = True

    monkeypatch.setattr(systems, "SILENT", 0.1)
    with web_server(answer) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        forget_clients()
        with pytest.raises(MachineError, match="see whether it answers"):
            Place(f"s3://{BUCKET}/a").read(0, 4)
    forget_clients()
    assert len(asked) <= 8
