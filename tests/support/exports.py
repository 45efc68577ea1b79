"""What is exported in tests: labels, class maps and photographs of three images, and the command that exports them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from click.testing import Result
from drawn import draw_photograph
from PIL import Image

from excel_cam.labels.class_maps import write_maps

# name -> (height, width), 0-based classes with maps, label values in vertical stripes
IMAGES: dict[str, tuple[tuple[int, int], tuple[int, ...], tuple[int, ...]]] = {
    "2007_000032": ((41, 50), (0, 14), (0, 1, 15)),
    "2007_000039": ((30, 33), (19,), (20, 255)),
    "2011_003276": ((24, 20), (), (0,)),
}
STAMP = "0" * 32


def patch_maps(name: str) -> np.ndarray:
    keys = IMAGES[name][1]
    ramp = np.linspace(-3, 5, 20 * 20, dtype=np.float32).reshape(20, 20)
    return np.stack([ramp * (1 + key) for key in keys]) if keys else np.zeros((0, 20, 20), np.float32)


def stripes(name: str) -> np.ndarray:
    (height, width), _keys, values = IMAGES[name]
    columns = np.array(values, np.uint8)[np.arange(width) * len(values) // width]
    return np.repeat(columns[None], height, axis=0)


def make_sources(tmp_path: Path) -> SimpleNamespace:
    """Labels, class maps and photographs of three images in VOC's names."""
    labels, cams, images = tmp_path / "labels", tmp_path / "cams", tmp_path / "photographs"
    for folder in (labels, cams, images):
        folder.mkdir()
    for index, (name, (size, keys, _values)) in enumerate(IMAGES.items()):
        Image.fromarray(stripes(name)).save(labels / f"{name}.png")
        write_maps(cams / f"{name}.npz", patch_maps(name), keys, size, STAMP)
        draw_photograph(*size, index).save(images / f"{name}.jpg")
    return SimpleNamespace(labels=labels, cams=cams, images=images, out=tmp_path / "out")


def arguments(made: SimpleNamespace, to: str, *more: object) -> list[object]:
    given = ["export", "--to", to, "--labels", made.labels, "--dataset", "voc", "--out", made.out]
    if to in ("irn", "clip-es", "psa"):
        given += ["--cams", made.cams]
    return [*given, *more]


def error_line(result: Result, status: int = 1) -> str:
    assert result.exit_code == status, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
