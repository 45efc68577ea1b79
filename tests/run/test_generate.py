"""`excel-cam generate` as a user meets it: files, messages, exit statuses, interruptions."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import VOC_TAGS, draw_photograph
from PIL import Image, PngImagePlugin

from excel_cam.classes import voc_palette
from excel_cam.files import atomic as files
from excel_cam.labels.png import find_label

Run = Callable[..., Result]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def labels(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name.endswith(".png")}


def error_line(result: Result, status: int = 1) -> str:
    assert result.exit_code == status, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert "Traceback" not in result.stderr
    return line


# ---- what is written


def test_every_photograph_gets_a_label_of_its_size(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels"
    result = excel_cam(*arguments, "--out", out)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(out / f"{name}.png") for name in VOC_TAGS]
    classes = {"cat": 8, "sofa": 18, "person": 15, "dog": 12, "horse": 13, "tvmonitor": 20, "bird": 3, "boat": 4}
    for index, (name, tags) in enumerate(VOC_TAGS.items()):
        with Image.open(out / f"{name}.png") as label:
            assert label.mode == "L"
            assert label.size == (97 - 7 * index, 60 + 11 * index)
            assert set(np.unique(np.asarray(label))) <= {0, *(classes[tag] for tag in tags.split())}
    assert sorted(contents(out)) == sorted([*(f"{name}.png" for name in VOC_TAGS), "run.json"])


def test_the_run_record_says_what_the_labels_were_made_with(
    excel_cam: Run, arguments: list[str], tmp_path: Path, tiny_model: tuple[Path, Path]
) -> None:
    excel_cam(*arguments, "--out", tmp_path / "labels", "--background-power", "2")
    record = json.loads((tmp_path / "labels" / "run.json").read_text())
    assert record["state"] == "complete"
    assert record["counts"] == {"images": 6, "labelled": 6, "kept": 0, "failed": 0}
    assert record["settings"]["background_power"] == {"value": 2.0, "from": "command line"}
    assert record["settings"]["refine"] == {"value": "par", "from": "preset paper"}
    assert record["model"]["sha256"] == files.hash_file(tiny_model[1])
    assert record["model"]["precision"] == "fp32"
    assert len(record["knowledge"]["sha256"]) == 64
    assert record["versions"]["torch"]
    assert record["seconds"] > 0
    assert (record["work"]["batch_size"], record["work"]["asked_batch_size"], record["work"]["shard"]) == (
        8,
        "auto",
        None,
    )


def test_palette_mode_carries_the_same_values(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    excel_cam(*arguments, "--out", tmp_path / "l")
    excel_cam(*arguments, "--out", tmp_path / "p", "--png-mode", "P")
    for name in VOC_TAGS:
        with Image.open(tmp_path / "p" / f"{name}.png") as coloured, Image.open(tmp_path / "l" / f"{name}.png") as grey:
            assert coloured.mode == "P"
            assert bytes(coloured.getpalette() or []) == voc_palette()
            assert np.array_equal(np.asarray(coloured), np.asarray(grey))


def test_json_lines_give_shares_that_fit_the_label(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    lines = excel_cam(*arguments, "--out", tmp_path / "labels", "--json", "--quiet").stdout.splitlines()
    first = json.loads(lines[0])
    label = np.asarray(Image.open(first["path"]))
    assert first["name"] == "2007_000001"
    assert first["classes"]["background"] == pytest.approx((label == 0).mean(), abs=1e-6)
    assert sum(first["classes"].values()) + first["ignored"] == pytest.approx(1, abs=1e-5)
    assert json.loads(lines[2])["classes"] == {"background": 1.0}  # no tags


def test_quiet_says_nothing(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    assert excel_cam(*arguments, "--out", tmp_path / "labels", "--quiet").stderr == ""


# ---- the same labels, however the work is spread


@pytest.mark.parametrize("work", [("--batch-size", "1", "--workers", "1"), ("--batch-size", "4", "--workers", "5")])
def test_batch_size_and_workers_change_no_byte(
    excel_cam: Run, arguments: list[str], tmp_path: Path, work: tuple[str, ...]
) -> None:
    excel_cam(*arguments, "--out", tmp_path / "a")
    excel_cam(*arguments, "--out", tmp_path / "b", *work)
    assert labels(tmp_path / "a") == labels(tmp_path / "b")


def test_order_changes_no_byte(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    excel_cam(*arguments, "--out", tmp_path / "a")
    backwards = "\n".join(reversed(VOC_TAGS)) + "\n"
    result = excel_cam(*arguments, "--out", tmp_path / "b", "--list", "-", input=backwards)
    assert [Path(line).stem for line in result.stdout.splitlines()] == list(reversed(VOC_TAGS))
    assert labels(tmp_path / "a") == labels(tmp_path / "b")


# ---- running again


def test_a_second_run_writes_nothing_and_needs_no_model(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels"
    first = excel_cam(*arguments, "--out", out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr("excel_cam.run.worker.prepare_text", lambda *_: pytest.fail("the model was loaded"))
    second = excel_cam(*arguments, "--out", out)
    assert second.exit_code == 0
    assert second.stdout == first.stdout
    assert "6 kept" in second.stderr
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_labels_compressed_otherwise_still_count(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    """As earlier versions wrote them: the same stamp and pixels, in other bytes."""
    out = tmp_path / "labels"
    excel_cam(*arguments, "--out", out)
    path = out / "2007_000001.png"
    before, text = path.read_bytes(), PngImagePlugin.PngInfo()
    found = find_label(path)
    assert found is not None
    text.add_text("excel-cam", found.stamp)
    with Image.open(path) as label:
        label.save(path, pnginfo=text)
    assert path.read_bytes() != before
    assert "0 new, 6 kept" in excel_cam(*arguments, "--out", out).stderr


def test_the_second_run_encodes_no_text(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    excel_cam(*arguments, "--out", tmp_path / "a")
    assert "from the cache" in excel_cam(*arguments, "--out", tmp_path / "b").stderr


def test_a_run_goes_on_where_it_stopped(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels"
    excel_cam(*arguments, "--out", out)
    whole = labels(out)
    for name in ("2007_000002", "2008_000005"):
        (out / f"{name}.png").unlink()
    kept_at = (out / "2007_000001.png").stat().st_mtime_ns
    result = excel_cam(*arguments, "--out", out)
    assert "2 new, 4 kept" in result.stderr
    assert labels(out) == whole
    assert (out / "2007_000001.png").stat().st_mtime_ns == kept_at


def test_other_settings_are_refused_by_name_and_replaced_on_demand(
    excel_cam: Run, arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "labels"
    excel_cam(*arguments, "--out", out)
    before = contents(out)
    line = error_line(excel_cam(*arguments, "--out", out, "--refine", "none"))
    assert "refine was par, now none" in line
    assert "--overwrite" in line
    assert contents(out) == before
    assert excel_cam(*arguments, "--out", out, "--refine", "none", "--overwrite").exit_code == 0
    assert labels(out) != labels(tmp_path / "nothing")
    assert json.loads((out / "run.json").read_text())["settings"]["refine"]["value"] == "none"


def test_other_weights_are_refused(
    excel_cam: Run, arguments: list[str], tmp_path: Path, tiny_model: tuple[Path, Path]
) -> None:
    import torch
    from generate_weights import random_state_dict

    other = tmp_path / "other.pt"
    torch.save(random_state_dict(str(tiny_model[0]), seed=1), other)
    excel_cam(*arguments, "--out", tmp_path / "labels")
    assert "weights was" in error_line(excel_cam(*arguments, "--out", tmp_path / "labels", "--weights", other))


def test_a_changed_model_configuration_is_noticed_wherever_it_lies(
    excel_cam: Run, arguments: list[str], tmp_path: Path, tiny_model: tuple[Path, Path]
) -> None:
    out, moved = tmp_path / "labels", tmp_path / "tiny-quickgelu.json"
    excel_cam(*arguments, "--out", out)
    moved.write_text(tiny_model[0].read_text())
    assert "6 kept" in excel_cam(*arguments, "--out", out, "--model", moved).stderr
    moved.write_text(tiny_model[0].read_text().replace('"head_width": 32', '"head_width": 64'))
    assert "model was tiny-quickg" in error_line(excel_cam(*arguments, "--out", out, "--model", moved))


def test_changed_tags_are_noticed(excel_cam: Run, arguments: list[str], tmp_path: Path, voc_root: Path) -> None:
    out = tmp_path / "labels"
    excel_cam(*arguments, "--out", out)
    tags = voc_root / "tags.csv"
    tags.write_text(tags.read_text().replace("2007_000002,person", "2007_000002,person cat"))
    line = error_line(excel_cam(*arguments, "--out", out))
    assert "1 labels" in line
    assert "2007_000002.png" in line


def test_foreign_files_are_not_replaced(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    Image.new("L", (3, 3)).save(out / "2007_000001.png")
    before = contents(out)
    assert "another program" in error_line(excel_cam(*arguments, "--out", out))
    assert contents(out) == before


def test_an_interrupted_overwrite_does_not_pass_old_labels_off_as_new(
    excel_cam: Run, arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "labels"
    excel_cam(*arguments, "--out", out)
    old = labels(out)
    excel_cam(*arguments, "--out", out, "--refine", "none", "--overwrite")
    new = labels(out)
    (out / "2008_000005.png").write_bytes(old["2008_000005.png"])  # as if the run had been killed before this one
    assert "2008_000005" in error_line(excel_cam(*arguments, "--out", out, "--refine", "none"))
    excel_cam(*arguments, "--out", out, "--refine", "none", "--overwrite")
    assert labels(out) == new


def start(arguments: list[str], out: Path, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "excel_cam", *arguments, "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # type: ignore[call-overload]  # fmt: skip


@pytest.fixture
def slow_arguments(arguments: list[str], voc_root: Path) -> list[str]:
    """More and larger photographs, so that a run lasts long enough to be stopped."""
    names = [f"2010_{index:06d}" for index in range(14)]
    for index, name in enumerate(names):
        draw_photograph(240, 300, index).save(voc_root / "JPEGImages" / f"{name}.jpg")
    (voc_root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names))
    with (voc_root / "tags.csv").open("a") as tags:
        tags.writelines(f"{name},cat dog person\n" for name in names)
    return [*arguments, "--batch-size", "2"]


@pytest.mark.parametrize(
    ("signal_name", "status"), [("SIGKILL", -9), ("SIGTERM", 130), pytest.param("SIGINT", 130, marks=pytest.mark.slow)]
)
def test_a_stopped_run_leaves_whole_files_and_goes_on_to_the_same_bytes(
    excel_cam: Run, slow_arguments: list[str], tmp_path: Path, signal_name: str, status: int
) -> None:
    out = tmp_path / "labels"
    process = start(slow_arguments, out)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(getattr(signal, signal_name))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in stderr
    finished = labels(out)
    assert 5 <= len(finished) < 14
    for name in finished:
        Image.open(out / name).load()
    state = json.loads((out / "run.json").read_text())["state"]
    assert state == ("running" if signal_name == "SIGKILL" else "stopped")
    assert excel_cam(*slow_arguments, "--out", out).exit_code == 0
    excel_cam(*slow_arguments, "--out", tmp_path / "uninterrupted")
    assert labels(out) == labels(tmp_path / "uninterrupted")
    assert not [name for name in contents(out) if name.endswith(".part")]


def test_a_closed_pipe_ends_quietly(slow_arguments: list[str], tmp_path: Path) -> None:
    process = start([*slow_arguments, "--quiet"], tmp_path / "labels")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141


def test_paths_come_one_by_one_as_they_are_finished(slow_arguments: list[str], tmp_path: Path) -> None:
    process = start([*slow_arguments, "--quiet"], tmp_path / "labels")
    assert process.stdout is not None
    first = Path(process.stdout.readline().strip())
    assert first.is_file()
    assert process.poll() is None  # still at work on the others
    process.kill()
    process.communicate()


# ---- images that cannot be read


def test_broken_images_are_recorded_and_the_run_goes_on(
    excel_cam: Run, arguments: list[str], tmp_path: Path, voc_root: Path
) -> None:
    images = voc_root / "JPEGImages"
    whole = (images / "2007_000002.jpg").read_bytes()
    (images / "2007_000001.jpg").write_bytes(b"")
    (images / "2007_000002.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "2008_000004.jpg").write_bytes(b"this is no image")
    (images / "2008_000005.jpg").unlink()
    out = tmp_path / "labels"
    result = excel_cam(*arguments, "--out", out)
    assert result.exit_code == 3
    failed = {
        entry["name"]: entry["reason"] for entry in map(json.loads, (out / "failed.jsonl").read_text().splitlines())
    }
    assert sorted(failed) == ["2007_000001", "2007_000002", "2008_000004", "2008_000005"]
    assert "empty" in failed["2007_000001"]
    assert "truncated" in failed["2007_000002"]
    assert "not an image" in failed["2008_000004"]
    assert "no such image" in failed["2008_000005"]
    assert sorted(labels(out)) == ["2007_000003.png", "2009_000006.png"]
    assert "4 images failed" in result.stderr

    (images / "2007_000002.jpg").write_bytes(whole)
    assert excel_cam(*arguments, "--out", out).exit_code == 3
    failed = {json.loads(line)["name"] for line in (out / "failed.jsonl").read_text().splitlines()}
    assert failed == {"2007_000001", "2008_000004", "2008_000005"}  # the mended one is gone


def test_without_failures_there_is_no_failure_file(
    excel_cam: Run, arguments: list[str], tmp_path: Path, voc_root: Path
) -> None:
    photograph = voc_root / "JPEGImages" / "2007_000001.jpg"
    whole = photograph.read_bytes()
    photograph.write_bytes(b"")
    assert excel_cam(*arguments, "--out", tmp_path / "labels").exit_code == 3
    photograph.write_bytes(whole)
    assert excel_cam(*arguments, "--out", tmp_path / "labels").exit_code == 0
    assert not (tmp_path / "labels" / "failed.jsonl").exists()


# ---- folders of one's own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "pets").mkdir(parents=True)
    draw_photograph(50, 70, 0).save(root / "pets" / "rex.png")
    draw_photograph(70, 50, 1).save(root / "desk.jpg")
    (tmp_path / "classes.txt").write_text("red panda\ntea pot: teapot made of china\n")
    (tmp_path / "tags.csv").write_text("name,classes\npets/rex,red panda;tea pot\ndesk,tea pot\n")
    return root


def folder_arguments(root: Path, model_arguments: list[str], *more: object) -> list[object]:
    home = root.parent
    return [
        "generate", "--dataset", "folder", "--root", root, "--classes", home / "classes.txt", "--tags",
        home / "tags.csv", "--size", "64", *model_arguments, *more,
    ]  # fmt: skip


def test_a_folder_is_mirrored(excel_cam: Run, folder: Path, model_arguments: list[str], tmp_path: Path) -> None:
    result = excel_cam(*folder_arguments(folder, model_arguments, "--out", tmp_path / "labels"))
    assert result.exit_code == 0
    assert "without enrichment" in result.stderr
    assert sorted(labels(tmp_path / "labels")) == ["desk.png", "pets/rex.png"]
    assert set(np.unique(np.asarray(Image.open(tmp_path / "labels" / "pets" / "rex.png")))) <= {0, 1, 2}


def test_a_knowledge_base_of_ones_own(excel_cam: Run, folder: Path, model_arguments: list[str], tmp_path: Path) -> None:
    knowledge = {
        "dataset": "mine", "template": "a photo of a {}.", "background": ["wall", "table"],
        "classes": [
            {"name": "tea pot", "sentences": ["it has a spout.", "it has a lid.", "it is round.", "it is of china."]},
            {"name": "red panda", "sentences": ["it has red fur.", "a ringed tail.", "white ears.", "dark legs."]},
        ],
    }  # fmt: skip
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(knowledge))
    result = excel_cam(*folder_arguments(folder, model_arguments, "--out", tmp_path / "labels", "--kb", path))
    assert result.exit_code == 0
    assert "2 attributes" in result.stderr  # round(0.28 * 8)


def test_labels_inside_the_folder_are_not_taken_for_photographs(
    excel_cam: Run, folder: Path, model_arguments: list[str]
) -> None:
    arguments = folder_arguments(folder, model_arguments, "--out", folder / "labels")
    assert excel_cam(*arguments).exit_code == 0
    second = excel_cam(*arguments)
    assert second.exit_code == 0
    assert "0 new, 2 kept" in second.stderr


def test_labels_never_replace_photographs(excel_cam: Run, folder: Path, model_arguments: list[str]) -> None:
    before = contents(folder)
    result = excel_cam(*folder_arguments(folder, model_arguments, "--out", folder, "--overwrite"))
    assert result.exit_code in (1, 2)
    assert contents(folder) == before


def test_a_label_that_would_land_on_a_photograph_is_refused(
    excel_cam: Run, folder: Path, model_arguments: list[str], tmp_path: Path
) -> None:
    link = tmp_path / "elsewhere"
    link.symlink_to(folder, target_is_directory=True)
    before = contents(folder)
    result = excel_cam(*folder_arguments(folder, model_arguments, "--out", link, "--overwrite"))
    assert result.exit_code in (1, 2)
    assert contents(folder) == before


# ---- mistakes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda root: (root / "tags.csv").write_text("name,classes\n2007_000001,catt\n"),
            ("tags.csv:2", "catt", "cat"),
        ),
        (
            lambda root: (root / "tags.csv").write_text("name,classes\n2007_000001,cat\n"),
            ("no tags for 5", "2007_000002"),
        ),
        (lambda root: (root / "ImageSets/Segmentation/train.txt").write_text("\n"), ("train.txt",)),
        (
            lambda root: (root / "ImageSets/Segmentation/train.txt").write_text("../../etc/passwd\n"),
            ("../../etc/passwd",),
        ),
    ],
    ids=["unknown class", "tags missing", "empty list", "name outside"],
)
def test_mistakes_in_the_data_are_one_line(
    excel_cam: Run, arguments: list[str], tmp_path: Path, voc_root: Path, change: Callable[[Path], object],
    words: tuple[str, ...],
) -> None:  # fmt: skip
    change(voc_root)
    line = error_line(excel_cam(*arguments, "--out", tmp_path / "labels"))
    assert all(word in line for word in words), line
    assert labels(tmp_path / "labels") == {}


def test_mistakes_in_the_command_end_with_status_2(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels"
    monkeypatch.chdir(tmp_path / "..")
    missing = error_line(excel_cam("generate", "--dataset", "voc", "--out", out), 2)
    assert "VOCdevkit/VOC2012" in missing
    assert "data/VOC2012" in missing
    needs = error_line(excel_cam("generate", "--dataset", "folder", "--out", out), 2)
    assert "--classes" in needs
    for option, value in [
        ("--size", "3"), ("--keep", "1.5"), ("--ignore-thresholds", "0.5"), ("--ignore-thresholds", "0.6,0.2"),
        ("--calibrated-blocks", "0"), ("--attention", "none"), ("--batch-size", "0"), ("--box-threshold", "nan"),
        ("--batch-size", "many"),
    ]:  # fmt: skip
        assert excel_cam(*arguments, "--out", out, option, value).exit_code == 2, option


def test_more_blocks_than_the_model_has(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    line = error_line(excel_cam(*arguments, "--out", tmp_path / "labels", "--calibrated-blocks", "9"))
    assert "the model has 7" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir(mode=0o500)
    assert "permission" in error_line(excel_cam(*arguments, "--out", out))


def test_an_output_folder_that_is_a_file(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be made" in error_line(excel_cam(*arguments, "--out", tmp_path / "file" / "labels"))


def test_a_full_disk_is_one_line_and_leaves_whole_files(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "2008_000005" in path.name:
            write_bytes(path, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / "labels"
    line = error_line(excel_cam(*arguments, "--out", out, "--batch-size", "1"))
    assert "No space left on device" in line
    assert "2008_000005" in line
    assert not [name for name in contents(out) if name.endswith(".part")]
    monkeypatch.undo()
    for name in labels(out):
        Image.open(out / name).load()


def test_a_damaged_run_record_is_named(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    for text in ("{", "[]", '{"identity": 3}'):
        (out / "run.json").write_text(text)
        assert "run.json" in error_line(excel_cam(*arguments, "--out", out))


def test_leftovers_of_a_killed_run_are_removed(excel_cam: Run, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    leftover = out / f".2007_000001.png.{files._host()}.{process.pid}.part"
    leftover.write_bytes(b"half")
    other_machine = out / ".2007_000001.png.elsewhere.1.part"
    other_machine.write_bytes(b"at work")
    excel_cam(*arguments, "--out", out)
    assert not leftover.exists()
    assert other_machine.exists()


# ---- start-up


def test_help_and_version_do_not_wait_for_torch() -> None:
    for argument in ("--help", "--version"):
        code = (
            "import sys; sys.argv = ['excel-cam', sys.argv[1]]\n"
            "from excel_cam.__main__ import main\n"
            "try: main()\n"
            "finally: assert not {'torch', 'open_clip', 'scipy', 'numpy'} & set(sys.modules), 'heavy import'"
        )
        result = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True)
        assert "heavy import" not in result.stderr, result.stderr
        assert result.returncode == 0


def test_python_m_excel_cam_works() -> None:
    result = subprocess.run([sys.executable, "-m", "excel_cam", "--version"], capture_output=True, text=True)
    assert result.stdout.startswith("excel-cam, version ")
