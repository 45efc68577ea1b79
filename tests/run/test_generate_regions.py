"""`generate --regions`: the vote as the last step before a label is written, and part of what decides it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from drawn import VOC_TAGS
from numpy.typing import NDArray
from PIL import Image

from excel_cam.files.regions.source import open_regions
from excel_cam.labels.class_maps import read_maps_stamp
from excel_cam.labels.png import find_label
from excel_cam.labels.regions.settings import VoteSettings
from excel_cam.labels.regions.vote import vote

Run = Callable[..., Result]


@pytest.fixture
def regions(tmp_path: Path, voc_root: Path) -> Path:
    """For each photograph a checkerboard of 12 pixels, each field a region."""
    folder = tmp_path / "regions"
    folder.mkdir()
    for name in VOC_TAGS:
        with Image.open(voc_root / "JPEGImages" / f"{name}.jpg") as photograph:
            rows, columns = np.mgrid[: photograph.height, : photograph.width] // 12
        Image.fromarray((1 + rows * 30 + columns).astype(np.uint16)).save(folder / f"{name}.png")
    return folder


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


def stamp_of(path: Path) -> str:
    found = find_label(path)
    assert found is not None
    return found.stamp


def test_labels_are_those_without_regions_after_the_vote(
    excel_cam: Run, tmp_path: Path, arguments: list[str], regions: Path
) -> None:
    plain, voted, cams = tmp_path / "plain", tmp_path / "voted", tmp_path / "cams"
    assert excel_cam(*arguments, "--out", plain).exit_code == 0
    run = (*arguments, "--out", voted, "--regions", regions, "--save-cams", cams)
    assert excel_cam(*run).exit_code == 0
    source, changed = open_regions(regions, list(VOC_TAGS)), 0
    for name in VOC_TAGS:
        label, own = pixels(plain / f"{name}.png"), source.of(name)
        assert own is not None
        expected = vote(label, own.read((label.shape[0], label.shape[1])), VoteSettings())
        assert np.array_equal(pixels(voted / f"{name}.png"), expected)
        assert stamp_of(voted / f"{name}.png") != stamp_of(plain / f"{name}.png")
        assert stamp_of(voted / f"{name}.png") == read_maps_stamp(cams / f"{name}.npz")
        changed += int(np.count_nonzero(expected != label))
    assert changed
    record = json.loads((voted / "run.json").read_text())
    settings = {"region_share": 0.5, "component_share": 0.85, "fill_ignored": False}
    assert record["regions"] == {"from": str(regions), **settings}
    assert record["identity"]["known"]["regions"] == settings
    assert "regions" not in json.loads((plain / "run.json").read_text())["identity"]["known"]
    assert "(0 new, 6 kept)" in excel_cam(*run).stderr
    # The same labels as by the vote on finished ones.
    excel_cam("vote", plain, "--regions", regions, "--out", tmp_path / "after")
    for name in VOC_TAGS:
        assert np.array_equal(pixels(tmp_path / "after" / f"{name}.png"), pixels(voted / f"{name}.png"))


def test_another_vote_or_other_regions_are_other_labels(
    excel_cam: Run, tmp_path: Path, arguments: list[str], regions: Path
) -> None:
    out, name = tmp_path / "voted", next(iter(VOC_TAGS))
    run = (*arguments, "--out", out, "--regions", regions)
    assert excel_cam(*run).exit_code == 0
    other = excel_cam(*run, "--region-share", "0.9")
    assert other.exit_code == 1
    assert "region_share was 0.5, now 0.9" in other.stderr
    without = excel_cam(*arguments, "--out", out)
    assert "regions was" in without.stderr
    assert without.exit_code == 1
    Image.fromarray(pixels(regions / f"{name}.png") + np.uint16(1)).save(regions / f"{name}.png")
    refused = excel_cam(*run)
    assert refused.exit_code == 1
    assert f"1 labels in {out} were made otherwise, with other tags or regions" in refused.stderr
    assert "6 images, 5 done, 1 to label, 1 of them with a label made otherwise" in excel_cam(*run, "--dry-run").stdout
    assert "(6 new, 0 kept)" in excel_cam(*run, "--overwrite").stderr


def test_regions_that_are_missing_or_do_not_fit(
    excel_cam: Run, tmp_path: Path, arguments: list[str], regions: Path
) -> None:
    out, (first, second, *_) = tmp_path / "voted", VOC_TAGS
    run = (*arguments, "--out", out, "--regions", regions)
    (regions / f"{first}.png").unlink()
    refused = excel_cam(*run)
    assert refused.exit_code == 1
    assert f"no regions for 1 of 6 labels, first '{first}'" in refused.stderr.splitlines()[-1]
    assert not out.exists()
    Image.fromarray(np.ones((5, 5), np.uint8)).save(regions / f"{second}.png")
    failed = excel_cam(*run, "--allow-missing-regions")
    assert failed.exit_code == 3
    assert f"failed: {second}: {regions / second}.png: regions of 5 x 5" in failed.stderr
    assert json.loads((out / "failed.jsonl").read_text())["name"] == second
    assert not (out / f"{second}.png").exists()
    assert (out / f"{first}.png").exists()
    among = excel_cam(*arguments, "--out", regions, "--regions", regions)
    assert among.exit_code == 2
    assert "whose regions are read; choose another --out" in among.stderr


def test_settings_of_a_vote_need_regions(excel_cam: Run, tmp_path: Path, arguments: list[str]) -> None:
    refused = excel_cam(*arguments, "--out", tmp_path / "out", "--fill-ignored")
    assert refused.exit_code == 2
    assert "need --regions" in refused.stderr


def test_photographs_in_shards_are_labelled_first(excel_cam: Run, tmp_path: Path, regions: Path) -> None:
    pytest.importorskip("pyarrow", reason="labels in shards need pyarrow")
    refused = excel_cam(
        "generate", "--dataset", "folder", "--root", tmp_path / "*.tar", "--all-classes", "--classes", tmp_path / "x",
        "--regions", regions, "--out", tmp_path / "out",
    )  # fmt: skip
    assert refused.exit_code == 2
    assert "--regions does not go with photographs in shards: have them vote on the finished labels" in refused.stderr
