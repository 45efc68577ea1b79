"""What is exported for other tools, read back as each reads it: by readers here, and by its own where installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from awkward_labels import CLASSES, SIZES, TURNED, export_arguments, make_scenes, upright
from click.testing import Result
from exports import error_line
from PIL import ExifTags, Image, ImageOps
from polygons import filled

Run = Callable[..., Result]
VALUES = {name: value for value, name in enumerate(CLASSES, 1)}


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    return make_scenes(tmp_path)


def export(excel_cam: Run, made: SimpleNamespace, to: str, *more: object) -> str:
    result = excel_cam(*export_arguments(made, to, *more))
    assert result.exit_code == 0, result.stderr
    return result.stderr


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# ---- CVAT


def cvat_values(made: SimpleNamespace) -> dict[int, int]:
    """Label values by colour, as the label map tells them."""
    values = VALUES | {"background": 0, "ignored": 255}
    found = {}
    for line in (made.out / "labelmap.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, colour, _parts, _actions = line.split(":")
            red, green, blue = map(int, colour.split(","))
            found[red << 16 | green << 8 | blue] = values[name]
    assert len(found) == len(CLASSES) + 2
    return found


def test_cvat_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    assert "python3 -m zipfile -c annotations.zip labelmap.txt" in export(excel_cam, made, "cvat")
    names = (made.out / "ImageSets" / "Segmentation" / "default.txt").read_text().splitlines()
    assert names == sorted(SIZES)
    values = cvat_values(made)
    for name in names:
        packed = pixels(made.out / "SegmentationClass" / f"{name}.png").astype(int) @ (1 << 16, 1 << 8, 1)
        label = np.vectorize(values.get)(packed)
        assert np.array_equal(label, upright(name))
        objects = pixels(made.out / "SegmentationObject" / f"{name}.png").astype(int) @ (1 << 16, 1 << 8, 1)
        assert np.array_equal(objects == 0, label == 0)  # black is no object
        pairs = {(int(one), int(other)) for one, other in zip(objects.ravel(), label.ravel(), strict=True)}
        assert len(pairs) == len(np.unique(objects)) == len(np.unique(label))
    labels = json.loads((made.out / "cvat_labels.json").read_text())
    assert [label["name"] for label in labels] == [*CLASSES, "ignored"]
    assert labels[0] == {"name": "cat", "color": "#800000", "attributes": []}


def test_datumaro_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    dataset = pytest.importorskip("datumaro.components.dataset", reason="datumaro is not installed")
    export(excel_cam, made, "cvat")
    read = dataset.Dataset.import_from(str(made.out), "voc_segmentation")
    items = next(iter(read.categories().values())).items
    values = VALUES | {"background": 0, "ignored": 255}
    found = {}
    for item in read:
        found[item.id] = np.zeros_like(upright(item.id))
        for annotation in item.annotations:
            found[item.id][np.asarray(annotation.image, bool)] = values[items[annotation.label].name]
    assert found.keys() == SIZES.keys()
    assert all(np.array_equal(label, upright(name)) for name, label in found.items())


# ---- Label Studio


def brush_alpha(region: dict[str, Any]) -> np.ndarray:
    """A region's alpha channel, by a reader of bits of its own."""
    bits = "".join(f"{byte:08b}" for byte in region["value"]["rle"])
    count, at = int(bits[:32], 2), 32 + 5 + 16
    assert bits[32:37] == "00111"  # values of 8 bits
    sizes = [int(bits[place : place + 4], 2) + 1 for place in range(37, 53, 4)]
    values: list[int] = []
    while len(values) < count:
        repeated, size = bits[at] == "1", sizes[int(bits[at + 1 : at + 3], 2)]
        length = int(bits[at + 3 : at + 3 + size], 2) + 1
        at += 3 + size
        assert repeated
        values += [int(bits[at : at + 8], 2)] * length
        at += 8
    return np.reshape(values, (region["original_height"], region["original_width"], 4))[..., 3]


def test_label_studio_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    said = export(excel_cam, made, "label-studio")
    assert "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT" in said
    interface = ElementTree.parse(made.out / "labeling_interface.xml").getroot()
    image, brush = interface.find("Image"), interface.find("BrushLabels")
    assert image is not None
    assert brush is not None
    assert (image.get("name"), image.get("value")) == (brush.get("toName"), "$image")
    assert [label.get("value") for label in brush] == [*CLASSES, "ignored"]
    tasks = json.loads((made.out / "tasks.json").read_text())
    assert [task["data"]["excel_cam_name"] for task in tasks] == sorted(SIZES)
    for task in tasks:
        name, (prediction,) = task["data"]["excel_cam_name"], task["predictions"]
        label = np.zeros_like(upright(name))
        for region in prediction["result"]:
            assert (region["type"], region["from_name"], region["to_name"]) == ("brushlabels", "label", "image")
            assert region["value"]["format"] == "rle"
            alpha = brush_alpha(region)
            assert set(np.unique(alpha)) <= {0, 255}
            (named,) = region["value"]["brushlabels"]
            label[alpha > 0] = (VALUES | {"ignored": 255})[named]
        assert np.array_equal(label, upright(name))
        assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"])
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=photos/a%20b.jpg"


def test_label_studios_own_code_is_the_same(excel_cam: Run, made: SimpleNamespace) -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed")
    export(excel_cam, made, "label-studio")
    for task in json.loads((made.out / "tasks.json").read_text()):
        label = upright(task["data"]["excel_cam_name"])
        for region in task["predictions"][0]["result"]:
            value = (VALUES | {"ignored": 255})[region["value"]["brushlabels"][0]]
            assert brush.mask2rle((label == value).astype(np.uint8) * 255) == region["value"]["rle"]
            alpha = brush.decode_rle(region["value"]["rle"]).reshape(*label.shape, 4)[..., 3]
            assert np.array_equal(alpha > 0, label == value)


def test_photographs_in_a_bucket_have_addresses_as_they_are(excel_cam: Run, made: SimpleNamespace) -> None:
    export(excel_cam, made, "label-studio", "--image-url", "s3://bucket/photos/")
    tasks = json.loads((made.out / "tasks.json").read_text())
    assert tasks[0]["data"]["image"] == "s3://bucket/photos/a b.jpg"
    export(excel_cam, made, "label-studio", "--image-url", "https://host/", "--overwrite")
    assert json.loads((made.out / "tasks.json").read_text())[0]["data"]["image"] == "https://host/a%20b.jpg"
    made.out = made.out.with_name("other")
    line = error_line(excel_cam(*export_arguments(made, "cvat", "--image-url", "s3://bucket/")), 2)
    assert "--image-url is for --to label-studio" in line


# ---- labelme


def test_labelme_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    export(excel_cam, made, "labelme")
    values = VALUES | {"_background_": 0, "__ignore__": 255}
    assert (made.out / "labels.txt").read_text().splitlines() == ["__ignore__", "_background_", *CLASSES]
    for name in SIZES:
        content = json.loads((made.out / f"{name}.json").read_text())
        with Image.open(made.out / f"{name}.json".replace(Path(name).name + ".json", content["imagePath"])) as image:
            assert ImageOps.exif_transpose(image).size == (content["imageWidth"], content["imageHeight"])
        assert content["imageData"] is None
        label = np.zeros((content["imageHeight"], content["imageWidth"]), np.uint8)
        for shape in content["shapes"]:
            assert shape["shape_type"] == "polygon"
            assert all(x == int(x) and y == int(y) for x, y in shape["points"])
            label[filled([(int(x), int(y)) for x, y in shape["points"]], *label.shape)] = values[shape["label"]]
        assert np.array_equal(label, upright(name))


def test_labelme_itself_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    labelme = pytest.importorskip("labelme", reason="labelme is not installed", exc_type=ImportError)
    shape = pytest.importorskip("labelme.utils.shape", reason="labelme is not installed", exc_type=ImportError)
    export(excel_cam, made, "labelme")
    values = VALUES | {"_background_": 0, "__ignore__": 255}
    for name in SIZES:
        read = labelme.LabelFile(str(made.out / f"{name}.json"))
        label, _objects = shape.shapes_to_label(upright(name).shape, read.shapes, values)
        assert np.array_equal(label, upright(name))


# ---- Ultralytics


def swapped(photograph: str, folder: str, suffix: str) -> Path:
    """Where Ultralytics looks for what belongs to a photograph: the last folder `images` swapped."""
    before, after = photograph.rsplit("/images/", 1)
    return Path(f"{before}/{folder}/{after}".rsplit(".", 1)[0] + suffix)


def yaml_names(path: Path) -> dict[int, str]:
    lines = path.read_text().split("names:\n")[1].splitlines()
    return {int(line.split(":", 1)[0]): json.loads(line.split(":", 1)[1]) for line in lines}


def test_ultralytics_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    assert "cannot have holes: theirs are cut open" in export(excel_cam, made, "ultralytics")
    semantic, segment = made.out / "semantic.yaml", made.out / "segment.yaml"
    assert "train: train.txt\nval: train.txt\nmasks_dir: masks\n" in semantic.read_text()
    assert yaml_names(semantic) == {0: "background", **dict(enumerate(CLASSES, 1))}
    assert yaml_names(segment) == dict(enumerate(CLASSES))
    photographs = [line.replace("./", f"{made.out}/") for line in (made.out / "train.txt").read_text().splitlines()]
    assert len(photographs) == len(SIZES)
    for photograph in photographs:
        name = photograph.split("/images/")[1].removesuffix(".jpg")
        assert Path(photograph).is_file()
        label = pixels(swapped(photograph, "masks", ".png"))
        assert np.array_equal(label, upright(name))
        height, width = label.shape
        regions = np.zeros_like(label)
        for line in swapped(photograph, "labels", ".txt").read_text().splitlines():
            index, *shares = line.split()
            numbers = np.array(shares, np.float32).reshape(-1, 2)
            assert len(numbers) >= 3
            assert ((numbers >= 0) & (numbers <= 1)).all()
            corners = (numbers * (width, height)).astype(np.int32)  # cut off, as for OpenCV
            regions[filled([(int(x), int(y)) for x, y in corners], height, width)] = int(index) + 1
        assert np.array_equal(regions, np.where(label == 255, 0, label))


def test_ultralytics_itself_reads_it(excel_cam: Run, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(made.out.parent / "settings"))
    dataset = pytest.importorskip("ultralytics.data.dataset", reason="ultralytics is not installed")
    if not hasattr(dataset, "SemanticDataset"):
        pytest.skip("this ultralytics has no semantic data sets")
    utils = pytest.importorskip("ultralytics.data.utils")
    export(excel_cam, made, "ultralytics")
    data = utils.check_det_dataset(str(made.out / "semantic.yaml"), autodownload=False)
    read = dataset.SemanticDataset(img_path=data["train"], data=data, augment=False, imgsz=32)
    assert len(read) == len(SIZES)
    for index, file in enumerate(read.im_files):
        name = file.split("/images/")[1].removesuffix(".jpg")
        assert np.array_equal(read.load_mask(index), upright(name))
        assert read.load_image(index)[1] == upright(name).shape
    data = utils.check_det_dataset(str(made.out / "segment.yaml"), autodownload=False)
    read = dataset.YOLODataset(img_path=data["train"], data=data, task="segment", augment=False, imgsz=32)
    assert {int(index) for label in read.labels for index in label["cls"].ravel()} == {0, 1, 2}


def test_a_folder_that_ultralytics_would_swap_is_said(excel_cam: Run, made: SimpleNamespace) -> None:
    (made.labels / "images").mkdir()
    (made.labels / "empty.png").rename(made.labels / "images" / "x.png")
    assert "'images/x' has a folder called images" in error_line(excel_cam(*export_arguments(made, "ultralytics")))


# ---- datasets, FiftyOne


def test_hugging_face_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    export(excel_cam, made, "hf")
    rows = [json.loads(line) for line in (made.out / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [f"images/{name}.jpg" for name in sorted(SIZES)]
    for row, name in zip(rows, sorted(SIZES), strict=True):
        with Image.open(made.out / row["file_name"]) as image, Image.open(made.out / row["mask_file_name"]) as mask:
            assert mask.mode == "L"
            assert mask.size == ImageOps.exif_transpose(image).size  # as `datasets` decodes images
            assert np.array_equal(np.asarray(mask), upright(name))
    names = json.loads((made.out / "id2label.json").read_text())
    assert names == {"0": "background", "1": "cat", "2": "red panda", "3": "tea pot"}


def test_datasets_itself_reads_it(excel_cam: Run, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(made.out.parent / "cache"))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    export(excel_cam, made, "hf")
    rows = datasets.load_dataset(
        "imagefolder", data_dir=str(made.out), split="train", cache_dir=str(made.out.parent / "cache")
    )
    assert [*rows.features] == ["image", "mask"]
    for row, name in zip(rows, sorted(SIZES), strict=True):
        assert np.array_equal(np.asarray(row["mask"]), upright(name))
        assert row["image"].size == row["mask"].size


def test_fiftyone_reads_it(excel_cam: Run, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script asks FiftyOne, played by a stand-in, for what lies there."""
    export(excel_cam, made, "fiftyone")
    stems = {path.relative_to(made.out / "labels").with_suffix("") for path in (made.out / "labels").rglob("*.png")}
    assert {str(stem) for stem in stems} == SIZES.keys()
    for stem in stems:
        assert (made.out / "data" / f"{stem}.jpg").is_file()
        assert np.array_equal(pixels(made.out / "labels" / f"{stem}.png"), upright(str(stem)))
    asked: dict[str, Any] = {}

    class Dataset:
        default_mask_targets: dict[int, str] = {}  # noqa: RUF012  # as FiftyOne has it

        @staticmethod
        def from_dir(**given: Any) -> Dataset:
            asked.update(given)
            return Dataset()

        def save(self) -> None:
            asked["targets"] = self.default_mask_targets

    fake: Any = ModuleType("fiftyone")
    fake.Dataset, fake.types = Dataset, SimpleNamespace(ImageSegmentationDirectory="ImageSegmentationDirectory")
    monkeypatch.setitem(sys.modules, "fiftyone", fake)
    script = made.out / "load_in_fiftyone.py"
    content: dict[str, Any] = {"__file__": str(script), "__name__": "script"}
    exec(compile(script.read_text(), str(script), "exec"), content)
    content["load"]()
    assert asked["dataset_dir"] == str(made.out)
    assert asked["dataset_type"] == "ImageSegmentationDirectory"
    assert asked["targets"] == {0: "background", 1: "cat", 2: "red panda", 3: "tea pot", 255: "ignored"}


def test_fiftyones_own_importer_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason="fiftyone is not installed")
    export(excel_cam, made, "fiftyone")
    with importers.ImageSegmentationDirectoryImporter(dataset_dir=str(made.out), load_masks=True) as importer:
        read = {Path(path).relative_to(made.out / "data"): label.mask for path, _metadata, label in importer}
    assert {str(path.with_suffix("")) for path in read} == SIZES.keys()
    assert all(np.array_equal(mask, upright(str(path.with_suffix("")))) for path, mask in read.items())


def test_what_people_changed_in_place_is_not_made_anew(excel_cam: Run, made: SimpleNamespace) -> None:
    export(excel_cam, made, "labelme")
    path = made.out / "a b.json"
    content = json.loads(path.read_text())
    content["shapes"].append({"label": "cat", "shape_type": "rectangle", "points": [[0, 0], [3, 3]]})
    path.write_text(json.dumps(content, indent=2))
    edited = path.read_bytes()
    command = export_arguments(made, "labelme")
    result = excel_cam(*command)
    assert result.exit_code == 1
    assert "1 files were changed since they were exported" in result.stderr
    assert "excel-cam import" in result.stderr
    assert path.read_bytes() == edited
    path.write_bytes(edited[:-40])  # what was cut off is nobody's work
    assert excel_cam(*command).exit_code == 0
    path.write_bytes(edited)
    assert excel_cam(*command, "--overwrite").exit_code == 0
    assert path.read_bytes() != edited


# ---- all of them


@pytest.mark.parametrize("to", ["cvat", "label-studio", "labelme"])
def test_classes_called_as_other_pixels_are_said(excel_cam: Run, made: SimpleNamespace, to: str) -> None:
    """A class list drops such names; labels that another program's record names classes of may have them."""
    record = {"identity": {"known": {"classes": ["cat", "ignored", "__ignore__"]}}}
    (made.labels / "run.json").write_text(json.dumps(record))
    line = error_line(excel_cam("export", "--to", to, "--labels", made.labels, "--out", made.out))
    assert "rename it in the class list" in line


@pytest.mark.parametrize("to", ["cvat", "label-studio", "labelme", "ultralytics", "hf", "fiftyone"])
def test_labels_without_a_background_class(excel_cam: Run, made: SimpleNamespace, to: str) -> None:
    """Label 0 is the first class: it has its name everywhere, and pixels of 255 are no class."""
    for name in SIZES:
        Image.fromarray(np.where(upright(name) > 2, 255, upright(name)).astype(np.uint8)).save(
            made.labels / f"{name}.png"
        )
    record = {
        "identity": {"known": {"classes": list(CLASSES)}},
        "knowledge": {"background_class": False},
    }
    (made.labels / "run.json").write_text(json.dumps(record))
    arguments = ["export", "--to", to, "--labels", made.labels, "--out", made.out]
    result = excel_cam(*arguments)
    assert result.exit_code == 0, result.stderr
    first = pixels(made.labels / "empty.png")  # all of it is the first class
    assert not first.any()
    if to == "cvat":
        colour = pixels(made.out / "SegmentationClass" / "empty.png")[0, 0]
        assert f"cat:{','.join(map(str, colour))}::" in (made.out / "labelmap.txt").read_text()
        assert pixels(made.out / "SegmentationObject" / "empty.png").any()
    elif to == "label-studio":
        tasks = {task["data"]["excel_cam_name"]: task for task in json.loads((made.out / "tasks.json").read_text())}
        (region,) = tasks["empty"]["predictions"][0]["result"]
        assert region["value"]["brushlabels"] == ["cat"]
        assert (brush_alpha(region) == 255).all()
    elif to == "labelme":
        (shape,) = json.loads((made.out / "empty.json").read_text())["shapes"]
        assert shape["label"] == "cat"
    elif to == "ultralytics":
        assert yaml_names(made.out / "semantic.yaml") == dict(enumerate(CLASSES))
        assert (made.out / "labels" / "empty.txt").read_text().startswith("0 ")
    elif to == "hf":
        assert json.loads((made.out / "id2label.json").read_text())["0"] == "cat"
    else:
        assert "{0: 'cat', " in (made.out / "load_in_fiftyone.py").read_text()


def test_turned_photographs_have_turned_labels_only_where_tools_turn_them(
    excel_cam: Run, made: SimpleNamespace
) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    stored = pixels(made.labels / f"{TURNED}.png")
    export(excel_cam, made, "coco-json")
    images = json.loads((made.out / "annotations.json").read_text())["images"]
    assert [(i["height"], i["width"]) for i in images if TURNED in i["file_name"]] == [stored.shape]
    made.out = made.out.with_name("hf")
    export(excel_cam, made, "hf")
    assert np.array_equal(pixels(made.out / "masks" / f"{TURNED}.png"), np.rot90(stored, -1))


# ---- trainers that load photographs with OpenCV


@pytest.mark.parametrize(("to", "folder"), [("mmseg", "ann_dir"), ("deeplab", "VOC2012/SegmentationClassAug")])
def test_labels_are_turned_for_trainers_that_load_with_opencv(
    excel_cam: Run, made: SimpleNamespace, tmp_path: Path, to: str, folder: str
) -> None:
    names = ["sub/c", TURNED]
    (tmp_path / "names.txt").write_text("\n".join(names))
    result = excel_cam(*export_arguments(made, to, "--list", tmp_path / "names.txt"))
    assert result.exit_code == 0, result.output
    for name in names:
        label = pixels(made.out / folder / f"{name}.png")
        assert np.array_equal(label, upright(name))
        with Image.open(made.images / f"{name}.jpg") as image:
            assert label.shape == ImageOps.exif_transpose(image).size[::-1]


def test_a_photograph_that_is_turned_later_turns_its_label(excel_cam: Run, made: SimpleNamespace) -> None:
    name = made.out / "ann_dir" / "empty.png"
    turned = made.labels / "empty.png"
    command = export_arguments(made, "mmseg")
    assert excel_cam(*command).exit_code == 0
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    with Image.open(made.images / "empty.jpg") as image:
        image.save(made.images / "empty.jpg", exif=exif)
    assert excel_cam(*command).exit_code == 0
    assert np.array_equal(pixels(name), np.rot90(pixels(turned)))


def test_opencv_itself_turns_photographs(made: SimpleNamespace) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    assert cv2.imread(str(made.images / f"{TURNED}.jpg"), cv2.IMREAD_COLOR).shape[:2] == upright(TURNED).shape
