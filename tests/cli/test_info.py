"""`excel-cam info`: what is printed of this machine, and emptying the caches."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from excel_cam import __version__
from excel_cam.cli.commands.info import EXTRAS

Run = Callable[..., Result]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with a file of each kind, and files that excel-cam never wrote."""
    folder = tmp_path / "cache"
    for name, content in (
        (f"text/voc-{'0' * 32}.npz", "12345"),
        (f"models/{'a' * 32}.json", "{}"),
        ("models/mymodel.json", "{}"),
        ("text/features.npz", ""),
        ("text/mine.txt", ""),
        ("thesis.npz", ""),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    monkeypatch.setenv("EXCEL_CAM_CACHE", str(folder))
    return folder


def test_it_says_versions_device_caches_weights_and_extras(excel_cam: Run, cache: Path) -> None:
    lines = excel_cam("info").stdout.splitlines()
    assert lines[0].startswith(f"excel-cam  {__version__}, Python 3.")
    assert [line.split()[0] for line in lines[1:5]] == ["libraries", "extras", "device", "threads"]
    assert f"cache      text rows of knowledge bases: 1 file, 5 bytes, {cache / 'text'}" in lines
    assert "weights    excel-cam-demo, comes with excel-cam" in lines


def test_json_holds_the_same(excel_cam: Run, cache: Path, voc_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCEL_CAM_VOC_ROOT", str(voc_root))
    record = json.loads(excel_cam("info", "--json").stdout)
    assert record["excel_cam"] == __version__
    assert record["threads"] >= 1
    assert record["data_sets"]["voc"] == {"root": str(voc_root), "found": "EXCEL_CAM_VOC_ROOT"}
    assert [entry["files"] for entry in record["caches"]] == [1, 1]


def test_roots_of_a_config_file_are_told(
    excel_cam: Run, cache: Path, voc_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXCEL_CAM_VOC_ROOT", raising=False)
    config = tmp_path / "config.toml"
    config.write_text(f"[roots]\nvoc = {json.dumps(str(voc_root))}\ncoco = {json.dumps(str(tmp_path / 'gone'))}\n")
    result = excel_cam("info", "--json", "--config", config)
    assert result.exit_code == 0, result.output
    data_sets = json.loads(result.stdout)["data_sets"]
    assert data_sets["voc"]["root"] == str(voc_root)
    assert data_sets["coco"] == {"root": str(tmp_path / "gone"), "found": "config file; no such data set there"}


def test_clear_says_what_it_removes_and_leaves_what_is_not_its_own(excel_cam: Run, cache: Path) -> None:
    result = excel_cam("info", "--clear")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"removing 1 file, 5 bytes: text rows of knowledge bases in {cache / 'text'}",
        f"removing 1 file, 2 bytes: identities of models in {cache / 'models'}",
    ]
    left = sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())
    assert left == ["models/mymodel.json", "text/features.npz", "text/mine.txt", "thesis.npz"]


def test_a_linked_folder_is_somebody_elses(excel_cam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "theirs" / f"voc-{'0' * 32}.npz"
    theirs.parent.mkdir()
    theirs.write_text("12345")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "text").symlink_to(theirs.parent)
    monkeypatch.setenv("EXCEL_CAM_CACHE", str(tmp_path / "cache"))
    assert excel_cam("info", "--clear").exit_code == 0
    assert theirs.exists()
    assert excel_cam("info", "--clear").exit_code == 0


def test_every_extra_that_a_user_installs_is_told() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    assert set(EXTRAS) == set(setup["options.extras_require"]) - {"test"}


def test_weights_in_the_cache_are_told_by_the_name_that_runs_them(
    excel_cam: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = cache / "text" / f"voc-{'0' * 32}.npz"
    monkeypatch.setattr(
        "excel_cam.model.at_hand.cached_weights", lambda record: file if record["model"] == "ViT-B-16" else None
    )
    monkeypatch.setattr("excel_cam.model.at_hand.get_pretrained_cfg", _with_name)
    lines = [line for line in excel_cam("info").stdout.splitlines() if "--pretrained openai" in line]
    assert lines == [f"weights    --model ViT-B-16-quickgelu --pretrained openai: 5 bytes, {file}"]


def _with_name(model: str, tag: str) -> dict[str, object]:
    """A record of weights that OpenAI trained, which knows its model's name."""
    return {"model": model.removesuffix("-quickgelu"), "quick_gelu": tag == "openai"}
