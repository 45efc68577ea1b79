"""How fast labels come and what memory they take, as a Markdown table and JSON, each figure beside its bar.

    python examples/benchmark.py --json figures.json                   # all of it; goes on where it stopped
    python examples/benchmark.py --only speed --device cpu --precision bf16
    python examples/benchmark.py --json figures.json --renew examples/README.md
    python examples/benchmark.py --photographs VOC2012/JPEGImages --weights ViT-B-16.pt --json benchmark.json

Speed is measured with ViT-B/16 on generated photographs of 375 x 500 with 3 or 4 tags each, unless told otherwise.
Random weights are as fast as real ones: no step's work depends on the values. The yardstick is one plain open_clip
`encode_image` of one image at the same input size, timed in the same process between the runs, so that a busy machine
slows both.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchmark_measures as measures
import benchmark_train
import click
import torch
from generate_weights import random_state_dict, write_tiny_config

from excel_cam.files.images.photographs import read_image
from excel_cam.files.processors import default_workers
from excel_cam.knowledge.base import shipped_knowledge
from excel_cam.model.clip import load_model, resolve_device
from excel_cam.model.text_bank import build_text_bank
from excel_cam.run.batch_size import automatic_batch_size
from excel_cam.run.labeller import Labeller
from excel_cam.settings import ModelChoice, Settings

# Each takes less than two minutes, but for bf16 on a CPU without instructions for it.
PARTS = ("speed", "memory", "growth", "start", "label", "train")
HEADING = "| what | measured | bar |"
MANY, FEW = 1000, 100  # images whose resident memory is compared
# Of an image to a plain encode_image in float32, by device, precision and backend.
RATIO_BARS = {
    "cpu fp32": "bar <= 1.25, aim 1.1",
    "cpu bf16": "bar <= 1.3, aim 1.0",
    "cpu fp32 openvino": "bar <= 1.05, aim 0.9",
}
SETTINGS = Settings(attributes="none")  # no sentences to encode; labelling takes the same time


@dataclass(frozen=True)
class Row:
    """One figure: what it is of, its value with its unit, and its bar, where it has one."""

    what: str
    value: float
    unit: str = ""
    bar: str = ""

    def line(self) -> str:
        """The figure as a line of a Markdown table."""
        text = f"{self.value:.5f}" if self.unit == "of pixels" else f"{self.value:,.4g}"
        return f"| {self.what} | {text} {self.unit} | {self.bar} |"


def measure_speed(choice: ModelChoice, paths: list[Path], count: int, repeat: int, folder: Path) -> list[Row]:
    """Whole runs between yardsticks, then stage by stage, then on CUDA the device alone."""
    precision = choice.precision
    loaded = load_model(choice)
    labeller = Labeller(loaded, build_text_bank(shipped_knowledge("voc"), loaded, SETTINGS), SETTINGS)
    on_gpu = loaded.device.type == "cuda"
    batch_size, samples = automatic_batch_size(labeller), measures.make_samples(paths, count)
    forwards = {name: measures.plain_forward(loaded, labeller.size, name) for name in {"fp32", precision}}
    yardsticks: dict[str, list[float]] = {name: [] for name in forwards}
    wholes = []
    for index in range(repeat + 1):  # the first round warms up
        for name, forward in forwards.items():
            yardsticks[name] += [measures.seconds(loaded.device, forward) for _ in range(3)]
        out = folder / f"{loaded.device.type}-{precision}-{choice.backend}-{index}"
        wholes.append(measures.time_run(labeller, samples, out, batch_size, default_workers()))
        for name, forward in forwards.items():
            yardsticks[name] += [measures.seconds(loaded.device, forward) for _ in range(3)]
    whole = statistics.median(wholes[1:])
    plain = {name: statistics.median(times[6:]) for name, times in yardsticks.items()}
    where = f"{loaded.device.type} {precision}" + ("" if choice.backend == "torch" else f" {choice.backend}")
    rows = [
        Row(f"{where}: whole run, files to files, batch {batch_size}, {default_workers()} workers", 1 / whole,
            "images/s", "bar >= 300, aim 800" if on_gpu and precision == "bf16" else ""),
        Row(f"{where}: one image of it", 1000 * whole, "ms"),
        *(Row(f"{where}: one plain {name} encode_image, batch 1", 1000 * plain[name], "ms") for name in sorted(plain)),
        *(Row(f"{where}: one image / one plain {name} encode_image", whole / plain[name], "",
              RATIO_BARS.get(where, "") if name == "fp32" else "") for name in sorted(plain)),
    ]  # fmt: skip
    stages = measures.time_stages(labeller, samples[:6], folder)
    rows += [Row(f"{where}: stage {stage}", 1000 * took, "ms") for stage, took in stages.items()]
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        alone = measures.time_device(labeller, samples, batch_size)
        rows.append(Row(f"{where}: device alone, labels back on the host", 1 / alone, "images/s",
                        "bar >= 800, aim 2,000" if precision == "bf16" else ""))  # fmt: skip
        rows.append(Row(f"{where}: peak memory of the device", torch.cuda.max_memory_allocated() / 1e9, "GB"))
        rows += compare_with_cpu(labeller, choice, paths, where, 0.999) if precision == "fp32" else []
    elif choice.backend != "torch":
        rows += compare_with_cpu(labeller, choice, paths, where, 0.9999)
    return rows


def compare_with_cpu(labeller: Labeller, choice: ModelChoice, paths: list[Path], where: str, least: float) -> list[Row]:
    """The share of pixels on which float32 labels equal those that torch computes on the CPU."""
    on_cpu = load_model(ModelChoice(choice.name, choice.pretrained, choice.weights, "cpu", "fp32"))
    reference = Labeller(on_cpu, build_text_bank(shipped_knowledge("voc"), on_cpu, SETTINGS), SETTINGS)
    samples = measures.make_samples(paths, 8)
    photographs, tags = [read_image(s.image_path) for s in samples], [s.tags for s in samples]
    share = measures.share_of_equal_pixels(labeller.label(photographs, tags), reference.label(photographs, tags))
    what = f"{where}: labels equal to torch's on the CPU, 8 photographs"
    return [Row(what, share, "of pixels", f"bar >= {least}")]


def data_set(folder: Path, paths: list[Path], count: int) -> list[str]:
    """A folder of `count` photographs as links, with class list and tags; the arguments that label it."""
    images = folder / f"images-{count}"
    images.mkdir()
    samples = measures.make_samples(paths, count)
    for sample in samples:
        (images / f"{sample.name}.jpg").symlink_to(sample.image_path.resolve())
    classes = [f"class{index:02d}" for index in range(measures.CLASSES)]
    (folder / "classes.txt").write_text("\n".join(classes))
    lines = (f"{sample.name},{';'.join(classes[tag] for tag in sample.tags)}\n" for sample in samples)
    (folder / f"tags-{count}.csv").write_text("name,classes\n" + "".join(lines))
    return [
        "generate", "--dataset", "folder", "--root", str(images), "--classes", str(folder / "classes.txt"), "--tags",
        str(folder / f"tags-{count}.csv"), "--device", "cpu", "--out", str(folder / f"out-{count}"),
    ]  # fmt: skip


def measure_memory(model: str, weights: Path, paths: list[Path], folder: Path) -> list[Row]:
    """Peak memory of the command, the model in batches of 8."""
    large = measures.run_command(*data_set(folder, paths, 16), "--model", model, "--weights", weights,
                                 "--batch-size", 8, "--precision", "fp32")  # fmt: skip
    return [Row(f"cpu fp32: peak memory of a run of {model}, batch 8", large.peak_gb, "GB", "bar <= 4, aim 2.5")]


def measure_growth(folder: Path) -> list[Row]:
    """Peak memory of a tiny model on few and on many images, and the time of a run with nothing left to do."""
    config, tiny_weights = write_tiny_config(folder / "tiny-quickgelu.json"), folder / "tiny.pt"
    torch.save(random_state_dict(str(config)), tiny_weights)
    small = measures.write_photographs(folder / "small", 40, 48, 64)
    tiny = ["--model", config, "--weights", tiny_weights, "--size", 64]
    peaks = {}
    for count in (MANY // 50, FEW, MANY):  # the first fills the cache of text rows
        arguments = data_set(folder, small, count)
        peaks[count] = measures.run_command(*arguments, *tiny).peak_gb
    again = measures.run_command(*arguments, *tiny)
    growth = 100 * (peaks[MANY] / peaks[FEW] - 1)
    return [
        Row(f"resident memory, {MANY:,} images against {FEW} (tiny model)", growth, "% more", "bar <= 5, aim 0"),
        Row(f"second run, everything labelled, {MANY:,} images", again.seconds, "s", "bar <= 3, aim 1.5"),
    ]


def measure_start(repeat: int) -> list[Row]:
    """Start-up, the median of several."""
    rows = []
    for argument in ("--help", "--version"):
        took = statistics.median(measures.run_command(argument).seconds for _ in range(2 * repeat + 1))
        rows.append(Row(f"excel-cam {argument}", took, "s", "bar <= 0.15, aim 0.1"))
    return rows


def measure_label(paths: list[Path], repeat: int, folder: Path) -> list[Row]:
    """Processor time of `label` for one photograph with the model that comes along, its text rows cached."""
    labels = folder / "one"
    arguments = [
        "label",
        paths[0],
        "--classes",
        "cat,sofa",
        "--model",
        "excel-cam-demo",
        "--out",
        labels,
        "--overwrite",
    ]
    measures.run_command(*arguments)
    took = statistics.median(measures.run_command(*arguments).processor_seconds for _ in range(repeat))
    return [Row("excel-cam label, one photograph, excel-cam-demo, text rows cached", took, "processor s",
                "bar <= 7, aim 5")]  # fmt: skip


def measure_training(choice: ModelChoice, paths: list[Path], repeat: int) -> list[Row]:
    """A training step of 4 crops, stage by stage."""
    times = benchmark_train.time_training(choice, paths, SETTINGS, repeat)
    return [Row(f"training, {stage}", took, "s") for stage, took in times.items()]


class Figures:
    """The figures of a run, part by part; with a file, kept there as soon as a part is measured, and found there."""

    def __init__(self, about: dict[str, Any], path: Path | None) -> None:
        self.about, self.path = about, path
        self.parts: dict[str, list[Row]] = {}
        stored = json.loads(path.read_text()) if path is not None and path.exists() else {}
        if stored and any(stored.get(key) != value for key, value in about.items()):
            raise click.UsageError(f"{path}: figures of another machine, model or version; name another file")
        for figure in stored.get("figures", []):
            part = figure.pop("part")
            self.parts.setdefault(part, []).append(Row(**figure))

    def measure(self, part: str, work: Callable[[], list[Row]]) -> None:
        """Measure a part, unless its figures are there."""
        if part in self.parts:
            self.parts[part] = self.parts.pop(part)  # the table is in the order of what was asked for
            click.echo(f"{part}: measured before, kept", err=True)
            return
        started = time.monotonic()
        self.parts[part] = work()
        click.echo(f"{part}: {time.monotonic() - started:.0f} s", err=True)
        if self.path is not None:
            figures = [{"part": name, **asdict(row)} for name, rows in self.parts.items() for row in rows]
            unfinished = self.path.with_name(self.path.name + ".part")
            unfinished.write_text(json.dumps(self.about | {"figures": figures}, indent=2) + "\n")
            unfinished.replace(self.path)

    def page(self) -> list[str]:
        """What was measured on, and the table, in Markdown."""
        about = self.about
        return [
            f"Machine: {about['machine']}; torch {about['torch']}, {about['threads']} threads.",
            f"Model: {about['model']} at {SETTINGS.size}; photographs: {about['photographs']}; 3 or 4 tags each.",
            "", HEADING, "|---|---|---|",
            *(row.line() for rows in self.parts.values() for row in rows),
        ]  # fmt: skip


def renew(page: Path, lines: list[str]) -> None:
    """Put figures in the place of those that a page has: from its line `Machine:` to the end of the table."""
    old = page.read_text().split("\n")
    first = next((index for index, line in enumerate(old) if line.startswith("Machine: ")), None)
    if first is None or HEADING not in old[first:]:
        raise click.UsageError(f"{page}: has no line 'Machine: ...' with a table '{HEADING}' below it")
    last = old.index(HEADING, first)
    while last < len(old) and old[last].startswith("|"):
        last += 1
    page.write_text("\n".join([*old[:first], *lines, *old[last:]]))


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Measure only this; may be repeated.")
@click.option("--photographs", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of .jpg.")
@click.option("--count", type=click.IntRange(6), show_default="8 on a CPU, 2000 on CUDA", help="Images of a run.")
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True, help="Runs; medians are reported.")
@click.option("--model", default=ModelChoice.name, show_default=True, help="open_clip name.")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Else random ones.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX; for speed.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), multiple=True, default=("fp32", "bf16"),
              show_default=True, help="For speed; may be repeated.")  # fmt: skip
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep figures here, part by part; those that are there are not measured again.",
)
@click.option(
    "--renew",
    "renewed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Put the table into this page, in place of the one it has.",
)
def main(
    only: tuple[str, ...], photographs: Path | None, count: int | None, repeat: int, model: str, weights: Path | None,
    device: str, precision: tuple[str, ...], json_path: Path | None, renewed: Path | None,
) -> None:  # fmt: skip
    """Measure labelling: speed against one plain forward pass, memory, start-up, processor time.

    \b
        python examples/benchmark.py
        python examples/benchmark.py --only speed --device cuda --json figures.json
    """
    target, chosen = resolve_device(device), only or PARTS
    about = {"machine": measures.machine(target), "torch": torch.__version__, "threads": torch.get_num_threads(),
             "model": model, "photographs": str(photographs or "generated, 375 x 500"),
             "python": sys.version.split()[0]}  # fmt: skip
    figures = Figures(about, json_path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["EXCEL_CAM_CACHE"] = str(folder / "cache")  # text rows of random weights are of no use later
        if photographs is None:
            paths = measures.write_photographs(folder / "photographs", 16 if target.type == "cpu" else 200, 375, 500)
        elif not (paths := sorted(photographs.glob("*.jpg"))):
            raise click.UsageError(f"{photographs}: no .jpg files in it")
        if weights is None and set(chosen) & {"speed", "memory", "train"}:
            weights = folder / "random.pt"
            torch.save(random_state_dict(model), weights)
        choice = ModelChoice(name=model, weights=weights, device=device)
        images = count or (8 if target.type == "cpu" else 2000)
        if "speed" in chosen and weights is not None:
            choices = [ModelChoice(name=model, weights=weights, device=device, precision=one) for one in precision]
            if target.type == "cpu" and "fp32" in precision and find_spec("openvino"):
                choices.append(dataclasses.replace(choice, precision="fp32", backend="openvino"))
            for one in choices:
                speed = functools.partial(measure_speed, one, paths, images, repeat, folder)
                computing = one.precision + ("" if one.backend == "torch" else f", {one.backend}")
                figures.measure(f"speed, {target.type} {computing}", speed)
        if "memory" in chosen and weights is not None:
            figures.measure("memory", functools.partial(measure_memory, model, weights, paths, folder))
        if "growth" in chosen:
            figures.measure("growth", functools.partial(measure_growth, folder))
        if "train" in chosen:
            figures.measure("train", functools.partial(measure_training, choice, paths, repeat))
        if "label" in chosen:
            figures.measure("label", functools.partial(measure_label, paths, repeat, folder))
        if "start" in chosen:
            figures.measure("start", functools.partial(measure_start, repeat))
    lines = figures.page()
    click.echo("\n".join(lines))
    if renewed is not None:
        renew(renewed, lines)


if __name__ == "__main__":
    main()
