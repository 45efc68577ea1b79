"""What `benchmark.py` measures: photographs, stages, whole runs, commands. Times are wall times in seconds."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from excel_cam.data.dataset import Sample
from excel_cam.files.images.photographs import read_image
from excel_cam.labels.failures import FailureLog
from excel_cam.labels.png import write_label
from excel_cam.method.affinity import spread_maps, transition_matrix
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.label_map import label_map, stack_background, upsample_maps
from excel_cam.method.refinement.par import pixel_adaptive_refinement
from excel_cam.method.threads import one_thread
from excel_cam.method.transfer import to_device
from excel_cam.model.clip import DTYPES, ClipModel
from excel_cam.model.weights import quiet_logs
from excel_cam.run.execute import execute, pace_on
from excel_cam.run.generate import photograph_stages
from excel_cam.run.labeller import GRID_DTYPE, Labeller
from excel_cam.run.plan import Destination, plan_run
from excel_cam.run.worker import Recipe, Worker
from excel_cam.settings import ModelChoice

CLASSES = 20


def write_photographs(folder: Path, count: int, height: int, width: int) -> list[Path]:
    """Generated JPEGs with smooth parts, edges and noise, so that decoding and refinement have their usual work."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:05d}.jpg" for index in range(count)]
    for seed, path in enumerate(paths):
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
        for _ in range(6):
            top, left = random.integers(0, height - 20), random.integers(0, width - 20)
            pixels[top : top + random.integers(20, height), left : left + random.integers(20, width // 2)] = (
                random.uniform(0, 255, 3)
            )
        noisy = pixels + random.normal(0, 6, pixels.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=92)
    return paths


def make_samples(paths: Sequence[Path], count: int) -> tuple[Sample, ...]:
    """`count` samples with 3 or 4 tags each; photographs come again where there are fewer."""
    random = np.random.default_rng(0)
    tags = [tuple(sorted(random.choice(CLASSES, 3 + index % 2, replace=False).tolist())) for index in range(count)]
    return tuple(Sample(f"{index:05d}", paths[index % len(paths)], tag) for index, tag in enumerate(tags))


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Wall time of one call, the device's work included."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    """Wait for a CUDA device; a CPU has nothing under way."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_forward(model: ClipModel, size: int, precision: str) -> Callable[[], object]:
    """One plain open_clip `encode_image` of one image, batch 1, in the whole of `precision`, on the model's device."""
    with quiet_logs():
        towers = open_clip.create_model(model.name, pretrained=None, force_image_size=size).eval()
    towers = towers.to(model.device, DTYPES[precision])
    pixels = torch.randn(1, 3, size, size, device=model.device, dtype=DTYPES[precision])

    def forward() -> object:
        with torch.inference_mode():
            return towers.encode_image(pixels)

    return forward


@torch.inference_mode()
def time_stages(labeller: Labeller, samples: Sequence[Sample], out: Path) -> dict[str, float]:
    """Median seconds of each stage for one photograph, run one after the other; on CUDA each waits for the last."""
    times: dict[str, list[float]] = {}
    device, settings = labeller.model.device, labeller.settings

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        found: list[Any] = []
        times.setdefault(stage, []).append(seconds(device, lambda: found.append(work())))
        return found[0]

    for sample in samples:
        photograph = timed("decode", lambda: read_image(sample.image_path))  # noqa: B023 - called at once

        def prepare() -> torch.Tensor:
            uploaded = to_device(photograph, torch.uint8, device)  # noqa: B023
            return resize_to_input(normalise(uploaded, settings.normalisation), labeller.size)

        inputs = timed("prepare", prepare)
        features = timed("forward, with calibration", lambda: labeller.encode(inputs[None]))  # noqa: B023

        def spread() -> torch.Tensor:
            maps = labeller._maps_on_grid(features, labeller.side)[0][list(sample.tags)]  # noqa: B023
            return spread_maps(maps, transition_matrix(features.attention.to(GRID_DTYPE))[0])  # noqa: B023

        maps = timed("maps and affinity", spread)

        def refine() -> torch.Tensor:
            scores = stack_background(upsample_maps(maps, *photograph.shape[:2])[None], 1.0)  # noqa: B023
            guide = torch.nn.functional.interpolate(
                inputs[None], size=photograph.shape[:2], mode="bilinear", align_corners=True,  # noqa: B023
            )  # fmt: skip
            return pixel_adaptive_refinement(guide, scores)

        with one_thread():  # as in a run; strips of the refinement are shared all the same
            scores = timed("enlarge and refine", refine)
        label = timed("choose labels", lambda: label_map(scores[0], sample.tags).cpu().numpy())  # noqa: B023
        timed("encode and write", lambda: write_label(out / f"{sample.name}.png", label, "L", "0" * 32))  # noqa: B023
    return {stage: statistics.median(values) for stage, values in times.items()}


def time_run(labeller: Labeller, samples: tuple[Sample, ...], out: Path, batch_size: int, workers: int) -> float:
    """Seconds per photograph of a whole run, from files to files with its stages overlapping; loading left out."""
    recipe = Recipe(known={"benchmark": str(out)}, model=ModelChoice(), settings=labeller.settings)
    worker, destination = Worker(recipe, labeller), Destination(out=out)
    out.mkdir(parents=True)
    plan, stages = plan_run(samples, destination, worker.identity), photograph_stages(worker, destination, lambda: None)

    pace = pace_on(labeller.model.device.type, workers)

    def run() -> None:
        outcomes = execute(plan, stages, out=out, failures=FailureLog(out), batch_size=batch_size, pace=pace)
        failed = [outcome.reason for outcome in outcomes if outcome.reason]
        if failed:
            raise RuntimeError(failed[0])

    return seconds(labeller.model.device, run) / len(samples)


def time_device(labeller: Labeller, samples: Sequence[Sample], batch_size: int, batches: int = 10) -> float:
    """Seconds per photograph of labelling alone: decoded photographs to labels back on the host."""
    chosen = samples[:batch_size]
    photographs, tags = [read_image(sample.image_path) for sample in chosen], [sample.tags for sample in chosen]

    def run() -> None:
        sizes = [photograph.shape[:2] for photograph in photographs]
        results = [labeller.label_with_maps(photographs, tags, sizes) for _ in range(batches)]
        for result in results[-1]:
            _ = result.label

    run()  # kernels are compiled, and memory is found, the first time
    return seconds(labeller.model.device, run) / (batches * len(chosen))


def share_of_equal_pixels(first: Sequence[NDArray[np.uint8]], second: Sequence[NDArray[np.uint8]]) -> float:
    """The share of all pixels that two lists of labels agree on."""
    equal = sum(int((one == other).sum()) for one, other in zip(first, second, strict=True))
    return equal / sum(label.size for label in first)


@dataclass(frozen=True)
class Command:
    """What one command took: wall and processor time in seconds, and peak resident memory in GB (10^9 bytes)."""

    seconds: float
    processor_seconds: float
    peak_gb: float


# A process begins with the peak of the one that started it: so a small one starts the command, and measures it.
LAUNCHER = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
took = time.perf_counter() - started
unit = 1 if sys.platform == "darwin" else 1024
print(took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e9)
process.returncode = os.waitstatus_to_exitcode(status)
sys.exit(process.returncode)
"""


def run_command(*arguments: object) -> Command:
    """Run `excel-cam` in a process of its own; raises `RuntimeError` where it fails."""
    return measure_process([sys.executable, "-m", "excel_cam", *map(str, arguments)])


def measure_process(command: Sequence[str]) -> Command:
    """Run a command, its output thrown away; raises `RuntimeError` with its last line where it fails."""
    done = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return Command(*map(float, done.stdout.split()))


def machine(device: torch.device) -> str:
    """The processor or GPU, in words."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    models = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = f"{models[0] if models else platform.processor() or platform.machine()}, {cores} cores"
    return f"{torch.cuda.get_device_name(device)}; {processor}" if device.type == "cuda" else processor
