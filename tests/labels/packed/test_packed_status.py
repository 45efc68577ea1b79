"""How far a run over shards is, as `excel-cam status` tells it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from excel_cam.files.storage import Place
from excel_cam.labels.packed.index import IndexHead, Row, index_bytes
from excel_cam.labels.packed.listing import index_of, running_of, tar_of
from excel_cam.labels.packed.running import Running
from excel_cam.labels.packed.tar import Extent

pytest.importorskip("pyarrow", reason="the extra `shards` is not installed")


Run = Callable[..., Result]


def told(excel_cam: Run, folder: object, status: int) -> list[str]:
    result = excel_cam("status", folder)
    assert result.exit_code == status, result.output
    return result.stdout.splitlines()


def commit(out: Place, shard: int, labelled: int, failed: int = 0) -> None:
    rows = [Row(f"{shard}/{n}", Extent(512 + 1024 * n, 100), "0" * 32, ((0, 1.0),)) for n in range(labelled)]
    rows += [Row(f"{shard}/bad{n}", reason="damaged") for n in range(failed)]
    tar_of(out, shard).write(b"")
    index_of(out, shard).write(index_bytes(IndexHead(shard, "x", 1 << 20), rows))


def begin(out: Place, shards: int, images: int | None) -> None:
    record = {"identity": {}, "layout": "shards", "labelled": {"shards": shards, "images": images}}
    out.child("run.json").write(json.dumps(record).encode())


def test_a_run_is_told_by_what_its_shards_are(excel_cam: Run, tmp_path: Path) -> None:
    out, now = Place(str(tmp_path)), time.time()
    begin(out, 9, None)
    commit(out, 0, 3)
    commit(out, 2, 4, failed=2)
    index_of(out, 3).write(b"damaged")
    Running("a", 1, now - 50, now).write(running_of(out, 4))
    Running("b", 2, now - 500, now - 400).write(running_of(out, 5))
    tar_of(out, 6).write(b"")
    lines = told(excel_cam, tmp_path, 3)
    assert lines[:2] == [
        f"{tmp_path}: 7 images labelled, 2 failed",
        "9 shards: 1 complete, 3 not begun, 1 complete with failures, 1 damaged, 1 running, 2 abandoned",
    ]
    assert any(line.startswith("  shard 4: running by process 1 on a, since ") for line in lines)
    assert any(line.startswith("  shard 5: abandoned by process 2 on b, since ") for line in lines)
    assert "  shard 6: abandoned" in lines
    assert "  shard 7: not begun" in lines
    assert any(line.startswith(f"  shard 3: damaged: {index_of(out, 3)}: not the index") for line in lines)
    assert "failed: 2/bad0: damaged, 2/bad1: damaged" in lines
    assert "--retry-failed makes the shards again in which photographs failed" in lines
    record = json.loads(excel_cam("status", tmp_path, "--json").stdout)
    assert (record["kind"], record["labelled"], record["failed"], record["missing"]) == ("shards", 7, 2, None)
    assert record["shares"][2]["failed"] == 2


def test_a_finished_run_is_complete_and_one_with_failures_is_not(excel_cam: Run, tmp_path: Path) -> None:
    out = Place(str(tmp_path))
    begin(out, 2, 5)
    assert told(excel_cam, tmp_path, 3)[0] == f"{tmp_path}: 0 of 5 images labelled, 5 missing"
    commit(out, 0, 3)
    commit(out, 1, 2)
    assert told(excel_cam, tmp_path, 0) == [f"{tmp_path}: 5 of 5 images labelled", "2 shards: 2 complete"]
    begin(out, 2, None)  # tars tell how many photographs they hold once they are read
    assert told(excel_cam, tmp_path, 0)[0] == f"{tmp_path}: 5 of 5 images labelled"
    commit(out, 1, 1, failed=1)
    assert told(excel_cam, tmp_path, 3)[0] == f"{tmp_path}: 4 of 5 images labelled, 1 failed"


def test_shards_in_a_storage_are_told(excel_cam: Run) -> None:
    pytest.importorskip("fsspec", reason="the extra `remote` is not installed")
    out = Place("memory://status/of-shards")
    begin(out, 1, 3)
    commit(out, 0, 3)
    assert told(excel_cam, out, 0) == ["memory://status/of-shards: 3 of 3 images labelled"]
