"""The one worker: bytes in, bytes out, the same as a folder's run writes."""

from __future__ import annotations

import dataclasses
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from drawn import VOC_TAGS
from PIL import Image

from excel_cam.classes import VOC_CLASSES
from excel_cam.run import worker as module
from excel_cam.run.worker import Job, Worker

Run = Callable[..., Result]

MAY_IMPORT = {
    "__future__", "collections.abc", "dataclasses", "typing", "pathlib", "excel_cam.classes", "excel_cam.errors",
    "excel_cam.files.images.photographs", "excel_cam.files.regions.region", "excel_cam.knowledge.base",
    "excel_cam.labels.class_maps", "excel_cam.labels.identity", "excel_cam.labels.png",
    "excel_cam.labels.regions.settings", "excel_cam.labels.regions.vote", "excel_cam.learnt.checkpoint",
    "excel_cam.model.prepare",
    "excel_cam.run.batch_size", "excel_cam.run.labeller", "excel_cam.run.learnt_labeller", "excel_cam.settings",
    "excel_cam.wording",
}  # fmt: skip


def test_it_knows_no_thread_no_folder_and_no_command() -> None:
    import ast

    path = Path(module.__file__)
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in found} <= MAY_IMPORT
    of_pathlib = [node for node in found if isinstance(node, ast.ImportFrom) and node.module == "pathlib"]
    assert all(node.col_offset > 0 for node in of_pathlib), "paths are for annotations alone"


@pytest.fixture
def used(excel_cam: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Worker]:
    """Run a command, and have the worker that it used, as another process would get it."""

    def run(*arguments: object) -> Worker:
        made: list[Worker] = []
        monkeypatch.setattr(module.Worker, "load", lambda self, *rest: made.append(self) or whole(self, *rest))
        assert excel_cam(*arguments).exit_code == 0
        monkeypatch.undo()
        found: Worker = pickle.loads(pickle.dumps(made[0]))
        assert found._labeller is None
        return found

    whole = Worker.load
    return run


def jobs_of(root: Path) -> list[Job]:
    tags = [tuple(sorted(VOC_CLASSES.index(word) for word in words.split())) for words in VOC_TAGS.values()]
    paths = [root / "JPEGImages" / f"{name}.jpg" for name in VOC_TAGS]
    return [Job(path.read_bytes(), own, path.name) for path, own in zip(paths, tags, strict=True)]


def test_it_makes_the_bytes_that_a_folder_holds(
    used: Callable[..., Worker], arguments: list[str], voc_root: Path, tmp_path: Path
) -> None:
    out, cams = tmp_path / "labels", tmp_path / "cams"
    worker = used(*arguments, "--out", out, "--save-cams", cams)
    recipe = dataclasses.replace(worker.recipe, batch_size=2, with_shares=True)
    made = list(Worker(recipe).label(jobs_of(voc_root)))
    assert [one.label for one in made] == [(out / f"{name}.png").read_bytes() for name in VOC_TAGS]
    assert [one.maps for one in made] == [(cams / f"{name}.npz").read_bytes() for name in VOC_TAGS]
    for one in made:
        with Image.open(io.BytesIO(one.label)) as label:
            assert label.text["excel-cam"] == one.stamp  # type: ignore[attr-defined]
            counts = dict(enumerate(label.histogram()))
        pixels = sum(counts.values())
        assert one.shares == {value: count / pixels for value, count in counts.items() if count}
        assert one.shows_class == any(value not in (0, 255) for value in one.shares)


def test_what_cannot_be_read_has_its_reason_and_stops_nothing(
    used: Callable[..., Worker], arguments: list[str], voc_root: Path, tmp_path: Path
) -> None:
    worker = used(*arguments, "--out", tmp_path / "labels")
    good = jobs_of(voc_root)
    bad = {b"": "the file is empty", b"text": "not an image", good[0].content[:900]: "cut off",
           b"<html>": "a web page", b"%PDF-1.4": "PDF is not read"}  # fmt: skip
    jobs = [good[0], *(Job(content, (0,), "a/b.jpg") for content in bad), good[1]]
    made = list(worker.label(jobs))
    assert [one.reason is None for one in made] == [True, *[False] * len(bad), True]
    for one, reason in zip(made[1:-1], bad.values(), strict=True):
        assert one.reason is not None
        assert one.reason.startswith("a/b.jpg: ")
        assert reason in one.reason
        assert one.label == b""
    assert list(worker.label([])) == []


def test_a_file_and_its_bytes_have_the_same_reason(tmp_path: Path) -> None:
    from excel_cam.errors import ImageError
    from excel_cam.files.images.photographs import read_photograph

    for name, content in {"a.heic": b"0" * 80, "b.jpg": b"", "c.tif": b"II*\0\x08\0\0\0", "d.png": b"\x89PNG"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError) as of_file:
            read_photograph(tmp_path / name)
        with pytest.raises(ImageError) as of_bytes:
            read_photograph(content, where=str(tmp_path / name))
        assert str(of_file.value) == str(of_bytes.value)


def test_a_run_that_is_finished_loads_neither_torch_nor_scipy() -> None:
    code = (
        "import sys, excel_cam.cli.outcome, excel_cam.run.generate, excel_cam.run.settle\n"
        "print(*sorted({'torch', 'scipy', 'open_clip', 'multiprocessing'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
