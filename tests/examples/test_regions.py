"""The recipe for superpixels runs, from photographs to labels that they voted on; and what measures such votes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import regions as measuring
import superpixels
from click.testing import CliRunner, Result
from drawn import draw_photograph
from PIL import Image

from excel_cam.labels.png import write_label
from excel_cam.shipped import DEMO_TRUTH

Run = Callable[..., Result]


def run(script: object, *arguments: object) -> Result:
    return CliRunner().invoke(script.main, [str(argument) for argument in arguments])  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["slic", "felzenszwalb"])
def test_superpixels_vote_on_labels(excel_cam: Run, tmp_path: Path, method: str) -> None:
    pytest.importorskip("skimage", reason="scikit-image makes the superpixels")
    photographs, labels, regions = tmp_path / "photographs", tmp_path / "labels", tmp_path / "regions"
    (photographs / "sub").mkdir(parents=True)
    turned = Image.Exif()
    turned[274] = 6  # the file lies on its side
    for name, exif in (("a", Image.Exif()), ("sub/b", turned)):
        draw_photograph(60, 90, 3).save(photographs / f"{name}.jpg", exif=exif)
        label = np.zeros((60, 90), np.uint8)
        label[15:40, 20:70] = 1
        write_label(labels / f"{name}.png", label, "L", None)
    command = ("--images", photographs, "--out", regions, "--method", method, "--count", 40)
    made = run(superpixels, *command)
    assert made.exit_code == 0, made.output
    for name in ("a", "sub/b"):
        ids = np.asarray(Image.open(regions / f"{name}.png"))
        assert (ids.shape, ids.dtype, ids.min()) == ((60, 90), np.uint16, 1)
        assert ids.max() > 3
    kept = {path: path.stat().st_mtime_ns for path in regions.rglob("*.png")}
    assert run(superpixels, *command).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in regions.rglob("*.png")} == kept
    out = tmp_path / "voted"
    voted = excel_cam("vote", labels, "--regions", regions, "--out", out, "--dataset", "voc")
    assert voted.exit_code == 0, voted.stderr
    assert "2 labels in" in voted.stderr


def test_photographs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="scikit-image makes the superpixels")
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.jpg").write_bytes(b"x")
    failed = run(superpixels, "--images", tmp_path / "photographs", "--out", tmp_path / "regions")
    assert failed.exit_code == 1
    assert "1 photographs have no regions" in failed.output


def test_without_damage_the_parts_of_the_truth_give_back_the_truth(tmp_path: Path) -> None:
    names = [path.stem for path in sorted(DEMO_TRUTH.glob("*.png"))[:2]]
    for name in names:
        truth = np.asarray(Image.open(DEMO_TRUTH / f"{name}.png")).copy()
        object_rows, object_columns = np.nonzero((truth > 0) & (truth < 255))
        truth[object_rows[:50], object_columns[:50]] = 0  # a label that misses some of each object
        write_label(tmp_path / f"{name}.png", np.where(truth == 255, 0, truth).astype(np.uint8), "L", None)
    table = run(measuring, "--labels", tmp_path, "--only", "truth's parts", "--out", tmp_path / "table.md")
    assert table.exit_code == 0, table.output
    row = (tmp_path / "table.md").read_text().splitlines()[-1].split(" | ")
    assert row[:2] == ["| truth's parts", "100.0"]
    assert row[2].startswith("+")


@pytest.mark.parametrize("harms", [(measuring._cut,), (measuring._joined,), (measuring._thinner,)])
def test_damage_is_drawn_from_its_seed_and_stays_within_what_it_damages(harms: tuple[measuring.Harm]) -> None:
    ids = np.repeat(np.repeat([[1, 2], [3, 4]], 12, axis=0), 12, axis=1)
    worse = measuring.damaged(ids, harms, 1.0, np.random.default_rng(1))
    assert np.array_equal(worse, measuring.damaged(ids, harms, 1.0, np.random.default_rng(1)))
    assert np.array_equal(ids, measuring.damaged(ids, harms, 0.0, np.random.default_rng(1)))
    counts = {measuring._cut: len(np.unique(worse)) > 4, measuring._joined: len(np.unique(worse)) < 4}
    assert counts.get(harms[0], bool((worse == 0).any()))
