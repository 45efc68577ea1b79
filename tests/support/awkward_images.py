"""Make a folder of twelve awkward images, with class list and tags: `python tests/awkward_images.py FOLDER`.

Ten of them can be labelled. `bomb` claims more pixels than are read, and `cut_off` ends in the middle.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
FAILING = ("bomb", "cut_off")


def scene(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: a bright disc up left on a gradient, so that every turn and flip shows."""
    rows, columns = np.mgrid[:height, :width]
    colours = np.stack([40 + 120 * rows / height, 60 + 90 * columns / width, np.full(rows.shape, 90.0)], axis=-1)
    distance = np.hypot(rows - height * 0.3, columns - width * 0.25)
    colours[distance < min(height, width) * 0.2] = (240, 220, 30)
    return colours.astype(np.uint8)


def png_bytes(width: int, height: int, bits: int, colour_type: int, pixels: bytes) -> bytes:
    """A PNG from raw scan lines, each begun by its filter's byte: also what Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def colour16_bytes(colours: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel from (H, W, 3) uint8 colours."""
    wide = (colours.astype(np.uint16) * 257).astype(">u2")
    return png_bytes(colours.shape[1], colours.shape[0], 16, 2, b"".join(b"\0" + row.tobytes() for row in wide))


def rotated_bytes(upright: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    """A file whose pixels are turned so that its EXIF orientation makes them upright again."""
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    (upright if method is None else upright.transpose(method)).save(stream, kind, exif=exif)
    return stream.getvalue()


def make_awkward_images(folder: Path) -> dict[str, tuple[int, int]]:
    """Write the twelve, `classes.txt` and `tags.csv` beside them; each name with its (height, width) in the file."""
    folder.mkdir(parents=True, exist_ok=True)
    colours = scene(60, 90)
    image, grey = Image.fromarray(colours), colours[:, :, 0]
    alpha = Image.fromarray(np.where(grey > 100, 255, 0).astype(np.uint8))
    image.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "grey16.png")
    (folder / "colour16.png").write_bytes(colour16_bytes(colours))
    Image.fromarray(grey.astype(np.float32) / 1000 - 5).save(folder / "float32.tif")
    image.quantize(16).save(folder / "palette.png", transparency=3)
    Image.merge("RGBA", (*image.split(), alpha)).save(folder / "rgba.png")
    image.save(folder / "animated.gif", save_all=True, append_images=[Image.new("RGB", image.size, "red")] * 2)
    (folder / "rotated.jpg").write_bytes(rotated_bytes(image, 6))
    Image.fromarray(scene(80, 1)).save(folder / "one_wide.png")
    image.resize((12_500, 8_000)).save(folder / "hundred_megapixels.jpg", quality=50)
    (folder / "bomb.png").write_bytes(png_bytes(60_000, 60_000, 8, 0, b"\0" * 1000))
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    (folder / "cut_off.jpg").write_bytes(stream.getvalue()[:-400])
    sizes = {path.stem: (60, 90) for path in folder.iterdir() if path.suffix not in (".csv", ".txt")}
    sizes |= {"rotated": (90, 60), "one_wide": (80, 1), "hundred_megapixels": (8_000, 12_500), "bomb": (60_000, 60_000)}
    (folder / "classes.txt").write_text("disc: yellow disc\nground\n")
    (folder / "tags.csv").write_text("name,classes\n" + "".join(f"{name},disc;ground\n" for name in sorted(sizes)))
    return sizes


if __name__ == "__main__":
    print("\n".join(f"{name} {size}" for name, size in make_awkward_images(Path(sys.argv[1])).items()))
