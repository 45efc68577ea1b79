"""`examples/benchmark.py`: its figures fit together, and its table and JSON hold them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import benchmark
import benchmark_measures as measures
import numpy as np
import pytest
from benchmark_train import time_training
from click.testing import CliRunner
from PIL import Image

from excel_cam.settings import ModelChoice, Settings


def test_speed_is_measured_on_the_tiny_model(tiny_model: tuple[Path, Path], tmp_path: Path) -> None:
    config, weights = tiny_model
    paths = measures.write_photographs(tmp_path / "photographs", 2, 40, 60)
    assert [Image.open(path).size for path in paths] == [(60, 40)] * 2
    choice = ModelChoice(name=str(config), weights=weights, device="cpu", precision="bf16")
    rows = benchmark.measure_speed(choice, paths, 3, 1, tmp_path)
    found = {row.what.removeprefix("cpu bf16: "): row for row in rows}
    image, plain = found["one image of it"].value, found["one plain fp32 encode_image, batch 1"].value
    ratio = found["one image / one plain fp32 encode_image"]
    assert ratio.value == pytest.approx(image / plain)
    assert ratio.bar == "bar <= 1.3, aim 1.0"
    assert 1000 / image == pytest.approx(rows[0].value)
    assert len([what for what in found if what.startswith("stage ")]) == 7
    assert ratio.line() == f"| cpu bf16: one image / one plain fp32 encode_image | {ratio.value:,.4g}  | {ratio.bar} |"
    assert len(list((tmp_path / "cpu-bf16-torch-1").glob("*.png"))) == 3


def test_shares_of_equal_pixels() -> None:
    first, second = (
        [measures.np.zeros((2, 2)), measures.np.ones((1, 4))],
        [measures.np.eye(2), measures.np.ones((1, 4))],
    )
    assert measures.share_of_equal_pixels(first, second) == 0.75


def test_start_up_as_table_and_json(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    arguments = ["--only", "start", "--repeat", "1", "--device", "cpu", "--json", str(path)]
    result = CliRunner().invoke(benchmark.main, arguments)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-4] == "| what | measured | bar |"
    figures = json.loads(path.read_text())["figures"]
    assert [figure["what"] for figure in figures] == ["excel-cam --help", "excel-cam --version"]
    assert [float(line.split("|")[2].split()[0]) for line in lines[-2:]] == [
        pytest.approx(figure["value"], rel=1e-3) for figure in figures
    ]


def test_a_failing_command_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No such command"):
        measures.run_command("nonsense")


def test_a_command_is_measured_without_the_memory_of_whoever_measures() -> None:
    own = np.ones(60_000_000)  # 0.48 GB
    small = measures.measure_process([sys.executable, "-S", "-c", "pass"])
    large = measures.measure_process([sys.executable, "-S", "-c", "b = b'x' * 200_000_000"])
    assert own.nbytes / 1e9 > large.peak_gb > small.peak_gb + 0.15
    assert 0 < small.seconds < 60


def test_a_training_step_is_measured_in_each_phase(tiny_model: tuple[Path, Path], tmp_path: Path) -> None:
    config, weights = tiny_model
    paths = measures.write_photographs(tmp_path / "photographs", 4, 80, 90)
    settings = Settings(attributes="none", size=64)
    choice = ModelChoice(name=str(config), weights=weights, device="cpu")
    times = time_training(choice, paths, settings, 1)
    assert [name for name in times if name.startswith("whole step")] == [
        "whole step, static", "whole step, dynamic", "whole step, own prediction",
    ]  # fmt: skip
    assert times["whole step, static"] > times["frozen pass"] > 0


def test_parts_are_kept_and_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text(
        "Before.\n\nMachine: old.\nModel: old.\n\n| what | measured | bar |\n|---|---|---|\n| x | 1 |  |\n\nAfter.\n"
    )
    monkeypatch.setattr(benchmark, "measure_label", lambda *_: [benchmark.Row("label", 3.0, "s", "bar <= 7")])

    def interrupted(_repeat: int) -> list[benchmark.Row]:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "measure_start", interrupted)
    arguments = ["--only", "label", "--only", "start", "--device", "cpu", "--json", str(path), "--renew", str(page)]
    assert CliRunner().invoke(benchmark.main, arguments).exit_code == 1
    assert [figure["part"] for figure in json.loads(path.read_text())["figures"]] == ["label"]
    assert "| x | 1 |  |" in page.read_text()  # as long as the run is not finished

    monkeypatch.setattr(benchmark, "measure_label", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(benchmark, "measure_start", lambda _: [benchmark.Row("start", 0.1, "s")])
    result = CliRunner().invoke(benchmark.main, arguments)
    assert result.exit_code == 0, result.output
    assert "label: measured before, kept" in result.stderr
    text = page.read_text()
    assert text.startswith("Before.\n\nMachine: ")
    assert text.endswith("|---|---|---|\n| label | 3 s | bar <= 7 |\n| start | 0.1 s |  |\n\nAfter.\n")

    other = CliRunner().invoke(benchmark.main, [*arguments, "--model", "ViT-B-32-quickgelu"])
    assert other.exit_code == 2
    assert "figures of another machine, model or version; name another file" in other.stderr
    page.write_text("no table")
    assert "has no line 'Machine: ...'" in CliRunner().invoke(benchmark.main, arguments).stderr


def test_the_compiled_backend_is_measured_beside_the_share_of_labels_that_are_torchs(
    tiny_model: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="the extra `fast` (openvino) is not installed")
    config, weights = tiny_model
    paths = measures.write_photographs(tmp_path / "photographs", 2, 40, 60)
    choice = ModelChoice(name=str(config), weights=weights, device="cpu", precision="fp32", backend="openvino")
    rows = {row.what: row for row in benchmark.measure_speed(choice, paths, 3, 1, tmp_path)}
    assert rows["cpu fp32 openvino: one image / one plain fp32 encode_image"].bar == "bar <= 1.05, aim 0.9"
    equal = rows["cpu fp32 openvino: labels equal to torch's on the CPU, 8 photographs"]
    assert equal.value >= 0.9999
    assert equal.bar == "bar >= 0.9999"
