"""What would be wrong and said to be right: values that are not finite, failing machines, labels without a class."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from drawn import VOC_TAGS
from PIL import Image

from excel_cam.files.images.photographs import Photograph

Run = Callable[..., Result]


def error_line(result: Result) -> str:
    assert result.exit_code == 1, result.stdout
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert "complete" not in line
    return line


def spoilt_weights(tiny_model: tuple[Path, Path], path: Path, tensor: str, factor: float) -> Path:
    state = torch.load(tiny_model[1], weights_only=True)
    state[tensor] = state[tensor] * factor
    torch.save(state, path)
    return path


# ---- values that are not finite


@pytest.mark.parametrize(
    ("tensor", "factor", "precision", "words"),
    [
        ("visual.conv1.weight", 1e8, "fp16", "in fp16: its values pass what fp16 can hold; use --precision fp32"),
        ("visual.transformer.resblocks.1.mlp.c_proj.weight", 1e38, "fp32", "not finite even in fp32"),
        ("visual.transformer.resblocks.1.mlp.c_proj.weight", 1e38, "bf16", "use --precision fp32"),
        ("text_projection", 1e38, "fp32", "text tower's rows are not finite"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [(), ("--no-affinity",), ("--refine", "none")], ids=str)
def test_maps_that_overflow_stop_a_run(
    excel_cam: Run, arguments: list[str], tmp_path: Path, tiny_model: tuple[Path, Path], tensor: str, factor: float,
    precision: str, words: str, more: tuple[str, ...], voc_root: Path, model_arguments: list[str],
) -> None:  # fmt: skip
    weights, out = spoilt_weights(tiny_model, tmp_path / "spoilt.pt", tensor, factor), tmp_path / "labels"
    choice = ("--weights", weights, "--precision", precision, *more)
    assert words in error_line(excel_cam(*arguments, *choice, "--out", out, "--save-cams", tmp_path / "cams"))
    # The photograph without tags comes third, and its label needs no map.
    assert {path.stem for path in out.glob("*.png")} <= {"2007_000003"}
    if (out / "run.json").exists():
        assert json.loads((out / "run.json").read_text())["state"] == "stopped"
    photograph = voc_root / "JPEGImages" / "2007_000001.jpg"
    single = ("label", photograph, "--classes", "kayak", "--size", "64", "--out", tmp_path / "single")
    assert words in error_line(excel_cam(*single, *model_arguments, *choice))
    assert not list((tmp_path / "single").glob("2007*"))


def test_what_fits_the_precision_goes_on(
    excel_cam: Run, arguments: list[str], tmp_path: Path, tiny_model: tuple[Path, Path]
) -> None:
    weights = spoilt_weights(tiny_model, tmp_path / "large.pt", "visual.conv1.weight", 1e8)
    result = excel_cam(*arguments, "--weights", weights, "--precision", "fp32", "--out", tmp_path / "labels")
    assert result.exit_code == 0, result.stderr


def test_an_overflow_on_a_device_is_seen_when_labels_are_fetched(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CUDA, where nobody waits for the device in between: the batch is computed, and none of it is written."""
    from excel_cam.run.labeller import Labeller

    whole = Labeller._maps_on_grid

    def overflow(self: Labeller, *arguments: object) -> torch.Tensor:
        return whole(self, *arguments) * float("inf")  # type: ignore[arg-type]

    monkeypatch.setattr(Labeller, "_maps_on_grid", overflow)
    out = tmp_path / "labels"
    assert "not finite" in error_line(excel_cam(*arguments, "--no-affinity", "--out", out))
    assert {path.stem for path in out.glob("*.png")} <= {"2007_000003"}


# ---- machines that fail


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.ETIMEDOUT])
def test_a_failing_machine_stops_the_run_and_no_photograph_is_blamed(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    whole = builtins.open

    def fail(file: object, *rest: object, **options: object) -> object:
        if str(file).endswith("2008_000004.jpg"):
            raise OSError(number, os.strerror(number), str(file))
        return whole(file, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", fail)
    monkeypatch.setattr(io, "open", fail)
    out = tmp_path / "labels"
    line = error_line(excel_cam(*arguments, "--out", out, "--batch-size", "1"))
    assert f"2008_000004.jpg: {os.strerror(number)}: the machine fails, not this file; " in line
    assert not (out / "failed.jsonl").exists()
    assert json.loads((out / "run.json").read_text())["state"] == "stopped"
    monkeypatch.undo()
    assert excel_cam(*arguments, "--out", out).exit_code == 0
    assert len(list(out.glob("*.png"))) == len(VOC_TAGS)


def test_a_gpu_too_small_for_the_model_is_one_line(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_small(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr("excel_cam.run.worker.prepare_text", too_small)
    assert "the GPU's memory does not hold it; end other" in error_line(
        excel_cam(*arguments, "--out", tmp_path / "out")
    )


def test_a_file_that_may_not_be_read_is_a_fault_of_that_file(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excel_cam.files.images import open_image

    whole = open_image.require_plain_file

    def refuse(path: Path) -> None:
        if path.name == "2008_000004.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")
        whole(path)

    monkeypatch.setattr(open_image, "require_plain_file", refuse)
    assert excel_cam(*arguments, "--out", tmp_path / "labels").exit_code == 3
    monkeypatch.undo()
    assert "Permission denied" in (tmp_path / "labels" / "failed.jsonl").read_text()


def test_doctor_blames_no_label_and_no_photograph_for_the_machine(
    excel_cam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 3:9] = 1
    for folder, name in (("labels", "a.png"), ("images", "a.jpg")):
        (tmp_path / folder).mkdir()
        Image.fromarray(mask).save(tmp_path / folder / name)
    whole = builtins.open
    for suffix in (".png", ".jpg"):

        def fail(file: object, *rest: object, suffix: str = suffix, **options: object) -> object:
            if str(file).endswith(f"a{suffix}"):
                raise OSError(errno.EIO, "Input/output error")
            return whole(file, *rest, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(builtins, "open", fail)
        monkeypatch.setattr(io, "open", fail)
        line = error_line(excel_cam("doctor", tmp_path / "labels", "--images", tmp_path / "images"))
        assert f"a{suffix}: Input/output error: the machine fails" in line


def test_memory_that_does_not_hold_a_photograph_is_one_line(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excel_cam.run import labeller

    def no_memory(*_: object) -> torch.Tensor:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(labeller, "pixel_adaptive_refinement", no_memory)
    line = error_line(excel_cam(*arguments, "--out", tmp_path / "labels"))
    assert "the memory does not hold a photograph of 60 x 97 with 2 classes" in line
    assert "--working-pixels" in line


# ---- labels without a class


def test_a_run_of_background_alone_says_so_at_its_end(
    excel_cam: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "none of the 5 labels made now of images with tags holds a class"
    assert said not in excel_cam(*arguments, "--out", tmp_path / "good").stderr
    as_stored = Photograph.as_stored
    monkeypatch.setattr(Photograph, "as_stored", lambda self, planes: as_stored(self, planes) * 0)
    empty = excel_cam(*arguments, "--out", tmp_path / "empty")
    assert empty.exit_code == 0
    assert empty.stderr.count(said) == 1
    assert "--weights" in empty.stderr
    assert said in excel_cam(*arguments, "--out", tmp_path / "empty", "--overwrite").stderr
