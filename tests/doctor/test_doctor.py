"""`excel-cam doctor`: each planted fault is found, clean labels are passed in silence, and mending loses nothing."""

from __future__ import annotations

import json
import shlex
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from awkward_images import png_bytes
from click.testing import Result
from drawn import draw_photograph
from PIL import Image

from excel_cam.classes import VOC_CLASSES, voc_palette
from excel_cam.doctor.findings import KINDS
from excel_cam.doctor.labels import look_at_label
from excel_cam.files.images.masks import read_mask
from excel_cam.labels.claims import Work, claimed

Run = Callable[..., Result]
SIZE = (24, 30)
COLOURS = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)


def clean_mask(value: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[5:15, value : value + 9] = value
    mask[4, :] = 255
    return mask


def write(path: Path, pixels: np.ndarray, **options: Any) -> None:
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    """Twenty clean labels, one per class of VOC, with photographs and tags."""
    labels, images = tmp_path / "labels", tmp_path / "photographs"
    labels.mkdir()
    images.mkdir()
    for value in range(1, 21):
        write(labels / f"image{value:02}.png", clean_mask(value))
        draw_photograph(*SIZE, value).save(images / f"image{value:02}.jpg")
    rows = [f"image{value:02},{name}" for value, name in enumerate(VOC_CLASSES, start=1)]
    (tmp_path / "tags.csv").write_text("\n".join(["name,classes", *rows]) + "\n")
    return SimpleNamespace(labels=labels, images=images, tags=tmp_path / "tags.csv", rows=rows)


def examine(excel_cam: Run, made: SimpleNamespace, *more: object) -> tuple[int, dict[str, Any]]:
    """Exit status, and the findings by code."""
    result = excel_cam("doctor", made.labels, "--images", made.images, "--dataset", "voc", "--tags", made.tags,
                       "--json", *more)  # fmt: skip
    return result.exit_code, {finding["code"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_clean_labels_are_passed_in_silence(excel_cam: Run, made: SimpleNamespace) -> None:
    assert examine(excel_cam, made) == (0, {})
    result = excel_cam("doctor", made.labels, "--images", made.images, "--dataset", "voc", "--tags", made.tags)
    assert result.exit_code == 0
    background = np.mean([clean_mask(value) == 0 for value in range(1, 21)])
    assert result.stdout.splitlines() == [
        f"20 labels: 20 of 20 classes seen; background {100 * background:.1f} %, 255 (ignored) {100 / 24:.1f} %",
        "nothing wrong found",
    ]
    assert result.stderr == ""


# ---- planted faults: each is found, where it is, and nothing else is


def as_colours(mask: np.ndarray) -> np.ndarray:
    return COLOURS[mask]


def plant_damage(made: SimpleNamespace, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def plant_colours(made: SimpleNamespace, path: Path) -> None:
    write(path, as_colours(clean_mask(7)))


def plant_equal_channels(made: SimpleNamespace, path: Path) -> None:
    write(path, clean_mask(7)[..., None].repeat(3, axis=2))


def plant_alpha(made: SimpleNamespace, path: Path) -> None:
    write(path, np.dstack([as_colours(clean_mask(7)), np.full(SIZE, 255, np.uint8)]))


def plant_transparency(made: SimpleNamespace, path: Path) -> None:
    write(path, np.dstack([as_colours(clean_mask(7)), np.full(SIZE, 40, np.uint8)]))


def plant_picture(made: SimpleNamespace, path: Path) -> None:
    draw_photograph(*SIZE, 1).save(path)


def plant_one_bit(made: SimpleNamespace, path: Path) -> None:
    Image.fromarray(clean_mask(1) == 1).save(path)


def plant_sixteen_bits(made: SimpleNamespace, path: Path) -> None:
    write(path, clean_mask(7).astype(np.uint16))


def plant_four_bits(made: SimpleNamespace, path: Path) -> None:
    mask = clean_mask(7) & 7  # two pixels in a byte
    rows = b"".join(b"\0" + row.tobytes() for row in mask[:, ::2] << 4 | mask[:, 1::2])
    path.write_bytes(png_bytes(*SIZE[::-1], 4, 0, rows))


def plant_flipped_bit(made: SimpleNamespace, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 12] ^= 1
    path.write_bytes(content)


def plant_wrong_class_list(made: SimpleNamespace, path: Path) -> None:
    mask = clean_mask(7)
    mask[0, 0] = 21
    write(path, mask)


def plant_wrong_size(made: SimpleNamespace, path: Path) -> None:
    write(path, clean_mask(7).repeat(2, axis=0))


def plant_lost_photograph(made: SimpleNamespace, path: Path) -> None:
    (made.images / "image07.jpg").unlink()


def plant_cut_photograph(made: SimpleNamespace, path: Path) -> None:
    photograph = made.images / "image07.jpg"
    photograph.write_bytes(photograph.read_bytes()[:-200])


def plant_palette(made: SimpleNamespace, path: Path) -> None:
    picture = Image.fromarray(clean_mask(7))
    picture.putpalette(voc_palette())
    picture.save(path)


def plant_ignored(made: SimpleNamespace, path: Path) -> None:
    mask = clean_mask(7)
    mask[:, 13:] = 255
    write(path, mask)


def plant_same_label(made: SimpleNamespace, path: Path) -> None:
    write(made.labels / "image30.png", clean_mask(7))
    draw_photograph(*SIZE, 30).save(made.images / "image30.jpg")
    made.tags.write_text(made.tags.read_text() + "image30,car\n")


def plant_same_photograph(made: SimpleNamespace, path: Path) -> None:
    shutil.copy(made.images / "image01.jpg", made.images / "image07.jpg")


def plant_turned_photograph(made: SimpleNamespace, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw_photograph(*SIZE, 7).save(made.images / "image07.jpg", exif=exif)


def plant_unlabelled_photograph(made: SimpleNamespace, path: Path) -> None:
    draw_photograph(*SIZE, 31).save(made.images / "image31.jpg")


def plant_tag_without_label(made: SimpleNamespace, path: Path) -> None:
    made.tags.write_text(made.tags.read_text() + "image32,car\n")


def plant_tag_without_pixel(made: SimpleNamespace, path: Path) -> None:
    made.tags.write_text(made.tags.read_text().replace("image07,car", "image07,car;cat"))


def plant_pixel_without_tag(made: SimpleNamespace, path: Path) -> None:
    made.tags.write_text(made.tags.read_text().replace("image07,car", "image07,"))


def plant_untagged(made: SimpleNamespace, path: Path) -> None:
    made.tags.write_text(made.tags.read_text().replace("image07,car\n", ""))


LOST = {"unseen-class"}  # image07 alone shows a car
PLANTED = [
    (plant_damage, {"damaged-label": "image07"} , LOST, 1),
    (plant_colours, {"colour-coded": "image07"}, set(), 1),
    (plant_equal_channels, {"equal-channels": "image07"}, set(), 1),
    (plant_alpha, {"four-channels": "image07"}, set(), 1),
    (plant_transparency, {"transparent": "image07"}, LOST, 1),
    (plant_picture, {"unknown-colours": "image07"}, LOST, 1),
    (plant_one_bit, {"one-bit": "image07"}, LOST, 1),
    (plant_sixteen_bits, {"sixteen-bit": "image07"}, set(), 1),
    (plant_four_bits, {"few-bits": "image07"}, set(), 1),
    (plant_flipped_bit, {"damaged-label": "image07"}, LOST, 1),
    (plant_wrong_class_list, {"out-of-range": "image07"}, LOST, 1),
    (plant_wrong_size, {"wrong-size": "image07 (48 x 30, photograph 24 x 30)"}, set(), 1),
    (plant_lost_photograph, {"no-photograph": "image07"}, set(), 1),
    (plant_cut_photograph, {"damaged-photograph": "image07"}, set(), 1),
    (plant_palette, {"palette": "image07"}, set(), 0),
    (plant_ignored, {"mostly-ignored": "image07"}, set(), 0),
    (plant_same_label, {"same-label": "image30 (as image07)"}, set(), 0),
    (plant_same_photograph, {"same-photograph": "image07 (as image01)"}, set(), 0),
    (plant_turned_photograph, {"turned-photograph": "image07"}, set(), 0),
    (plant_unlabelled_photograph, {"no-label": "image31"}, set(), 0),
    (plant_tag_without_label, {"tags-without-label": "image32"}, set(), 0),
    (plant_tag_without_pixel, {"tag-without-pixel": "image07 (cat)"}, set(), 0),
    (plant_pixel_without_tag, {"pixel-without-tag": "image07 (car)"}, set(), 0),
    (plant_untagged, {"no-tags": "image07"}, set(), 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("plant", "expected", "also", "status"), PLANTED, ids=[entry[0].__name__[6:] for entry in PLANTED]
)
def test_a_planted_fault_is_found(
    excel_cam: Run, made: SimpleNamespace, plant: Callable[[SimpleNamespace, Path], None], expected: dict[str, str],
    also: set[str], status: int,
) -> None:  # fmt: skip
    plant(made, made.labels / "image07.png")
    found_status, found = examine(excel_cam, made)
    assert {code: finding["examples"] for code, finding in found.items() if code not in also} == {
        code: [example] for code, example in expected.items()
    }
    assert set(found) == set(expected) | also
    assert found_status == status
    for finding in found.values():
        assert finding["mend"]
        assert "{" not in finding["mend"]


def test_empty_and_full_labels(excel_cam: Run, made: SimpleNamespace) -> None:
    write(made.labels / "image01.png", np.zeros(SIZE, np.uint8))
    write(made.labels / "image02.png", np.full(SIZE, 2, np.uint8))
    write(made.labels / "image03.png", np.zeros(SIZE, np.uint8))
    made.tags.write_text(made.tags.read_text().replace("image03,bird", "image03,"))
    status, found = examine(excel_cam, made)
    assert status == 0
    assert found["all-background"]["examples"] == ["image01"]  # image03 has no tag, and is right to be empty
    assert found["one-class"]["examples"] == ["image02 (bicycle)"]
    assert found["unseen-class"]["examples"] == ["aeroplane", "bird"]
    assert set(found) == {"all-background", "one-class", "unseen-class", "tag-without-pixel"}


def test_every_kind_of_finding_is_planted_here() -> None:
    planted = {code for _plant, expected, also, _status in PLANTED for code in set(expected) | also}
    # tests/cli/test_scene_data_sets.py: it takes labels without a background class; test_suspicious_tags.py
    elsewhere = {"nothing-labelled", "tag-without-support", "class-there-untagged"}
    assert planted | {"all-background", "one-class", "no-class"} | elsewhere == set(KINDS)


def test_a_dozen_faults_at_once(excel_cam: Run, made: SimpleNamespace) -> None:
    plants = [plant_damage, plant_colours, plant_equal_channels, plant_alpha, plant_picture, plant_sixteen_bits,
              plant_wrong_class_list, plant_palette, plant_ignored, plant_one_bit]  # fmt: skip
    for index, plant in enumerate(plants, start=1):
        plant(made, made.labels / f"image{index:02}.png")
    plant_unlabelled_photograph(made, made.labels)
    plant_tag_without_label(made, made.labels)
    status, found = examine(excel_cam, made)
    assert status == 1
    assert len({*found} - {"unseen-class", "tag-without-pixel", "pixel-without-tag", "same-label"}) == 12
    result = excel_cam("doctor", made.labels, "--dataset", "voc")
    severities = [line.split()[0] for line in result.stdout.splitlines() if not line.startswith(" ")][:-1]
    assert severities == sorted(severities)  # errors first
    command = f"         mend: excel-cam doctor {made.labels} --dataset voc --fix"
    assert command in result.stdout.splitlines()


# ---- mending


MENDABLE = [plant_colours, plant_equal_channels, plant_alpha, plant_sixteen_bits, plant_palette]


@pytest.mark.parametrize("plant", MENDABLE, ids=[plant.__name__[6:] for plant in MENDABLE])
def test_the_named_line_mends_and_keeps_the_original(
    excel_cam: Run, made: SimpleNamespace, plant: Callable[[SimpleNamespace, Path], None]
) -> None:
    path = made.labels / "image07.png"
    plant(made, path)
    before = path.read_bytes()
    _status, found = examine(excel_cam, made)
    (finding,) = found.values()
    program, *line = shlex.split(finding["mend"])
    assert program == "excel-cam"
    result = excel_cam(*line)
    assert result.exit_code == 0
    assert "(1 mended now)" in result.stdout
    with Image.open(path) as picture:
        assert picture.mode == "L"
    assert np.array_equal(read_mask(path, 20), clean_mask(7))
    assert (made.labels / "image07.png.bak").read_bytes() == before
    assert examine(excel_cam, made) == (0, {})


def test_what_is_in_doubt_is_left_alone(excel_cam: Run, made: SimpleNamespace) -> None:
    plants = [plant_damage, plant_transparency, plant_picture, plant_one_bit, plant_wrong_class_list, plant_wrong_size]
    for index, plant in enumerate(plants, start=1):
        plant(made, made.labels / f"image{index:02}.png")
    before = {path.name: path.read_bytes() for path in made.labels.iterdir()}
    status, found = examine(excel_cam, made, "--fix")
    assert status == 1
    assert not any(finding["fixed"] for finding in found.values())
    assert {path.name: path.read_bytes() for path in made.labels.iterdir()} == before


def test_an_earlier_original_is_not_overwritten(excel_cam: Run, made: SimpleNamespace) -> None:
    plant_palette(made, made.labels / "image07.png")
    (made.labels / "image07.png.bak").write_bytes(b"the first original")
    result = excel_cam("doctor", made.labels, "--dataset", "voc", "--fix")
    assert result.exit_code == 1
    assert "image07.png.bak is there already" in result.stderr
    assert (made.labels / "image07.png.bak").read_bytes() == b"the first original"


def test_grey_that_is_value_and_colour_is_in_doubt(tmp_path: Path) -> None:
    """(128, 128, 128) is VOC's colour of 7, and the value 128 where there are that many classes."""
    path = tmp_path / "grey.png"
    write(path, np.full((4, 4, 3), 128, np.uint8))
    assert look_at_label(path, 254).mask is None
    certain = look_at_label(path, 20)
    assert certain.fault == "colour-coded"
    assert certain.mask is not None
    assert np.unique(certain.mask).tolist() == [7]
    write(path, np.dstack([np.full((4, 4), 128, np.uint8), np.full((4, 4), 255, np.uint8)]))
    assert np.unique(look_at_label(path, 254).mask).tolist() == [128]  # one grey channel is no colour


@pytest.mark.parametrize("value", [0, 1, 20, 255])
def test_every_colour_goes_back_to_its_value(tmp_path: Path, value: int) -> None:
    write(tmp_path / "x.png", as_colours(np.full((3, 3), value, np.uint8)))
    look = look_at_label(tmp_path / "x.png", 20)
    assert look.mask is not None
    assert np.unique(look.mask).tolist() == [value]


# ---- options


def test_labels_among_their_photographs(excel_cam: Run, made: SimpleNamespace) -> None:
    for path in made.labels.iterdir():
        shutil.copy(path, made.images / path.name)
    draw_photograph(*SIZE, 1).save(made.images / "image01.overlay.jpg")
    made.labels = made.images
    assert examine(excel_cam, made) == (0, {})
    (made.images / "image07.jpg").unlink()
    assert examine(excel_cam, made)[1]["no-photograph"]["examples"] == ["image07"]


def test_without_class_names_less_is_looked_for(excel_cam: Run, made: SimpleNamespace) -> None:
    plant_wrong_class_list(made, made.labels / "image07.png")
    result = excel_cam("doctor", made.labels)
    assert result.exit_code == 0
    assert "not checked" in result.stderr
    assert excel_cam("doctor", made.labels, "--tags", made.tags).exit_code == 2
    assert excel_cam("doctor", made.labels, "--dataset", "voc", "--classes", made.tags).exit_code == 2
    (made.labels / "run.json").write_text(json.dumps({"identity": {"known": {"classes": list(VOC_CLASSES)}}}))
    result = excel_cam("doctor", made.labels)
    assert result.exit_code == 1
    assert "out-of-range" in result.stdout


def test_a_folder_without_labels_is_an_error(excel_cam: Run, tmp_path: Path) -> None:
    result = excel_cam("doctor", tmp_path, "--dataset", "voc")
    assert result.exit_code == 1
    assert "no label PNGs" in result.stderr


def test_fix_goes_on_after_being_killed_between_backup_and_label(tmp_path: Path, excel_cam: Any) -> None:
    """A backup of the label's own bytes is what a killed call left; one of other bytes is somebody's original."""
    labels = tmp_path / "labels"
    labels.mkdir()
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 128, 0, 0])
    for name in ("own", "other"):
        picture.save(labels / f"{name}.png")
    (labels / "own.png.bak").write_bytes((labels / "own.png").read_bytes())
    before = (labels / "own.png").read_bytes()
    result = excel_cam("doctor", labels, "--dataset", "voc", "--fix")
    assert result.exit_code == 0, result.output
    assert (labels / "own.png.bak").read_bytes() == before
    with Image.open(labels / "own.png") as mended:
        assert mended.mode == "L"
    picture.save(labels / "other.png")
    (labels / "other.png.bak").write_bytes(b"the original")
    result = excel_cam("doctor", labels, "--dataset", "voc", "--fix")
    assert result.exit_code == 1
    assert "other.png.bak is there already" in result.stderr


def test_nothing_is_mended_while_a_run_writes_there(made: SimpleNamespace, excel_cam: Run) -> None:
    palette = made.labels / "image01.png"
    image = Image.fromarray(clean_mask(1))
    image.putpalette(voc_palette())
    image.save(palette)
    before = palette.read_bytes()
    with claimed({made.labels: Work()}):
        result = excel_cam("doctor", made.labels, "--dataset", "voc", "--fix")
        assert result.exit_code == 1
        assert "at work in it" in result.stderr
        assert palette.read_bytes() == before
        assert "at work" not in excel_cam("doctor", made.labels, "--dataset", "voc").output
    assert excel_cam("doctor", made.labels, "--dataset", "voc", "--fix").exit_code == 0
    assert palette.read_bytes() != before


def test_tags_are_found_in_either_spelling_of_letters_with_marks(made: SimpleNamespace, excel_cam: Run) -> None:
    for folder, suffix in ((made.labels, ".png"), (made.images, ".jpg")):
        (folder / f"image01{suffix}").rename(folder / (unicodedata.normalize("NFD", "café") + suffix))
    rows = [row.replace("image01,", unicodedata.normalize("NFC", "café.jpg,")) for row in made.rows]
    made.tags.write_text("\n".join(["name,classes", *rows]) + "\n", "utf-8")
    status, found = examine(excel_cam, made)
    assert (status, found) == (0, {})
