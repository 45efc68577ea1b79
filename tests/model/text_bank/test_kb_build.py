"""`excel-cam kb build`, as a user sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from click.testing import Result
from pets import PETS
from reference_text import TOLERANCE, Embed, assert_clusters, reference_plain, reference_sentences

Run = Callable[..., Result]


def test_kb_build_says_what_it_did(
    excel_cam: Run, model_arguments: list[str], cache: Path, tiny_model: tuple[Path, Path],
    no_encoding: Callable[[], None],
) -> None:  # fmt: skip
    first = excel_cam("kb", "build", *model_arguments)
    assert (first.exit_code, first.stdout) == (0, "")
    lines = first.stderr.splitlines()
    fingerprint = hashlib.sha256(tiny_model[1].read_bytes()).hexdigest()
    assert lines[0].startswith(f"model: tiny-quickgelu, weights {tiny_model[1]} ({fingerprint[:12]}), ")
    (path,) = (cache / "text").iterdir()
    assert lines[1].startswith("text bank: 45 text rows (20 classes), 112 attributes, from 445 texts in ")
    assert lines[1].endswith(f" s, cached as {path}")
    following = "next: excel-cam generate --dataset voc --out labels/"
    assert lines[2:] == [following]
    no_encoding()
    second = excel_cam("kb", "build", "--dataset", "voc", *model_arguments)
    assert (second.exit_code, second.stdout) == (0, "")
    assert second.stderr.splitlines()[1:] == [
        f"text bank: 45 text rows (20 classes), 112 attributes, from the cache {path}", following,
    ]  # fmt: skip


def test_kb_build_writes_the_bank(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path, embed: Embed
) -> None:
    out = tmp_path / "new" / "bank.npz"
    result = excel_cam("kb", "build", "--kb", pets_file, "--bank", out, *model_arguments)
    assert result.exit_code == 0
    assert "text bank: 6 text rows (3 classes), 5 attributes, from 24 texts in " in result.stderr
    assert result.stderr.splitlines()[-2:] == [
        f"written: {out}", f"next: excel-cam generate ... --kb {out.parents[1] / 'pets.json'}",
    ]  # fmt: skip
    with np.load(out, allow_pickle=False) as stored:
        content = dict(stored)
    assert list(content) == ["names", "plain", "bank", "text"]
    assert content["names"].tolist() == ["Cat", "goldfish", "parrot", "grass", "sofa", "window"]
    assert [(content[key].shape, content[key].dtype) for key in ("plain", "bank", "text")] == [
        ((6, 64), np.float32), ((64, 5), np.float32), ((6, 64), np.float32),
    ]  # fmt: skip
    plain = reference_plain(PETS, embed)
    assert np.abs(content["plain"] - plain).max() < TOLERANCE
    assert_clusters(content["bank"], reference_sentences(PETS, embed))
    assert np.abs(content["text"] - reference.enrich(plain, content["bank"], 3)).max() < TOLERANCE


def test_kb_build_writes_the_same_bytes_from_scratch_and_from_the_cache(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = []
    for index, folder in enumerate(("one", "one", "two")):
        monkeypatch.setenv("EXCEL_CAM_CACHE", str(tmp_path / folder))
        out = tmp_path / f"{index}.npz"
        result = excel_cam("kb", "build", "--kb", pets_file, "--bank", out, *model_arguments)
        assert ("from the cache" in result.stderr) == (index == 1)
        contents.append(out.read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_kb_build_without_attributes(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bank.npz"
    result = excel_cam("kb", "build", "--kb", pets_file, "--bank", out, "--attributes", "none", *model_arguments)
    assert "text bank: 6 text rows (3 classes), 0 attributes, from 6 texts in " in result.stderr
    with np.load(out) as stored:
        assert stored["bank"].shape == (64, 0)
        np.testing.assert_array_equal(stored["text"], stored["plain"])


def test_kb_build_takes_the_settings_of_the_text_side(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path, embed: Embed
) -> None:
    out = tmp_path / "bank.npz"
    options = ["--clusters", 12, "--keep", 0.7, "--strength", 2.5]
    assert excel_cam("kb", "build", "--kb", pets_file, "--bank", out, *options, *model_arguments).exit_code == 0
    with np.load(out) as stored:
        expected = reference.enrich(reference_plain(PETS, embed), stored["bank"], 3, 0.7, 2.5)
        assert stored["bank"].shape == (64, 12)
        assert np.abs(stored["text"] - expected).max() < TOLERANCE


def test_kb_build_can_be_quiet(excel_cam: Run, model_arguments: list[str], pets_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "bank.npz"
    result = excel_cam("kb", "build", "--kb", pets_file, "--bank", out, "--quiet", *model_arguments)
    assert (result.exit_code, result.output) == (0, "")
    assert out.is_file()


@pytest.mark.parametrize(
    ("record", "options", "expected"),
    [
        ({**PETS, "background": None}, (), "pets.json: background: expected a list of texts, came null"),
        (PETS, ("--clusters", 19), "'pets' has 18 sentences, too few for 19 attributes"),
        ({**PETS, "background": ["sky " * 90]}, (), "background word 1 is too long"),
        (PETS, ("--kb", "absent.json"), "absent.json: the knowledge base cannot be read: No such file or directory"),
        (PETS, ("--weights", "absent.pt"), "absent.pt: no such weights file"),
        (PETS, ("--model", "nonsense"), "model 'nonsense' is not known to open_clip"),
        (PETS, ("--bank", "pets.json/bank.npz"), "pets.json/bank.npz cannot be written: "),
    ],
)
def test_kb_build_ends_with_one_line_and_status_1(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, monkeypatch: pytest.MonkeyPatch,
    record: dict[str, Any], options: tuple[Any, ...], expected: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(pets_file.parent)
    pets_file.write_text(json.dumps(record))
    result = excel_cam("kb", "build", "--kb", pets_file, *model_arguments, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("Error: ") == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert expected in last


def test_kb_build_into_a_cache_that_cannot_be_written(
    excel_cam: Run, model_arguments: list[str], pets_file: Path, cache: Path
) -> None:
    cache.write_text("a file where a folder is wanted")
    result = excel_cam("kb", "build", "--kb", pets_file, "--quiet", *model_arguments)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "EXCEL_CAM_CACHE" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--dataset", "pets"),
        ("--keep", "0"),
        ("--keep", "1.5"),
        ("--keep", "much"),
        ("--clusters", "0"),
        ("--clusters", "2.5"),
        ("--strength", "-1"),
        ("--attributes", "some"),
        ("--preset", "draft"),
        ("--refine", "none"),
        ("--bank", "."),
        ("unexpected",),
    ],
)
def test_kb_build_refuses_wrong_usage_with_status_2(
    excel_cam: Run, model_arguments: list[str], cache: Path, options: tuple[str, ...]
) -> None:
    result = excel_cam("kb", "build", *model_arguments, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert not cache.exists()
