"""`excel-cam label`: photographs and class names on the command line, labels and overlays beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import draw_photograph
from PIL import Image

from excel_cam.errors import DataError, UsageError
from excel_cam.knowledge.base import shipped_knowledge
from excel_cam.labels.overlay import MAX_SIDE, overlay_picture
from excel_cam.run.photographs.classes import choose_classes, read_classes

Run = Callable[..., Result]


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    """Two drawn photographs of different sizes."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    paths = [folder / "cat.jpg", folder / "my sofa.webp"]
    draw_photograph(60, 97, 0).save(paths[0], quality=95)
    draw_photograph(71, 50, 1).save(paths[1])
    return paths


@pytest.fixture
def options(model_arguments: list[str]) -> list[str]:
    """The tiny model and a small input."""
    return ["--size", "64", "--device", "cpu", *model_arguments]


def error_line(result: Result, status: int = 1) -> str:
    assert result.exit_code == status, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    return line


def test_a_label_and_an_overlay_appear_beside_each_photograph(
    excel_cam: Run, photographs: list[Path], options: list[str]
) -> None:
    result = excel_cam("label", *photographs, "--classes", "cat,sofa", *options)
    assert result.exit_code == 0, result.stderr
    folder = photographs[0].parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "cat.jpg", "cat.overlay.jpg", "cat.png", "my sofa.overlay.jpg", "my sofa.png", "my sofa.webp",
    ]  # fmt: skip
    lines = result.stdout.splitlines()
    for photograph, size, line in zip(photographs, [(97, 60), (50, 71)], lines, strict=True):
        with Image.open(photograph.with_suffix(".png")) as label:
            assert (label.mode, label.size) == ("L", size)
            values = np.asarray(label)
        assert set(np.unique(values)) <= {0, 1, 2}
        shares = [100 * np.mean(values == value) for value in range(3)]
        assert line == (
            f"{photograph.with_suffix('.png')}  cat {shares[1]:.1f} %, sofa {shares[2]:.1f} %, "
            f"background {shares[0]:.1f} %"
        )
    assert "1 cat, 2 sofa" in result.stderr


def test_it_is_the_label_that_generate_makes(
    excel_cam: Run, photographs: list[Path], options: list[str], tmp_path: Path
) -> None:
    """The same pipeline and settings: with the same knowledge base the pixels are equal."""
    knowledge = tmp_path / "kb.json"
    entries = [
        {"name": name, "sentences": [f"it has {thing}." for thing in things]}
        for name, things in {"sofa": ("cushions", "arms", "legs"), "cat": ("whiskers", "fur", "paws")}.items()
    ]
    content = {"dataset": "mine", "template": "a clean origami {}.", "classes": entries, "background": ["wall"]}
    knowledge.write_text(json.dumps(content))
    (tmp_path / "classes.txt").write_text("sofa\ncat\n")
    (tmp_path / "tags.csv").write_text("name,classes\ncat,sofa;cat\nmy sofa,sofa;cat\n")
    shared = ["--kb", knowledge, "--background-power", "2", *options]
    made = excel_cam("generate", "--dataset", "folder", "--root", photographs[0].parent, "--out", tmp_path / "a",
                     "--classes", tmp_path / "classes.txt", "--tags", tmp_path / "tags.csv", *shared)  # fmt: skip
    assert made.exit_code == 0, made.stderr
    result = excel_cam("label", *photographs, "--classes", "sofa,cat", "--out", tmp_path / "b", *shared)
    assert result.exit_code == 0, result.stderr
    for name in ("cat.png", "my sofa.png"):
        with Image.open(tmp_path / "a" / name) as first, Image.open(tmp_path / "b" / name) as second:
            different = np.count_nonzero(np.asarray(first) != np.asarray(second))
            assert different == 0, f"{different} pixels of {name} differ"


def test_json_tells_the_same(excel_cam: Run, photographs: list[Path], options: list[str]) -> None:
    result = excel_cam("label", photographs[0], "--classes", "cat,sofa", "--json", "--quiet", *options)
    assert result.stderr == ""
    record = json.loads(result.stdout)
    assert record["path"] == str(photographs[0].with_suffix(".png"))
    assert record["overlay"] == str(photographs[0].with_suffix(".overlay.jpg"))
    assert list(record["classes"]) == ["background", "cat", "sofa"]
    assert sum(record["classes"].values()) + record["ignored"] == pytest.approx(1, abs=1e-5)
    assert record["kept"] is False


def test_a_photograph_that_fails_does_not_stop_the_others(
    excel_cam: Run, photographs: list[Path], options: list[str]
) -> None:
    broken, missing = photographs[0].with_name("broken.jpg"), photographs[0].with_name("missing.jpg")
    broken.write_bytes(photographs[0].read_bytes()[:300])
    result = excel_cam("label", broken, missing, photographs[0], "--classes", "cat", *options)
    assert result.exit_code == 3
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert [str(path) in line for path, line in zip((broken, missing), failed, strict=True)] == [True, True]
    assert photographs[0].with_suffix(".png").exists()
    assert not broken.with_suffix(".png").exists()


# ---- files that are there


def test_nothing_is_to_be_looked_at_where_nothing_was_made(excel_cam: Run, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photograph")
    result = excel_cam("label", tmp_path / "broken.jpg", "--classes", "cat", *options)
    assert result.exit_code == 3
    assert "next:" not in result.stderr


def test_the_same_command_keeps_what_it_made(excel_cam: Run, photographs: list[Path], options: list[str]) -> None:
    command = ["label", photographs[0], "--classes", "cat,sofa", *options]
    first = excel_cam(*command)
    label, overlay = photographs[0].with_suffix(".png"), photographs[0].with_suffix(".overlay.jpg")
    made, drawn = label.stat().st_mtime_ns, overlay.read_bytes()
    overlay.unlink()  # as an interruption between the two would leave it
    again = excel_cam(*command)
    assert again.exit_code == 0
    assert again.stdout == first.stdout.replace(" %\n", " % (kept)\n")
    assert label.stat().st_mtime_ns == made
    assert overlay.read_bytes() == drawn


def test_other_files_are_not_overwritten(excel_cam: Run, photographs: list[Path], options: list[str]) -> None:
    command = ["label", *photographs, "--classes", "cat,sofa", *options]
    label, overlay = photographs[0].with_suffix(".png"), photographs[1].with_suffix(".overlay.jpg")
    label.write_bytes(b"somebody's drawing")
    overlay.write_bytes(b"another")
    line = error_line(excel_cam(*command))
    assert "and 1 more" in line
    assert "--overwrite" in line
    assert (label.read_bytes(), overlay.read_bytes()) == (b"somebody's drawing", b"another")
    assert not photographs[1].with_suffix(".png").exists()
    assert excel_cam(*command, "--overwrite").exit_code == 0
    # Labels of other classes are not mixed in either.
    line = error_line(excel_cam("label", *photographs, "--classes", "sofa,cat", *options))
    assert "made with other settings, classes or weights" in line
    assert "made with other" in error_line(excel_cam(*command, "--background-power", "2"))


def test_overlays_are_not_labelled(excel_cam: Run, photographs: list[Path], options: list[str]) -> None:
    command = ["label", photographs[0], photographs[0].with_suffix(".overlay.jpg"), "--classes", "cat", *options]
    for _ in range(2):
        result = excel_cam(*command)
        assert result.exit_code == 0
        assert "1 overlays" in result.stderr
        assert len(result.stdout.splitlines()) == 1
    assert "no photographs" in error_line(excel_cam("label", command[2], "--classes", "cat", *options), 2)


def test_a_label_never_replaces_a_photograph(excel_cam: Run, tmp_path: Path, options: list[str]) -> None:
    photograph = tmp_path / "cat.png"
    draw_photograph(30, 30, 0).save(photograph)
    before = photograph.read_bytes()
    line = error_line(excel_cam("label", photograph, "--classes", "cat", "--overwrite", *options), 2)
    assert "would replace the photograph" in line
    assert photograph.read_bytes() == before
    assert excel_cam("label", photograph, "--classes", "cat", "--out", tmp_path / "out", *options).exit_code == 0


def test_two_photographs_of_one_name_are_refused(excel_cam: Run, photographs: list[Path], options: list[str]) -> None:
    other = photographs[0].parent / "sub" / "cat.jpg"
    other.parent.mkdir()
    draw_photograph(30, 30, 0).save(other)
    command = ["label", photographs[0], other, "--classes", "cat", *options]
    assert "would share the label" in error_line(excel_cam(*command, "--out", other.parent / "out"), 2)
    assert excel_cam(*command).exit_code == 0


# ---- classes


def test_classes_take_the_shipped_sentences_where_there_are_some() -> None:
    choice = choose_classes("red panda, Bird,person: people", None)
    shipped = {entry.name: entry for entry in shipped_knowledge("voc").classes}
    panda, bird, person = choice.knowledge.classes
    assert choice.names == ("red panda", "Bird", "person")
    assert (panda.prompt, panda.sentences) == ("red panda", ())
    assert (bird.name, bird.prompt, bird.sentences) == ("Bird", "bird avian", shipped["bird"].sentences)
    assert (person.prompt, person.sentences) == ("people", shipped["person"].sentences)
    assert choice.without_sentences == ("red panda",)
    assert "sky" in choose_classes("cat", None).knowledge.background
    assert "sky" not in choose_classes("cat,sky", None).knowledge.background


def test_classes_without_sentences_keep_their_plain_row(
    excel_cam: Run, photographs: list[Path], options: list[str], tiny_model: tuple[Path, Path]
) -> None:
    from excel_cam.model.clip import load_model
    from excel_cam.model.prepare import without_borrowed_attributes
    from excel_cam.model.text_bank import build_text_bank
    from excel_cam.settings import ModelChoice, Settings

    choice = choose_classes("red panda,cat", None)
    model = load_model(ModelChoice(str(tiny_model[0]), weights=tiny_model[1], device="cpu"))
    bank = build_text_bank(choice.knowledge, model, Settings())
    assert not np.array_equal(bank.text[0], bank.plain[0])
    rows = without_borrowed_attributes(bank, choice.knowledge).text
    assert np.array_equal(rows[0], bank.plain[0])
    assert np.array_equal(rows[1:], bank.text[1:])
    result = excel_cam("label", photographs[0], "--classes", "red panda,cat", *options)
    assert "prompts alone, without sentences: red panda" in result.stderr


def test_classes_of_a_knowledge_base_file(excel_cam: Run, photographs: list[Path], tmp_path: Path) -> None:
    entries = [{"name": "tea pot", "prompt": "teapot", "sentences": ["it has a spout."]}]
    content = {"dataset": "voc", "template": "a clean origami {}.", "classes": entries, "background": []}
    (tmp_path / "kb.json").write_text(json.dumps(content))
    choice = choose_classes("tea pot", tmp_path / "kb.json")
    assert choice.knowledge.classes[0].prompt == "teapot"
    # Not the data set's own name: 112 attributes are for all its classes, not for a choice of them.
    assert choice.knowledge.dataset != "voc"
    line = error_line(excel_cam("label", photographs[0], "--classes", "cat", "--kb", tmp_path / "kb.json"))
    assert "has no class cat" in line


def test_class_names_are_checked(tmp_path: Path) -> None:
    assert read_classes("cat, sofa : a red couch") == (("cat", "sofa"), ("cat", "a red couch"))
    (tmp_path / "classes.txt").write_text("cat\nsofa: couch\n")
    assert read_classes(str(tmp_path / "classes.txt")) == (("cat", "sofa"), ("cat", "couch"))
    with pytest.raises(DataError, match=r"missing\.txt"):
        read_classes(str(tmp_path / "missing.txt"))
    for text in ("", "cat,,sofa", "cat:", "cat,\x07"):
        with pytest.raises(UsageError, match="with commas between"):
            read_classes(text)
    with pytest.raises(UsageError, match="name 3: class 'cat' is already at"):
        read_classes("cat,sofa,cat")
    with pytest.raises(UsageError, match="more than 254 classes"):
        read_classes(",".join(f"class {number}" for number in range(255)))


# ---- overlays


def test_an_overlay_shows_classes_lines_and_a_legend() -> None:
    photograph = np.full((40, 60, 3), 100, np.uint8)
    label = np.zeros((40, 60), np.uint8)
    label[10:30, 20:40] = 1
    picture = overlay_picture(photograph, label, {1: "cat", 2: "sofa"})
    pixels = np.asarray(picture)
    assert picture.width == 60
    assert picture.height > 40  # one line of legend, for the class that is there
    assert pixels[2, 2].tolist() == [100, 100, 100]
    assert pixels[20, 25].tolist() == [int(100 + 0.55 * (128 - 100)), 45, 45]
    assert pixels[9, 25].tolist() == [255, 255, 255]
    empty = overlay_picture(photograph, np.zeros((40, 60), np.uint8), {1: "cat"})
    assert np.array_equal(np.asarray(empty), photograph)


def test_large_overlays_are_reduced() -> None:
    picture = overlay_picture(np.zeros((10, 5000, 3), np.uint8), np.zeros((10, 5000), np.uint8), {})
    assert picture.size == (MAX_SIDE, 4)


def test_large_and_turned_photographs_are_labelled_as_their_files_lie(
    excel_cam: Run, tmp_path: Path, options: list[str]
) -> None:
    """Above --working-pixels everything is computed at reduced size, and EXIF's turn is undone in what is written."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to stand upright
    draw_photograph(300, 400, 2).save(tmp_path / "wide.jpg", exif=exif)
    result = excel_cam("label", tmp_path / "wide.jpg", "--classes", "cat", "--working-pixels", 65_536, *options)
    assert result.exit_code == 0, result.stderr
    with Image.open(tmp_path / "wide.png") as label, Image.open(tmp_path / "wide.overlay.jpg") as overlay:
        assert label.size == (400, 300)
        assert overlay.width > 0.9 * overlay.height  # lies as the file does; the legend adds to the height


def test_settings_come_from_a_config_file(
    excel_cam: Run, photographs: list[Path], options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "settings.toml").write_text('[label]\nclasses = "cat"\nquiet = true\n')
    printed = excel_cam("label", photographs[0], "--config", tmp_path / "settings.toml", "--print-config")
    assert 'classes = "cat"' in printed.stdout


def test_the_overlay_of_a_photograph_with_the_longest_name(excel_cam: Run, tmp_path: Path, options: list[str]) -> None:
    for name in ("n" * 251, "n" * 250, "\u00e9" * 125):
        draw_photograph(30, 30, 0).save(tmp_path / f"{name}.jpg")
    for _ in range(2):
        photographs = sorted(tmp_path.glob("*.jpg"))
        result = excel_cam("label", *photographs, "--classes", "cat", "--out", tmp_path / "out", *options)
        assert result.exit_code == 0, result.stderr
    assert len(list((tmp_path / "out").glob("*.overlay.jpg"))) == 3
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
