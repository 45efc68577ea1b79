"""What is installed from a wheel: every file of the package, and a command that labels the demo with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Beside the code for whoever reads the repository, of no use where the package is installed.
NOT_INSTALLED = {"README.md"}


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools writes into the folder it builds from
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of files to compare with")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_git_does(wheel: Path) -> None:
    source = wheel.parent / "source"
    package = [*(source / "excel_cam").rglob("*"), *(source / "kb").rglob("*")]
    names = {path.relative_to(source) for path in package if path.is_file() and path.name not in NOT_INSTALLED}
    expected = {f"excel_cam/{name}" if name.parts[0] == "kb" else str(name) for name in names}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected


def test_the_installed_wheel_labels_the_demo(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip("install", "--no-deps", "--target", site, wheel)
    names = tmp_path / "names.txt"
    names.write_text("drawing_000\nfamily_000\n")
    # The checkout is not the current folder, and what is in PYTHONPATH comes before an editable installation.
    environment = {**os.environ, "PYTHONPATH": str(site), "EXCEL_CAM_CACHE": str(tmp_path / "cache")}
    command = [
        sys.executable, "-m", "excel_cam", "generate", "--dataset", "demo", "--list", names, "--out", tmp_path / "out",
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stderr  # the model and the scenes are the installed ones
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["drawing_000.png", "family_000.png"]
