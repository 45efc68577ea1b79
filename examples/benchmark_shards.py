"""How much memory a run over shards takes: shards of few and of many rows, and one shard of a manifest of a million.

    python examples/benchmark_shards.py --json shards.json

Photographs are small and the model is generated: what is measured is what shards add, not what a model takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from generate_weights import random_state_dict, write_tiny_config
from PIL import Image

from excel_cam.data.sharded.manifest import write_rows

SIDE = 64  # of the photographs, in pixels
PHOTOGRAPHS = 50  # files; rows name them in turn
MILLION = 1_000_000


def write_inputs(folder: Path, counts: tuple[int, ...]) -> list[str]:
    """Photographs, a model, and a manifest of each length; the arguments that choose the model."""
    random = np.random.default_rng(0)
    for number in range(PHOTOGRAPHS):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    config, weights = write_tiny_config(folder / "tiny-quickgelu.json"), folder / "tiny.pt"
    torch.save(random_state_dict(str(config)), weights)

    def rows(count: int) -> Iterator[tuple[str, str, list[str]]]:
        return ((f"{number:07d}", f"{number % PHOTOGRAPHS}.jpg", ["cat"]) for number in range(count))

    for count in counts:
        with (folder / f"{count}.parquet").open("wb") as stream:
            write_rows(stream, rows(count), with_classes=True)
    return ["--model", str(config), "--weights", str(weights), "--size", "32", "--device", "cpu"]


def measure(arguments: list[str]) -> dict[str, float]:
    """Seconds and peak memory, in MB, of a command."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "excel_cam", *arguments, "--quiet"], stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"exit status {os.waitstatus_to_exitcode(status)}")
    return {"seconds": round(time.monotonic() - started, 1), "peak_mb": round(usage.ru_maxrss / 1024, 1)}


@click.command()
@click.option("--few", default=100, show_default=True, help="Rows of a small shard.")
@click.option("--many", default=1000, show_default=True, help="Rows of a large one.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures here.")
def main(few: int, many: int, out: Path | None) -> None:
    """Measure the memory of runs over shards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_inputs(folder, (few, many, MILLION))

        def run(manifest: int, rows: int, *more: str) -> dict[str, float]:
            over = [
                "--manifest",
                str(folder / f"{manifest}.parquet"),
                "--dataset",
                "voc",
                "--rows-per-shard",
                str(rows),
            ]
            return measure(["generate", *over, *model, "--out", str(folder / f"out-{manifest}-{rows}"), *more])

        run(few, 1, "--shards", "0")  # the text bank is made and cached
        found = {
            f"{few} rows, one shard": run(few, few),
            f"{many} rows, one shard": run(many, many),
            f"shard of {few} rows in the middle of a manifest of {MILLION:,}": run(MILLION, few, "--shards", "5000"),
        }
    for what, figures in found.items():
        click.echo(f"{what}: {figures['peak_mb']:,} MB at most, {figures['seconds']} s")
    if out is not None:
        out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
