"""The demo's scenes and training, on generated drawings: masks, tags, captions, one short training, shipping."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import compose
import numpy as np
import open_clip
import pytest
import torch
from backgrounds import Background, paint_background
from captions import KINDS, Captions
from compose import CLASSES, MIN_SHARE, TINTS, Composer, Scene, Style
from drawings import CLASS_CODES, SIDE, UNSEEN_DRAWINGS, Drawing, load_drawings
from optimiser import Muon, orthogonalise
from PIL import Image
from scenes import write_set
from scipy import ndimage
from train import (
    CALIBRATED,
    CONFIG,
    PATCH_SCALE,
    PATCH_SHARE,
    PLACE_WEIGHT,
    Words,
    encode_pixels,
    patch_cover,
    patch_loss,
    sigmoid_loss,
)

from excel_cam import load_model, shipped_knowledge
from excel_cam.classes import VOC_CLASSES
from excel_cam.method.calibration import encode_images
from excel_cam.method.images import normalise
from excel_cam.model.words_file import recorded_settings
from excel_cam.settings import ModelChoice

FOLDER = Path(__file__).parents[2] / "examples" / "pictograms"
KNOWLEDGE = FOLDER.parents[1] / "kb" / "voc.json"


def disc(index: int, family: str = "noto", code: str = "") -> Drawing:
    """A coloured disc in place of a class's drawing."""
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[(y - SIDE / 2) ** 2 + (x - SIDE / 2) ** 2 < (SIDE / 2) ** 2] = (index * 12, 255 - index * 12, 128, 255)
    return Drawing(CLASSES[index], family, code or CLASS_CODES[CLASSES[index]].split()[0], pixels)


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    clutter = Drawing("", "noto", "1f34e", disc(0).pixels)
    held_out = [disc(CLASSES.index("horse"), "fluent", "1f40e"), disc(3, "twemoji")]
    return [*(disc(index, "emojione") for index in range(20)), *held_out, clutter]


@pytest.fixture(scope="module")
def composer(drawings: list[Drawing]) -> Composer:
    grey = Background(np.full((64, 64, 3), 128, np.uint8), ("wall",), ("house", "building"))
    return Composer(drawings, [grey], Style())


def test_classes_stand_in_the_order_of_the_labels() -> None:
    assert CLASSES == VOC_CLASSES


def test_what_training_may_see(drawings: list[Drawing]) -> None:
    assert [drawing.world for drawing in drawings[-3:]] == ["drawing", "family", "seen"]
    houses = {house for house, _code in UNSEEN_DRAWINGS}
    assert houses == {"noto", "fluent"}
    codes = {code for _house, code in UNSEEN_DRAWINGS}
    for name, own in CLASS_CODES.items():
        assert codes & set(own.split()), f"no drawing of {name} is held out"


def test_a_designers_second_set_does_not_show_a_held_out_drawing() -> None:
    assert disc(0, "noto-v1", "1f6e9").world == disc(0, "noto", "1f6e9").world == "drawing"
    assert disc(0, "emojione", "1f6e9").world == "seen"


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
            assert (scene.mask == index + 1).sum() >= MIN_SHARE * scene.mask.size
        assert seed % 20 in scene.classes | scene.doubtful
        assert set(scene.tints) == scene.classes


def test_the_mask_is_where_the_drawing_is(drawings: list[Drawing], monkeypatch: pytest.MonkeyPatch) -> None:
    """Discs on plain grey, no clutter, no change of light: whatever is not grey is mask, but for soft edges."""
    monkeypatch.setattr(compose, "_relight", lambda rng, scene: None)
    grey = Background(np.full((64, 64, 3), 128, np.uint8), ())
    composer = Composer(drawings, [grey], Style(clutter=0, smallest=0.4))
    composer.clutter = [[np.zeros((8, 8, 4), np.uint8)] * 3]  # an occluder that hides nothing
    for seed in range(20):
        scene = composer.compose(np.random.default_rng(seed), 96, 96)
        painted = (np.abs(scene.pixels.astype(int) - 128) > 2).any(axis=2)
        inside = scene.mask > 0
        assert painted[inside].mean() > 0.98
        assert not (painted & ~ndimage.binary_dilation(inside, iterations=2)).any()


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


def scene_of(classes: set[int], doubtful: set[int] = frozenset(), tints: dict[int, set[str]] | None = None,  # type: ignore[assignment]
             shown: set[str] = frozenset(), unclear: set[str] = frozenset()) -> Scene:  # type: ignore[assignment]  # fmt: skip
    blank = np.zeros((8, 8), np.uint8)
    return Scene(np.zeros((8, 8, 3), np.uint8), blank, classes, set(doubtful), tints or {c: {""} for c in classes},
                 set(shown), set(unclear))  # fmt: skip


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


def test_the_loss_is_the_sigmoid_loss_of_the_known_pairs() -> None:
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(0), [scene_of({0}), scene_of({1}, doubtful={0})])
    count = len(targets.texts)
    images, texts = torch.zeros(2, 4), torch.zeros(count, 4)
    images[:, 0] = texts[:, 1] = 1  # every pair at a right angle: logits are the bias
    loss = sigmoid_loss(images, texts, torch.tensor(2.0), torch.tensor(-1.0), targets)
    weight = np.where(np.arange(count) < 20, 2, 1) * targets.known
    pairs = np.where(targets.matches == 1, np.log1p(np.exp(1)), np.log1p(np.exp(-1)))
    assert float(loss) == pytest.approx((weight * pairs).sum() / 2, rel=1e-5)


def test_training_sees_what_the_method_will_see() -> None:
    torch.manual_seed(3)
    towers = open_clip.CLIP(**{**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "vocab_size": 9}}).eval()
    pixels = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        images, patches = encode_pixels(towers.visual, pixels)
    inputs = torch.stack([normalise(image.permute(1, 2, 0).numpy(), "imagenet") for image in pixels])
    features = encode_images(towers.visual, inputs, "svc", CALIBRATED).tokens
    torch.testing.assert_close(images, features[:, 0], atol=2e-5, rtol=1e-4)
    normalised = features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(patches, normalised[:, 1:], atol=2e-5, rtol=1e-4)


def test_cover_is_the_share_of_each_patch() -> None:
    masks = np.zeros((1, 32, 48), np.uint8)
    masks[0, :8, :32] = 3  # the upper half of the first two patches of the first row
    masks[0, 16:, 40:] = 20  # the right half of the last patch of the second row
    cover = patch_cover(masks)
    assert cover.shape == (1, 6, 20)
    assert np.argwhere(cover[0].numpy()).tolist() == [[0, 2], [1, 2], [5, 19]]
    assert cover[0, 0, 2] == cover[0, 5, 19] == 0.5


@pytest.mark.parametrize("with_cover", [False, True])
def test_the_patches_loss_computed_a_second_way(with_cover: bool) -> None:
    rng = np.random.default_rng(5)
    scenes = [scene_of({0, 4}, doubtful={7}), scene_of({2}, shown={"sky"}, unclear={"tree"}), scene_of({3})]
    targets = Captions(KNOWLEDGE).targets(rng, scenes)
    patches, texts = rng.normal(size=(3, 100, 6)), rng.normal(size=(45, 6))
    cover = rng.dirichlet(np.ones(21), (3, 100))[..., :20]
    given = [torch.from_numpy(array).float() for array in (patches, texts, cover)]
    loss = patch_loss(given[0], given[1], targets, given[2] if with_cover else None)

    expected = []
    for image in range(3):
        terms, chances = [], []
        for patch in patches[image]:
            logits = [PATCH_SCALE * patch @ t / np.linalg.norm(patch) / np.linalg.norm(t) for t in texts]
            chances.append(np.exp(logits) / np.exp(logits).sum())
        matches, known = targets.matches[image, :45], targets.known[image, :45]
        may_be = (matches == 1) | (known == 0)
        for place, chance in enumerate(chances):
            if with_cover:
                named = may_be[20:] if may_be[20:].any() else np.ones(25, bool)
                own = cover[image, place]
                rest = (1 - own.sum()) * np.log(chance[20:][named].sum())
                terms.append((own * np.log(chance[:20])).sum() + rest)
            else:
                terms.append(np.log(chance[may_be].sum()))
        total = np.mean(terms)
        if not with_cover:
            best = round(PATCH_SHARE * 100)
            found = [
                np.log(np.sort(np.array(chances)[:, j])[-best:].mean()) for j in range(45) if matches[j] and known[j]
            ]
            total += PLACE_WEIGHT * np.mean(found)
        expected.append(-total)
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-4)


def test_orthogonalised_updates_have_alike_singular_values() -> None:
    torch.manual_seed(0)
    for shape in ((24, 60), (60, 24)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.35 * values.max()


def test_muon_goes_downhill_and_clears_gradients() -> None:
    torch.manual_seed(0)
    weight, target = torch.nn.Parameter(torch.zeros(8, 8)), torch.randn(8, 8) * 0.1
    muon = Muon([weight], 0, 1)
    first = float(target.square().sum())
    for _ in range(60):
        (weight - target).square().sum().backward()
        muon.step(0.02)
        assert weight.grad is None
    assert float((weight.detach() - target).square().sum()) < 0.2 * first


def test_a_family_in_a_folder_is_rendered_once(tmp_path: Path) -> None:
    family = tmp_path / "pictures"
    family.mkdir()
    picture = Image.new("RGBA", (40, 60), (0, 0, 0, 0))
    picture.paste((200, 10, 10, 255), (10, 10, 30, 50))
    picture.save(family / "1f6b2.webp", lossless=True)
    found = load_drawings({"mine": family}, None, tmp_path / "drawings.npz")
    assert [(d.name, d.family, d.code, d.pixels.shape) for d in found] == [
        ("bicycle", "mine", "1f6b2", (SIDE, SIDE // 2, 4))
    ]
    (family / "1f6b2.webp").unlink()
    again = load_drawings({}, None, tmp_path / "drawings.npz")
    assert np.array_equal(again[0].pixels, found[0].pixels)


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


def test_training_resumes_and_ships_a_model_that_loads(drawings: list[Drawing], tmp_path: Path) -> None:
    heads = np.array(["|".join((d.name, d.family, d.code)) for d in drawings])
    np.savez(tmp_path / "drawings.npz", heads=heads, **{str(i): d.pixels for i, d in enumerate(drawings)})
    command = [
        sys.executable, FOLDER / "train.py", "--out", tmp_path, "--layers", "2", "--width", "64", "--batch", "8",
        "--pool", "4", "--workers", "0", "--report", "1", "--stages", "32:16:1.0",
    ]  # fmt: skip
    lines = [_run(command), _run([*command, "48:8:0.5", "32:8:0.5:masks"])]
    assert [line.split(" images of ")[0].strip() for line in lines[0]] == ["8", "16"]
    assert [line.split(" images of ")[0].strip() for line in lines[1]] == ["24", "32"]
    ship = [sys.executable, FOLDER / "ship.py", tmp_path / "checkpoint.pt", "--out", tmp_path / "model"]
    _run([*ship, "--name", "short-run", "--set", "size=48"])
    config = tmp_path / "model" / "short-run.json"
    assert recorded_settings(str(config)) == {"size": 48}
    model = load_model(ModelChoice(str(config), weights=config.with_suffix(".safetensors"), device="cpu"))
    assert model.encode_texts(["a clean origami cat."]).shape == (1, 192)
    assert model.unknown_words("a clean origami zebra") == ["zebra"]


def test_training_without_drawings_of_a_class_says_which(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "train.py"), "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "the families given have no drawing of aeroplane, bicycle" in result.stderr
    assert not (tmp_path / "drawings.npz").exists()


def _run(command: list[object]) -> list[str]:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()
