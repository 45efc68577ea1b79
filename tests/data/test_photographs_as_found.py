"""Folders of photographs as people have them: other endings, spellings, hidden files, kinds that are not read."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import VOC_TAGS, draw_photograph
from PIL import Image, PngImagePlugin

from excel_cam.classes import COCO_CLASSES
from excel_cam.data.voc import open_voc
from excel_cam.errors import DataError, ImageError
from excel_cam.files.images.masks import read_mask
from excel_cam.files.images.photographs import read_image
from excel_cam.tags.coco_json import instances_tags, read_instances
from excel_cam.tags.read import read_tags

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, model_arguments: list[str]) -> Callable[[str], list[object]]:
    """The command that labels `photos`, of the class cat, with tags of that text."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "classes.txt").write_text("cat\ndog\n")

    def command(tags: str) -> list[object]:
        (tmp_path / "tags.csv").write_text(tags, "utf-8")
        return [
            "generate", "--dataset", "folder", "--root", tmp_path / "photos", "--classes", tmp_path / "classes.txt",
            "--tags", tmp_path / "tags.csv", "--size", "64", "--out", tmp_path / "labels", *model_arguments,
        ]  # fmt: skip

    return command


def label_names(tmp_path: Path) -> list[str]:
    return sorted(path.stem for path in (tmp_path / "labels").rglob("*.png"))


@pytest.mark.parametrize("ending", [".JPG", ".jpeg", ".png", ".jfif", ".tif", ".webp"])
def test_voc_whose_photographs_end_otherwise(
    excel_cam: Run, voc_root: Path, arguments: list[str], tmp_path: Path, ending: str
) -> None:
    for path in (voc_root / "JPEGImages").iterdir():
        image = Image.open(path)
        kind = {".png": "PNG", ".tif": "TIFF", ".webp": "WEBP"}.get(ending, "JPEG")
        image.save(path.with_suffix(ending), kind)
        if path.suffix != ending:
            path.unlink()
    result = excel_cam(*arguments, "--out", tmp_path / "labels", "--attributes", "none")
    assert result.exit_code == 0, result.stderr
    assert label_names(tmp_path) == sorted(VOC_TAGS)


def test_vocs_own_ending_goes_before_others(voc_root: Path) -> None:
    shutil.copy(voc_root / "JPEGImages" / "2007_000001.jpg", voc_root / "JPEGImages" / "2007_000001.png")
    data = open_voc(voc_root, "train", voc_root / "tags.csv", None)
    assert data.samples[0].image_path.name == "2007_000001.jpg"
    (voc_root / "JPEGImages" / "2007_000001.jpg").rename(voc_root / "JPEGImages" / "2007_000001.jpeg")
    with pytest.raises(DataError, match="would share the label"):
        open_voc(voc_root, "train", voc_root / "tags.csv", None)


@pytest.mark.parametrize(
    ("ending", "kind"), [(".heic", "HEIC"), (".HEIC", "HEIC"), (".avif", "AVIF"), (".NEF", "Nikon raw")]
)
def test_kinds_that_are_not_read_are_named(
    excel_cam: Run, folder: Callable[[str], list[object]], tmp_path: Path, ending: str, kind: str
) -> None:
    (tmp_path / "photos" / f"b{ending}").write_bytes(b"some bytes")
    result = excel_cam(*folder("name,classes\nb,cat\n"))
    assert result.exit_code == 1
    assert f"{kind} is not read: convert 1 such files to JPEG or PNG" in result.stderr
    draw_photograph(40, 50, 0).save(tmp_path / "photos" / "a.jpg")
    result = excel_cam(*folder("name,classes\na,cat\nb,cat\n"))
    assert result.exit_code == 3
    assert f"{kind} is not read: convert" in result.stderr
    failed = json.loads((tmp_path / "labels" / "failed.jsonl").read_text())
    assert f"b{ending}: {kind} is not read: convert it to JPEG or PNG" in failed["reason"]
    assert label_names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIC is not read: convert"),
        (b"\0\0\0\x1cftypavif" + b"\0" * 40, "AVIF is not read: convert"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 40, "a film, not a photograph"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"\xff\x0a" + b"\0" * 40, "JPEG XL is not read"),
        (b"%PDF-1.7\n", "PDF is not read"),
        (b"8BPS\0\1" + b"\0" * 40, "Photoshop is not read"),
    ],
)
def test_what_is_called_a_jpeg_is_named_for_what_it_is(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a.jpg")
    assert expected in str(caught.value)


def tiff_bytes(bands: int, bits: int) -> bytes:
    """A TIFF of a few bands, interleaved, written entry by entry."""
    side = 4
    pixels = bytes(side * side * bands * bits // 8)
    entries = [
        (256, 3, 1, side), (257, 3, 1, side), (258, 3, bands, 8 + 2 + 12 * 8 + 4), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8 + 2 + 12 * 8 + 4 + 2 * bands), (277, 3, 1, bands), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    head = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    for tag, kind, count, value in entries:
        head += b"".join(
            number.to_bytes(size, "little") for number, size in ((tag, 2), (kind, 2), (count, 4), (value, 4))
        )
    return head + bytes(4) + bits.to_bytes(2, "little") * bands + pixels


@pytest.mark.parametrize(("bands", "bits"), [(5, 8), (8, 16), (13, 16)])
def test_a_tiff_of_many_bands_is_named_for_what_it_is(tmp_path: Path, bands: int, bits: int) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_bytes(bands, bits))
    with pytest.raises(ImageError, match=f"a TIFF of {bands} bands of {bits} bits, which is not read; save three"):
        read_image(tmp_path / "a.tif")


def test_pngs_with_large_text_are_read(tmp_path: Path) -> None:
    for name, pack in (("packed", True), ("plain", False)):
        text = PngImagePlugin.PngInfo()
        text.add_text("parameters", "x" * 5_000_000, zip=pack)
        text.add_itxt("XML:com.adobe.xmp", "é" * 2_000_000, zip=pack)
        Image.fromarray(np.ones((8, 9, 3), np.uint8)).save(tmp_path / f"{name}.png", pnginfo=text)
        assert read_image(tmp_path / f"{name}.png").shape == (8, 9, 3)
        Image.fromarray(np.ones((8, 9), np.uint8)).save(tmp_path / f"{name}.png", pnginfo=text)
        assert read_mask(tmp_path / f"{name}.png", 3).sum() == 72


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_with_marks_match_in_either_spelling(
    excel_cam: Run, folder: Callable[[str], list[object]], tmp_path: Path, forms: tuple[str, str]
) -> None:
    on_disk, in_tags = (unicodedata.normalize(form, "caf\u00e9") for form in forms)
    draw_photograph(40, 50, 0).save(tmp_path / "photos" / f"{on_disk}.jpg")
    result = excel_cam(*folder(f"name,classes\n{in_tags},cat\n"))
    assert result.exit_code == 0, result.stderr
    assert label_names(tmp_path) == [on_disk]


def test_a_name_in_another_case_is_hinted_at(
    excel_cam: Run, folder: Callable[[str], list[object]], tmp_path: Path
) -> None:
    draw_photograph(40, 50, 0).save(tmp_path / "photos" / "IMG_1.jpg")
    result = excel_cam(*folder("name,classes\nimg_1,cat\n"))
    assert result.exit_code == 1
    assert "first 'IMG_1'; there is 'img_1', which differs in case: write it so" in result.stderr


def test_hidden_files_of_macos_are_skipped_everywhere(
    excel_cam: Run, folder: Callable[[str], list[object]], voc_root: Path, tmp_path: Path
) -> None:
    draw_photograph(40, 50, 0).save(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "._a.jpg").write_bytes(b"\0\5\x16\7")
    result = excel_cam(*folder("name,classes\na,cat\n._a,cat\n"))
    assert result.exit_code == 0, result.stderr
    assert label_names(tmp_path) == ["a"]
    (voc_root / "Annotations").mkdir()
    (voc_root / "Annotations" / "a.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    (voc_root / "Annotations" / "._a.xml").write_bytes(b"\0\5\x16\7")
    tags = ["tags", "--from", voc_root / "Annotations", "--dataset", "voc", "--out", tmp_path / "t.csv"]
    assert excel_cam(*tags).exit_code == 0
    assert (tmp_path / "t.csv").read_text() == "name,classes\na,cat\n"


def test_photographs_in_a_linked_folder_are_labelled(
    excel_cam: Run, folder: Callable[[str], list[object]], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    draw_photograph(40, 50, 0).save(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "photos" / "day").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "photos")
    result = excel_cam(*folder("name,classes\nday/a,cat\n"))
    assert result.exit_code == 0, result.stderr
    assert label_names(tmp_path) == ["a"]


def test_a_photograph_with_the_longest_name(
    excel_cam: Run, folder: Callable[[str], list[object]], tmp_path: Path
) -> None:
    names = ["n" * length for length in (200, 251)]
    for name in names:
        draw_photograph(40, 50, 0).save(tmp_path / "photos" / f"{name}.jpg")
    result = excel_cam(
        *folder("name,classes\n" + "".join(f"{name},cat\n" for name in names)), "--save-cams", tmp_path / "c"
    )
    assert result.exit_code == 0, result.stderr
    assert label_names(tmp_path) == names


# ---- tables


@pytest.mark.parametrize(
    "text",
    [
        "name,classes\na,cat\na,dog\na,cat\nb,\n",
        "name,classes\na,\na,dog;cat\nb,\n",
        "filename,width,height,class,xmin\na,9,9,dog,1\na,9,9,cat,2\nb,9,9,,\n",
        "image,label\na,cat\na,dog\nb,\n",
        "name,classes,,\na,cat;dog,,\nb,,,\n,,,\n",
        "name,classes\na,cat;dog,\nb,,\n",
        "\ufeffname,classes\r\na,cat;dog\r\nb,\r\n",
    ],
)
def test_tables_of_tags_as_tools_and_spreadsheets_write_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "tags.csv").write_bytes(text.encode())
    assert read_tags(tmp_path / "tags.csv", ("cat", "dog")) == {"a": (0, 1), "b": ()}


def test_two_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 3}, {"image_id": 1, "category_id": 1},
                        {"image_id": 2, "category_id": 2}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}],
    }  # fmt: skip
    (tmp_path / "i.json").write_text(json.dumps(content))
    instances = read_instances(tmp_path / "i.json")
    assert instances.class_names == ("cat", "dog")
    assert instances_tags(instances, instances.class_names) == {"a": (0,), "b": (1,)}
    assert instances_tags(instances, ("dog", "cat")) == {"a": (1,), "b": (0,)}
    assert "cat" in COCO_CLASSES
