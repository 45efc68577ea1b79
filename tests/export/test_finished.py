"""What an export finds finished: told by content, whatever times files have and however an export ended."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import Result
from exports import STAMP, arguments, contents, error_line, patch_maps
from PIL import Image

from excel_cam.export import write as export_module
from excel_cam.export.finished import parse_object
from excel_cam.export.trainers import TRAINERS
from excel_cam.labels.claims import Work, claimed
from excel_cam.labels.class_maps import write_maps

Run = Callable[..., Result]
JOINED = ("coco-json", "label-studio")  # images' own files are joined, and removed, at the end
RECORDS = ("export-deeplab.json", "export-deeplab.jsonl")
# What a damaged file can hold in place of its JSON.
DAMAGE = [b"", b"\0" * 40, b"\xff\xfe{", b"[" * 100_000, b"null", b"7", b"[]", b'"x"', b"{}", b'{"identity": 3}',
          b'{"identity": [1], "state": {}}', b'{"name": 1, "made_from": [], "content": null}', b"9" * 5000]  # fmt: skip


def exported_files(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file() and not path.name.startswith("export-"))


def set_time(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("to", TRAINERS)
def test_damaged_files_are_made_again(excel_cam: Run, made: SimpleNamespace, to: str) -> None:
    """Cut, emptied, flipped or removed, with the time it had or any other: each file is as it was in the end."""
    assert excel_cam(*arguments(made, to)).exit_code == 0
    whole = contents(made.out)
    for path in exported_files(made.out):
        content, time = path.read_bytes(), path.stat().st_mtime_ns
        if not content:  # an image without regions
            continue
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 4
        # A changed configuration is the user's own, see below, and so is a file of labelme that still is JSON.
        is_users_own = path.suffix == ".py" or (
            to == "labelme" and bool(parse_object(flipped.decode("utf-8", "replace")))
        )
        versions = [content[: len(content) // 2], b""] + ([] if is_users_own else [bytes(flipped)])
        for damaged in versions:
            path.write_bytes(damaged)
            os.utime(path, ns=(time, time))
            result = excel_cam(*arguments(made, to))
            assert result.exit_code == 0, result.stderr
            assert "complete already" not in result.stderr
            assert path.read_bytes() == content, path
        path.unlink()
        assert excel_cam(*arguments(made, to)).exit_code == 0
        assert path.read_bytes() == content
    assert exported_files(made.out) == sorted(made.out / name for name in whole if not name.startswith("export-"))
    assert "complete already" in excel_cam(*arguments(made, to)).stderr


@pytest.mark.parametrize("to", TRAINERS)
def test_times_play_no_part(excel_cam: Run, made: SimpleNamespace, to: str) -> None:
    assert excel_cam(*arguments(made, to)).exit_code == 0
    for path in (*made.labels.iterdir(), *made.cams.iterdir()):
        set_time(path, 4_000_000_000)
    assert "complete already" in excel_cam(*arguments(made, to)).stderr
    label, maps = made.labels / "2011_003276.png", made.cams / "2011_003276.npz"
    Image.fromarray(np.full((24, 20), 3, np.uint8)).save(label)
    write_maps(maps, patch_maps("2007_000039"), (2,), (24, 20), STAMP)
    for path in (label, maps):
        set_time(path, 1)
    result = excel_cam(*arguments(made, to))
    assert ("(3 new, 0 kept)" if to in JOINED else "(1 new, 2 kept)") in result.stderr
    changed, made.out = contents(made.out), made.out.with_name("afresh")
    assert excel_cam(*arguments(made, to)).exit_code == 0
    afresh = contents(made.out)
    for name in afresh:
        if not name.startswith("export-") and not name.endswith(".py"):  # which names its folder
            assert changed[name] == afresh[name]


@pytest.mark.parametrize("to", ["irn", "mmseg", "coco-json", "cvat"])
@pytest.mark.parametrize("after", range(9))
def test_an_export_killed_at_any_moment_goes_on(
    excel_cam: Run, made: SimpleNamespace, to: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert excel_cam(*arguments(made, to)).exit_code == 0
    whole = contents(made.out)
    shutil.rmtree(made.out)
    calls = 0

    def counted(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            nonlocal calls
            calls += 1
            if calls > after:
                raise KeyboardInterrupt
            function(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("write_atomically", "append_line"):
            patch.setattr(export_module, name, counted(getattr(export_module, name)))
        assert excel_cam(*arguments(made, to)).exit_code == 130
    if (listed := made.out / f"export-{to}.jsonl").exists():  # as a power failure leaves it
        listed.write_bytes(listed.read_bytes() + b'{"name": "2007_0000')
    result = excel_cam(*arguments(made, to))
    assert result.exit_code == 0, result.stderr
    assert contents(made.out) == whole
    steps = 3 if to == "cvat" else 2  # after two records: each image's file, or both of them, and that it is finished
    kept = max(0, min(3, (after - 2) // steps))
    assert f"({3 - kept} new, {kept} kept)" in result.stderr


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("content", DAMAGE)
def test_damaged_records_end_with_a_line_or_are_made_anew(
    excel_cam: Run, made: SimpleNamespace, name: str, content: bytes
) -> None:
    assert excel_cam(*arguments(made, "deeplab")).exit_code == 0
    whole = contents(made.out)
    (made.out / name).write_bytes(content)
    result = excel_cam(*arguments(made, "deeplab"))
    if name.endswith(".json"):
        line = error_line(result)
        assert "export-deeplab.json: the record of this export is damaged" in line
        assert "--overwrite" in line
        assert contents(made.out) == whole | {name: content}
        assert excel_cam(*arguments(made, "deeplab", "--overwrite")).exit_code == 0
    else:
        assert result.exit_code == 0, result.stderr
    assert contents(made.out) == whole


@pytest.mark.parametrize("key", ["identity", "images", "names", "files", "state"])
@pytest.mark.parametrize("value", [None, 7, [], {}, "x", {"version": {}}, {"a": [1]}])
def test_records_of_wrong_types_are_no_tracebacks(
    excel_cam: Run, made: SimpleNamespace, key: str, value: object
) -> None:
    assert excel_cam(*arguments(made, "mmseg")).exit_code == 0
    whole, path = contents(made.out), made.out / "export-mmseg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value, "starting_file": value}))
    result = excel_cam(*arguments(made, "mmseg"))
    if key == "identity":
        assert "--overwrite" in error_line(result)
    else:
        assert "(0 new, 3 kept)" in result.stderr
        assert contents(made.out) == whole


@pytest.mark.parametrize("name", [*RECORDS, "VOC2012/SegmentationClassAug/2007_000039.png",
                                  "VOC2012/ImageSets/SegmentationAug/train_aug.txt"])  # fmt: skip
def test_folders_in_place_of_files_are_one_line(excel_cam: Run, made: SimpleNamespace, name: str) -> None:
    assert excel_cam(*arguments(made, "deeplab")).exit_code == 0
    (made.out / name).unlink()
    (made.out / name).mkdir()
    assert name.rpartition("/")[2] in error_line(excel_cam(*arguments(made, "deeplab")))


def test_damaged_parts_of_coco_json_are_made_again(
    excel_cam: Run, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert excel_cam(*arguments(made, "coco-json")).exit_code == 0
    whole = (made.out / "annotations.json").read_bytes()
    shutil.rmtree(made.out)
    for content in DAMAGE:
        with monkeypatch.context() as patch:
            patch.setattr(export_module, "_finish", lambda _plan: (_ for _ in ()).throw(KeyboardInterrupt))
            assert excel_cam(*arguments(made, "coco-json")).exit_code == 130
        (made.out / ".coco-json-parts" / "2007_000032.json").write_bytes(content)
        assert "(1 new, 2 kept)" in excel_cam(*arguments(made, "coco-json")).stderr
        assert (made.out / "annotations.json").read_bytes() == whole
        assert not (made.out / ".coco-json-parts").exists()
        (made.out / "annotations.json").unlink()


def test_a_changed_configuration_stays(excel_cam: Run, made: SimpleNamespace) -> None:
    assert excel_cam(*arguments(made, "mmseg")).exit_code == 0
    path = made.out / "excel_cam_dataset.py"
    written = path.read_bytes()
    path.write_bytes(written.replace(b"batch_size=4", b"batch_size=16"))
    assert "complete already" in excel_cam(*arguments(made, "mmseg")).stderr
    Image.fromarray(np.full((24, 20), 3, np.uint8)).save(made.labels / "2011_003276.png")
    result = excel_cam(*arguments(made, "mmseg"))
    assert "has been changed and stays as it is" in result.stderr
    assert b"batch_size=16" in path.read_bytes()
    assert excel_cam(*arguments(made, "mmseg", "--overwrite")).exit_code == 0
    assert path.read_bytes() == written


def test_a_removed_link_is_made_again(excel_cam: Run, made: SimpleNamespace) -> None:
    command = arguments(made, "deeplab", "--images", made.images)
    assert excel_cam(*command).exit_code == 0
    link = made.out / "VOC2012" / "JPEGImages"
    link.unlink()
    assert "complete already" in excel_cam(*command).stderr
    assert link.resolve() == made.images.resolve()


def test_another_ending_of_a_photograph_is_seen(excel_cam: Run, made: SimpleNamespace) -> None:
    command = arguments(made, "deeplab", "--images", made.images)
    assert excel_cam(*command).exit_code == 0
    (made.images / "2007_000039.jpg").rename(made.images / "2007_000039.png")
    assert "(0 new, 3 kept)" in excel_cam(*command).stderr
    assert "2007_000039.png /" in (made.out / "VOC2012/ImageSets/SegmentationAug/train_aug.txt").read_text()


def test_an_export_of_a_version_before_is_made_again(excel_cam: Run, made: SimpleNamespace) -> None:
    """It had no list of finished files, and pickles that old numpy does not read."""
    assert excel_cam(*arguments(made, "irn")).exit_code == 0
    whole, path = contents(made.out), made.out / "export-irn.json"
    record = json.loads(path.read_text())
    record["identity"]["version"] = 1
    del record["files"]
    path.write_text(json.dumps(record))
    (made.out / "export-irn.jsonl").unlink()
    (made.out / "cam" / "2007_000032.npy").write_bytes(b"numpy._core")
    assert "(3 new, 0 kept)" in excel_cam(*arguments(made, "irn")).stderr
    assert contents(made.out) == whole


def test_a_damaged_label_after_the_export_is_one_line(excel_cam: Run, made: SimpleNamespace) -> None:
    assert excel_cam(*arguments(made, "deeplab")).exit_code == 0
    whole, label = contents(made.out), made.labels / "2007_000032.png"
    content = bytearray(label.read_bytes())
    content[-20] ^= 1
    label.write_bytes(content)
    assert "2007_000032.png" in error_line(excel_cam(*arguments(made, "deeplab")))
    for name, before in contents(made.out).items():
        assert name.startswith("export-") or before == whole[name]


def test_two_exports_do_not_write_into_one_folder_at_once(excel_cam: Run, made: SimpleNamespace) -> None:
    assert excel_cam(*arguments(made, "deeplab")).exit_code == 0
    before = contents(made.out)
    Image.fromarray(np.full((24, 20), 3, np.uint8)).save(made.labels / "2011_003276.png")
    with claimed({made.out: Work()}):  # as another process has it
        line = error_line(excel_cam(*arguments(made, "deeplab")))
        assert "at work in it; wait for it to end" in line
        assert {**contents(made.out), **before} == contents(made.out)
    assert "(1 new, 2 kept)" in excel_cam(*arguments(made, "deeplab")).stderr
    assert not list(made.out.glob(".excel-cam-*"))


def test_an_export_waits_for_nobody_who_only_reads(excel_cam: Run, made: SimpleNamespace) -> None:
    assert excel_cam(*arguments(made, "deeplab")).exit_code == 0
    with claimed({made.out: Work()}):
        assert "complete already" in excel_cam(*arguments(made, "deeplab")).stderr
