"""`excel-cam view`: the page says what the labels hold, shows each as it is, and nothing in a name gets out of it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from awkward_images import rotated_bytes
from click.testing import Result
from drawn import draw_photograph
from PIL import Image
from viewable import CLASSES, NAMES, STAR, PageReader, Viewable, make_viewable, masks, picture_of

from excel_cam.evaluation.evaluate import evaluate_labels
from excel_cam.labels.class_maps import ClassMaps, write_maps
from excel_cam.labels.colours import CLASS_COLOURS
from excel_cam.report.measure import doubt_of_label, doubt_of_maps

Run = Callable[..., Result]


@pytest.fixture
def made(tmp_path: Path) -> Viewable:
    """The small set of labels, photographs, truth and maps."""
    return make_viewable(tmp_path)


def written(excel_cam: Run, arguments: list[object], out: Path) -> PageReader:
    """The page that a command writes."""
    result = excel_cam(*arguments, "--out", out, "--overwrite")
    assert result.exit_code == 0, result.stderr
    return PageReader(out.read_text("utf-8"))


def cards(page: PageReader) -> list[dict[str, str]]:
    return page.all("article")


def test_every_image_has_its_article_in_the_order_asked_for(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    page = written(excel_cam, made.arguments(), tmp_path / "report.html")
    doubts = {card["data-name"]: float(card["data-doubt"]) for card in cards(page)}
    assert doubts == {name: {"half": 0.75, STAR: 0.25}.get(name, 0.0) for name in NAMES}
    assert [card["data-name"] for card in cards(page)] == ["half", STAR, "alike", "ignored", "lone", "missed"]
    assert "6 images, most doubtful first." in page.text
    assert "From the class maps: the share of their cells" in page.text

    by_name = written(excel_cam, made.arguments("--sort", "name"), tmp_path / "report.html")
    assert [card["data-name"] for card in cards(by_name)] == NAMES

    by_iou = written(excel_cam, made.arguments("--sort", "iou"), tmp_path / "report.html")
    assert [card["data-name"] for card in cards(by_iou)] == ["missed", "half", "ignored", "alike", STAR, "lone"]


def test_iou_of_an_image_is_the_mean_over_its_classes(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    page = written(excel_cam, made.arguments(), tmp_path / "report.html")
    iou = {card["data-name"]: card["data-iou"] for card in cards(page)}
    assert iou["lone"] == ""  # no truth
    assert float(iou["alike"]) == float(iou[STAR]) == 1
    # 600 panda pixels of 2,400; "half" has 300 of them right and 300 taken for a pot
    assert float(iou["half"]) == pytest.approx((1 + 0.5 + 0) / 3, abs=1e-6)
    # "ignored": 10 of 20 panda rows are 255, which counts as background
    assert float(iou["ignored"]) == pytest.approx((1800 / 2100 + 0.5) / 2, abs=1e-6)
    assert float(iou["missed"]) == pytest.approx((1800 / 2400 + 0) / 2, abs=1e-6)


def test_the_tables_hold_what_the_masks_hold(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    page = written(excel_cam, made.arguments(), out)
    rows = {row["data-value"]: row["data-title"] for row in page.all("tr") if "data-value" in row}
    assert rows == {"0": "background", "1": CLASSES[0], "2": CLASSES[1], "3": CLASSES[2], "255": "ignored"}
    body = re.search("<tbody>(.*?)</tbody>", out.read_text("utf-8"), re.DOTALL)
    assert body is not None
    cells = {
        re.search(r'data-value="(\d+)"', row)[1]: re.findall(r"([\d.,]+|–)(?:\xa0%)?(?:</span>)?</td>", row)  # type: ignore[index]
        for row in re.findall("<tr.*?</tr>", body[1], re.DOTALL)
    }
    labels = {name: label for name, (label, _truth) in masks().items()}
    total = sum(label.size for label in labels.values())
    with_truth = [name for name in NAMES if name != "lone"]
    evaluation = evaluate_labels(made.labels, made.truth, CLASSES, with_truth)
    for value in (0, 1, 2, 3, 255):
        images = sum((label == value).any() for label in labels.values())
        share = 100 * sum((label == value).sum() for label in labels.values()) / total
        iou = "–" if value == 255 else f"{100 * evaluation.iou[value]:.1f}"
        assert cells[str(value)] == [f"{images}", f"{share:.1f}", iou]
    assert f"mean IoU {100 * evaluation.mean_iou:.1f} %" in page.text
    assert "with truth 5" in page.text


def test_pictures_are_small_and_show_label_truth_and_maps(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    page = written(excel_cam, made.arguments("--names", "half"), tmp_path / "report.html")
    layers = page.all("div", class_="layer")
    assert [layer["data-layer"] for layer in layers] == ["label", "truth", "difference", "map-1", "map-2"]
    assert ["hidden" in layer for layer in layers] == [False, True, True, True, True]
    photograph, label, truth, difference, *maps = (picture_of(image["src"]) for image in page.all("img"))
    assert photograph.format == "JPEG"
    assert {picture.size for picture in (photograph, label, truth, difference)} == {(60, 40)}
    assert [picture.size for picture in maps] == [(2, 2), (2, 2)]
    for picture, mask in zip((label, truth), masks()["half"], strict=True):
        pixels = np.asarray(picture.convert("RGBA"))
        drawn = pixels[..., 3] > 0
        assert not drawn[:9].any()  # background, but for the outline above the panda
        assert not drawn[30:].any()
        for value in np.unique(mask[mask > 0]):
            colours = {tuple(colour) for colour in pixels[mask == value][:, :3]}
            assert colours == {*CLASS_COLOURS[value], (255, 255, 255)}
    wrong = np.asarray(difference.convert("RGBA"))[..., 3] > 0
    label_mask, truth_mask = masks()["half"]
    np.testing.assert_array_equal(wrong, label_mask != truth_mask)
    descriptions = [image["alt"] for image in page.all("img")]
    assert descriptions[:2] == [
        "Photograph half",
        f"Label: background 75.0\xa0%, {CLASSES[0]} 12.5\xa0%, {CLASSES[1]} 12.5\xa0%",
    ]


def test_large_photographs_become_thumbnails(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    for folder, picture in ((made.images, draw_photograph(300, 800, 1)), (made.labels, Image.new("L", (800, 300), 1))):
        picture.save(folder / f"alike.{'jpg' if folder == made.images else 'png'}")
    page = written(excel_cam, made.plain("--names", "alike"), tmp_path / "report.html")
    assert [picture_of(image["src"]).size for image in page.all("img")] == [(640, 240), (640, 240)]


@pytest.mark.parametrize(("orientation", "turn"), [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90),
                                                   (7, Image.Transpose.TRANSVERSE)])  # fmt: skip
def test_a_photograph_lying_on_its_side_is_shown_upright_with_its_label(
    excel_cam: Run, made: Viewable, tmp_path: Path, orientation: int, turn: Image.Transpose
) -> None:
    upright, mask = Image.new("RGB", (40, 60), (20, 20, 200)), Image.new("L", (40, 60))
    upright.paste((250, 250, 20), (0, 0, 30, 20))
    mask.paste(2, (0, 0, 30, 20))
    (made.images / "alike.jpg").write_bytes(rotated_bytes(upright, orientation))
    mask.transpose(turn).save(made.labels / "alike.png")
    page = written(excel_cam, made.plain("--names", "alike"), tmp_path / "report.html")
    photograph, label = (picture_of(image["src"]) for image in page.all("img"))
    assert photograph.size == label.size == (40, 60)
    yellow = np.asarray(photograph)[..., 0] > 128
    assert yellow[:15, :25].all()
    assert np.mean(yellow == (np.asarray(label.convert("RGBA"))[..., 3] > 0)) > 0.97


def test_nothing_in_a_name_gets_out(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    page = written(excel_cam, made.arguments(), out)
    text = out.read_text("utf-8")
    assert len(page.all("script")) == text.count("<script>") == 1
    assert not page.all("b", onerror="alert(1)")
    assert {image["src"][:5] for image in page.all("img")} == {"data:"}
    for _tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert all(value[:4] != "http" for value in attributes.values())
    assert "url(http" not in text
    assert "@import" not in text
    names = {row["data-title"] for row in page.all("tr") if "data-value" in row}
    assert set(CLASSES) <= names
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    (script,) = [content for tag, content in page.texts if tag == "script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_name_that_is_no_text_is_shown(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff")
    for folder, suffix in ((made.labels, "png"), (made.images, "jpg")):
        try:
            (folder / f"alike.{suffix}").rename(folder / f"{name}.{suffix}")
        except OSError:
            pytest.skip("this file system takes no such names")
    page = written(excel_cam, made.plain(), tmp_path / "report.html")
    assert "\\udcff" in [card["data-name"] for card in cards(page)]


def test_controls_have_names_and_the_first_layer_is_chosen(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    page = written(excel_cam, made.arguments(), tmp_path / "report.html")
    sliders = [control["aria-label"] for control in page.all("input", type="range") if "aria-label" in control]
    assert sorted(sliders) == sorted(f"Opacity over {name}" for name in NAMES)
    assert len([control for control in page.all("input", type="radio") if "checked" in control]) == len(NAMES)
    assert [option["value"] for option in page.all("option")] == [
        "", "1", "2", "3", "255", "doubt", "iou", "name", "label", "truth", "difference", "map",
    ]  # fmt: skip


def test_without_truth_and_maps_there_is_no_word_of_them(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    page = written(excel_cam, made.plain(), tmp_path / "report.html")
    assert [option["value"] for option in page.all("option")] == ["", "1", "2", "3", "255", "doubt", "name"]
    assert {layer["data-layer"] for layer in page.all("div", class_="layer")} == {"label"}
    assert "IoU" not in page.text
    assert "From the labels alone, no class maps were given" in page.text
    assert cards(page)[0]["data-name"] == "ignored"


def test_the_limit_keeps_the_first_and_the_figures_are_of_all(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    result = excel_cam(*made.arguments("--sort", "iou", "--limit", "2", "--out", out))
    assert f"{out}: 2 images of 6, the first by iou; " in result.stderr
    page = PageReader(out.read_text("utf-8"))
    assert [card["data-name"] for card in cards(page)] == ["missed", "half"]
    assert "2 of 6 images, least IoU first; the figures are of all 6." in page.text
    whole = written(excel_cam, made.arguments(), tmp_path / "report.html")
    (figures, whole_figures) = (re.findall(r"mean IoU [\d.]+", reader.text) for reader in (page, whole))
    assert figures == whole_figures


def test_names_can_come_from_a_list(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("lone\nalike\n")
    page = written(excel_cam, made.plain("--list", tmp_path / "list.txt"), tmp_path / "report.html")
    assert sorted(card["data-name"] for card in cards(page)) == ["alike", "lone"]


def test_the_run_record_gives_class_names_and_the_background_power(
    excel_cam: Run, made: Viewable, tmp_path: Path
) -> None:
    known = {"classes": ["a", "b", "c"], "settings": {"background_power": 3.0}}
    (made.labels / "run.json").write_text(json.dumps({"identity": {"known": known, "resolved": {}}}))
    arguments = ["view", made.labels, "--images", made.images, "--cams", made.cams]
    page = written(excel_cam, arguments, tmp_path / "report.html")
    assert {row["data-title"] for row in page.all("tr") if "data-value" in row} == {
        "background",
        "a",
        "b",
        "c",
        "ignored",
    }
    doubts = {card["data-name"]: float(card["data-doubt"]) for card in cards(page)}
    assert doubts[STAR] == 0  # 0.52 and 0.48 ^ 3 = 0.11 are far apart


def test_the_same_command_writes_the_same_bytes_and_asks_first(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    written(excel_cam, made.arguments(), out)
    first = out.read_bytes()
    result = excel_cam(*made.arguments("--out", out))
    assert result.exit_code == 1
    assert result.stderr == f"Error: {out}: there already; add --overwrite to replace it, or choose another name\n"
    written(excel_cam, made.arguments(), out)
    assert out.read_bytes() == first


def maps(values: list[list[list[float]]]) -> ClassMaps:
    array = np.array(values)
    return ClassMaps(tuple(range(len(array))), array, (8, 8))


def test_doubt_from_maps_is_the_share_of_cells_with_two_close_scores() -> None:
    # One class stretched to 0, 0.25, 0.5, 1; background beside it 1, 0.75, 0.5, 0: close in the third cell
    assert doubt_of_maps(maps([[[2, 3], [4, 6]]]), 1.0) == 0.25
    # Background 1, 0.5625, 0.25, 0: nowhere close
    assert doubt_of_maps(maps([[[2, 3], [4, 6]]]), 2.0) == 0
    # Two classes that agree are close to one another wherever background is not the best by far
    assert doubt_of_maps(maps([[[0, 1], [0.5, 1]], [[0, 1], [0.5, 1]]]), 1.0) == 0.75
    assert doubt_of_maps(ClassMaps((), np.zeros((0, 2, 2)), (8, 8)), 1.0) == 0
    assert math.isfinite(doubt_of_maps(maps([[[3, 3], [3, 3]]]), 1.0))  # an even map


def test_doubt_from_a_label_is_the_share_of_255_and_of_borders() -> None:
    label = np.zeros((10, 10), np.uint8)
    assert doubt_of_label(label) == 0
    label[:, 5:] = 1  # the columns on either side of the border
    assert doubt_of_label(label) == pytest.approx(0.2)
    label[:, :3] = 255  # three columns more, and one that touches them
    assert doubt_of_label(label) == pytest.approx(0.6)
    assert doubt_of_label(np.repeat(np.repeat(label, 64, 0), 64, 1)) < 0.35  # looked at in 320 pixels


def spoil_label(made: Viewable) -> str:
    (made.labels / "half.png").write_bytes(b"no PNG")
    return "half.png: expected a PNG of class indices"


def spoil_label_size(made: Viewable) -> str:
    Image.new("L", (9, 8)).save(made.labels / "half.png")
    return "label is 8 x 9 (H x W) but its"


def spoil_photograph_size(made: Viewable) -> str:
    draw_photograph(9, 8, 0).save(made.images / "half.jpg")
    return "label is 40 x 60 (H x W) but its photograph"


def take_photograph(made: Viewable) -> str:
    (made.images / "half.jpg").unlink()
    return "no photograph for 1 of 6 labels, first 'half'; check --images or narrow with --list"


def take_maps(made: Viewable) -> str:
    (made.cams / "half.npz").unlink()
    return "half.npz: no such class maps (1 of 6 missing); run `excel-cam generate` again with --save-cams"


def take_truth(made: Viewable) -> str:
    for path in made.truth.rglob("*.png"):
        path.unlink()
    return "expected truth masks named like the labels, found none of 6"


def spoil_truth(made: Viewable) -> str:
    Image.new("L", (60, 40), 9).save(made.truth / "half.png")
    return "expected values 0..3 (3 classes) or 255, got 9"


def spoil_maps(made: Viewable) -> str:
    (made.cams / "half.npz").write_bytes(b"no archive")
    return "half.npz: expected class maps as --save-cams writes them"


def other_maps_size(made: Viewable) -> str:
    write_maps(made.cams / "half.npz", np.ones((1, 2, 2)), [0], (4, 4), "0" * 32)
    return "class maps of an image of 4 x 4 (H x W), but its label is 40 x 60"


def other_maps_class(made: Viewable) -> str:
    write_maps(made.cams / "half.npz", np.ones((1, 2, 2)), [7], (40, 60), "0" * 32)
    return "maps of class 8, but there are 3 classes"


def maps_without_numbers(made: Viewable) -> str:
    np.savez(made.cams / "half.npz", keys=[0], maps=np.full((1, 2, 2), np.nan), low=[0.0], high=[1.0], size=[40, 60])
    return "half.npz: expected class maps as --save-cams writes them (values that are not finite)"


def take_labels(made: Viewable) -> str:
    for path in made.labels.rglob("*.png"):
        path.unlink()
    return "no label PNGs in this folder"


@pytest.mark.parametrize(
    "spoil",
    [spoil_label, spoil_label_size, spoil_photograph_size, take_photograph, take_maps, take_truth,
     spoil_truth, spoil_maps, other_maps_size, other_maps_class, maps_without_numbers, take_labels],
)  # fmt: skip
def test_files_that_are_missing_damaged_or_do_not_fit_are_one_line(
    excel_cam: Run, made: Viewable, tmp_path: Path, spoil: Callable[[Viewable], str]
) -> None:
    expected = spoil(made)
    before = sorted(path.name for path in tmp_path.iterdir())
    result = excel_cam(*made.arguments("--out", tmp_path / "report.html", "--quiet"))
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert expected in line
    assert sorted(path.name for path in tmp_path.iterdir()) == before  # no half of a page


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([], "nothing to write: give --out report.html, --strip figure.png, or both"),
        (["--out", "r.html", "--sort", "iou"], "--sort iou needs the truth: give its folder with --truth"),
        (["--out", "report.htm"], "report.htm: expected a file name that ends in .html"),
        (["--strip", "strip.jpg"], "strip.jpg: expected a file name that ends in .png"),
        (["--out", "r.html", "--names", "a", "--list", "b"], "give the names with either --list or --names"),
        (["--out", "r.html", "--dataset", "voc"], "give the class names with either --dataset or --classes"),
        (["--strip", "LABELS/strip.png"], "it would pass for a label; write it elsewhere"),
    ],
)
def test_what_cannot_be_asked_for_is_said(excel_cam: Run, made: Viewable, more: list[str], expected: str) -> None:
    result = excel_cam(*made.plain(*(word.replace("LABELS", str(made.labels)) for word in more)))
    assert result.exit_code == 2
    assert expected in result.stderr


def test_class_names_are_needed(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    result = excel_cam("view", made.labels, "--images", made.images, "--out", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "has no run.json that names the classes; give them with --dataset or --classes" in result.stderr


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("half,nobody", "nobody.png: no such label (1 of 2 missing); make it with `excel-cam generate`"),
        ("../half", "list of names:1: name '../half' leaves the root"),
        (",", "list of names: no names in this list"),
    ],
)
def test_names_without_a_label_are_refused(
    excel_cam: Run, made: Viewable, tmp_path: Path, names: str, expected: str
) -> None:
    result = excel_cam(*made.plain("--names", names, "--out", tmp_path / "report.html", "--quiet"))
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert expected in line
    assert not (tmp_path / "report.html").exists()


def test_a_page_that_cannot_be_written_is_one_line(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = excel_cam(*made.plain("--out", tmp_path / "file" / "report.html", "--quiet"))
    assert result.exit_code == 1
    assert "report.html cannot be written: " in result.stderr


def test_view_goes_on_past_photographs_it_cannot_read(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    (made.images / "half.jpg").write_bytes(b"")
    (made.images / "alike.jpg").write_bytes(b"<!DOCTYPE html>")
    out, strip = tmp_path / "report.html", tmp_path / "strip.png"
    result = excel_cam(*made.arguments("--out", out, "--strip", strip))
    assert result.exit_code == 3
    assert "failed: " in result.stderr
    assert result.stderr.count("half.jpg: the file is empty") == 1
    assert result.stderr.count("alike.jpg: a web page") == 1
    assert f"{strip}: 4 rows" in result.stderr
    page = PageReader(out.read_text("utf-8"))
    assert sorted(card["data-name"] for card in cards(page)) == sorted(set(NAMES) - {"half", "alike"})
    assert "2 photographs could not be read" in page.text
    assert "half.jpg: the file is empty" in page.text


def test_a_strip_of_no_photograph_that_can_be_read_is_an_error(excel_cam: Run, made: Viewable, tmp_path: Path) -> None:
    (made.images / "half.jpg").write_bytes(b"")
    result = excel_cam(*made.plain("--names", "half", "--strip", tmp_path / "s.png"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert not (tmp_path / "s.png").exists()
