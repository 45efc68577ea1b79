"""How far a run over shards is, as `excel-cam status` tells it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from excel_cam.files.storage import Place
from excel_cam.labels.packed.index import IndexHead, Row, index_bytes
from excel_cam.labels.packed.listing import index_of, running_of, tar_of
from excel_cam.labels.packed.running import Running
from excel_cam.labels.packed.status import shards_status
from excel_cam.labels.packed.tar import Extent

pytest.importorskip("pyarrow", reason="the extra `shards` is not installed")


def commit(out: Place, shard: int, labelled: int, failed: int = 0) -> None:
    rows = [Row(f"{shard}/{n}", Extent(512 + 1024 * n, 100), "0" * 32, ((0, 1.0),)) for n in range(labelled)]
    rows += [Row(f"{shard}/bad{n}", reason="damaged") for n in range(failed)]
    tar_of(out, shard).write(b"")
    index_of(out, shard).write(index_bytes(IndexHead(shard, "x", 1 << 20), rows))


def test_a_run_is_told_by_what_its_shards_are(tmp_path: Path) -> None:
    out, now = Place(str(tmp_path)), time.time()
    out.child("run.json").write(
        json.dumps({"identity": {}, "layout": "shards", "labelled": {"shards": 9, "images": None}}).encode()
    )
    commit(out, 0, 3)
    commit(out, 2, 4, failed=2)
    index_of(out, 3).write(b"damaged")
    Running("a", 1, now - 50, now).write(running_of(out, 4))
    Running("b", 2, now - 500, now - 400).write(running_of(out, 5))
    tar_of(out, 6).write(b"")
    status = shards_status(tmp_path)
    assert (status.total, status.images, status.done) == (9, None, 3)
    assert (status.labelled, status.failed, status.failed_shards) == (7, 2, (2,))
    assert (list(status.running), list(status.abandoned), status.missing) == ([4], [5, 6], (1, 7, 8))
    assert not status.is_complete
    lines = list(status.lines())
    assert lines[0] == "done       3 of 9 shards: 7 photographs labelled"
    assert "failed     2 photographs, in shards 2; --retry-failed makes these again" in lines
    assert any(line.startswith("running    shard 4: process 1 on a, since ") for line in lines)
    assert any(line.startswith("abandoned  shard 5: process 2 on b, since ") for line in lines)
    assert "missing    3 shards: 1, 7, 8" in lines
    assert any("labels-00003.parquet: not the index of labels in a shard" in line for line in lines)
    assert json.loads(json.dumps(status.to_json_dict()))["missing"] == [1, 7, 8]


def test_a_finished_run_is_complete_and_one_with_failures_is_not(tmp_path: Path) -> None:
    out = Place(str(tmp_path))
    out.child("run.json").write(
        json.dumps({"identity": {}, "layout": "shards", "labelled": {"shards": 2, "images": 5}}).encode()
    )
    assert not shards_status(tmp_path).is_complete
    commit(out, 0, 3)
    commit(out, 1, 2)
    status = shards_status(tmp_path)
    assert status.is_complete
    assert list(status.lines()) == ["done       2 of 2 shards: 5 of 5 photographs labelled"]
    commit(out, 1, 1, failed=1)
    assert not shards_status(tmp_path).is_complete
