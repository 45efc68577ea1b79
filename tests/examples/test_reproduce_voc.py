"""examples/reproduce_voc.sh on a small tree in VOC's layout, with generated weights; and what it says is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn import VOC_TAGS
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples" / "reproduce_voc.sh"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    package = str(SCRIPT.parent.parent)
    variables = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": package, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        ["bash", SCRIPT, *map(str, arguments)], capture_output=True, text=True, env=variables, check=False
    )


@pytest.fixture
def voc(voc_root: Path) -> Path:
    """The drawn photographs with masks."""
    (voc_root / "SegmentationClass").mkdir()
    for index, name in enumerate(VOC_TAGS):
        with Image.open(voc_root / "JPEGImages" / f"{name}.jpg") as photograph:
            mask = np.zeros((photograph.height, photograph.width), np.uint8)
        mask[10:40, 10:40] = 8 + index
        Image.fromarray(mask).save(voc_root / "SegmentationClass" / f"{name}.png")
    return voc_root


def test_it_labels_and_measures(voc: Path, tmp_path: Path, tiny_model: tuple[Path, Path]) -> None:
    config, weights = tiny_model
    out = tmp_path / "out put"
    options = ["--model", config, "--size", 64, "--tags", voc / "tags.csv", "--device", "cpu", "--quiet"]
    result = run("--voc", voc, "--weights", weights, "--out", out, "--", *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].split()[-1] == "gap"
    assert "the paper       74.6 % on VOC 2012 train" in result.stdout
    assert "has 6 names, not VOC 2012's 1464" in result.stderr
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert f"mIoU            {100 * evaluation['mean_iou']:.1f} %" in result.stdout
    assert evaluation["images"] == len(VOC_TAGS)
    assert json.loads((out / "labels" / "run.json").read_text())["settings"]["refine"]["from"] == "preset paper"
    assert len(list((out / "cams").glob("*.npz"))) == len(VOC_TAGS)

    again = run("--voc", voc, "--weights", weights, "--out", out, "--within", "0.5", "--", *options)
    assert again.returncode == 1
    assert "expected 74.6 within 0.5" in again.stderr


def test_it_says_in_one_line_what_is_missing(voc: Path, tmp_path: Path) -> None:
    def line(*arguments: object, **environment: str) -> str:
        result = run(*arguments, **environment)
        assert result.returncode == 2
        assert result.stdout == ""
        (text,) = result.stderr.splitlines()
        return text.removeprefix("reproduce_voc.sh: ")

    assert line(EXCEL_CAM_VOC_ROOT="").startswith("no data set; give the VOC2012 folder")
    assert line("--voc").startswith("--voc needs a value")
    assert line("--size", "64").startswith("unknown option --size; options of `excel-cam generate` go after --")
    assert line("--voc", tmp_path).startswith(f"{tmp_path}/JPEGImages: no such folder")
    assert line("--voc", voc, "--weights", tmp_path / "w.pt").startswith(f"{tmp_path}/w.pt: no such weights file")
    assert "has no excel-cam" in line("--voc", voc, PYTHON="/nowhere/python")
    mask = voc / "SegmentationClass" / "2007_000002.png"
    mask.unlink()
    assert line("--voc", voc).startswith(f"{mask}: no such file (1 missing of the 6 photographs and masks")
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("")
    assert "train.txt: missing or empty" in line("--voc", voc)


def test_its_help_is_its_own_head() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "--within POINTS" in result.stdout
    assert "set -euo" not in result.stdout
