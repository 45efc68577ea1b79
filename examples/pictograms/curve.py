"""A line of the learning curve: a checkpoint's running average, scored on scene sets as preset `paper` labels them.

    python curve.py run/checkpoint.pt --root outside/ --root seen/ --limit 60 --out run/curve.csv

Run it again and again while training goes on: each call adds one line for each set, by the number of images seen.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import ship
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # ablation.py

from ablation import bootstrap, draw_weights, measure, read_drawings, score

from excel_cam import build_text_bank, load_model, shipped_knowledge
from excel_cam.data.voc import open_voc
from excel_cam.evaluation.bootstrap import interval
from excel_cam.run.labeller import Labeller
from excel_cam.settings import ModelChoice, Settings

FIELDS = ("images", "set", "scenes", "miou", "low", "high")


def score_checkpoint(
    checkpoint: Path, root: Path, limit: int | None, settings: Settings
) -> tuple[int, float, float, float]:
    """How many scenes, mIoU in percent, and its 95 % interval over scenes and drawings."""
    with tempfile.TemporaryDirectory() as folder:
        config = ship.write_model(checkpoint, Path(folder), "checkpoint", {})
        clip = load_model(ModelChoice(str(config), weights=config.with_suffix(".safetensors"), precision="fp32"))
        labeller = Labeller(clip, build_text_bank(shipped_knowledge("voc"), clip, settings), settings)
    samples = open_voc(root, "train", root / "tags.csv", None).samples[:limit]
    matrices = measure(
        samples, root / "SegmentationClass", lambda photograph, tags: labeller.label([photograph], [tags])[0], root.name
    )
    weights = draw_weights(read_drawings(root, [sample.name for sample in samples]))
    around = interval(bootstrap(matrices, weights))
    return len(samples), score(matrices), around.low, around.high


def main() -> None:
    """Score a checkpoint on each set and add the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--root", type=Path, action="append", required=True, help="a set that scenes.py wrote")
    parser.add_argument("--limit", type=int, help="only the first scenes of each")
    parser.add_argument("--size", type=int, default=256, help="input side")
    parser.add_argument("--clusters", type=int, default=40, help="B")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to add lines to")
    arguments = parser.parse_args()
    if not arguments.checkpoint.is_file():
        parser.error(f"{arguments.checkpoint}: no such file; train.py writes it every few minutes")
    torch.set_num_threads(1)  # scenes go side by side instead
    content = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)
    images = content["number"] * content["batch"]
    settings = Settings(size=arguments.size, clusters=arguments.clusters)
    for root in arguments.root:
        count, *figures = score_checkpoint(arguments.checkpoint, root, arguments.limit, settings)
        row = [images, root.name, count, *(f"{figure:.1f}" for figure in figures)]
        new = not arguments.out.exists()
        with arguments.out.open("a", newline="") as file:
            csv.writer(file).writerows([FIELDS, row] if new else [row])
        print(",".join(map(str, row)), flush=True)


if __name__ == "__main__":
    main()
