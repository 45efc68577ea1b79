"""Fixtures that more than one test file uses: a tiny generated model, drawn photographs, the command line."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn import VOC_TAGS, draw_photograph
from hypothesis import settings

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Models and images are tiny here: threads would wait for one another longer than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache or data sets; all tests of a session share one cache."""
    monkeypatch.setenv("EXCEL_CAM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    launchers = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    roots = (f"EXCEL_CAM_{name}_ROOT" for name in ("VOC", "COCO", "CONTEXT", "ADE20K", "CITYSCAPES"))
    for name in (*roots, "HF_HOME", "HF_HUB_CACHE", *launchers):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell that puts the tests in the background has them ignore SIGINT, and so would all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A generated CLIP, small but with every part of a real one: (open_clip configuration, weights file)."""
    import torch
    from generate_weights import random_state_dict, write_tiny_config

    folder = tmp_path_factory.mktemp("model")
    config = write_tiny_config(folder / "tiny-quickgelu.json")
    weights = folder / "tiny.pt"
    torch.save(random_state_dict(str(config)), weights)
    return config, weights


@pytest.fixture(scope="session")
def model_arguments(tiny_model: tuple[Path, Path]) -> list[str]:
    """Command-line arguments that choose the tiny model and a small input."""
    config, weights = tiny_model
    return ["--model", str(config), "--weights", str(weights)]


@pytest.fixture
def excel_cam() -> Callable[..., Result]:
    """Run the command line in this process; standard output and error are kept apart."""
    from excel_cam.cli.main import cli

    def run(*arguments: object, **options: object) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], **options)  # type: ignore[arg-type]
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "this is a fault of the program" not in result.stderr, result.stderr
        return result

    return run


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    """Six drawn photographs of different sizes in VOC layout, with `tags.csv`; one has no tag."""
    root = tmp_path / "VOC2012"
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for index, name in enumerate(VOC_TAGS):
        draw_photograph(60 + 11 * index, 97 - 7 * index, index).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(VOC_TAGS) + "\n")
    (root / "tags.csv").write_text("name,classes\n" + "".join(f"{name},{tags}\n" for name, tags in VOC_TAGS.items()))
    return root


@pytest.fixture
def arguments(voc_root: Path, model_arguments: list[str]) -> list[str]:
    """The command that labels the six drawn photographs, less its --out."""
    return [
        "generate", "--dataset", "voc", "--root", str(voc_root), "--split", "train",
        "--tags", str(voc_root / "tags.csv"), "--size", "64", "--device", "cpu", *model_arguments,
    ]  # fmt: skip
