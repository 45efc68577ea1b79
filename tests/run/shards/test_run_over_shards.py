"""Runs over shards as a user sees them: tars in, tars out, with the labels of a run over a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from drawn import VOC_TAGS
from packed_photographs import read_members, with_json, write_tar, write_tars

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra `shards`)")

Run = Callable[..., Result]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def tars(voc_root: Path, tmp_path: Path) -> Path:
    """The six drawn photographs in three tars."""
    return write_tars(tmp_path / "tars", voc_root, VOC_TAGS, 2)


@pytest.fixture
def over_tars(tars: Path, model_arguments: list[str]) -> list[str]:
    """The command that labels them, less its --out."""
    return [
        "generate", "--root", str(tars / "*.tar"), "--dataset", "voc", "--size", "64", "--device", "cpu",
        *model_arguments,
    ]  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def shards_of(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(folder).items() if name.startswith("labels-")}


def rows_of(folder: Path, shard: int) -> list[dict[str, object]]:
    import pyarrow.parquet

    found: list[dict[str, object]] = pyarrow.parquet.read_table(folder / f"labels-{shard:05d}.parquet").to_pylist()
    return found


_WHOLE: dict[str, bytes] = {}  # made once: it is the same for every test


@pytest.fixture
def whole(excel_cam: Run, over_tars: list[str], tmp_path: Path) -> dict[str, bytes]:
    """What a run that nothing happens to makes of the three tars."""
    if not _WHOLE:
        assert excel_cam(*over_tars, "--out", tmp_path / "whole").exit_code == 0
        _WHOLE.update(shards_of(tmp_path / "whole"))
    return _WHOLE


def test_tars_become_tars_with_the_bytes_that_a_folder_has(
    excel_cam: Run, arguments: list[str], over_tars: list[str], tmp_path: Path
) -> None:
    out, single, cams = tmp_path / "packed", tmp_path / "labels", tmp_path / "cams"
    assert excel_cam(*arguments, "--out", single, "--save-cams", cams).exit_code == 0
    result = excel_cam(*over_tars, "--out", out, "--save-cams", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [str(out / f"labels-{shard:05d}.tar") for shard in range(3)]
    expected = {path.name: path.read_bytes() for path in (*single.glob("*.png"), *cams.glob("*.npz"))}
    assert read_members(out.glob("*.tar")) == expected
    assert sorted(files(out)) == [
        *(f"labels-{shard:05d}.{ending}" for shard in range(3) for ending in ("parquet", "tar")), "run.json",
    ]  # fmt: skip
    for shard in range(3):
        tar = (out / f"labels-{shard:05d}.tar").read_bytes()
        rows = rows_of(out, shard)
        assert [row["name"] for row in rows] == list(VOC_TAGS)[2 * shard : 2 * shard + 2]
        for row in rows:
            offset, size = row["offset"], row["size"]
            assert isinstance(offset, int)
            assert isinstance(size, int)
            png = tar[offset : offset + size]
            assert png.startswith(PNG)
            assert png == expected[f"{row['name']}.png"]
            assert sum(row["shares"]) == pytest.approx(1)  # type: ignore[arg-type]
            assert str(row["stamp"]).encode() in png
    record = json.loads((out / "run.json").read_text())
    assert record["layout"] == "shards"
    assert (record["labelled"]["shards"], record["labelled"]["images"]) == (3, None)


def test_a_run_goes_on_where_it_was_stopped(
    excel_cam: Run, over_tars: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    from excel_cam.run.shards import make

    out, commit = tmp_path / "packed", make.ShardMaker._commit

    def die(self: make.ShardMaker, shard: int, *rest: object) -> None:
        if shard == 1:
            raise KeyboardInterrupt
        commit(self, shard, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(make.ShardMaker, "_commit", die)
    stopped = excel_cam(*over_tars, "--out", out)
    assert stopped.exit_code == 130
    assert sorted(shards_of(out)) == ["labels-00000.parquet", "labels-00000.tar"]
    monkeypatch.undo()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = excel_cam(*over_tars, "--out", out)
    assert again.exit_code == 0
    assert "3 shards in" in again.stderr
    assert "2 made now: 4 labels, 1 there before" in again.stderr
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name in before} == before
    assert shards_of(out) == whole

    monkeypatch.setattr("excel_cam.run.worker.prepare_text", lambda *_: pytest.fail("the model was loaded"))
    assert "0 made now" in excel_cam(*over_tars, "--out", out).stderr


def test_shards_may_be_chosen_and_divided(
    excel_cam: Run, over_tars: list[str], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "packed"
    assert "labels-00002.tar" in excel_cam(*over_tars, "--out", out, "--shards", "2").stdout
    assert excel_cam(*over_tars, "--out", out, "--shard", "0/2").exit_code == 0
    assert sorted(shards_of(out)) == [f"labels-0000{n}.{end}" for n in (0, 2) for end in ("parquet", "tar")]
    dry = excel_cam(*over_tars, "--out", out, "--dry-run").stdout
    assert dry == "dry run: 3 shards, 2 committed, 1 to make\n"
    lines = excel_cam(*over_tars, "--out", out, "--shards", "0-1,1", "--json").stdout.splitlines()
    assert [(line["shard"], line["labelled"], line["kept"]) for line in map(json.loads, lines)] == [
        (0, None, True), (1, 2, False),
    ]  # fmt: skip
    assert shards_of(out) == whole
    assert "there is no shard 3" in excel_cam(*over_tars, "--out", out, "--shards", "1-3").stderr
    assert "--shards: give one of them" in excel_cam(*over_tars, "--out", out, "--shards", "1", "--shard", "0/2").stderr


def test_a_damaged_photograph_is_a_row_and_is_mended(
    excel_cam: Run, over_tars: list[str], tars: Path, voc_root: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "packed"
    first, second = list(VOC_TAGS)[:2]
    good = {name: (voc_root / "JPEGImages" / f"{name}.jpg").read_bytes() for name in (first, second)}

    def write(first_content: bytes) -> None:
        members = with_json(first, first_content, VOC_TAGS[first].split())
        write_tar(tars / "000.tar", [*members, *with_json(second, good[second], VOC_TAGS[second].split())])

    write(good[first][:500])
    result = excel_cam(*over_tars, "--out", out)
    assert result.exit_code == 3
    assert f"failed: {first}: '{first}.jpg' in {tars / '000.tar'}: cannot be decoded" in result.stderr
    assert "1 photographs failed" in result.stderr
    rows = rows_of(out, 0)
    assert [row["name"] for row in rows] == [first, second]
    assert rows[0]["offset"] is None
    assert "cut off" in str(rows[0]["reason"])
    assert rows[1]["reason"] is None
    kept = files(out)
    assert excel_cam(*over_tars, "--out", out).exit_code == 0  # committed as it is
    assert excel_cam(*over_tars, "--out", out, "--retry-failed").exit_code == 3
    assert files(out) == kept
    write(good[first])
    mended = excel_cam(*over_tars, "--out", out, "--retry-failed", "--json")
    assert mended.exit_code == 0
    assert [json.loads(line)["shard"] for line in mended.stdout.splitlines() if not json.loads(line)["kept"]] == [0]
    assert shards_of(out) == whole


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (["--refine", "none"], "refine was par, now none"),
        (["--save-cams", "OUT"], "class_maps was false, now true"),
        (["--root", "TARS/00[01].tar"], "shards was 3, now 2"),
    ],
)
def test_other_settings_into_the_same_folder_are_refused_without_the_model(
    excel_cam: Run, over_tars: list[str], tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    changed: list[str], complaint: str,
) -> None:  # fmt: skip
    out = tmp_path / "packed"
    assert excel_cam(*over_tars, "--out", out, "--shards", "0").exit_code == 0
    before = files(out)
    monkeypatch.setattr("excel_cam.run.worker.prepare_text", lambda *_: pytest.fail("the model was loaded"))
    given = [part.replace("OUT", str(out)).replace("TARS", str(tars)) for part in changed]
    result = excel_cam(*over_tars, *given, "--out", out)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert files(out) == before


def test_single_files_and_shards_are_not_mixed(
    excel_cam: Run, arguments: list[str], over_tars: list[str], tmp_path: Path
) -> None:
    excel_cam(*over_tars, "--out", tmp_path / "packed", "--shards", "0")
    refused = excel_cam(*arguments, "--out", tmp_path / "packed", "--overwrite")
    assert (refused.exit_code, "holds labels in shards" in refused.stderr) == (1, True)
    excel_cam(*arguments, "--out", tmp_path / "single")
    refused = excel_cam(*over_tars, "--out", tmp_path / "single")
    assert (refused.exit_code, "as single files" in refused.stderr) == (1, True)


def test_the_same_shard_twice_at_once_leaves_one(over_tars: list[str], excel_cam: Run, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:  # fmt: skip
    """The second begins and ends while the first is between its labels and its commit."""
    from excel_cam.run.shards import make

    out, commit, began = tmp_path / "packed", make.ShardMaker._commit, []

    def meanwhile(self: make.ShardMaker, shard: int, *rest: object) -> None:
        if not began:
            began.append(shard)
            assert "labels-00001.running" in files(out)
            assert excel_cam(*over_tars, "--out", out, "--shards", "1").exit_code == 0
        commit(self, shard, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(make.ShardMaker, "_commit", meanwhile)
    assert excel_cam(*over_tars, "--out", out, "--shards", "1").exit_code == 0
    assert began == [1]
    assert shards_of(out) == {name: content for name, content in whole.items() if "00001" in name}


def test_rows_of_a_manifest_become_the_same_labels(
    excel_cam: Run, arguments: list[str], voc_root: Path, model_arguments: list[str], tmp_path: Path
) -> None:
    out, manifest = tmp_path / "packed", tmp_path / "photos.parquet"
    excel_cam(*arguments, "--out", tmp_path / "single")
    photographs, tags = ["--root", voc_root / "JPEGImages"], ["--tags", voc_root / "tags.csv", "--dataset", "voc"]
    assert excel_cam("manifest", *photographs, *tags, "--out", manifest).exit_code == 0
    over = ["generate", "--manifest", manifest, "--dataset", "voc", "--size", "64", "--device", "cpu", *model_arguments]
    broken = voc_root / "JPEGImages" / "2008_000004.jpg"
    content = broken.read_bytes()
    broken.unlink()
    result = excel_cam(*over, "--out", out, "--rows-per-shard", "4")
    assert result.exit_code == 3
    assert "2 shards of 4 rows of" in result.stderr
    assert f"failed: 2008_000004: {broken}: no such image" in result.stderr
    assert json.loads((out / "run.json").read_text())["labelled"]["images"] == 6
    broken.write_bytes(content)
    assert excel_cam(*over, "--out", out, "--rows-per-shard", "4", "--retry-failed").exit_code == 0
    single = {path.name: path.read_bytes() for path in (tmp_path / "single").glob("*.png")}
    assert read_members(out.glob("*.tar")) == single
    assert "rows_per_shard was 4, now 1000" in excel_cam(*over, "--out", out).stderr
    moved = excel_cam(*over, "--root", tmp_path / "elsewhere", "--out", tmp_path / "moved")
    assert moved.exit_code == 3
    assert f"{tmp_path / 'elsewhere'}/VOC2012/JPEGImages/2007_000001.jpg: no such image" in moved.stderr


def test_photographs_and_labels_in_a_storage(
    excel_cam: Run,
    over_tars: list[str],
    tars: Path,
    voc_root: Path,
    model_arguments: list[str],
    tmp_path: Path,
    whole: dict[str, bytes],
) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed (extra `remote`)")
    from excel_cam.files.storage import Place

    excel_cam("manifest", "--root", voc_root / "JPEGImages", "--tags", voc_root / "tags.csv", "--dataset", "voc",
              "--out", voc_root / "JPEGImages" / "photos.parquet")  # fmt: skip
    bucket = Place(f"memory://{tmp_path.name}")
    for path in (*tars.iterdir(), *(voc_root / "JPEGImages").iterdir()):
        bucket.child(path.name).write(path)
    command = ["generate", "--dataset", "voc", "--size", "64", "--device", "cpu", *model_arguments]
    inputs = {
        "tars": ["--root", f"{bucket.address}/*.tar"],
        "rows": ["--manifest", f"{bucket.address}/photos.parquet", "--rows-per-shard", "2"],
    }
    for out, given in inputs.items():
        place = bucket.child(out)
        result = excel_cam(*command, *given, "--out", place.address)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines() == [f"{place}/labels-{shard:05d}.tar" for shard in range(3)]
        found = {name: place.child(name).read() for name in place.names() if name.startswith("labels-")}
        assert found == whole


def test_a_tar_that_is_cut_off_stops_no_other(
    excel_cam: Run, over_tars: list[str], tars: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:  # fmt: skip
    out = tmp_path / "packed"
    content = (tars / "001.tar").read_bytes()
    (tars / "001.tar").write_bytes(content[:3000])
    result = excel_cam(*over_tars, "--out", out)
    assert result.exit_code == 3
    assert f"failed: shard 1: {tars / '001.tar'}: cut off within" in result.stderr
    assert sorted(shards_of(out)) == sorted(name for name in whole if "00001" not in name)
    (tars / "001.tar").write_bytes(content)
    assert excel_cam(*over_tars, "--out", out).exit_code == 0
    assert shards_of(out) == whole


def test_a_wrong_class_list_stops_the_run(
    excel_cam: Run, tars: Path, model_arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "classes.txt").write_text("pear\napple\n")
    command = ["generate", "--root", tars / "*.tar", "--classes", tmp_path / "classes.txt", "--size", "64"]
    result = excel_cam(*command, *model_arguments, "--device", "cpu", "--out", tmp_path / "packed")
    assert result.exit_code == 1
    assert "none of its 2 photographs can be labelled; the first: '2007_000001.jpg'" in result.stderr
    assert "'cat' is not one of the 2 classes" in result.stderr
    assert shards_of(tmp_path / "packed") == {}


def test_what_is_read_is_never_replaced(excel_cam: Run, over_tars: list[str], tars: Path) -> None:
    (tars / "000.tar").rename(tars / "labels-00000.tar")
    result = excel_cam(*over_tars, "--out", tars)
    assert (result.exit_code, "is read by this command" in result.stderr) == (1, True)


def test_a_worker_that_is_at_a_shard_goes_first(
    excel_cam: Run, over_tars: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excel_cam.files.storage import Place
    from excel_cam.labels.packed.running import LIFETIME, Running

    out = tmp_path / "packed"
    given: list[list[int]] = []

    def run(_self: object, shards: list[int]) -> Iterator[object]:
        given.append(shards)
        return iter(())

    monkeypatch.setattr("excel_cam.run.shards.engine.LocalEngine.run", run)
    for age, order in {0: [1, 2, 0], LIFETIME + 5: [0, 1, 2]}.items():
        out.mkdir(exist_ok=True)
        live = Running()
        Running(renewed=live.renewed - age).write(Place(str(out / "labels-00000.running")))
        excel_cam(*over_tars, "--out", out)
        assert given.pop() == order


def test_options_that_do_not_go_together_are_refused(excel_cam: Run, over_tars: list[str], tmp_path: Path) -> None:
    out = ["--out", tmp_path / "packed"]
    for given, complaint in {
        ("--overwrite",): "shards are never replaced",
        ("--list", "names.txt"): "narrowed by --shards",
        ("--split", "train"): "no splits",
        ("--rows-per-shard", "10"): "goes with --manifest",
        ("--save-cams", "cams"): "in the tars of their labels",
        ("--shards", "3-1"): "such as 17,18 or 0-99",
        ("--classes", "classes.txt"): "leave it out",
    }.items():
        result = excel_cam(*over_tars, *out, *given)
        assert (result.exit_code, complaint in result.stderr) == (2, True), (given, result.stderr)
    result = excel_cam("generate", "--dataset", "demo", *out, "--shards", "1")
    assert (result.exit_code, "goes with photographs in shards" in result.stderr) == (2, True)
    assert "Missing option '--dataset'" in excel_cam("generate", *out).stderr
