"""The small model and the scenes that come with the package, for trying and testing: where their files are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from excel_cam.settings import ModelChoice

SHIPPED_MODEL = "excel-cam-demo"
DEMO_FOLDER = Path(__file__).parent / "demo"
DEMO_ROOT = DEMO_FOLDER / "VOC2012"  # in VOC's layout
DEMO_IMAGES = DEMO_ROOT / "JPEGImages"
DEMO_TRUTH = DEMO_ROOT / "SegmentationClass"


ADAPTER_FILE = "adapter.safetensors"  # in the folder of a training run
DEMO_ADAPTER = DEMO_FOLDER / f"{SHIPPED_MODEL}-lvc.safetensors"


def adapter_path(name: str) -> Path:
    """The file of a trained adapter: itself, in the folder of a training run, or by `demo` the one that comes along."""
    if name == "demo":
        return DEMO_ADAPTER
    return Path(name) / ADAPTER_FILE if Path(name).is_dir() else Path(name)


def locate_shipped(choice: ModelChoice) -> ModelChoice:
    """`choice` with the weights of the shipped model where it names that one without any, else `choice` itself."""
    if choice.name != SHIPPED_MODEL or choice.weights is not None:
        return choice
    return dataclasses.replace(choice, weights=DEMO_FOLDER / f"{SHIPPED_MODEL}.safetensors")


def configuration_file(name: str) -> Path | None:
    """The configuration file a model name stands for: the shipped one, a `.json` path, or None."""
    if name == SHIPPED_MODEL:
        return DEMO_FOLDER / f"{SHIPPED_MODEL}.json"
    return Path(name) if name.endswith(".json") else None
