"""`Labeller` in Python: the labels of the commands, every form of input, and wrong input said in one line."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from drawn import VOC_TAGS, draw_photograph
from PIL import Image

from excel_cam import Labeller, Settings, prompts_alone
from excel_cam.classes import VOC_CLASSES
from excel_cam.errors import DataError, ExcelCamError, ImageError, OutputError

SIZE = {"size": 64}


@pytest.fixture(scope="module")
def chosen(tiny_model: tuple[Path, Path]) -> dict[str, Any]:
    config, weights = tiny_model
    return {"model": str(config), "weights": weights, "device": "cpu"}


@pytest.fixture(scope="module")
def voc(chosen: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Labeller:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXCEL_CAM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return Labeller.from_pretrained(dataset="voc", settings=SIZE, **chosen)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(draw_photograph(40, 60, 1))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_labels_are_those_of_generate(
    excel_cam: Callable[..., Result], arguments: list[str], voc_root: Path, tmp_path: Path, voc: Labeller
) -> None:
    assert excel_cam(*arguments, "--out", tmp_path / "labels").exit_code == 0
    paths = [voc_root / "JPEGImages" / f"{name}.jpg" for name in VOC_TAGS]
    tags = [tags.split(";") if ";" in tags else tags.split() for tags in VOC_TAGS.values()]
    for result, path in zip(voc.label(paths, tags), paths, strict=True):
        np.testing.assert_array_equal(result.label, pixels(tmp_path / "labels" / f"{path.stem}.png"))


@pytest.mark.parametrize("classes", ["cat,sofa", "cat: tabby cat,zeppelin"])
def test_labels_are_those_of_label(
    excel_cam: Callable[..., Result], model_arguments: list[str], chosen: dict[str, Any], tmp_path: Path, classes: str
) -> None:
    photograph = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    draw_photograph(350, 300, 4).save(photograph, exif=exif)
    options = {"--size": 64, "--working-pixels": 65536, "--refine": "none", "--classes": classes, "--device": "cpu"}
    flat = [part for pair in options.items() for part in pair]
    assert excel_cam("label", photograph, *flat, *model_arguments).exit_code == 0
    settings = {**SIZE, "working_pixels": 65536, "refine": "none"}
    for given in (classes, classes.split(",")):
        result = Labeller.from_pretrained(classes=given, settings=settings, **chosen).label(photograph)
        np.testing.assert_array_equal(result.label, pixels(tmp_path / "photo.png"))
        assert result.overlay().size == Image.open(tmp_path / "photo.overlay.jpg").size


def test_every_form_of_an_image_gives_one_label(voc: Labeller, photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    forms = [photo, Image.fromarray(photo), path, str(path), Image.fromarray(photo).convert("RGBA"), photo.copy()[::1]]
    first, *others = (voc.label(form, ["cat", "sofa"]) for form in forms)
    for other in others:
        np.testing.assert_array_equal(other.label, first.label)
    for classes in ([7, 17], (np.int64(17), "cat"), range(7, 18, 10)):
        np.testing.assert_array_equal(voc.label(photo, classes).label, first.label)
    together = voc.label([photo, path], [["cat", "sofa"], []])
    np.testing.assert_array_equal(together[0].label, first.label)
    assert not together[1].label.any()
    assert voc.label([], []) == []


def test_a_result_is_at_hand_in_every_way(voc: Labeller, photo: np.ndarray, tmp_path: Path) -> None:
    result = voc.label(photo, ["sofa", "cat"])
    assert (result.label.shape, result.label.dtype, result.classes) == ((40, 60), np.uint8, ("cat", "sofa"))
    assert set(np.unique(result.label)) <= {0, 8, 18}
    assert result.maps.shape[0] == 2
    scores = result.scores
    assert scores.shape == (3, 40, 60)
    np.testing.assert_allclose(scores[0], 1 - scores[1:].max(axis=0), atol=1e-6)
    assert voc.label(photo, []).scores.shape == (1, 40, 60)
    assert sum(result.shares.values()) == pytest.approx(1)
    np.testing.assert_array_equal(np.asarray(result), result.label)
    shown = Image.open(io.BytesIO(result._repr_png_()))
    assert shown.format == "PNG"
    assert shown.size == result.overlay().size
    saved = result.save(tmp_path / "photo.png")
    np.testing.assert_array_equal(pixels(saved), result.label)
    with pytest.raises(OutputError, match="there already"):
        result.save(saved)
    result.save(saved, png_mode="P", overwrite=True)
    np.testing.assert_array_equal(pixels(saved), result.label)
    with pytest.raises(OutputError, match=r"end the name in \.png"):
        result.save(tmp_path / "photo.jpg")


def test_without_a_background_class_a_label_is_the_index(chosen: dict[str, Any], photo: np.ndarray) -> None:
    import dataclasses

    base = dataclasses.replace(prompts_alone("mine", ["sky", "sea"], ["sky", "sea"]), has_background=False)
    result = Labeller.from_pretrained(kb=base, settings=SIZE, **chosen).label(photo, ["sky", "sea"])
    assert set(np.unique(result.label)) <= {0, 1}
    assert result.scores.shape == (2, 40, 60)
    assert set(result.shares) <= {"sky", "sea"}


grey = np.zeros((20, 30), np.uint8)
colour = np.zeros((20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "classes", "complaint"),
    [
        (grey, "cat", "is grey"),
        (grey[..., None], "cat", "is grey"),
        (colour / 255, "cat", r"float64; expected uint8.*image \* 255"),
        (colour.astype(np.int64), "cat", "int64; expected uint8"),
        (colour.transpose(2, 0, 1), "cat", "channels first"),
        (np.zeros((20, 30, 4), np.uint8), "cat", "fourth channel"),
        (np.zeros((20, 30, 7), np.uint8), "cat", r"expected \(H, W, 3\)"),
        (np.zeros((0, 30, 3), np.uint8), "cat", "at least one pixel"),
        (colour[None], ["cat"], "a batch"),
        (None, "cat", "got a NoneType"),
        (7, "cat", "got int 7"),
        ("missing.jpg", "cat", "no such image"),
        ([colour, grey], [["cat"], ["cat"]], r"images\[1\]: .*grey"),
    ],
)
def test_wrong_images_are_said(voc: Labeller, images: Any, classes: Any, complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint) as said:
        voc.label(images, classes)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("images", "classes", "complaint"),
    [
        (colour, [20], r"class 20 is beyond the 20 classes, 0 \(aeroplane\) to 19"),
        (colour, -1, "beyond"),
        (colour, "sofas", "nearest: sofa"),
        (colour, ["Cat"], "nearest: cat"),
        (colour, ["cat", 7], "comes twice"),
        (colour, [True], "got bool True"),
        (colour, [1.0], "got float"),
        (colour, {"cat": 1}, "got a dict"),
        (colour, None, "missing"),
        ([colour, colour], [["cat"]], "1 lists for 2 images"),
        ([colour, colour], ["cat", "dog"], "stands alone"),
        ([colour, colour], "cat", "one entry for 2"),
        ([colour], [["cat", "dgo"]], r"classes\[0\]: 'dgo'.*nearest: dog"),
    ],
)
def test_wrong_classes_are_said(voc: Labeller, images: Any, classes: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as said:
        voc.label(images, classes)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({}, "which classes"),
        ({"dataset": "vok"}, "did you mean voc"),
        ({"dataset": "voc", "classes": ["cat"]}, "either"),
        ({"classes": []}, "the list is empty"),
        ({"classes": ["cat", "cat"]}, "already at"),
        ({"classes": ["background", "cat"]}, "leave that out"),
        ({"classes": [1]}, "expected names"),
        ({"classes": "cat;sofa"}, "commas"),
        ({"kb": "nowhere"}, "neither a file"),
        ({"kb": "voc", "classes": ["zeppelin"]}, "has no class zeppelin"),
        ({"dataset": "voc", "settings": {"refin": "none"}}, "nearest: refine"),
        ({"dataset": "voc", "settings": {"size": "big"}}, "wrong kind"),
        ({"dataset": "voc", "settings": {"refine": "nothing"}}, "expected one of"),
        ({"dataset": "voc", "preset": "best"}, "not known"),
        ({"dataset": "voc", "preset": "tta", "settings": Settings()}, "both whole"),
        ({"dataset": "voc", "weights": "nowhere.pt"}, "no such weights file"),
        ({"dataset": "voc", "device": "gpu"}, "device 'gpu' is not known"),
    ],
)
def test_choices_that_cannot_be_are_said(chosen: dict[str, Any], choices: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ExcelCamError, match=complaint) as said:
        Labeller.from_pretrained(**{**chosen, **choices})
    assert "\n" not in str(said.value)


def test_classes_by_name_and_by_a_knowledge_base(chosen: dict[str, Any], photo: np.ndarray) -> None:
    by_dataset = Labeller.from_pretrained(dataset="voc", settings=SIZE, **chosen)
    by_kb = Labeller.from_pretrained(kb="voc", settings=SIZE, **chosen)
    assert by_kb.classes == by_dataset.classes == VOC_CLASSES
    np.testing.assert_array_equal(by_kb.label(photo, 7).label, by_dataset.label(photo, "cat").label)
    assert "20 classes: aeroplane" in repr(by_kb)
