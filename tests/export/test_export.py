"""Every export read back as its trainer's loader reads it, and what happens to files that are in the way."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from exports import IMAGES, STAMP, arguments, contents, error_line, patch_maps, stripes
from PIL import Image

from excel_cam.classes import VOC_CLASSES
from excel_cam.export import write as export_module
from excel_cam.labels.class_maps import write_maps
from excel_cam.wording import readable_size

Run = Callable[..., Result]


def expected_map(name: str, index: int, height: int, width: int) -> np.ndarray:
    """Stretched to 0..1 and enlarged with half-pixel centres, one value after the other."""
    values = patch_maps(name)[index].astype(np.float64)
    values = (values - values.min()) / (values.max() - values.min())

    def weights(count: int) -> np.ndarray:
        matrix = np.zeros((count, 20))
        for at in range(count):
            place = min(max((at + 0.5) * 20 / count - 0.5, 0), 19)
            low = math.floor(place)
            matrix[at, low] += 1 - (place - low)
            matrix[at, min(low + 1, 19)] += place - low
        return matrix

    return weights(height) @ values @ weights(width).T


# ---- what the trainers read


def load_dictionary(path: Path) -> Any:
    return np.load(path, allow_pickle=True).item()


def test_irn_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    result = excel_cam(*arguments(made, "irn"))
    assert result.exit_code == 0, result.stderr
    # The list is read as whole numbers, and names are made of them again.
    numbers = [int(line) for line in (made.out / "train_aug.txt").read_text().split()]
    image_labels = load_dictionary(made.out / "cls_labels.npy")
    for number in numbers:
        text = str(int(number))
        name = f"{text[:4]}_{text[4:]}"
        (height, width), keys, _values = IMAGES[name]
        row = image_labels[number]
        assert (row.dtype, row.shape) == (np.float32, (20,))
        assert tuple(np.flatnonzero(row)) == keys
        stored = load_dictionary(made.out / "cam" / f"{name}.npy")
        assert set(stored) == {"keys", "cam", "high_res"}
        assert stored["keys"].dtype == torch.int64
        valid = torch.nonzero(torch.from_numpy(row))[:, 0]
        assert torch.equal(stored["keys"], valid)
        assert isinstance(stored["cam"], torch.Tensor)
        assert stored["cam"].dtype == torch.float32
        assert stored["cam"].shape == (len(keys), -(-height // 4), -(-width // 4))
        assert isinstance(stored["high_res"], np.ndarray)
        assert stored["high_res"].dtype == np.float32
        assert stored["high_res"].shape == (len(keys), height, width)
        for index in range(len(keys)):
            wanted = expected_map(name, index, height, width)
            assert np.abs(stored["high_res"][index] - wanted).max() < 1e-3  # stored maps are float16
            small = expected_map(name, index, -(-height // 4), -(-width // 4))
            assert np.abs(stored["cam"][index].numpy() - small).max() < 1e-3
        # Both sweeps over thresholds pad a background before the maps and a 0 before the keys.
        padded_keys = np.pad(stored["keys"] + 1, (1, 0), mode="constant")
        padded = np.pad(stored["high_res"], ((1, 0), (0, 0), (0, 0)), mode="constant", constant_values=0.3)
        prediction = padded_keys[np.argmax(padded, axis=0)]
        assert set(np.unique(prediction)) <= {0, *(key + 1 for key in keys)}
    assert len(numbers) == 3
    assert load_dictionary(made.out / "cls_labels_onehot.npy").keys() == IMAGES.keys()


def clip_es_names(maps: Path, split_file: Path) -> tuple[list[str], int]:
    """The names CLIP-ES goes through and the number of its classes, both by the path of the maps."""
    is_coco = "coco" in str(maps)
    if "voc" in str(maps):
        return list(np.loadtxt(split_file, dtype=str)), 81 if is_coco else 21
    assert is_coco
    return [line.rstrip().split(" ")[0] for line in split_file.open()], 81


def clip_es_label(path: Path, name: str) -> np.ndarray:
    stored = load_dictionary(path / f"{name}.npy")
    maps = stored["attn_highres"]
    background = np.power(1 - np.max(maps, axis=0, keepdims=True), 1)
    places = np.pad(stored["keys"] + 1, (1, 0), mode="constant")
    label: np.ndarray = places[np.argmax(np.concatenate((background, maps), axis=0), axis=0)].astype(np.uint8)
    return label


def test_clip_es_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    result = excel_cam(*arguments(made, "clip-es"))
    assert result.exit_code == 0
    assert "leaves out 1 images without a class" in result.stderr
    names, class_count = clip_es_names(Path("voc-cams"), made.out / "train_cam.txt")
    assert class_count == 21
    assert names == [name for name in sorted(IMAGES) if IMAGES[name][1]]
    for name in names:
        size, keys, _values = IMAGES[name]
        stored = load_dictionary(made.out / "voc-cams" / f"{name}.npy")
        assert set(stored) == {"keys", "attn_highres"}
        assert isinstance(stored["keys"], np.ndarray)
        assert tuple(stored["keys"]) == keys
        maps = stored["attn_highres"]
        assert (maps.dtype, maps.shape) == (np.float16, (len(keys), *size))
        assert set(np.unique(clip_es_label(made.out / "voc-cams", name))) <= {0, *(key + 1 for key in keys)}
        assert np.abs(maps[0] - expected_map(name, 0, *size)).max() < 2e-3


def test_clip_es_reads_coco(excel_cam: Run, made: SimpleNamespace) -> None:
    write_maps(made.cams / "2007_000039.npz", patch_maps("2007_000039"), (79,), (30, 33), STAMP)
    command = [argument if argument != "voc" else "coco" for argument in arguments(made, "clip-es")]
    assert excel_cam(*command).exit_code == 0
    names, class_count = clip_es_names(Path("coco-cams"), made.out / "train_cam.txt")
    assert class_count == 81
    assert names == ["2007_000032", "2007_000039"]
    assert clip_es_label(made.out / "coco-cams", "2007_000039").max() == 80


def test_lists_that_clip_es_cannot_read_are_said(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("2007_000039\n")
    assert "from two names up" in excel_cam(*arguments(made, "clip-es", "--list", tmp_path / "names.txt")).stderr
    (tmp_path / "classes.txt").write_text("".join(f"class number {number}\n" for number in range(81)))
    command = [argument for argument in arguments(made, "clip-es") if argument not in ("--dataset", "voc")]
    made.out = made.out.with_name("many")
    command[command.index("--out") + 1] = made.out
    assert "set n_class to 82" in excel_cam(*command, "--classes", tmp_path / "classes.txt").stderr
    for name in ("my cat", "cat#2"):
        for folder, suffix in ((made.labels, ".png"), (made.cams, ".npz")):
            (folder / f"2007_000032{suffix}").replace(folder / f"{name}{suffix}")
        assert f"'{name}' holds a space or a #" in error_line(excel_cam(*arguments(made, "clip-es")))
        for folder, suffix in ((made.labels, ".png"), (made.cams, ".npz")):
            (folder / f"{name}{suffix}").replace(folder / f"2007_000032{suffix}")


def test_psa_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    assert excel_cam(*arguments(made, "psa")).exit_code == 0
    lines = (made.out / "train_aug.txt").read_text().splitlines()
    assert lines[0] == "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png"
    names = [line.split(" ")[0][-15:-4] for line in lines]
    assert names == sorted(IMAGES)
    by_name = load_dictionary(made.out / "cls_labels_onehot.npy")
    for name in names:
        size, keys, _values = IMAGES[name]
        full = np.zeros((21, *size), np.float32)
        for key, plane in load_dictionary(made.out / "cam" / f"{name}.npy").items():
            assert type(key) is int
            assert plane.dtype == np.float32
            full[key + 1] = plane
        full[0] = (1 - full[1:].max(axis=0)) ** 16
        assert {int(index) for index in np.flatnonzero(full[1:].any(axis=(1, 2)))} == set(keys)
        assert tuple(np.flatnonzero(by_name[name])) == keys


def test_names_that_psa_cannot_find_are_said(excel_cam: Run, made: SimpleNamespace) -> None:
    for folder, suffix in ((made.labels, ".png"), (made.cams, ".npz")):
        (folder / f"2007_000032{suffix}").rename(folder / f"000000000032{suffix}")
    assert "finds no '000000000032' (1 such names)" in excel_cam(*arguments(made, "psa")).stderr
    for folder, suffix in ((made.labels, ".png"), (made.cams, ".npz")):
        (folder / f"000000000032{suffix}").rename(folder / f"my picture{suffix}")
    assert "'my picture' holds a space" in error_line(excel_cam(*arguments(made, "psa")))


def test_deeplab_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    result = excel_cam(*arguments(made, "deeplab", "--images", made.images))
    assert result.exit_code == 0, result.stderr
    root = os.path.join(made.out, f"VOC{2012}")  # what the loader makes of its root and year
    with open(os.path.join(root, "ImageSets/SegmentationAug", "train_aug.txt")) as stream:
        photographs, labels = zip(*[line.rstrip().split(" ") for line in stream], strict=True)
    assert len(photographs) == 3
    for photograph, label in zip(photographs, labels, strict=True):
        name = photograph.split("/")[-1].split(".")[0]
        with Image.open(os.path.join(root, photograph[1:])) as image:
            assert image.size[::-1] == IMAGES[name][0]
        with Image.open(os.path.join(root, label[1:])) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image, np.int32), stripes(name))


def test_mmsegmentation_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    result = excel_cam(*arguments(made, "mmseg", "--images", made.images))
    assert result.exit_code == 0, result.stderr
    configuration: dict[str, Any] = {}
    exec(compile((made.out / "excel_cam_dataset.py").read_text(), "configuration", "exec"), configuration)
    data = configuration["train_dataloader"]["dataset"]
    assert data["type"] == "BaseSegDataset"
    assert data["reduce_zero_label"] is False
    assert data["ignore_index"] == 255
    assert data["metainfo"]["classes"] == ("background", *VOC_CLASSES)
    assert data["metainfo"]["palette"][:3] == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    assert len(data["metainfo"]["palette"]) == 21
    # What is not absolute is joined to the root; each line of the list gets both endings.
    joined = {key: os.path.join(data["data_root"], folder) for key, folder in data["data_prefix"].items()}
    with open(os.path.join(data["data_root"], data["ann_file"])) as stream:
        names = [line.strip() for line in stream]
    assert names == sorted(IMAGES)
    for name in names:
        with Image.open(os.path.join(joined["img_path"], name + data["img_suffix"])) as image:
            assert image.size[::-1] == IMAGES[name][0]
        with Image.open(os.path.join(joined["seg_map_path"], name + data["seg_map_suffix"])) as image:
            assert np.array_equal(np.asarray(image), stripes(name))


def test_pycocotools_reads_it(excel_cam: Run, made: SimpleNamespace) -> None:
    from pycocotools.coco import COCO

    result = excel_cam(*arguments(made, "coco-json"))
    assert result.exit_code == 0, result.stderr
    assert not [path for path in made.out.iterdir() if path.name.startswith(".")]
    coco = COCO(made.out / "annotations.json")
    assert [coco.cats[identity]["name"] for identity in sorted(coco.cats)] == list(VOC_CLASSES)
    assert sorted(coco.imgs) == [2007000032, 2007000039, 2011003276]
    for identity, record in coco.imgs.items():
        name = record["file_name"].removesuffix(".jpg")
        assert int(name.replace("_", "")) == identity
        rebuilt = np.zeros((record["height"], record["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[identity], iscrowd=False)):
            region = coco.annToMask(annotation).astype(bool)
            rebuilt[region] = annotation["category_id"]
            rows, columns = np.nonzero(region)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert annotation["bbox"] == box
            assert annotation["area"] == region.sum()
        label = stripes(name)
        assert np.array_equal(rebuilt, np.where(label == 255, 0, label))
    assert len(set(coco.anns)) == 3


# ---- names, modes, endings


def test_palette_labels_in_folders_become_grey(excel_cam: Run, made: SimpleNamespace) -> None:
    (made.labels / "sub").mkdir()
    picture = Image.fromarray(np.full((5, 6), 7, np.uint8))
    picture.putpalette([255, 0, 0] * 256)
    picture.save(made.labels / "sub" / "cat.png")
    assert excel_cam(*arguments(made, "deeplab")).exit_code == 0
    with Image.open(made.out / "VOC2012" / "SegmentationClassAug" / "sub" / "cat.png") as image:
        assert (image.mode, image.getpixel((0, 0))) == ("L", 7)
    lines = (made.out / "VOC2012" / "ImageSets" / "SegmentationAug" / "train_aug.txt").read_text().splitlines()
    assert lines[-1] == "/JPEGImages/sub/cat.jpg /SegmentationClassAug/sub/cat.png"


def test_other_names_are_keys_as_they_are(excel_cam: Run, made: SimpleNamespace) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(made.labels / "cat.png")
    write_maps(made.cams / "cat.npz", np.ones((1, 4, 4), np.float32), (7,), (8, 8), STAMP)
    result = excel_cam(*arguments(made, "irn"))
    assert "no VOC ids" in result.stderr
    assert set(load_dictionary(made.out / "cls_labels.npy")) == {2007000032, 2007000039, 2011003276, "cat"}
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(made.labels / "2007_000032x.png")
    made.out = made.out.with_name("coco")
    assert excel_cam(*arguments(made, "coco-json")).exit_code == 0
    images = json.loads((made.out / "annotations.json").read_text())["images"]
    assert [image["id"] for image in images] == [1, 2, 3, 4, 5]


def test_photographs_of_other_endings(excel_cam: Run, made: SimpleNamespace) -> None:
    (made.images / "2007_000039.jpg").rename(made.images / "2007_000039.png")
    line = error_line(excel_cam(*arguments(made, "mmseg", "--images", made.images)))
    assert ".jpg, .png" in line
    assert "--list" in line
    assert excel_cam(*arguments(made, "deeplab", "--images", made.images)).exit_code == 0
    assert "/JPEGImages/2007_000039.png " in (made.out / "VOC2012/ImageSets/SegmentationAug/train_aug.txt").read_text()


def test_class_names_come_from_the_run_record(excel_cam: Run, made: SimpleNamespace) -> None:
    command = ["export", "--to", "mmseg", "--labels", made.labels, "--out", made.out]
    assert "--dataset or --classes" in error_line(excel_cam(*command), 2)
    known = {"classes": list(VOC_CLASSES)}
    (made.labels / "run.json").write_text(json.dumps({"identity": {"known": known, "resolved": {}}}))
    assert excel_cam(*command).exit_code == 0
    assert "'tvmonitor'" in (made.out / "excel_cam_dataset.py").read_text()


# ---- going on, and not overwriting


def interrupt_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop as Ctrl-C does when so many files, the record and the list of finished ones among them, are written."""
    write, written = export_module.write_atomically, []

    def write_some(path: Path, content: bytes) -> None:
        if len(written) == count:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(export_module, "write_atomically", write_some)


@pytest.mark.parametrize("to", ["clip-es", "coco-json"])
def test_an_interrupted_export_goes_on(
    excel_cam: Run, made: SimpleNamespace, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert excel_cam(*arguments(made, to)).exit_code == 0
    whole = contents(made.out)
    made.out = made.out.with_name("again")
    with monkeypatch.context() as patch:
        interrupt_after(4, patch)
        assert excel_cam(*arguments(made, to)).exit_code == 130
    result = excel_cam(*arguments(made, to))
    assert "(1 new, 2 kept)" in result.stderr
    assert contents(made.out) == whole
    assert "complete already" in excel_cam(*arguments(made, to)).stderr


def test_a_newer_label_is_exported_again(excel_cam: Run, made: SimpleNamespace) -> None:
    assert excel_cam(*arguments(made, "deeplab")).exit_code == 0
    label = made.labels / "2011_003276.png"
    Image.fromarray(np.full((24, 20), 3, np.uint8)).save(label)
    later = label.stat().st_mtime_ns + 10**9
    os.utime(label, ns=(later, later))
    assert "(1 new, 2 kept)" in excel_cam(*arguments(made, "deeplab")).stderr
    with Image.open(made.out / "VOC2012" / "SegmentationClassAug" / "2011_003276.png") as image:
        assert image.getpixel((0, 0)) == 3


def test_files_in_the_way_are_not_replaced_silently(
    excel_cam: Run, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = made.out / "VOC2012" / "SegmentationClassAug" / "2011_003276.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's work")
    later = foreign.stat().st_mtime_ns + 10**12
    os.utime(foreign, ns=(later, later))
    line = error_line(excel_cam(*arguments(made, "deeplab")))
    assert str(foreign) in line
    assert "--overwrite" in line
    assert "1 of 4 files" in line
    assert foreign.read_bytes() == b"somebody's work"
    assert not (made.out / "export-deeplab.json").exists()
    with monkeypatch.context() as patch:  # interrupted, what was there must not pass for this export's
        interrupt_after(1, patch)
        assert excel_cam(*arguments(made, "deeplab", "--overwrite")).exit_code == 130
    assert "(3 new, 0 kept)" in excel_cam(*arguments(made, "deeplab")).stderr
    with Image.open(foreign) as image:
        assert np.array_equal(np.asarray(image), stripes("2011_003276"))


def test_labels_made_otherwise_are_not_mixed(excel_cam: Run, made: SimpleNamespace) -> None:
    for weights in ("a", "b"):
        (made.labels / "run.json").write_text(json.dumps({"identity": {"known": {}, "resolved": {"weights": weights}}}))
        result = excel_cam(*arguments(made, "irn"))
    assert "made otherwise" in error_line(result)
    assert excel_cam(*arguments(made, "irn", "--overwrite")).exit_code == 0


def test_a_list_narrows_an_export(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("2007_000039\n")
    assert excel_cam(*arguments(made, "clip-es", "--list", tmp_path / "names.txt")).exit_code == 0
    assert (made.out / "train_cam.txt").read_text() == "2007_000039\n"
    assert [path.name for path in (made.out / "voc-cams").iterdir()] == ["2007_000039.npy"]


# ---- the disk


def test_the_disk_needed_is_said_first_and_is_right(excel_cam: Run, made: SimpleNamespace) -> None:
    for to in ("irn", "clip-es", "psa", "deeplab"):
        made.out = made.out.with_name(to)
        result = excel_cam(*arguments(made, to))
        first = result.stderr.splitlines()[0]
        number, unit = first.split("about ")[1].split()[:2]
        said = float(number) * {"bytes": 1, "kB": 1000}[unit]
        written = sum(path.stat().st_size for path in made.out.rglob("*") if path.suffix in (".npy", ".png"))
        written -= sum(path.stat().st_size for path in made.out.glob("cls_labels*"))
        assert first.startswith(f"{to}: 3 images; about ")
        assert written <= said * 1.01
        assert said <= written + 3 * 1024


def test_a_disk_too_small_is_refused_before_anything_is_written(
    excel_cam: Run, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module.shutil, "disk_usage", lambda _path: SimpleNamespace(free=5000))
    line = error_line(excel_cam(*arguments(made, "irn")))
    assert "5.0 kB are free" in line
    assert "--list" in line
    assert not made.out.exists()


def test_sizes_are_readable() -> None:
    sizes = (0, 999, 1000, 198_300_000_000, 2 * 10**15)
    assert [readable_size(size) for size in sizes] == ["0 bytes", "999 bytes", "1.0 kB", "198.3 GB", "2000.0 TB"]


# ---- what is refused


def test_maps_are_not_made_up(excel_cam: Run, made: SimpleNamespace) -> None:
    for to in ("irn", "clip-es", "psa"):
        command = ["export", "--to", to, "--labels", made.labels, "--dataset", "voc", "--out", made.out]
        assert "--save-cams" in error_line(excel_cam(*command), 2)
    assert "leave --cams out" in error_line(excel_cam(*arguments(made, "deeplab", "--cams", made.cams)), 2)


def test_missing_and_ill_fitting_sources_are_named(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    write_maps(made.cams / "2007_000039.npz", patch_maps("2007_000039"), (19,), (31, 33), STAMP)
    line = error_line(excel_cam(*arguments(made, "irn")))
    assert "31 x 33" in line
    assert "30 x 33" in line
    write_maps(made.cams / "2007_000039.npz", patch_maps("2007_000039"), (20,), (30, 33), STAMP)
    assert "class 21" in error_line(excel_cam(*arguments(made, "irn")))
    (made.cams / "2007_000039.npz").unlink()
    line = error_line(excel_cam(*arguments(made, "irn")))
    assert "2007_000039.npz" in line
    assert "1 of 3 missing" in line
    assert "--save-cams" in line
    (made.images / "2007_000039.jpg").unlink()
    assert "'2007_000039'" in error_line(excel_cam(*arguments(made, "deeplab", "--images", made.images)))
    (made.labels / "2007_000032.png").write_bytes(b"nothing")
    assert "2007_000032.png" in error_line(excel_cam(*arguments(made, "deeplab")))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no label PNGs" in error_line(excel_cam("export", "--to", "mmseg", "--labels", empty, "--dataset", "voc",
                                                   "--out", made.out))  # fmt: skip
    assert not made.out.exists()


def test_a_label_out_of_range_is_named(excel_cam: Run, made: SimpleNamespace) -> None:
    Image.fromarray(np.full((24, 20), 21, np.uint8)).save(made.labels / "2011_003276.png")
    line = error_line(excel_cam(*arguments(made, "mmseg")))
    assert "2011_003276.png" in line
    assert "21" in line
    assert not (made.out / "splits").exists()  # no list names what is not there


def test_names_that_lists_cannot_hold(excel_cam: Run, made: SimpleNamespace) -> None:
    (made.labels / "2011_003276.png").rename(made.labels / "my cat.png")
    assert "'my cat' holds a space" in error_line(excel_cam(*arguments(made, "deeplab")))
    assert excel_cam(*arguments(made, "mmseg")).exit_code == 0
    (made.labels / "my cat.png").rename(made.labels / "cat .png")
    assert "begins or ends with a space" in error_line(excel_cam(*arguments(made, "mmseg")))


def test_without_pycocotools_the_extra_is_named(
    excel_cam: Run, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    assert "pip install '.[coco]'" in error_line(excel_cam(*arguments(made, "coco-json")), 2)


def test_a_folder_of_other_photographs_is_not_replaced(excel_cam: Run, made: SimpleNamespace) -> None:
    (made.out / "VOC2012" / "JPEGImages").mkdir(parents=True)
    assert "remove it" in error_line(excel_cam(*arguments(made, "deeplab", "--images", made.images)))


def test_an_export_does_not_lie_among_the_labels(excel_cam: Run, made: SimpleNamespace) -> None:
    for out in (made.labels, made.labels / "export"):
        made.out = out
        assert "would pass for labels" in error_line(excel_cam(*arguments(made, "deeplab")), 2)
    assert len(list(made.labels.iterdir())) == 3


def test_both_kinds_of_class_names_are_too_many(excel_cam: Run, made: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\n")
    line = error_line(excel_cam(*arguments(made, "deeplab", "--classes", tmp_path / "classes.txt")), 2)
    assert "either --dataset or --classes" in line


def test_a_link_that_leads_to_itself_is_one_line(excel_cam: Run, made: SimpleNamespace) -> None:
    made.out.symlink_to(made.out)
    assert str(made.out) in error_line(excel_cam(*arguments(made, "deeplab")))
