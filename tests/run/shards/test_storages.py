"""Photographs, manifests and labels in storages: the bytes that a disk has, none half-written, no credentials told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from drawn import VOC_TAGS
from object_store import BUCKET, s3_backend, s3_server, sends, web_server

from excel_cam.files.remote import systems, web
from excel_cam.files.storage import Place

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra `shards`)")
pytest.importorskip("fsspec", reason="fsspec is not installed (extra `remote`)")

Run = Callable[..., Result]
SECRET = "s3cretS3CRETs3cret"
_FRESH = itertools.count()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server(monkeypatch):
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["memory", "s3"])
def storage(request: pytest.FixtureRequest) -> Place:
    """A folder in a storage."""
    if request.param == "s3":
        return Place(request.getfixturevalue("s3"))
    return Place(f"memory://storage-{next(_FRESH)}")


@pytest.fixture
def labelling(model_arguments: list[str]) -> list[str]:
    return [
        "generate", "--dataset", "voc", "--rows-per-shard", "2", "--size", "64", "--device", "cpu", *model_arguments,
    ]  # fmt: skip


def manifest_of(uris: dict[str, str], tags: dict[str, str], folder: Path) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({
        "name": list(uris), "uri": list(uris.values()), "classes": [tags[name].split() for name in uris],
    })  # fmt: skip
    pyarrow.parquet.write_table(table, folder / "manifest.parquet")
    return (folder / "manifest.parquet").read_bytes()


def fill(storage: Place, voc_root: Path, tmp_path: Path) -> Place:
    """Put the photographs, and a manifest that names them by addresses of their own, into a storage."""
    for name in VOC_TAGS:
        storage.child(f"photographs/{name}.jpg").write(voc_root / "JPEGImages" / f"{name}.jpg")
    uris = {name: f"photographs/{name}.jpg" for name in VOC_TAGS}
    storage.child("manifest.parquet").write(manifest_of(uris, VOC_TAGS, tmp_path))
    return storage.child("manifest.parquet")


def shards_in(folder: Place) -> dict[str, bytes]:
    return {name: folder.child(name).read() for name in folder.names() if name.startswith("labels-")}


def test_labels_in_a_storage_are_those_on_a_disk(
    excel_cam: Run, labelling: list[str], voc_root: Path, storage: Place, tmp_path: Path
) -> None:
    manifest, out = fill(storage, voc_root, tmp_path), storage.child("labels")
    here = tmp_path / "manifest.parquet"
    assert excel_cam(*labelling, "--manifest", here, "--root", voc_root / "..", "--out", tmp_path / "x").exit_code == 3
    (voc_root / "photographs").symlink_to(voc_root / "JPEGImages", target_is_directory=True)
    plain = excel_cam(*labelling, "--manifest", here, "--root", voc_root, "--out", tmp_path / "labels")
    assert plain.exit_code == 0, plain.stderr
    result = excel_cam(*labelling, "--manifest", manifest.address, "--out", out.address)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [f"{out}/labels-{shard:05d}.tar" for shard in range(3)]
    assert shards_in(out) == shards_in(Place(str(tmp_path / "labels")))
    again = excel_cam(*labelling, "--manifest", manifest.address, "--out", out.address)
    assert "(0 made now: 0 labels, 3 there before)" in again.stderr


@pytest.mark.parametrize("ending", ["tar", "parquet"])
def test_an_upload_that_is_cut_short_leaves_no_index(
    excel_cam: Run, labelling: list[str], voc_root: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:  # fmt: skip
    storage = Place(s3)
    manifest, out = fill(storage, voc_root, tmp_path), storage.child("labels")
    command = [*labelling, "--manifest", manifest.address, "--out", out.address]
    with monkeypatch.context() as patch:
        upload = systems.upload

        def cut_short(system: Any, scheme: str, path: str, content: bytes | Path) -> None:
            if path.endswith(f"labels-00001.{ending}"):
                raise KeyboardInterrupt
            upload(system, scheme, path, content)

        patch.setattr(systems, "upload", cut_short)
        assert excel_cam(*command).exit_code == 130
    there = out.names()
    assert "labels-00001.parquet" not in there
    assert ("labels-00001.tar" in there) == (ending == "parquet")
    assert not [name for name in there if name.endswith(".running")]
    result = excel_cam(*command)
    assert result.exit_code == 0, result.stderr
    assert "(2 made now: 4 labels, 1 there before)" in result.stderr
    assert len(out.names()) == 7
    assert s3_backend().list_multipart_uploads(BUCKET) == {}


def told_and_stored(result: Result, out: Path) -> str:
    stored = "".join(path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file())
    return result.stdout + result.stderr + stored


@pytest.fixture
def secret_memory(voc_root: Path, tmp_path: Path) -> str:
    """An address with a password and a signature: of a storage to which they are parts of a name like any other."""
    address = f"memory://me:{SECRET}@host-{next(_FRESH)}"
    uris = {}
    for name in VOC_TAGS:
        uris[name] = f"{address}/{name}.jpg?sig={SECRET}"
        Place(uris[name]).write(voc_root / "JPEGImages" / f"{name}.jpg")
    uris["2007_000002"] += "gone"
    Place(f"{address}/m.parquet?sig={SECRET}").write(manifest_of(uris, VOC_TAGS, tmp_path))
    return address


@pytest.fixture
def secret_web(voc_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address with a password and a signature of a web server."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra `remote`)")
    monkeypatch.setattr(web, "PAUSES", (0.0, 0.0))
    found: dict[str, bytes] = {}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.partition("?")[0].strip("/")
        if name in found and handler.headers.get("Authorization") and SECRET in handler.path:
            return sends(found[name])(handler)
        handler.send_response(404 if name in found else 403, f"no {handler.path}")
        handler.send_header("Content-Length", "0")
        return handler.end_headers()

    with web_server(answer) as server:
        address = server.replace("http://", f"http://me:{SECRET}@")
        uris = {name: f"{address}/{name}.jpg?sig={SECRET}" for name in VOC_TAGS}
        found |= {f"{name}.jpg": (voc_root / "JPEGImages" / f"{name}.jpg").read_bytes() for name in VOC_TAGS}
        del found["2007_000002.jpg"]
        found["m.parquet"] = manifest_of(uris, VOC_TAGS, tmp_path)
        yield address


@pytest.mark.parametrize("kind", ["secret_memory", "secret_web"])
@pytest.mark.parametrize("options", [[], ["--json"], ["--dry-run"]])
def test_credentials_are_neither_told_nor_stored(
    excel_cam: Run, labelling: list[str], tmp_path: Path, request: pytest.FixtureRequest, kind: str, options: list[str]
) -> None:
    address, out = request.getfixturevalue(kind), tmp_path / "out"
    manifest = f"{address}/m.parquet?sig={SECRET}"
    result = excel_cam("--debug", *labelling, "--manifest", manifest, "--out", out, *options)
    assert result.exit_code == (0 if options == ["--dry-run"] else 3), result.stderr
    assert SECRET not in told_and_stored(result, out)
    assert "/m.parquet" in result.stderr
    if options != ["--dry-run"]:
        assert "failed: 2007_000002: " in result.stderr
        record = json.loads((out / "run.json").read_text())
        assert record["dataset"]["root"].endswith("/m.parquet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--manifest", f"https://me:{SECRET}@127.0.0.1:9/m.parquet?sig={SECRET}"], "127.0.0.1:9/m.parquet cannot be"),
        (["--manifest", f"memory://me:{SECRET}@nowhere/m.parquet?sig={SECRET}"], "memory://nowhere/m.parquet"),
        (["--manifest", f"s3://KEY:{SECRET}@bucket/m.parquet"], "s3://bucket/m.parquet: credentials are not taken"),
        (["--root", f"memory://me:{SECRET}@nowhere/*.tar"], "memory://nowhere/*.tar: no tars there"),
        (["--root", f"memory://me:{SECRET}@nowhere/{{0..2}}.tar"], "memory://nowhere/"),
        (["--root", f"memory://me:{SECRET}@nowhere/a"], "--root memory://nowhere/a: folders of single files lie"),
    ],
)
def test_no_refusal_tells_credentials(
    excel_cam: Run, labelling: list[str], tmp_path: Path, options: list[str], message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(web, "PAUSES", (0.0, 0.0))
    command = [word for word in labelling if word not in ("--rows-per-shard", "2")]
    result = excel_cam("--debug", *command, *options, "--out", tmp_path / "out")
    assert result.exit_code in (1, 2, 3)
    assert SECRET not in told_and_stored(result, tmp_path / "out")
    assert message in result.stderr or "aiohttp" in result.stderr


@pytest.mark.parametrize(
    "out", [f"memory://me:{SECRET}@bucket/out?sig={SECRET}", f"https://me:{SECRET}@host/out?sig={SECRET}"]
)
def test_where_labels_go_is_told_without_credentials(
    excel_cam: Run, labelling: list[str], secret_memory: str, out: str
) -> None:
    result = excel_cam("--debug", *labelling, "--manifest", f"{secret_memory}/m.parquet?sig={SECRET}", "--out", out)
    assert result.exit_code == (2 if out.startswith("https") else 3), result.stderr
    assert SECRET not in result.stdout + result.stderr
    if out.startswith("memory"):
        assert SECRET.encode() not in Place(out).child("run.json").read()
    else:
        assert "https://host/out: nothing is written to https://" in result.stderr


def test_a_uri_that_is_no_address_is_not_repeated_whole(
    excel_cam: Run, labelling: list[str], voc_root: Path, tmp_path: Path
) -> None:  # fmt: skip
    uris = {"a": f"http://me:{SECRET}@host/{'x' * 5000}", "b": f"http://me:p/{SECRET}@host/b.jpg"}
    uris["2007_000001"] = str(voc_root / "JPEGImages" / "2007_000001.jpg")
    manifest = tmp_path / "m.parquet"
    manifest.write_bytes(manifest_of(uris, dict.fromkeys(uris, "cat"), tmp_path))
    result = excel_cam(*labelling, "--rows-per-shard", "3", "--manifest", manifest, "--out", tmp_path / "out")
    assert result.exit_code == 3, result.stderr
    assert "failed: b: http://…: no address" in result.stderr
    assert SECRET not in told_and_stored(result, tmp_path / "out")
