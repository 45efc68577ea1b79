"""The demo's scenes, on generated drawings: masks, tags, captions, and what they are made of."""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import captions as texts_of_training
import compose
import drawings as drawings_module
import numpy as np
import photographs as photographs_module
import pytest
import scenes as scenes_module
import sources as sources_module
import train
from attributes import PARTS, PLACES, SENTENCES, VIEWS, holds, parts_of, view_holds
from backgrounds import Background, paint_background
from captions import KINDS, UNNAMED, Captions
from compose import CLASSES, STYLES, TINTS, Composer, Scene, Style, _bend, photograph_pool
from described_scenes import scene_of
from discs import disc
from drawings import (
    CLASS_CODES,
    CLASS_KINDS,
    SIDE,
    UNSEEN_DRAWINGS,
    Drawing,
    load_drawings,
    read_icons,
    render_drawings,
    save_drawings,
)
from furniture import EACH, paint_furniture
from photographs import load_photographs, read_folder
from PIL import Image
from scenes import write_set
from scipy import ndimage
from shapes import ALIKE, likeness, outlines, split_by_shape
from sources import FAMILIES, PHOTOGRAPHS, Source, fetch
from words import Words

from excel_cam import shipped_knowledge
from excel_cam.classes import VOC_CLASSES

FOLDER = Path(__file__).parents[2] / "examples" / "pictograms"
KNOWLEDGE = FOLDER.parents[1] / "kb" / "voc.json"


def ring(index: int, world: str = "seen") -> Drawing:
    """A ring in black ink."""
    y, x = np.mgrid[:SIDE, :SIDE]
    far = np.hypot(y - SIDE / 2, x - SIDE / 2)
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[(far < SIDE / 2) & (far > SIDE / 2 - 12)] = (0, 0, 0, 255)
    return Drawing(CLASSES[index], "lines", "ring", pixels, "", world)


@pytest.fixture(scope="module")
def composer(drawings: list[Drawing]) -> Composer:
    grey = Background(np.full((64, 64, 3), 128, np.uint8), ("wall",), ("house", "building"))
    return Composer(drawings, [grey], Style())


def test_classes_stand_in_the_order_of_the_labels() -> None:
    assert CLASSES == VOC_CLASSES


def test_some_drawing_of_every_class_is_held_out() -> None:
    assert {house for house, _code in UNSEEN_DRAWINGS} == {"noto", "fluent"}
    codes = {code for _house, code in UNSEEN_DRAWINGS}
    for name, own in CLASS_CODES.items():
        assert codes & set(own.split()), f"no drawing of {name} is held out"


def test_what_is_held_out_is_held_out_with_its_likes() -> None:
    round_, ring_ = disc(0).pixels[..., 3], ring(0).pixels[..., 3]
    wide = np.full((90, SIDE), 255, np.uint8)
    wedge = np.tri(SIDE, SIDE, dtype=np.uint8) * 255
    named = [("cat", round_), ("cat", round_), ("cat", wide), ("dog", round_), ("cat", wedge), ("cat", wedge[:, ::-1])]
    first = [True] + 5 * [False]
    assert split_by_shape(named, first) == ["drawing", "drawing", "seen", "seen", "seen", "seen"]
    fifth = [*(4 * [False]), True, False]  # and its mirror image
    assert split_by_shape(named, fifth) == ["seen", "seen", "seen", "seen", "drawing", "drawing"]
    alike = likeness(outlines([round_, wide]), outlines([round_, ring_]))
    assert alike[0, 0] == pytest.approx(1, abs=1e-5)
    assert alike[0, 1] < ALIKE > alike[1, 0]


def test_what_is_like_a_drawing_of_training_is_not_scored() -> None:
    """Three discs, each a bit flatter: held out with the first, the second is like the third, which is seen."""
    picture = Image.fromarray(disc(0).pixels[..., 3])
    flat = [np.asarray(picture.resize((SIDE, round(SIDE * share)))) for share in (1, 0.89, 0.79)]
    alike = likeness(outlines(flat), outlines(flat))
    assert alike[0, 1] >= ALIKE <= alike[1, 2]
    assert alike[0, 2] < ALIKE
    named = [("cat", opacity) for opacity in flat]
    assert split_by_shape(named, [True, False, False]) == ["drawing", "margin", "seen"]


def test_likeness_is_the_correlation_of_thumbnails() -> None:
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (48, 48)).astype(np.uint8) for _ in range(2)]
    small = [picture.reshape(24, 2, 24, 2).mean(axis=(1, 3)) for picture in pictures]
    as_they_are = np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]
    mirrored = np.corrcoef(small[0].ravel(), small[1][:, ::-1].ravel())[0, 1]
    rows = outlines(pictures)
    assert likeness(rows[:1], rows[1:])[0, 0] == pytest.approx(max(as_they_are, mirrored), abs=0.02)


def test_the_catalogue_names_families_and_kinds_that_there_are() -> None:
    icons = read_icons()
    assert len(icons) == len({(family, name) for _class, _kind, family, name in icons}) > 900
    assert {name for name, _kind, _family, _icon in icons} == set(CLASSES)
    assert {family for _name, _kind, family, _icon in icons} <= set(FAMILIES)
    reserved = ("openmoji", "streamline", "icon-park", "mdi", "tuxpaint", "openclipart", "material")
    for source in {**FAMILIES, **PHOTOGRAPHS}.values():
        assert not any(word in source.package for word in reserved)
        assert source.licence
        assert "=" in source.package or source.package.count("@") == 2  # a version is named
    assert {source.world for source in FAMILIES.values()} == {"seen", "family", "outside"}


def test_sentences_are_told_of_kinds_that_drawings_have() -> None:
    captions = Captions(KNOWLEDGE)
    kinds = {
        name: {kind for own, kind, _f, _i in read_icons() if own == name} | set(CLASS_KINDS[name]) for name in CLASSES
    }
    for name, own in SENTENCES.items():
        for place, wanted in own.items():
            assert place < len(captions.sentences[name])
            assert wanted is None or wanted <= kinds[name], (name, place)
            assert wanted is None or wanted != kinds[name], (name, place)
        assert any(wanted is not None for wanted in own.values()) or len(kinds[name]) < 3
    for part, owners in PARTS.items():
        for name, (wanted, box) in owners.items():
            assert wanted is None or wanted <= kinds[name], (part, name)
            assert 0 <= box[0] < box[2] <= 1
            assert 0 <= box[1] < box[3] <= 1
    every = {kind for own in kinds.values() for kind in own} | {f"{n}:{k}" for n, own in kinds.items() for k in own}
    for view, told in VIEWS.items():
        assert set(told.split()) <= every, view
    assert all(set(words.split()) <= set(captions.background) for words in PLACES.values())


def test_what_a_sentence_says_is_true_of_some_drawings_only() -> None:
    horns = next(place for place, kinds in SENTENCES["sheep"].items() if kinds == {"ram"})
    assert holds("sheep", horns, {"ram"}, set()) is True
    assert holds("sheep", horns, {"side"}, set()) is False
    assert holds("sheep", 19, {"ram"}, set()) is None
    (name, place), words = next(iter(PLACES.items()))
    assert holds(name, place, set(), {words}) is True
    assert holds(name, place, set(), {"wall"}) is False
    assert "wheels" in parts_of("bus", "side")
    assert "wheels" in parts_of("bicycle", "side")
    assert "wheels" not in parts_of("cat", "side")
    assert view_holds("only the head of an animal", "dog", "head")
    assert not view_holds("only the head of an animal", "person", "head")


def test_scenes_follow_from_the_seed(composer: Composer) -> None:
    first, again, other = (composer.compose(np.random.default_rng(seed), 70, 90) for seed in (5, 5, 6))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.classes == again.classes
    assert not np.array_equal(first.pixels, other.pixels)


def test_tags_and_doubts_agree_with_the_mask(composer: Composer) -> None:
    for seed in range(40):
        scene = composer.compose(np.random.default_rng(seed), 80, 96, first=seed % 20)
        assert scene.pixels.shape == (80, 96, 3)
        assert scene.pixels.dtype == np.uint8
        in_mask = {int(value) - 1 for value in np.unique(scene.mask)} - {-1}
        assert scene.classes <= in_mask <= scene.classes | scene.doubtful
        assert not scene.classes & scene.doubtful
        for index in scene.classes:
            assert (scene.mask == index + 1).sum() >= Style().least_share * scene.mask.size
        assert seed % 20 in scene.classes | scene.doubtful
        assert set(scene.tints) == set(scene.kinds) == scene.classes
        assert len(scene.drawings) <= 4
        assert scene.styles <= set(STYLES)


def test_the_mask_is_where_the_drawing_is(drawings: list[Drawing], monkeypatch: pytest.MonkeyPatch) -> None:
    """Discs on plain grey, no clutter, no change of light: whatever is not grey is mask, but for soft edges."""
    monkeypatch.setattr(compose, "_relight", lambda rng, scene: None)
    grey = Background(np.full((64, 64, 3), 128, np.uint8), ())
    monkeypatch.setattr(compose, "_cast_shadow", lambda *arguments: None)
    composer = Composer(drawings[:20], [grey], Style(clutter=0, smallest=0.4))
    for seed in range(20):
        scene = composer.compose(np.random.default_rng(seed), 96, 96)
        painted = (np.abs(scene.pixels.astype(int) - 128) > 2).any(axis=2)
        inside = scene.mask > 0
        assert painted[inside].mean() > 0.9  # a disc can have been painted grey
        assert not (painted & ~ndimage.binary_dilation(inside, iterations=2)).any()


def test_what_ink_encloses_is_paper_or_background() -> None:
    """A ring in ink: mostly a disc of paper with a rim, sometimes the ring alone; its colour is any."""
    grey = Background(np.full((64, 64, 3), 128, np.uint8), ())
    composer = Composer([ring(index) for index in range(20)], [grey], Style(objects=(1.0,), clutter=0, smallest=0.6))
    shares, styles = [], set()
    for seed in range(60):
        scene = composer.compose(np.random.default_rng(seed), 64, 64)
        rows, columns = np.nonzero(scene.mask)
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        shares.append(len(rows) / box)
        styles |= scene.styles
    filled = np.array(shares) > 0.6
    assert 0.7 < filled.mean() < 1
    assert styles == {"line drawing", "silhouette"}


def test_drawings_are_redrawn_for_training_alone() -> None:
    """Bent drawings and other pens change masks, a little; without them scenes are as they were."""
    grey = Background(np.full((64, 64, 3), 128, np.uint8), ())
    style = Style(objects=(1.0,), clutter=0, smallest=0.6, largest=0.8, inside=1.0)
    composer = Composer([ring(index) for index in range(20)], [grey], style)

    def areas() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        scenes = [composer.compose(np.random.default_rng(seed), 64, 64) for seed in range(40)]
        return np.array([(scene.mask > 0).mean() for scene in scenes])

    plain = areas()
    composer.redrawn = 1.0
    redrawn = areas()
    assert (plain != redrawn).mean() > 0.9
    assert redrawn.mean() == pytest.approx(plain.mean(), rel=0.3)


def test_a_bent_drawing_keeps_its_place() -> None:
    square = Image.fromarray(np.pad(np.full((40, 40, 4), 255, np.uint8), ((10, 10), (10, 10), (0, 0))))
    for seed in range(20):
        bent = np.asarray(_bend(np.random.default_rng(seed), square))[..., 3] > 127
        before = np.asarray(square)[..., 3] > 127
        assert bent.shape == (60, 60)
        assert (bent & before).sum() / (bent | before).sum() > 0.75
        assert not (bent == before).all()


def test_a_close_up_shows_a_part_and_tells_no_class() -> None:
    composer = Composer([disc(CLASSES.index("bus"), kind="side")] + [disc(i) for i in range(20) if i != 5],
                        [Background(np.zeros((64, 64, 3), np.uint8), ())])  # fmt: skip
    composer.close = 1.0
    scenes = [composer.compose(np.random.default_rng(seed), 48, 48) for seed in range(40)]
    close = [scene for scene in scenes if scene.part]
    assert len(close) > 20
    for scene in close:
        assert scene.part in PARTS
        assert not scene.classes
        assert len(scene.doubtful) <= 1
        assert (scene.mask > 0).mean() > 0.2 or not scene.doubtful


def test_photographs_tell_words_only_where_these_are_certain() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    both = photographs_module._compress(picture, "sky grass", "seen")
    one = photographs_module._compress(picture, "grass", "seen")
    pool = photograph_pool(np.random.default_rng(0), [both, one], 40, ("sky", "grass", "wall"), 32)
    assert len(pool) == 40
    assert {background.pixels.shape for background in pool} == {(32, 32, 3)}
    assert {background.shown for background in pool} == {(), ("grass",), ("sky", "grass")}
    for background in pool:
        assert set(background.shown) | set(background.unclear) == {"sky", "grass", "wall"}


def test_backgrounds_name_what_they_show() -> None:
    words = set(shipped_knowledge("voc").background)
    seen: set[str] = set()
    for seed in range(120):
        background = paint_background(np.random.default_rng(seed), 48)
        assert background.pixels.shape == (48, 48, 3)
        assert background.pixels.dtype == np.uint8
        assert set(background.shown) | set(background.unclear) <= words
        seen |= set(background.shown)
    assert {"sky", "cloud", "grass", "water", "wall", "street", "railway", "building", "mountain"} <= seen


def test_captions_match_what_is_in_the_scene() -> None:
    cat, dog, car = (CLASSES.index(name) for name in ("cat", "dog", "car"))
    scenes = [
        scene_of({cat, car}, tints={cat: {""}, car: {"red"}}, shown={"sky"}, unclear={"cloud"}),
        scene_of({dog}, doubtful={cat}),
        scene_of({car}, tints={car: {"blue"}}),
    ]
    captions = Captions(KNOWLEDGE)
    targets = captions.targets(np.random.default_rng(0), scenes)
    assert targets.matches.shape == targets.known.shape == (3, len(targets.texts))
    assert targets.matches[:, cat].tolist() == [1, 0, 0]
    assert targets.known[:, cat].tolist() == [1, 0, 1]
    assert targets.matches[:, dog].tolist() == [0, 1, 0]
    sky, cloud = (20 + captions.background.index(word) for word in ("sky", "cloud"))
    assert targets.matches[:, sky].tolist() == [1, 0, 0]
    assert targets.known[:, cloud].tolist() == [0, 1, 1]
    by_text = {text: column for column, text in enumerate(targets.texts)}
    red = by_text["a red car"]
    assert targets.matches[:, red].tolist() == [1, 0, 0]
    assert targets.known[:, red].tolist() == [1, 1, 1]
    pair = by_text.get("a cat and a car", by_text.get("a car and a cat"))
    assert pair is not None
    assert targets.matches[:, pair].tolist() == [1, 0, 0]


def sentence_columns(scenes: list[Scene], text: str, tries: int = 400) -> tuple[list[float], list[float]]:
    """A text's matches and what is known of it, from as many batches as it takes to occur."""
    captions = Captions(KNOWLEDGE)
    for seed in range(tries):
        targets = captions.targets(np.random.default_rng(seed), scenes)
        if text in targets.texts:
            column = targets.texts.index(text)
            return targets.matches[:, column].tolist(), targets.known[:, column].tolist()
    raise AssertionError(f"never said: {text}")


def test_a_sentence_is_true_of_the_drawings_that_it_describes() -> None:
    captions = Captions(KNOWLEDGE)
    sheep, cow, car = (CLASSES.index(name) for name in ("sheep", "cow", "car"))
    horns = captions.sentences["sheep"][3]
    assert "ram" in horns
    scenes = [scene_of({sheep}), scene_of({sheep}), scene_of({cow}), scene_of({car}), scene_of(set(), doubtful={sheep})]
    scenes[0].kinds, scenes[1].kinds = {sheep: {"ram"}}, {sheep: {"side"}}
    named = f"a clean origami sheep. {horns}".lower()
    assert sentence_columns(scenes, named) == ([1, 0, 0, 0, 0], [1, 1, 1, 1, 0])
    # Without the name a cow's horns may be meant, a car's may not.
    assert sentence_columns(scenes, UNNAMED.format(horns).lower()) == ([1, 0, 0, 0, 0], [1, 1, 0, 1, 0])


def test_the_bank_holds_sentences_of_every_class_and_asks_nothing_of_images() -> None:
    entries = json.loads(KNOWLEDGE.read_text())["classes"]
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(2), [scene_of({3})])
    bank = [targets.texts[place] for place in targets.enriching]
    assert len(bank) == len(set(bank)) == 2 * len(entries)
    for entry in entries:
        own = {f"a clean origami {entry['name']}. {line}".lower() for line in entry["sentences"]}
        assert len(own & set(bank)) == 2
    assert not targets.known[:, targets.enriching].any()


def test_a_name_with_another_classs_sentence_is_true_of_nothing() -> None:
    captions = Captions(KNOWLEDGE)
    scenes = [scene_of({index}) for index in range(20)]
    columns = captions._mixed(np.random.default_rng(1), scenes)
    assert len(columns) == texts_of_training.SOME_MIXED
    for text, column in columns:
        name = next(name for name in CLASSES if f"origami {name}." in text)
        assert not any(text.endswith(line) for line in captions.sentences[name])
        assert not any(match for match, _known in column)


def test_classes_share_parts() -> None:
    scenes = [scene_of({CLASSES.index(name)}) for name in ("bus", "bicycle", "cat", "car")]
    for scene, kind in zip(scenes, ("side", "side", "side", "side"), strict=True):
        scene.kinds = {index: {kind} for index in scene.classes}
    close = scene_of(set(), doubtful={CLASSES.index("train")})
    close.part = "wheels"
    assert sentence_columns([*scenes, close], "wheels") == ([1, 1, 0, 1, 1], [1, 1, 1, 1, 1])


def test_an_untinted_drawing_leaves_colours_open() -> None:
    car = CLASSES.index("car")
    scenes = [scene_of({car}, tints={car: {"red"}}), scene_of({car}, tints={car: {""}})]
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(0), scenes)
    red = targets.texts.index("a red car")
    assert targets.known[:, red].tolist() == [1, 0]


def test_all_captions_are_within_the_vocabulary(composer: Composer) -> None:
    captions = Captions(KNOWLEDGE)
    words = Words(captions.vocabulary())
    rng = np.random.default_rng(3)
    for _ in range(30):
        scenes = [composer.compose(rng, 32, 32) for _ in range(4)]
        for text in captions.targets(rng, scenes).texts:
            assert all(token in words.rows for token in words.tokenizer.encode(text)), text
    assert {name for names in KINDS.values() for name in names.split()} <= set(CLASSES)
    assert set(TINTS) <= set(" ".join(captions.vocabulary()).split())


def test_families_in_folders_are_rendered_and_kept(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (40, 60), (0, 0, 0, 0))
    picture.paste((200, 10, 10, 255), (10, 10, 30, 50))
    for family in ("mine", "theirs"):
        (tmp_path / family).mkdir()
        picture.save(tmp_path / family / "1f6b2.webp", lossless=True)
    families = {
        "mine": Source("mine", "x@1", "MIT", ".", "files", True),
        "theirs": Source("theirs", "y@1", "MIT", ".", "files", True, world="outside"),
    }
    found = [d for d in render_drawings(tmp_path, families) if d.family != "furniture"]
    assert [(d.name, d.family, d.code, d.kind, d.world, d.pixels.shape) for d in found] == [
        ("bicycle", "mine", "1f6b2", "side", "seen", (SIDE, SIDE // 2, 4)),
        ("bicycle", "theirs", "1f6b2", "side", "outside", (SIDE, SIDE // 2, 4)),
    ]
    assert found[0].inked
    save_drawings(tmp_path / "drawings.npz", found)
    again = load_drawings(tmp_path / "drawings.npz")
    assert [d.world for d in again] == ["seen", "outside"]
    assert np.array_equal(again[0].pixels, found[0].pixels)


def test_rendering_from_an_incomplete_folder_says_what_to_do(
    tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(drawings_module.main, "--sources", tmp_path, "--out", tmp_path / "drawings.npz")
    assert "fetch it with: python sources.py --into" in capsys.readouterr().err
    assert not (tmp_path / "drawings.npz").exists()


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ImportError, match="pip install cairosvg"):
        drawings_module._rasterise("<svg/>")
    with pytest.raises(ImportError, match="pip install openexr"):
        photographs_module._open_panorama(tmp_path / "park.exr.js")


@pytest.mark.parametrize("main", [scenes_module.main, train.main])
def test_without_drawings_nothing_is_left_behind(
    main: Callable[[], None], tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    world = ["--world", "seen"] if main is scenes_module.main else []
    with pytest.raises(SystemExit):
        command(main, "--drawings", tmp_path / "none.npz", "--out", tmp_path / "out", *world)
    assert "none.npz: no such file; render it with" in capsys.readouterr().err
    np.savez(tmp_path / "none.npz", heads=np.array(["cat|noto|1f408"]), **{"0": np.zeros((2, 2, 4), np.uint8)})
    with pytest.raises(SystemExit):
        command(main, "--drawings", tmp_path / "none.npz", "--out", tmp_path / "out", *world)
    assert "drawings of an earlier version" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_fetching_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def pretend(line: list[str], folder: Path) -> None:
        called.append(line)
        if line[0] == "dpkg-deb":
            (folder / "unpacked" / "usr").mkdir(parents=True)
        else:
            (folder / "x.deb").touch()

    monkeypatch.setattr(sources_module, "_run", pretend)
    assert fetch(Source("f", "fonts-x=1:2-3", "OFL", "usr"), tmp_path / "f")
    assert (tmp_path / "f" / "usr").is_dir()
    assert called[0] == ["apt-get", "-q", "download", "fonts-x=1:2-3"]
    assert not fetch(Source("f", "fonts-x=1:2-3", "OFL", "usr"), tmp_path / "f")
    assert len(called) == 2
    with pytest.raises(FileNotFoundError, match="the package has no lib"):
        fetch(Source("g", "fonts-x=1:2-3", "OFL", "lib"), tmp_path / "g")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


def test_furniture_is_of_many_shapes() -> None:
    painted = paint_furniture()
    assert len({code for _name, _kind, code, _image in painted}) == len(painted) == 6 * EACH
    for name, kind, _code, image in painted:
        assert kind in {own for own_name, own, _f, _i in read_icons() if own_name == name} | set(CLASS_KINDS[name])
        assert image.getchannel("A").getbbox() is not None


def test_ones_own_photographs(tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command(photographs_module.main, "--backgrounds", tmp_path, "--out", tmp_path / "p.npz")
    assert "no pictures there" in capsys.readouterr().err
    Image.new("RGB", (700, 900), (90, 120, 30)).save(tmp_path / "a.jpg")
    command(photographs_module.main, "--backgrounds", tmp_path, "--out", tmp_path / "p.npz")
    (only,) = load_photographs(tmp_path / "p.npz")
    assert only.pixels.shape == (617, 480, 3)
    assert (only.words, only.world) == ((), "seen")
    assert list(read_folder(tmp_path)) == [only]


def test_a_scene_set_is_a_voc_folder(drawings: list[Drawing], tmp_path: Path) -> None:
    write_set(tmp_path, {"seen": 4}, drawings, seed=1)
    lines = (tmp_path / "tags.csv").read_text().splitlines()
    assert lines[0] == "name,classes"
    assert len(lines) == 5
    for line in lines[1:]:
        name, classes = line.split(",")
        mask = np.asarray(Image.open(tmp_path / "SegmentationClass" / f"{name}.png"))
        assert {CLASSES[value - 1] for value in np.unique(mask) if value not in (0, 255)} == set(classes.split())
        assert Image.open(tmp_path / "JPEGImages" / f"{name}.jpg").size == mask.shape[::-1]
    shown = (tmp_path / "drawings.csv").read_text().splitlines()
    assert shown[0] == "name,drawings"
    assert all(part.startswith("emojione:") for line in shown[1:] for part in line.split(",")[1].split())


def test_the_world_outside_shows_its_own_drawings(
    drawings: list[Drawing], pictures: Path, tmp_path: Path, command: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    save_drawings(tmp_path / "drawings.npz", drawings)
    arguments = ["--drawings", tmp_path / "drawings.npz", "--out", tmp_path / "set", "--world", "outside"]
    with pytest.raises(SystemExit):
        command(scenes_module.main, *arguments)
    assert "--photographs FILE" in capsys.readouterr().err
    command(scenes_module.main, *arguments, "--photographs", pictures, "--count", 3)
    shown = (tmp_path / "set" / "drawings.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in shown] == ["far:1f68c"] * 3


def test_an_altered_photograph_keeps_its_side_and_tells_nothing(pictures: Path) -> None:
    photographs = load_photographs(pictures)
    plain = photograph_pool(np.random.default_rng(0), photographs, 20, ("sky", "grass"), 48)
    pool = photograph_pool(np.random.default_rng(0), photographs, 20, ("sky", "grass"), 48, altered=1.0)
    assert {background.pixels.shape for background in pool} == {(48, 48, 3)}
    assert {background.pixels.dtype for background in pool} == {np.dtype(np.uint8)}
    assert {(background.shown, background.unclear) for background in pool} == {((), ("sky", "grass"))}
    changed = sum(not np.array_equal(one.pixels, other.pixels) for one, other in zip(pool, plain, strict=True))
    assert changed > 10


def readme_commands() -> list[list[str]]:
    """Command lines of this folder's page that run one of its scripts."""
    text = (FOLDER / "README.md").read_text("utf-8").replace("\\\n", " ")
    blocks = text.split("```sh\n")[1:]
    lines = [shlex.split(line) for block in blocks for line in block.split("```")[0].splitlines()]
    lines = [line[1:] if line and line[0].startswith("OMP_NUM_THREADS=") else line for line in lines]
    return [line[1:] for line in lines if line[:1] == ["python"] and not line[1].startswith("..")]


@pytest.mark.parametrize("line", readme_commands(), ids=lambda line: line[0])
def test_the_pages_commands_are_accepted(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Namespace] = []
    parse = ArgumentParser.parse_args

    def stop(parser: ArgumentParser) -> Namespace:
        read.append(parse(parser))
        raise KeyboardInterrupt

    monkeypatch.setattr(ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module(Path(line[0]).stem).main()
    assert len(read) == 1
