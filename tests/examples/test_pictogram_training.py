"""The demo's training on generated drawings: batches, updates, one short training, shipping."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import curve
import numpy as np
import pytest
import ship
import stream
import torch
import train
from batches import Batches, Stage, close_style
from beginnings import begin_with
from captions import Captions
from compose import Composer
from described_scenes import scene_of
from drawings import Drawing, save_drawings
from open_clip import CLIP
from optimiser import Muon, orthogonalise
from passes import encode_pixels
from photographs import load_photographs
from scenes import write_set
from stream import MARGIN, Batch, replayed
from train import Trainer
from words import Words

from excel_cam import load_model
from excel_cam.model.words_file import recorded_settings
from excel_cam.settings import ModelChoice

KNOWLEDGE = Path(__file__).parents[2] / "kb" / "voc.json"


def test_small_images_show_objects_as_large_as_scenes_do() -> None:
    for side in (80, 112, 160, 208):
        style = close_style(side)
        assert style.smallest * side == pytest.approx(13)
        assert style.largest * side == pytest.approx(230, abs=1)


def test_orthogonalised_updates_have_alike_singular_values() -> None:
    torch.manual_seed(0)
    for shape in ((24, 60), (60, 24)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.35 * values.max()


def test_matrices_of_one_shape_are_changed_as_each_would_be_alone() -> None:
    torch.manual_seed(1)
    gradients = [torch.randn(shape) for shape in ((6, 4), (4, 6), (6, 4), (4, 3, 1, 2))]

    def changed(muon_of: list[list[int]]) -> list[torch.Tensor]:
        weights = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
        for places in muon_of:
            for place in places:
                weights[place].grad = gradients[place].clone()
            Muon([weights[place] for place in places], 0, 1).step(0.1)
        return [weight.detach() for weight in weights]

    torch.testing.assert_close(changed([[0, 1, 2, 3]]), changed([[0], [1], [2], [3]]))


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


def test_training_resumes_and_ships_a_model_that_loads(
    drawings: list[Drawing], pictures: Path, tmp_path: Path, command: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    save_drawings(tmp_path / "drawings.npz", drawings)
    arguments = [
        "--drawings", tmp_path / "drawings.npz", "--photographs", pictures, "--out", tmp_path, "--layers", 2,
        "--width", 64, "--batch", 8, "--workers", 0, "--report", 1, "--stages", "32:16:1.0",
    ]  # fmt: skip
    threads = torch.get_num_threads()
    try:
        command(train.main, *arguments)
        assert told(capsys) == ["8", "16"]
        checkpoint = tmp_path / "checkpoint.pt"
        early = torch.load(checkpoint)["average"]["visual.proj"]
        shutil.copy(checkpoint, tmp_path / "early.pt")
        command(train.main, *arguments, "48:8:0.5", "32:8:0.5:masks")
        assert told(capsys) == ["24", "32"]
        checkpoint.rename(tmp_path / "first.pt")
        command(train.main, *arguments[:-1], "32:8:1.0", "--start", tmp_path / "first.pt", "--rate", 1e-9)
        second = torch.load(checkpoint)["average"]["visual.proj"]
        checkpoint.unlink()
        starts = ["--start", tmp_path / "first.pt", "--start", tmp_path / "early.pt"]
        command(train.main, *arguments[:-1], "32:8:1.0", *starts, "--rate", 1e-9)
        third = torch.load(checkpoint)["average"]["visual.proj"]
    finally:
        torch.set_num_threads(threads)
    first = torch.load(tmp_path / "first.pt")["average"]["visual.proj"]
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close((first + early) / 2, third, atol=1e-5, rtol=1e-3)
    command(ship.main, checkpoint, "--out", tmp_path / "model", "--name", "short-run", "--set", "size=48")
    config = tmp_path / "model" / "short-run.json"
    assert recorded_settings(str(config)) == {"size": 48}
    model = load_model(ModelChoice(str(config), weights=config.with_suffix(".safetensors"), device="cpu"))
    assert model.encode_texts(["a clean origami cat."]).shape == (1, 192)
    assert model.unknown_words("a clean origami zebra") == ["zebra"]
    # What was shipped begins another training, here of a deeper tower.
    deeper = [*arguments[:-1], "32:8:1.0", "--out", tmp_path / "deeper", "--layers", 4, "--start", config]
    command(train.main, *deeper, "--rate", 1e-9)
    deep = torch.load(tmp_path / "deeper" / "checkpoint.pt")
    torch.testing.assert_close(deep["average"]["visual.proj"], third, atol=1e-3, rtol=1e-3)
    assert deep["config"]["vision_cfg"]["layers"] == 4
    for wrong in (tmp_path / "none.pt", tmp_path / "drawings.npz", tmp_path / "deeper" / "checkpoint.pt"):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            command(train.main, *arguments[:-1], "32:8:1.0", "--start", wrong)
        assert str(wrong) in capsys.readouterr().err.splitlines()[-1]


def test_a_deeper_tower_begins_as_the_one_it_is_made_of(tmp_path: Path) -> None:
    words = Words(["a cat", "a dog"])
    towers = []
    for layers in (3, 5):
        config = json.loads(json.dumps(train.CONFIG))
        config["vision_cfg"] |= {"layers": layers, "width": 64}
        config["text_cfg"]["vocab_size"] = len(words.ids)
        torch.manual_seed(layers)
        towers.append(CLIP(**config))
    shallow, deep = towers
    torch.save({"average": shallow.state_dict(), "ids": words.ids}, tmp_path / "checkpoint.pt")
    begin_with([tmp_path / "checkpoint.pt"], deep.state_dict(), words.ids)
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        before, after = (encode_pixels(tower.visual, pixels) for tower in towers)
    torch.testing.assert_close(before.images, after.images)
    blocks = deep.visual.transformer.resblocks
    assert not torch.equal(blocks[1].mlp.c_fc.weight, blocks[2].mlp.c_fc.weight)  # they are not to learn the same


def test_no_two_batches_have_the_same_backgrounds(drawings: list[Drawing], pictures: Path) -> None:
    captions = Captions(KNOWLEDGE)
    composer = Composer(drawings, ())
    composer.photographic = 0.5
    stages = [Stage(32, 8, 1.0)] * 2
    batches = Batches(composer, load_photographs(pictures), captions, Words(captions.vocabulary()), stages, 4, seed=0)
    painted = []
    for number in (0, 1, 0):
        pixels = batches[number].pixels
        painted.append((pixels, [background.pixels for background in (*composer.backgrounds, *composer.photographs)]))
    assert torch.equal(painted[0][0], painted[2][0])
    assert not any(np.array_equal(one, other) for one in painted[0][1] for other in painted[1][1])


def test_training_for_a_time_goes_through_the_stages(
    drawings: list[Drawing], pictures: Path, tmp_path: Path, command: Callable[..., None],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    save_drawings(tmp_path / "drawings.npz", drawings)
    seconds = itertools.count()
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    threads = torch.get_num_threads()
    try:
        command(
            train.main, "--drawings", tmp_path / "drawings.npz", "--photographs", pictures, "--out", tmp_path,
            "--layers", 2, "--width", 64, "--batch", 4, "--workers", 0, "--report", 1, "--minutes", 0.2,
            "--stages", "32:1:1.0", "48:2:0.5:masks",
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    sides = [line.split("side ")[1].split()[0] for line in capsys.readouterr().out.splitlines()]
    assert sides == sorted(sides)
    assert set(sides) == {"32", "48"}
    assert torch.load(tmp_path / "checkpoint.pt")["number"] == len(sides)


@pytest.mark.parametrize("asked", [("--minutes", 1, "--processes", 2), ("--minutes", -1)])
def test_a_training_for_a_time_is_one_process(
    tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str], asked: tuple[object, ...]
) -> None:
    with pytest.raises(SystemExit):
        command(train.main, "--drawings", tmp_path / "drawings.npz", "--out", tmp_path / "run", *asked)
    assert f"--minutes {asked[1]}: more than 0, and for one process" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def batches_of(sides: list[int]) -> list[Batch]:
    """Batches whose pixels and masks hold the batch's place everywhere."""
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(0), [scene_of({0})] * 2)
    shapes = [(2, 3, side + MARGIN, side + MARGIN) for side in sides]
    return [
        Batch(torch.full(shape, place, dtype=torch.uint8), torch.full(shape[:1] + shape[2:], place), targets, [])
        for place, shape in enumerate(shapes)
    ]


def test_batches_come_again_until_those_of_another_side_are_there() -> None:
    told: list[float] = []
    held = threading.Event()

    def composed() -> Iterator[Batch]:
        first, second, third, fourth = batches_of([16, 16, 32, 32])
        yield from (first, second)
        held.wait(20)
        yield from (third, fourth)

    seen: list[tuple[int, int]] = []
    for batch, gone in replayed(composed(), torch.device("cpu"), 3, 0.02, told.append):
        assert gone == told[-1]
        assert batch.mask is not None
        assert batch.pixels.unique().tolist() == batch.mask.unique().tolist()
        seen.append((batch.pixels.shape[-1], int(batch.pixels[0, 0, 0, 0])))
        if len(seen) == 200:
            held.set()
        time.sleep(0.001)
    assert seen[0] == (16, 0)
    assert {place for side, place in seen if side == 16} == {0, 1}
    assert {place for side, place in seen if side == 32} == {2, 3}
    assert [side for side, _place in seen] == sorted(side for side, _place in seen)
    assert told == sorted(told)


@pytest.mark.parametrize("before", [0, 1])
def test_what_composing_raises_ends_the_training(before: int) -> None:
    """At once, or after some batches: it neither waits for ever nor goes on with what it has."""

    def composed() -> Iterator[Batch]:
        yield from batches_of([16] * before)
        raise ValueError("no such drawing")

    with pytest.raises(ValueError, match="no such drawing"):
        for _batch in replayed(composed(), torch.device("cpu"), 3, 1, lambda _gone: None):
            time.sleep(0.001)


def test_a_scene_is_mirrored_and_cut_with_its_mask() -> None:
    (batch,) = batches_of([16])
    across = torch.arange(32, dtype=torch.uint8) + 32 * torch.arange(4, dtype=torch.uint8)[:, None].repeat(8, 1)
    batch = dataclasses.replace(batch, pixels=across.expand(2, 3, 32, 32), mask=across.expand(2, 32, 32))
    views = [batch.seen_anew(torch.Generator().manual_seed(seed)) for seed in range(30)]
    for view in views:
        assert view.mask is not None
        assert (view.pixels == view.mask[:, None]).all()
        for picture in view.mask:
            upright = picture if picture[0, 0] < picture[0, -1] else picture.flip(-1)
            left, top = int(upright[0, 0]) % 32, int(upright[0, 0]) // 32
            assert any((across[row : row + 16, left : left + 16] == upright).all() for row in range(top, 17, 4))
    assert len({int(view.pixels[0, 0, 0, 0]) for view in views}) > 10


def test_a_line_of_the_learning_curve(
    drawings: list[Drawing], tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    captions = Captions(KNOWLEDGE)
    words = Words(captions.vocabulary())
    arguments = Namespace(seed=0, layers=5, width=64, device="cpu", processes=1, rate=1e-3, batch=8, average=0.9)
    trainer = Trainer(arguments, words, 45, 0)
    trainer.number = 5
    trainer.save(tmp_path / "checkpoint.pt", words)
    write_set(tmp_path / "small", {"seen": 3}, drawings, seed=1)
    out = tmp_path / "curve.csv"
    for _ in range(2):
        command(curve.main, tmp_path / "checkpoint.pt", "--root", tmp_path / "small", "--size", 64, "--limit", 2,
                "--clusters", 4, "--out", out)  # fmt: skip
    lines = out.read_text().splitlines()
    assert lines[0] == "images,set,scenes,miou,low,high"
    assert lines[1] == lines[2]
    assert lines[1].startswith("40,small,2,")
    with pytest.raises(SystemExit):
        command(curve.main, tmp_path / "none.pt", "--root", tmp_path / "small", "--out", out)
    assert "none.pt: no such file" in capsys.readouterr().err


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.split(" images ")[0].strip() for line in capsys.readouterr().out.splitlines()]


def test_training_without_drawings_of_a_class_says_which(
    drawings: list[Drawing], tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    save_drawings(tmp_path / "drawings.npz", drawings[2:])
    with pytest.raises(SystemExit):
        command(train.main, "--drawings", tmp_path / "drawings.npz", "--out", tmp_path)
    assert "no drawing of aeroplane, bicycle to train on" in capsys.readouterr().err
