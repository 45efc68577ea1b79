"""A refused run leaves nothing behind, a writer says what it wrote, and hints to install hold without a release."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from drawn import draw_photograph

import excel_cam as package

ROOT = Path(package.__file__).parent


@pytest.mark.parametrize(
    "command",
    [
        "generate --dataset voc --root {root} --split train --tags nowhere.csv --out {out} --save-cams {out}/cams",
        "generate --dataset voc --root {root} --split train --tags {root}/tags.csv --model nothing --out {out}",
        "generate --dataset voc --root {root} --split train --tags {root}/tags.csv --weights no.pt --out {out}",
        "label {photo} --classes cat --weights no.pt --out {out}",
        "label {photo} --classes zeppelin --kb voc --out {out}",
        "segment {photo} --lvc nowhere --out {out}",
        "segment {photo} --lvc demo --weights no.pt --out {out}",
        "train --dataset voc --root {root} --split train --tags {root}/tags.csv --weights no.pt --out {out}",
        "train --dataset voc --root nowhere --out {out}",
        "export --to mmseg --labels nowhere --images {root}/JPEGImages --dataset voc --out {out}",
        "export --to irn --labels {root} --cams nowhere --dataset voc --out {out}",
        "evaluate --labels nowhere --dataset demo",
        "view nowhere --dataset demo --out {out}/report.html",
        "tags --from nowhere --dataset voc --out {out}/tags.csv",
        "kb write --classes nowhere.txt --answers nowhere.jsonl --out {out}/my.json",
        "kb build --kb nowhere.json --bank {out}/bank.npz",
    ],
)
def test_a_refused_run_leaves_no_folder(
    excel_cam: Callable[..., Result], voc_root: Path, tmp_path: Path, command: str
) -> None:
    photo = tmp_path / "photo.jpg"
    draw_photograph(40, 60, 1).save(photo)
    before = sorted(tmp_path.rglob("*"))
    words = [word.format(root=voc_root, photo=photo, out=tmp_path / "new" / "out") for word in command.split()]
    result = excel_cam(*words)
    assert result.exit_code in (1, 2), result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_the_curve_that_was_drawn_is_said(
    excel_cam: Callable[..., Result], arguments: list[str], tmp_path: Path
) -> None:
    labels, cams, curve = tmp_path / "labels", tmp_path / "cams", tmp_path / "sweep.svg"
    assert excel_cam(*arguments, "--out", labels, "--save-cams", cams).exit_code == 0
    result = excel_cam(
        "evaluate", "--sweep", "--cams", cams, "--truth", labels, "--labels", labels, "--curve", curve,
        "--powers", "1", "--thresholds", "0.5",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert f"written: {curve}" in result.stderr


def test_every_hint_to_install_holds_in_a_clone() -> None:
    pages = [*ROOT.rglob("*.py"), *ROOT.rglob("*.md"), ROOT.parent / "README.md", ROOT.parent / "kb" / "README.md"]
    wrong = [path.name for path in pages if re.search(r"pip install [\"']?excel-cam", path.read_text("utf-8"))]
    assert wrong == [], "say `wording.install_hint`"
