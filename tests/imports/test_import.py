"""Corrected labels come back as they are in the tool, become hand-made, and stay so whatever runs after them."""

from __future__ import annotations

import base64
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from awkward_labels import CLASSES, SIZES, TURNED, export_arguments, make_scenes, scene, upright
from click.testing import Result
from exports import contents, error_line
from PIL import Image

from excel_cam.labels.png import find_label

Run = Callable[..., Result]
TOOLS = ("cvat", "label-studio", "labelme")


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    return make_scenes(tmp_path)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def is_hand_made(path: Path) -> bool:
    found = find_label(path)
    assert found is not None
    return found.is_hand_made


def returned(excel_cam: Run, made: SimpleNamespace, tool: str) -> Path:
    """What a tool gives back of an export that nobody has changed."""
    result = excel_cam(*export_arguments(made, tool))
    assert result.exit_code == 0, result.stderr
    if tool == "cvat":  # as it is packed for an upload, and comes as a download
        archive = made.out.with_name("task.zip")
        with zipfile.ZipFile(archive, "w") as packed:
            for name, content in contents(made.out).items():
                packed.writestr(name, content)
        return archive
    if tool == "labelme":
        return Path(made.out)
    tasks = json.loads((made.out / "tasks.json").read_text())
    for task in tasks:
        (prediction,) = task.pop("predictions")
        task["annotations"] = [
            {"result": [], "was_cancelled": True, "updated_at": "2026-03-01"},
            {"result": [], "was_cancelled": False, "updated_at": "2026-01-01"},
            {"result": prediction["result"], "was_cancelled": False, "updated_at": "2026-02-01"},
        ]
    project = made.out.with_name("project.json")
    project.write_text(json.dumps(tasks))
    return project


def bring(made: SimpleNamespace, tool: str, source: Path, *more: object) -> list[object]:
    return ["import", source, "--from", tool, "--out", made.labels, "--images", made.images, *more]


def corrected(made: SimpleNamespace, name: str = "a b") -> np.ndarray:
    """Change the label of an image, as a person would in a tool; returns what it was."""
    path = made.labels / f"{name}.png"
    before = pixels(path)
    after = before.copy()
    after[:4, :5] = 3
    Image.fromarray(after).save(path)
    return before


@pytest.mark.parametrize("tool", TOOLS)
def test_what_nobody_changed_stays_as_it_is(excel_cam: Run, made: SimpleNamespace, tool: str) -> None:
    source, before = returned(excel_cam, made, tool), contents(made.labels)
    result = excel_cam(*bring(made, tool, source, "--classes", made.classes))
    assert result.exit_code == 0, result.stderr
    assert "0 labels corrected, 0 new, 4 " in result.stderr
    assert contents(made.labels) == before


@pytest.mark.parametrize("tool", TOOLS)
def test_labels_come_into_a_new_folder(excel_cam: Run, made: SimpleNamespace, tool: str) -> None:
    source = returned(excel_cam, made, tool)
    shutil.rmtree(made.labels)
    result = excel_cam(*bring(made, tool, source, "--classes", made.classes))
    assert result.exit_code == 0, result.stderr
    assert "0 labels corrected, 4 new" in result.stderr
    for name in SIZES:
        assert np.array_equal(pixels(made.labels / f"{name}.png"), scene(name)), name
        assert is_hand_made(made.labels / f"{name}.png")
    record = json.loads((made.labels / "hand-made.json").read_text())
    assert record["classes"] == list(CLASSES)
    (entry,) = record["imports"]
    assert (entry["from"], entry["labels"]) == (tool, 4)
    before = contents(made.labels)
    assert "0 labels corrected, 0 new, 4 " in excel_cam(*bring(made, tool, source)).stderr
    assert contents(made.labels) == before


def with_stamps(made: SimpleNamespace) -> None:
    """Labels as a run leaves them."""
    from excel_cam.labels.png import write_label

    for name in SIZES:
        write_label(made.labels / f"{name}.png", scene(name), "L", "0" * 32)
    record = {"identity": {"known": {"classes": list(CLASSES)}}}
    (made.labels / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize("tool", TOOLS)
def test_a_corrected_label_takes_the_place_of_a_runs(excel_cam: Run, made: SimpleNamespace, tool: str) -> None:
    corrected(made)
    source = returned(excel_cam, made, tool)
    after = pixels(made.labels / "a b.png")
    with_stamps(made)
    result = excel_cam(*bring(made, tool, source))
    assert "1 labels corrected, 0 new, 3 " in result.stderr, result.stderr
    assert np.array_equal(pixels(made.labels / "a b.png"), after)
    assert [name for name in SIZES if is_hand_made(made.labels / f"{name}.png")] == ["a b"]
    result = excel_cam(*bring(made, tool, source, "--mark-unchanged"))
    assert "3 labels corrected, 0 new, 1 " in result.stderr, result.stderr
    assert all(is_hand_made(made.labels / f"{name}.png") for name in SIZES)


def test_hand_made_labels_are_replaced_only_by_the_option_that_names_them(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path
) -> None:
    source = returned(excel_cam, made, "cvat")
    corrected(made)
    made.out = made.out.with_name("again")
    newer = returned(excel_cam, made, "labelme")
    shutil.rmtree(made.labels)
    excel_cam(*bring(made, "cvat", source, "--classes", made.classes))
    before = contents(made.labels)
    for more in ((), ("--overwrite",)):
        result = excel_cam(*bring(made, "labelme", newer, *more))
        line = error_line(result)
        assert "1 hand-made labels" in line
        assert "--overwrite-hand-made replaces them" in line
        assert contents(made.labels) == before
    (tmp_path / "names.txt").write_text("empty\n")
    result = excel_cam(*bring(made, "labelme", newer, "--overwrite-hand-made", "--list", tmp_path / "names.txt"))
    assert result.exit_code == 0
    assert contents(made.labels) == before
    result = excel_cam(*bring(made, "labelme", newer, "--overwrite-hand-made"))
    assert "1 labels corrected" in result.stderr
    assert (pixels(made.labels / "a b.png")[:4, :5] == 3).all()


def test_labels_of_other_programs_are_replaced_only_with_overwrite(excel_cam: Run, made: SimpleNamespace) -> None:
    corrected(made)
    source = returned(excel_cam, made, "labelme")
    Image.fromarray(scene("a b")).save(made.labels / "a b.png")
    arguments = bring(made, "labelme", source, "--classes", made.classes)
    assert "1 labels of another program" in error_line(excel_cam(*arguments))
    assert np.array_equal(pixels(made.labels / "a b.png"), scene("a b"))
    assert "1 labels corrected" in excel_cam(*arguments, "--overwrite").stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_labels_without_a_background_class_come_back(excel_cam: Run, made: SimpleNamespace, tool: str) -> None:
    """Their first class is 0; what nobody has given a label is 255."""
    wanted = {}
    for name in SIZES:
        label = scene(name)
        wanted[name] = np.where(label > 2, 255, label).astype(np.uint8)
        Image.fromarray(wanted[name]).save(made.labels / f"{name}.png")
    record = {"identity": {"known": {"classes": list(CLASSES)}}, "knowledge": {"background_class": False}}
    (made.labels / "run.json").write_text(json.dumps(record))
    source = returned(excel_cam, made, tool)
    for name in SIZES:
        (made.labels / f"{name}.png").unlink()
    result = excel_cam(*bring(made, tool, source))
    assert "0 labels corrected, 4 new" in result.stderr, result.stderr
    assert all(np.array_equal(pixels(made.labels / f"{name}.png"), label) for name, label in wanted.items())
    (made.labels / "run.json").unlink()  # the record of hand-made labels says the same
    assert "0 labels corrected, 0 new, 4 " in excel_cam(*bring(made, tool, source)).stderr


# ---- runs after them


def hand_made_label(excel_cam: Run, out: Path, root: Path, tmp_path: Path, name: str = "2007_000001") -> np.ndarray:
    """Correct one label of a run's folder in labelme: all of it is a person."""
    height, width = pixels(root / "JPEGImages" / f"{name}.jpg").shape[:2]
    shape = {"label": "person", "points": [[0, 0], [width, height]], "shape_type": "rectangle", "flags": {}}
    content = {
        "version": "5.0.0", "shapes": [shape], "imagePath": f"{name}.jpg", "imageData": None, "imageHeight": height,
        "imageWidth": width,
    }  # fmt: skip
    (tmp_path / "corrected").mkdir(exist_ok=True)
    (tmp_path / "corrected" / f"{name}.json").write_text(json.dumps(content))
    result = excel_cam("import", tmp_path / "corrected", "--from", "labelme", "--out", out, "--dataset", "voc")
    assert result.exit_code == 0, result.stderr
    return np.full((height, width), 15, np.uint8)


def test_generate_keeps_hand_made_labels_and_says_so(
    excel_cam: Run, voc_root: Path, arguments: list[str], tmp_path: Path
) -> None:
    out, cams = tmp_path / "labels", tmp_path / "cams"
    assert excel_cam(*arguments, "--out", out).exit_code == 0
    mine, path = hand_made_label(excel_cam, out, voc_root, tmp_path), out / "2007_000001.png"
    others = {name: content for name, content in contents(out).items() if name.endswith("2.png")}
    for more in ((), ("--overwrite",), ("--save-cams", cams), ("--save-cams", cams, "--overwrite")):
        result = excel_cam(*arguments, "--out", out, *more)
        assert result.exit_code == 0, result.stderr
        assert "1 hand-made labels stay as they are; --overwrite-hand-made replaces them" in result.stderr
        assert np.array_equal(pixels(path), mine)
        assert is_hand_made(path)
        kept = 1 if more else 6
        assert f"({6 - kept} new, {kept} kept)" in result.stderr
    assert (cams / "2007_000001.npz").exists()  # the maps behind it are the model's all the same
    assert json.loads((out / "run.json").read_text())["hand_made"] == 1
    assert others == {name: content for name, content in contents(out).items() if name.endswith("2.png")}
    result = excel_cam(*arguments, "--out", out, "--overwrite-hand-made")
    assert result.exit_code == 0, result.stderr
    assert "hand-made" not in result.stderr
    assert not is_hand_made(path)


def test_a_run_with_other_settings_keeps_them_too(
    excel_cam: Run, voc_root: Path, arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "labels"
    mine = hand_made_label(excel_cam, out, voc_root, tmp_path)
    result = excel_cam(*arguments, "--out", out)  # into a folder that no run has written to
    assert "(5 new, 1 kept)" in result.stderr, result.stderr
    result = excel_cam(*arguments, "--out", out, "--overwrite", "--background-power", "2")
    assert "(5 new, 1 kept)" in result.stderr, result.stderr
    assert np.array_equal(pixels(out / "2007_000001.png"), mine)


@pytest.mark.parametrize("damage", [lambda content: content[:-20], lambda content: b"?" + content[1:]])
def test_a_damaged_hand_made_label_is_not_made_again(
    excel_cam: Run,
    voc_root: Path,
    arguments: list[str],
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
) -> None:
    out = tmp_path / "labels"
    hand_made_label(excel_cam, out, voc_root, tmp_path)
    path = out / "2007_000001.png"
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    assert "1 hand-made labels stay" in excel_cam(*arguments, "--out", out, "--overwrite").stderr
    assert path.read_bytes() == damaged
    assert "damaged-label" in excel_cam("doctor", out, "--json").stdout
    again = ["import", tmp_path / "corrected", "--from", "labelme", "--out", out]
    assert "1 hand-made labels" in error_line(excel_cam(*again))
    assert "1 labels corrected" in excel_cam(*again, "--overwrite-hand-made").stderr


def test_a_run_of_other_classes_is_refused(
    excel_cam: Run, voc_root: Path, arguments: list[str], model_arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "labels"
    hand_made_label(excel_cam, out, voc_root, tmp_path)
    (tmp_path / "classes.txt").write_text("cat\nsofa\n")
    names = [path.stem for path in (voc_root / "JPEGImages").iterdir()]
    (tmp_path / "tags.csv").write_text("name,classes\n" + "".join(f"{name},cat\n" for name in names))
    result = excel_cam(
        "generate", "--dataset", "folder", "--root", voc_root / "JPEGImages", "--classes", tmp_path / "classes.txt",
        "--tags", tmp_path / "tags.csv", "--size", "64", "--device", "cpu", *model_arguments, "--out", out,
    )  # fmt: skip
    line = error_line(result)
    assert "hand-made labels of other classes" in line
    assert "hand-made.json" in line


def test_label_keeps_a_hand_made_one(
    excel_cam: Run, voc_root: Path, model_arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "labels"
    mine = hand_made_label(excel_cam, out, voc_root, tmp_path)
    command = ["label", voc_root / "JPEGImages" / "2007_000001.jpg", "--classes", "cat,sofa", "--out", out,
               "--size", "64", "--device", "cpu", *model_arguments]  # fmt: skip
    for more in ((), ("--overwrite",)):
        result = excel_cam(*command, *more)
        assert result.exit_code == 0, result.stderr
        assert "1 hand-made labels stay as they are" in result.stderr
        assert np.array_equal(pixels(out / "2007_000001.png"), mine)
    result = excel_cam(*command, "--overwrite-hand-made")
    assert result.exit_code == 0, result.stderr
    assert not is_hand_made(out / "2007_000001.png")


def test_every_reader_takes_hand_made_labels(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    """A folder that no run has written to: class names come from its record."""
    source = returned(excel_cam, made, "cvat")
    truth = made.labels.rename(tmp_path / "truth")
    assert excel_cam(*bring(made, "cvat", source, "--classes", made.classes)).exit_code == 0
    made.out = tmp_path / "exported"
    for command in (
        ["evaluate", "--labels", made.labels, "--truth", truth],
        ["doctor", made.labels, "--images", made.images],
        ["view", made.labels, "--images", made.images, "--out", tmp_path / "report.html"],
        ["export", "--to", "mmseg", "--labels", made.labels, "--out", made.out],
    ):
        result = excel_cam(*command)
        assert result.exit_code == 0, result.stderr
    assert "100.0" in excel_cam("evaluate", "--labels", made.labels, "--truth", truth).stdout
    assert "red panda" in (made.out / "excel_cam_dataset.py").read_text()


# ---- what tools write besides


def cvat_folder(tmp_path: Path, label_map: str, mask: Image.Image, name: str = "empty") -> Path:
    """A task as CVAT exports it, of one image."""
    folder = tmp_path / "task"
    for place in ("ImageSets/Segmentation", "SegmentationClass"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / "labelmap.txt").write_text(label_map)
    (folder / "ImageSets" / "Segmentation" / "default.txt").write_text(f"{name}\nnot annotated\n")
    mask.save(folder / "SegmentationClass" / f"{name}.png")
    return folder


LABEL_MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ntea pot:9,8,7::\nunused:1,1,1::\ncat:250,250,55::\n"


def test_cvats_own_colours_and_order_count(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    colours = np.zeros((10, 11, 3), np.uint8)
    colours[2:5] = (9, 8, 7)
    colours[7:] = (250, 250, 55)
    wanted = np.zeros((10, 11), np.uint8)
    wanted[2:5], wanted[7:] = 3, 1
    places = np.choose(wanted, [0, 3, 0, 1]).astype(np.uint8)  # of the labels in the map
    palette = Image.fromarray(colours).quantize(4)
    without_black = LABEL_MAP.replace("background:0,0,0", "background:0,128,0")
    for mask, label_map in (
        (Image.fromarray(colours), LABEL_MAP), (Image.fromarray(colours), without_black), (palette, LABEL_MAP),
        (Image.fromarray(places), LABEL_MAP),
    ):  # fmt: skip
        (made.labels / "empty.png").unlink()
        source = cvat_folder(tmp_path, label_map, mask)
        result = excel_cam(*bring(made, "cvat", source, "--classes", made.classes))
        assert "0 labels corrected, 1 new" in result.stderr, result.stderr
        assert "1 images without any region in CVAT are left as they are" in result.stderr
        assert np.array_equal(pixels(made.labels / "empty.png"), wanted)


@pytest.mark.parametrize(
    ("label_map", "colour", "complaint"),
    [
        (LABEL_MAP, (1, 1, 1), "label 'unused' is none of the classes"),
        (LABEL_MAP, (1, 2, 3), "colour 1,2,3 is no label of labelmap.txt"),
        ("background:0,0::\n", (0, 0, 0), "labelmap.txt:1: expected a label as name:red,green,blue::"),
        ("background:0,0,300::\n", (0, 0, 0), "labelmap.txt:1: expected a label as name:red,green,blue::"),
    ],
)
def test_what_cvat_cannot_have_meant_is_said(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path, label_map: str, colour: tuple[int, ...], complaint: str
) -> None:
    source = cvat_folder(tmp_path, label_map, Image.new("RGB", (11, 10), colour))
    before = contents(made.labels)
    line = error_line(excel_cam(*bring(made, "cvat", source, "--classes", made.classes)))
    assert complaint in line
    assert contents(made.labels) == before


def test_other_files_are_no_task(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "nowhere"
    for tool, source, complaint in (
        ("cvat", made.images, "no labelmap.txt in it"),
        ("cvat", tmp_path / "missing", "no such folder or archive"),
        ("cvat", made.classes, "expected a folder or a zip archive"),
        ("labelme", made.images, "no JSON file of labelme"),
        ("label-studio", made.classes, "damaged JSON"),
        ("label-studio", made.images, "cannot be read"),
    ):
        line = error_line(excel_cam("import", source, "--from", tool, "--out", out, "--classes", made.classes))
        assert complaint in line
        assert not out.exists()


def region(kind: str, label: object, size: tuple[int, int] = (10, 11), **value: object) -> dict[str, Any]:
    height, width = size
    labels = {kind: [label]} if isinstance(label, str) else {kind: label}
    return {"type": kind, "original_height": height, "original_width": width, "value": {**value, **labels}}


def project(tmp_path: Path, *regions: dict[str, Any], **data: object) -> Path:
    task = {"data": data or {"image": "/data/upload/1/0a1b2c3d-empty.jpg"}, "annotations": [{"result": list(regions)}]}
    path = tmp_path / "project.json"
    path.write_text(json.dumps([task]))
    return path


def test_label_studios_polygons_and_rectangles(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    (made.labels / "empty.png").unlink()
    source = project(
        tmp_path,
        region("rectanglelabels", "cat", x=0, y=0, width=100, height=50, rotation=0),
        region("polygonlabels", "tea pot", points=[[0, 0], [300 / 11, 0], [300 / 11, 30], [0, 30]]),
        region("keypointlabels", "cat", x=5, y=5, width=1),
    )
    result = excel_cam(*bring(made, "label-studio", source, "--classes", made.classes))
    assert "0 labels corrected, 1 new" in result.stderr, result.stderr
    assert "1 x keypointlabels" in result.stderr
    label = pixels(made.labels / "empty.png")
    assert (label[:2, :2] == 3).all()
    assert (label[:4, 4:] == 1).all()
    assert (label[6:] == 0).all()


def test_json_min_is_read(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    (made.labels / "empty.png").unlink()
    one = region("rectanglelabels", "cat", x=0, y=0, width=100, height=100)
    flat = {**one["value"], "original_height": 10, "original_width": 11}
    path = tmp_path / "min.json"
    path.write_text(json.dumps([{"image": "s3://bucket/photos/empty.jpg", "id": 1, "label": [flat], "annotator": 1}]))
    result = excel_cam(*bring(made, "label-studio", path, "--classes", made.classes))
    assert "1 new" in result.stderr, result.stderr
    assert (pixels(made.labels / "empty.png") == 1).all()


def test_names_of_uploads(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    """Without anything to compare with, the mark of an upload goes; with it, whole names come first."""
    one = region("rectanglelabels", "cat", x=0, y=0, width=100, height=100)
    source, out = project(tmp_path, one, image="/data/upload/1/0a1b2c3d-my%20cat.jpg"), tmp_path / "new"
    assert excel_cam(
        "import", source, "--from", "label-studio", "--out", out, "--classes", made.classes
    ).exit_code == 0  # fmt: skip
    assert (out / "my cat.png").exists()
    (out / "my cat.png").rename(out / "0a1b2c3d-my cat.png")
    result = excel_cam("import", source, "--from", "label-studio", "--out", out)
    assert "0 labels corrected, 0 new, 1 " in result.stderr


@pytest.mark.parametrize(
    ("regions", "complaint"),
    [
        ([region("brushlabels", "cat", format="rle", rle=[1, 2, 3])], "a brush region cannot be read"),
        ([region("brushlabels", "dog", format="rle", rle=[])], "label 'dog' is none of the classes"),
        ([region("brushlabels", "cat", rle="AAAA")], "a brush region cannot be read"),
        ([region("brushlabels", "cat", rle=3 * 10**9)], "its run lengths are not bytes"),
        ([region("brushlabels", "cat", rle=10**30)], "its run lengths are not bytes"),
        ([region("polygonlabels", "cat", (True, True), points=[])], "expected the image's height and width"),
        (
            [region("polygonlabels", "cat", (10**5, 100), points=[[0, 0]] * 10_001)],
            "an outline of 10,001 points in 100,000 rows is not read",
        ),
        ([region("rectanglelabels", "dog", x=0, y=0, width=1, height=1)], "label 'dog' is none of the classes"),
        ([region("rectanglelabels", ["cat", "tea pot"], x=0, y=0, width=1, height=1)], "expected one label"),
        ([region("rectanglelabels", "cat", x="a", y=0, width=1, height=1)], "expected a rectangle in numbers"),
        ([region("rectanglelabels", "cat", x=0, y=0, width=1, height=1, rotation=30)], "a turned rectangle"),
        ([region("polygonlabels", "cat", points=[[0, 0], [1, None]])], "expected points as [x, y] pairs"),
        ([region("polygonlabels", "cat", points=[[0, 0]])], "a polygon of 1 points"),
        ([region("polygonlabels", "cat", (10**6, 10**6), points=[])], "at most 500 megapixels"),
        ([region("polygonlabels", "cat", (0, 3), points=[])], "expected the image's height and width"),
        ([region("polygonlabels", "cat", (3, 4), points=[[0, 0], [1, 1], [2, 0]])], "a label of 3 x 4 (H x W)"),
        (
            [
                region("polygonlabels", "cat", (3, 4), points=[[0, 0], [1, 1], [2, 0]]),
                region("polygonlabels", "cat", points=[[0, 0], [1, 1], [2, 0]]),
            ],
            "regions of two sizes",
        ),
    ],
)
def test_what_label_studio_cannot_have_meant_is_said(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path, regions: list[dict[str, Any]], complaint: str
) -> None:
    before = contents(made.labels)
    source = project(tmp_path, *regions)
    assert complaint in error_line(excel_cam(*bring(made, "label-studio", source, "--classes", made.classes)))
    assert contents(made.labels) == before


def test_predictions_alone_are_no_corrections(excel_cam: Run, made: SimpleNamespace) -> None:
    assert excel_cam(*export_arguments(made, "label-studio")).exit_code == 0
    result = excel_cam(*bring(made, "label-studio", made.out / "tasks.json", "--classes", made.classes))
    assert result.exit_code == 0
    assert "4 tasks without an annotation are left as they are" in result.stderr
    assert not (made.labels / "hand-made.json").exists()


def labelme_file(made: SimpleNamespace, tmp_path: Path, *shapes: dict[str, Any], **more: object) -> Path:
    content = {"shapes": list(shapes), "imagePath": "..\\photos\\empty.jpg", "imageHeight": 10, "imageWidth": 11}
    path = tmp_path / "renamed.json"
    path.write_text(json.dumps(content | more))
    return path


def encoded(mask: np.ndarray) -> str:
    """A mask as labelme keeps it: a PNG in base64."""
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_labelmes_other_shapes(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    (made.labels / "empty.png").unlink()
    mask = np.array([[True, False], [True, True]])
    source = labelme_file(
        made, tmp_path,
        {"label": "cat", "shape_type": "rectangle", "points": [[3, 4], [0, 0]]},
        {"label": "tea pot", "shape_type": "circle", "points": [[8, 7], [8, 8]]},
        {"label": "red panda", "shape_type": "mask", "points": [[9, 0], [10, 1]], "mask": encoded(mask)},
        {"label": "cat", "shape_type": "linestrip", "points": [[0, 0], [9, 9]]},
    )  # fmt: skip
    result = excel_cam(*bring(made, "labelme", source, "--classes", made.classes))
    assert "0 labels corrected, 1 new" in result.stderr, result.stderr
    assert "1 x linestrip" in result.stderr
    label = pixels(made.labels / "empty.png")  # by the photograph's name, as the file's own is none of them
    assert (label[:5, :4] == 1).all()
    assert label[7, 8] == 3
    assert label[:2, 9:].tolist() == [[2, 0], [2, 2]]


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ({"label": "dog", "shape_type": "rectangle", "points": [[0, 0], [1, 1]]}, "label 'dog' is none of the classes"),
        ({"label": None, "shape_type": "rectangle", "points": [[0, 0], [1, 1]]}, "label None is none of the classes"),
        ({"label": "cat", "shape_type": "polygon", "points": [[0, 0]]}, "a 'polygon' of 1 points is not read"),
        ({"label": "cat", "shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "?"}, "its mask cannot be read"),
        ({"label": "cat", "points": "no"}, "expected points as [x, y] pairs"),
        (
            {"label": "cat", "shape_type": "circle", "points": [[0, 0], [1_000_000, 0]]},
            "a circle of radius 1,000,000 is not read",
        ),
        (
            {"label": "cat", "shape_type": "mask", "points": [[10, 9], [11, 10]],
             "mask": encoded(np.ones((2, 2), bool))},
            "its mask leaves the image",
        ),
    ],
)  # fmt: skip
def test_what_labelme_cannot_have_meant_is_said(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path, shape: dict[str, Any], complaint: str
) -> None:
    before = contents(made.labels)
    line = error_line(
        excel_cam(*bring(made, "labelme", labelme_file(made, tmp_path, shape), "--classes", made.classes))
    )
    assert complaint in line
    assert "renamed.json: shape 1" in line
    assert contents(made.labels) == before


def test_what_lies_beside_a_single_file_is_not_looked_at(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = labelme_file(made, tmp_path, {"label": "cat", "shape_type": "rectangle", "points": [[3, 4], [0, 0]]})
    monkeypatch.setattr("excel_cam.files.annotations.tree.walk_folders", lambda *_: pytest.fail("walked"))
    result = excel_cam(*bring(made, "labelme", source, "--classes", made.classes, "--overwrite"))
    assert result.exit_code == 0, result.stderr


def test_text_in_a_task_that_looks_like_a_broken_address(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    shape = region("polygonlabels", "cat", points=[[0, 0], [50, 0], [50, 50]])
    source = project(tmp_path, shape, image="/data/upload/1/0a1b2c3d-empty.jpg", caption="//[not an address")
    result = excel_cam(*bring(made, "label-studio", source, "--classes", made.classes, "--overwrite"))
    assert result.exit_code == 0, result.stderr
    source = project(tmp_path, shape, image="http://[x/a.jpg")
    line = error_line(excel_cam(*bring(made, "label-studio", source, "--classes", made.classes)))
    assert "no photograph's address" in line


# ---- names, sizes, classes


def test_turned_photographs_are_turned_back(excel_cam: Run, made: SimpleNamespace) -> None:
    """With the photographs at hand; without them, the label that is there tells that something is wrong."""
    source = returned(excel_cam, made, "cvat")
    line = error_line(excel_cam("import", source, "--from", "cvat", "--out", made.labels, "--classes", made.classes))
    assert f"{TURNED}.png" in line
    assert "was the photograph shown turned? give --images" in line
    assert upright(TURNED).shape != scene(TURNED).shape


def test_labels_without_a_photograph_and_double_ones_are_said(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path
) -> None:
    source = cvat_folder(tmp_path, LABEL_MAP, Image.new("RGB", (11, 10)), "nobody")
    assert "no photograph 'nobody'" in error_line(excel_cam(*bring(made, "cvat", source, "--classes", made.classes)))
    path = project(tmp_path, image="/data/upload/1/0a1b2c3d-empty.jpg")
    path.write_text(json.dumps(json.loads(path.read_text()) * 2))
    line = error_line(excel_cam(*bring(made, "label-studio", path, "--classes", made.classes)))
    assert "has come from" in line
    assert "'empty'" in line


def test_class_names_have_to_be_those_of_the_folder(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    source = returned(excel_cam, made, "cvat")
    assert "--classes" in error_line(excel_cam(*bring(made, "cvat", source)), 2)
    with_stamps(made)
    (tmp_path / "others.txt").write_text("dog\n")
    line = error_line(excel_cam(*bring(made, "cvat", source, "--classes", tmp_path / "others.txt")), 2)
    assert "holds labels of other classes (cat, red panda, tea pot)" in line


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"classes": []}', b'{"classes": [1]}', b"[" * 10_000])
def test_damaged_records_end_with_a_line(excel_cam: Run, made: SimpleNamespace, content: bytes) -> None:
    (made.labels / "hand-made.json").write_bytes(content)
    line = error_line(excel_cam("export", "--to", "mmseg", "--labels", made.labels, "--out", made.out))
    assert "hand-made.json" in line
    assert "restore it, or remove it" in line


def test_the_source_is_never_replaced(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    source = cvat_folder(tmp_path, LABEL_MAP, Image.new("P", (11, 10)))
    before = contents(source)
    result = excel_cam(
        "import", source, "--from", "cvat", "--out", source / "SegmentationClass", "--classes", made.classes,
        "--overwrite", "--mark-unchanged",
    )  # fmt: skip
    assert "stays as it is" in error_line(result)
    assert contents(source) == before
