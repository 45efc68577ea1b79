"""Labels in shards are read as a folder is: the same figures, pages and exports; and unpacked they are that folder."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from packed import pack, write_tar, write_tar_by_hand
from PIL import Image
from viewable import CLASSES, NAMES, STAR, Viewable, make_viewable, masks

from excel_cam.files.storage import Place
from excel_cam.labels.packed.listing import index_of, tar_of
from excel_cam.labels.png import write_label

pytest.importorskip("pyarrow", reason="the extra `shards` is not installed")

Run = Callable[..., Result]
_FRESH = itertools.count()
STAMP = "0" * 32


@dataclass(frozen=True)
class Both:
    """The same labels twice: in a folder, and in shards."""

    made: Viewable
    shards: Place

    def arguments(self, command: str, labels: object, cams: object, out: Path) -> list[object]:
        """A command that reads labels, and class maps where it can."""
        made = self.made
        named: list[object] = ["--classes", made.classes]
        return {
            "evaluate": ["evaluate", "--labels", labels, "--truth", made.truth, "--list", self.with_truth, *named],
            "sweep": ["evaluate", "--sweep", "--cams", cams, "--images", made.images, "--truth", made.truth, "--list",
                      self.with_truth, *named],
            "against": ["evaluate", "--labels", labels, "--against", made.labels, "--truth", made.truth, "--list",
                        self.with_truth],
            "vote": ["vote", labels, "--regions", self.regions, "--out", out],
            "view": ["view", labels, "--images", made.images, "--truth", made.truth, "--cams", cams, "--out", out],
            "doctor": ["doctor", labels, "--images", made.images],
            "export": ["export", "--to", "coco-json", "--labels", labels, "--images", made.images, "--out", out],
            "export maps": ["export", "--to", "psa", "--labels", labels, "--cams", cams, "--list",
                            self.without_spaces, "--out", out],
            "export masks": ["export", "--to", "cvat", "--labels", labels, "--images", made.images, "--out", out],
        }[command]  # fmt: skip

    @property
    def with_truth(self) -> Path:
        """A list of the images that have a truth."""
        return self._list("truth.txt", [name for name in NAMES if name != "lone"])

    @property
    def without_spaces(self) -> Path:
        """A list of the images whose names a column can hold."""
        return self._list("columns.txt", [name for name in NAMES if name != STAR])

    @property
    def regions(self) -> Path:
        """A folder of region maps: each label's left and right half."""
        folder = self.made.root / "regions"
        for name, (label, _truth) in masks().items():
            path = folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            halves = np.ones(label.shape, np.uint8)
            halves[:, label.shape[1] // 2 :] = 2
            Image.fromarray(halves).save(path)
        return folder

    def _list(self, file: str, names: list[str]) -> Path:
        path = self.made.root / file
        path.write_text("\n".join(names) + "\n", "utf-8")
        return path


def make(tmp_path: Path, out: Path | Place, **options: object) -> Both:
    made = make_viewable(tmp_path)
    for name, (label, _truth) in masks().items():
        write_label(made.labels / f"{name}.png", label, "L", STAMP)
    record = {"identity": {"known": {"classes": list(CLASSES)}, "resolved": {}}, "state": "complete"}
    (made.labels / "run.json").write_text(json.dumps(record), "utf-8")
    return Both(made, pack(made.labels, out, shard_size=4, cams=made.cams, **options))  # type: ignore[arg-type]


@pytest.fixture(params=["written here", "written by tarfile", "in a storage"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Both:
    if request.param == "in a storage":
        pytest.importorskip("fsspec", reason="the extra `remote` is not installed")
        return make(tmp_path, Place(f"memory://bucket-{next(_FRESH)}/shards"))
    write = write_tar if request.param == "written here" else write_tar_by_hand
    return make(tmp_path, tmp_path / "shards", write=write)


@pytest.fixture
def packed(tmp_path: Path) -> Both:
    return make(tmp_path, tmp_path / "shards", failed={"zz": "cannot be decoded"})


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without what names the labels' own place or the time."""
    if folder.is_file():
        return {"": folder.read_bytes()}
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("export-")}


@pytest.mark.parametrize("command", ["evaluate", "sweep", "against", "doctor"])
def test_commands_print_the_same_of_both(excel_cam: Run, both: Both, command: str) -> None:
    made = both.made
    of_folder = excel_cam(*both.arguments(command, made.labels, made.cams, made.root / "x"))
    of_shards = excel_cam(*both.arguments(command, both.shards, both.shards, made.root / "x"))
    assert of_folder.stdout.replace(str(made.labels), "LABELS") == of_shards.stdout.replace(str(both.shards), "LABELS")
    assert of_folder.exit_code == of_shards.exit_code
    assert of_folder.stdout


@pytest.mark.parametrize("command", ["view", "vote", "export", "export maps", "export masks"])
def test_commands_write_the_same_of_both(excel_cam: Run, both: Both, tmp_path: Path, command: str) -> None:
    if command == "export":
        pytest.importorskip("pycocotools", reason="the extra `coco` is not installed")
    if command == "export maps":
        pytest.importorskip("torch")
    suffix, made = ".html" if command == "view" else "", both.made
    outs = [tmp_path / "one" / f"out{suffix}", tmp_path / "two" / f"out{suffix}"]
    for (labels, cams), out in zip([(made.labels, made.cams), (both.shards, both.shards)], outs, strict=True):
        out.parent.mkdir()
        result = excel_cam(*both.arguments(command, labels, cams, out))
        assert result.exit_code == 0, result.stderr
    one, two = map(files_of, outs)
    if command == "view":  # the heading is the labels' place
        place = str(both.shards) if both.shards.is_remote else str(both.shards.path.resolve())
        for end in (b"/labels", "/".join(place.split("/")[-1:]).encode()):
            assert end.strip(b"/") in one[""] + two[""]
        one, two = ({"": page[""].partition(b"<header>")[2].partition(b"</h1>")[2]} for page in (one, two))
    if command == "vote":  # the record names the labels' place
        assert str(made.labels).encode() in one.pop("run.json")
        assert str(both.shards).encode() in two.pop("run.json")
    assert one.keys() == two.keys()
    assert one == two


def test_an_export_of_shards_goes_on_and_is_made_again_where_labels_changed(excel_cam: Run, packed: Both) -> None:
    out = packed.made.root / "out"
    command = packed.arguments("export masks", packed.shards, None, out)
    assert "(6 new, 0 kept)" in excel_cam(*command).stderr
    assert "complete already" in excel_cam(*command).stderr
    result = excel_cam(*command, "--overwrite")
    assert f"excel-cam unpack {packed.shards} --to labels" in result.stderr


# ---- what is not as it should be


def refused(result: Result, status: int = 1) -> str:
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert result.exit_code == status, result.stderr
    return line


def evaluated(excel_cam: Run, both: Both) -> Result:
    return excel_cam(*both.arguments("evaluate", both.shards, None, both.made.root / "x"))


def test_damage_is_one_line(excel_cam: Run, packed: Both) -> None:
    tar, index = tar_of(packed.shards, 0).path, index_of(packed.shards, 1).path
    whole = tar.read_bytes()
    tar.write_bytes(whole[:2000])
    assert "labels-00000.tar: it has 2,000 bytes, and 20,480 by its index: cut off" in refused(
        evaluated(excel_cam, packed)
    )
    tar.unlink()
    assert "labels-00000.tar cannot be looked up: No such file" in refused(evaluated(excel_cam, packed))
    position = whole.index(b"IDAT")
    tar.write_bytes(whole[: position + 5] + b"\xff\xff" + whole[position + 7 :])
    line = refused(evaluated(excel_cam, packed))
    assert "labels-00000.tar: alike.png: expected a PNG of class indices, cannot read it (damaged" in line
    tar.write_bytes(whole)
    index.write_bytes(index.read_bytes()[:-20])
    assert "labels-00001.parquet: not the index of labels in a shard (" in refused(evaluated(excel_cam, packed))


def test_shards_of_another_run_or_twice_are_refused(excel_cam: Run, packed: Both) -> None:
    made, other = packed.made, packed.made.root / "other"
    pack(made.labels, other, shard_size=4, identity="another")
    index_of(packed.shards, 1).write(index_of(Place(str(other)), 1).read())
    line = refused(evaluated(excel_cam, packed))
    assert "labels-00001.parquet: its labels were made with other settings, weights or sentences than those of" in line
    pack(made.labels, other, shard_size=6)
    pack(made.labels, packed.shards, shard_size=4)
    for file_of in (tar_of, index_of):
        file_of(packed.shards, 2).write(b"")
    index_of(packed.shards, 2).remove()  # a tar that was not committed is none
    assert evaluated(excel_cam, packed).exit_code == 0
    index_of(packed.shards, 0).write(index_of(Place(str(other)), 0).read())
    assert "image 'missed' is in labels-00000.parquet and labels-00001.parquet" in refused(evaluated(excel_cam, packed))


def test_a_lost_record_hides_no_labels(excel_cam: Run, packed: Both) -> None:
    (packed.shards.path / "run.json").write_text("{")
    assert evaluated(excel_cam, packed).exit_code == 0
    (packed.shards.path / "run.json").unlink()
    assert evaluated(excel_cam, packed).exit_code == 0
    assert "no run.json beside the shards" in refused(
        excel_cam("unpack", packed.shards, "--to", packed.made.root / "to")
    )


def test_names_without_a_label_are_told_with_their_reason(excel_cam: Run, packed: Both) -> None:
    command = packed.arguments("evaluate", packed.shards, None, packed.made.root / "x")
    (packed.made.root / "failed.txt").write_text("zz\n")
    (packed.made.root / "unknown.txt").write_text("nowhere\n")
    command[command.index(packed.with_truth)] = packed.made.root / "failed.txt"
    assert "no label of 'zz', which failed: cannot be decoded (1 of 1 missing)" in refused(excel_cam(*command))
    command[command.index(packed.made.root / "failed.txt")] = packed.made.root / "unknown.txt"
    assert "no label of 'nowhere' (1 of 1 missing)" in refused(excel_cam(*command))


def test_maps_that_are_not_in_the_shards_are_told(excel_cam: Run, packed: Both) -> None:
    pack(packed.made.labels, packed.shards, shard_size=4)
    line = refused(excel_cam(*packed.arguments("sweep", None, packed.shards, packed.made.root / "x")))
    assert "no class maps 'alike.npz' behind the label" in line


def test_what_would_change_labels_is_refused_and_names_unpack(
    excel_cam: Run, packed: Both, arguments: list[str]
) -> None:
    made, before = packed.made, files_of(packed.shards.path)
    commands = [
        ["doctor", packed.shards, "--fix"],
        ["import", made.labels, "--from", "labelme", "--out", packed.shards],
        [*arguments, "--out", packed.shards],
    ]
    for command in commands:
        assert f"excel-cam unpack {packed.shards} --to labels/" in refused(
            excel_cam(*command), 2 if command[0] == "doctor" else 1
        )
    assert files_of(packed.shards.path) == before


def test_an_address_without_shards_is_told(excel_cam: Run, packed: Both) -> None:
    pytest.importorskip("fsspec", reason="the extra `remote` is not installed")
    line = refused(excel_cam("doctor", "memory://nothing/here"))
    assert "memory://nothing/here: expected labels in shards" in line


# ---- unpack


def test_unpacked_labels_are_those_of_the_folder(excel_cam: Run, both: Both, tmp_path: Path) -> None:
    to, cams = tmp_path / "to", tmp_path / "to-cams"
    result = excel_cam("unpack", both.shards, "--to", to, "--save-cams", cams)
    assert result.exit_code == 0, result.stderr
    assert "6 labels written, 0 kept" in result.stderr
    expected, found = files_of(both.made.labels), files_of(to)
    record = json.loads(found.pop("run.json"))
    assert record == json.loads(expected.pop("run.json")) | {
        "counts": {"images": 6, "labelled": 6, "kept": 0, "failed": 0},
    }  # fmt: skip
    assert found == expected
    assert files_of(cams) == files_of(both.made.cams)


def test_unpacking_goes_on_and_replaces_nothing_unasked(excel_cam: Run, packed: Both, tmp_path: Path) -> None:
    to = tmp_path / "to"
    command = ["unpack", packed.shards, "--to", to]
    excel_cam(*command)
    assert json.loads((to / "failed.jsonl").read_text()) == {"name": "zz", "reason": "cannot be decoded"}
    assert json.loads((to / "run.json").read_text())["state"] == "complete with failures"
    (to / "half.png").unlink()
    (to / "lone.png").write_bytes((to / "lone.png").read_bytes()[:-5])
    assert "2 labels written, 4 kept" in excel_cam(*command).stderr
    write_label(to / "alike.png", np.ones((2, 2), np.uint8), "L", "hand-made cvat")
    write_label(to / "zz.png", np.ones((2, 2), np.uint8), "L", "hand-made cvat")
    result = excel_cam(*command, "--overwrite")
    assert "5 labels written, 0 kept, 1 hand-made stay as they are" in result.stderr
    assert b"hand-made cvat" in (to / "alike.png").read_bytes()
    assert not (to / "failed.jsonl").exists()  # it has a label by now
    write_label(to / "half.png", np.ones((2, 2), np.uint8), "L", None)
    before = files_of(to)
    assert "half.png: there already, and not of these labels (1 such files)" in refused(excel_cam(*command))
    assert files_of(to) == before
    assert excel_cam(*command, "--overwrite").exit_code == 0
    assert (to / "half.png").read_bytes() == (packed.made.labels / "half.png").read_bytes()


def test_only_listed_names_are_unpacked(excel_cam: Run, packed: Both, tmp_path: Path) -> None:
    result = excel_cam("unpack", packed.shards, "--to", tmp_path / "to", "--list", "-", input="half\nlone\n")
    assert "2 labels written, 0 kept" in result.stderr
    assert set(files_of(tmp_path / "to")) == {"half.png", "lone.png", "run.json"}


def test_places_that_cannot_be_right_are_refused(excel_cam: Run, packed: Both, tmp_path: Path) -> None:
    made = packed.made
    assert "holds the shards themselves" in refused(excel_cam("unpack", packed.shards, "--to", packed.shards), 2)
    line = refused(excel_cam("unpack", made.labels, "--to", tmp_path / "to"), 2)
    assert "expected labels in shards, found none" in line
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"identity": {"known": {"classes": ["cat"]}}}')
    assert f"{other} holds labels made otherwise: classes was" in refused(
        excel_cam("unpack", packed.shards, "--to", other)
    )
    record = json.loads((packed.shards.path / "run.json").read_text("utf-8"))
    (packed.shards.path / "run.json").write_text(json.dumps(record | {"labelled": {"shards": 5}}), "utf-8")
    result = excel_cam("unpack", packed.shards, "--to", tmp_path / "to")
    assert result.exit_code == 3
    assert "3 shards are not there yet" in result.stderr
    assert "labelled" not in json.loads((tmp_path / "to" / "run.json").read_text("utf-8"))


def test_a_label_that_is_another_than_its_index_says_is_not_written(
    excel_cam: Run, packed: Both, tmp_path: Path
) -> None:
    made = packed.made
    write_label(made.labels / "half.png", masks()["half"][0], "L", "1" * 32)
    pack(made.labels, tmp_path / "other", shard_size=4, cams=made.cams)
    tar_of(packed.shards, 0).write(tar_of(Place(str(tmp_path / "other")), 0).path)
    line = refused(excel_cam("unpack", packed.shards, "--to", tmp_path / "to"))
    assert "labels-00000.tar: half.png: its stamp is another than its index says" in line
    assert not (tmp_path / "to" / "half.png").exists()


def test_a_run_goes_on_with_unpacked_labels(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    labels, to = tmp_path / "labels", tmp_path / "to"
    assert excel_cam(*arguments, "--out", labels).exit_code == 0
    excel_cam("unpack", pack(labels, tmp_path / "shards"), "--to", to)
    before = files_of(to)
    assert "(0 new, 6 kept)" in excel_cam(*arguments, "--out", to).stderr
    assert files_of(to) == before
    assert {name: content for name, content in before.items() if name.endswith(".png")} == {
        name: content for name, content in files_of(labels).items() if name.endswith(".png")
    }


def test_what_doctor_finds_in_shards_is_mended_otherwise(excel_cam: Run, packed: Both) -> None:
    tar = tar_of(packed.shards, 0).path
    content = tar.read_bytes()
    position = content.index(b"IDAT")
    tar.write_bytes(content[: position + 5] + b"\xff\xff" + content[position + 7 :])
    result = excel_cam("doctor", packed.shards)
    assert result.exit_code == 1
    assert "damaged-label: 1 labels cannot be read" in result.stdout
    assert "mend: remove their shards' .parquet and run the same `excel-cam generate` again" in result.stdout
