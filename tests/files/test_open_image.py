"""The one function that opens images: formats, sizes, and Pillow's settings left as they were."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image, PngImagePlugin

import excel_cam
from excel_cam.errors import DataError
from excel_cam.files.images.masks import read_mask
from excel_cam.files.images.open_image import MASKS, PHOTOGRAPHS, open_image
from excel_cam.files.images.photographs import read_photograph

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def png_of_zeros(path: Path, width: int, height: int, colour_type: int, channels: int) -> Path:
    """A PNG of zeros, much smaller than its pixels, made without holding them."""
    rows = zlib.compressobj(9)
    block = bytes(1 << 20)
    first = rows.compress(block) + rows.flush(zlib.Z_FULL_FLUSH)  # what follows does not look back on it
    again = rows.compress(block) + rows.flush(zlib.Z_FULL_FLUSH)
    packed = first + again * (height * (1 + width * channels) // len(block)) + rows.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, colour_type, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    return path


def test_nothing_else_in_the_package_opens_images() -> None:
    package = Path(excel_cam.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("Image.open", "PIL.Image.open"):
                found.add(path.relative_to(package).as_posix())
            if isinstance(node, ast.ImportFrom) and node.module == "PIL.Image":
                assert "open" not in {alias.name for alias in node.names}, path
    assert found == {"files/images/open_image.py"}


def test_importing_the_package_changes_nothing_in_pillow() -> None:
    code = (
        "from PIL import Image, PngImagePlugin as p; before = Image.MAX_IMAGE_PIXELS, p.MAX_TEXT_CHUNK\n"
        "import excel_cam.files.images.photographs, excel_cam.files.images.masks\n"
        "import excel_cam.doctor.examine, excel_cam.export.source\n"
        "assert before == (Image.MAX_IMAGE_PIXELS, p.MAX_TEXT_CHUNK)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pillows_limits_come_back_when_the_last_of_many_threads_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # the host's own choice
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path)
    everybody = threading.Barrier(4)
    seen = []

    def read() -> None:
        with open_image(path, MASKS) as image:
            everybody.wait()
            image.load()
            seen.append(image.size)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(8, 8)] * 4
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(OSError), open_image(tmp_path, PHOTOGRAPHS):
        pass
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for Ghostscript")
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_doctor_starts_no_ghostscript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excel_cam: object, name: str
) -> None:
    program, started = tmp_path / "bin" / "gs", tmp_path / "started"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for folder in ("labels", "photos"):
        (tmp_path / folder).mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "labels" / "a.png")
    (tmp_path / "photos" / name).write_bytes(EPS)
    result: Result = excel_cam("doctor", tmp_path / "labels", "--images", tmp_path / "photos")  # type: ignore[operator]
    assert not started.exists()
    assert result.exit_code == 1
    assert "cannot be" in result.stdout


def test_masks_are_refused_by_their_header(tmp_path: Path) -> None:
    grey = png_of_zeros(tmp_path / "grey.png", 40_000, 20_000, 0, 1)
    coloured = png_of_zeros(tmp_path / "coloured.png", 20_000, 20_000, 2, 3)
    for path, words in ((grey, "at most 500 megapixels"), (coloured, "of mode RGB")):
        with pytest.raises(DataError, match=f"too large to decode safely: .* {words}"):
            read_mask(path, 20)


def test_doctor_looks_at_huge_labels_by_their_header_alone(
    tmp_path: Path, excel_cam: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    png_of_zeros(labels / "a.png", 40_000, 20_000, 0, 1)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    result: Result = excel_cam("doctor", labels, "--dataset", "voc")  # type: ignore[operator]
    assert result.exit_code == 1
    assert "cannot be" in result.stdout


def test_a_pipe_named_as_an_image_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="not a file"):
        read_mask(tmp_path / "a.png", 20)


def test_large_text_chunks_are_read(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * (3 << 20), zip=True)
    Image.fromarray(np.full((6, 5, 3), 9, np.uint8)).save(tmp_path / "a.png", pnginfo=text)
    assert read_photograph(tmp_path / "a.png").pixels.shape == (6, 5, 3)
