"""Labels in shards, made from a folder that a run wrote: what the same run in shards would have left."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from excel_cam.files.atomic import hash_json
from excel_cam.files.images.masks import mask_names, read_mask
from excel_cam.files.storage import Place
from excel_cam.labels.packed.index import IndexHead, Row, index_bytes
from excel_cam.labels.packed.listing import index_of, tar_of
from excel_cam.labels.packed.tar import Extent, TarWriter
from excel_cam.labels.png import class_shares

Members = dict[str, bytes]


def write_tar(path: Path, members: Members) -> dict[str, Extent]:
    """The program's own writer."""
    with TarWriter(path) as tar:
        extents = {name: tar.add(name, content) for name, content in members.items()}
        tar.close()
    return extents


def write_tar_by_hand(path: Path, members: Members) -> dict[str, Extent]:
    """Python's tarfile, with members and owners as webdataset's ShardWriter writes them."""
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size, header.mtime, header.mode = len(content), 1_700_000_000.5, 0o444
            header.uname = header.gname = "bigdata"
            archive.addfile(header, io.BytesIO(content))
    with tarfile.open(path) as archive:
        return {member.name: Extent(member.offset_data, member.size) for member in archive}


def pack(
    labels: Path, out: Path | Place, *, shard_size: int = 5, cams: Path | None = None,
    failed: Mapping[str, str] | None = None, identity: str | None = None,
    write: Callable[[Path, Members], dict[str, Extent]] = write_tar, scratch: Path | None = None,
) -> Place:  # fmt: skip
    """Labels of a folder in shards. failed: reasons by name, of photographs in the last shard."""
    place = out if isinstance(out, Place) else Place(str(out))
    record = json.loads((labels / "run.json").read_text()) if (labels / "run.json").exists() else {"identity": {}}
    place.child("run.json").write(json.dumps(record | {"layout": "shards"}).encode())
    identity = identity or hash_json(record["identity"])
    names = mask_names(labels)
    failures = [Row(name, reason=reason) for name, reason in (failed or {}).items()]
    for number, group in enumerate(grouped(names, shard_size)):
        members: Members = {}
        for name in group:
            members[f"{name}.png"] = (labels / f"{name}.png").read_bytes()
            if cams is not None:
                members[f"{name}.npz"] = (cams / f"{name}.npz").read_bytes()
        spool = (scratch or labels.parent) / "spool.tar"
        extents = write(spool, members)
        rows = [row_of(labels, name, extents[f"{name}.png"]) for name in group]
        is_last = (number + 1) * shard_size >= len(names)
        tar_of(place, number).write(spool)
        head = IndexHead(number, identity, spool.stat().st_size)
        index_of(place, number).write(index_bytes(head, [*rows, *(failures if is_last else ())]))
        spool.unlink()
    return place


def grouped(names: Sequence[str], size: int) -> list[list[str]]:
    """Names in shards of at most that size."""
    rest = iter(names)
    return [group for _ in range(0, len(names), size) if (group := list(islice(rest, size)))]


def row_of(labels: Path, name: str, extent: Extent) -> Row:
    """An index's row of a label."""
    path = labels / f"{name}.png"
    with Image.open(path) as picture:
        stamp = picture.info.get("excel-cam", "")
    return Row(name, extent, stamp, tuple(class_shares(read_mask(path, 254)).items()))
