"""The drawings scenes are made of: which pictogram shows which VOC class, in which family, and what training may see.

Families are folders or files named on the command line as NAME=PATH; where they come from is in README.md here.

    python drawings.py --out run/drawings.npz --names fluent-flat/package --family fluent=fluent/package/assets ...
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 192  # pixels of a drawing's longer side, as kept
FONT_SIZE = 109  # the only size of the bitmaps in Noto's font

# Code points in the order VOC lists its classes.
CLASS_CODES = {
    "aeroplane": "2708 1f6e9 1f6eb",
    "bicycle": "1f6b2",
    "bird": "1f426 1f99c 1f985 1f986 1f54a 1f989 1f413",
    "boat": "26f5 1f6a4 1f6e5 1f6f6 26f4",
    "bottle": "1f37e 1f9f4 1f37c",
    "bus": "1f68c 1f68d 1f68e 1f690",
    "car": "1f697 1f699 1f695 1f698 1f693",
    "cat": "1f408 1f431",
    "chair": "1fa91 1f4ba",
    "cow": "1f404 1f42e 1f402",
    "diningtable": "1f37d",
    "dog": "1f415 1f436 1f429",
    "horse": "1f40e 1f434",
    "motorbike": "1f3cd 1f6f5",
    "person": "1f9cd 1f9d1 1f468 1f469 1f6b6 1f3c3 1f474 1f475 1f466 1f467 1f57a 1f483",
    "pottedplant": "1fab4 1f335",
    "sheep": "1f411 1f40f",
    "sofa": "1f6cb",
    "train": "1f686 1f682 1f683 1f684 1f68a",
    "tvmonitor": "1f4fa 1f5a5",
}
# Things that METHOD's background words name.
BACKGROUND_CODES = {
    "tree": "1f333 1f332", "house": "1f3e0", "building": "1f3e2", "rock": "1faa8", "mountain": "26f0", "cloud": "2601",
    "bridge": "1f309", "sign": "1f6d1", "helmet": "26d1", "keyboard": "2328", "railway": "1f6e4",
}  # fmt: skip
# Things that no text names: what a model has to look past.
CLUTTER_CODES = (
    "1f34e 26bd 1f388 1f383 1f355 1f3b8 1f451 1f4a1 1f4e6 1f511 1f41f 1f418 1f422 1f98b 2602 1f552 1f4d5 1f344 1f33b "
    "1f36d 2b50 1f680 1f69c 1f40d 1f437 1f412 1f6aa 1f6cf 1f302 1f45f 1f393 1f3a9 1f4f7 1f52d 1f370 1f347"
)
# fxemoji's names for code points, where they are not those of the other sets.
FX_NAMES = {
    "1f54a": "doveofpeace", "1f37c": "babybottle", "1f68d": "oncomingbus", "1f698": "oncomingautomobile",
    "1f693": "policecar", "1f408": "catside", "1f431": "cat", "1f4ba": "seat", "1f404": "cow", "1f42e": "cowface",
    "1f37d": "forkknife", "1f415": "dogside", "1f436": "dog", "1f434": "horseface", "1f6b6": "walking",
    "1f3c3": "running", "1f474": "gpa", "1f475": "gma", "1f483": "dancer", "1f411": "sheep",
    "1f682": "steamlocomotive", "1f683": "railwaycar", "1f684": "highspeedtrain", "1f5a5": "desktopcomputer",
    "1f333": "deciduoustree", "1f332": "evergreen", "1f3e0": "housebuilding", "1f3e2": "officebuilding",
    "26f0": "snowmountains", "1f309": "bridgeatnight", "2328": "wiredkeyboard", "1f34e": "redapple",
    "26bd": "soccerball", "1f383": "jackolantern", "1f355": "sliceofpizza", "1f4a1": "lightbulb",
    "1f4d5": "closedbook", "1f437": "pig", "26f5": "sailboat", "1f6a4": "speedboat", "1f690": "minibus",
    "1f426": "bird", "1f413": "rooster", "1f68c": "bus", "1f68e": "trolleybus", "1f697": "automobile",
    "1f695": "taxi", "1f402": "ox", "1f429": "poodle", "1f40e": "horse", "1f3cd": "motorcycle", "1f468": "man",
    "1f469": "woman", "1f466": "boy", "1f467": "girl", "1f335": "cactus", "1f40f": "ram", "1f686": "train",
    "1f68a": "tram", "1f4fa": "television", "2708": "airplane", "1f6b2": "bicycle",
}  # fmt: skip

# One designer's sets show the same drawing twice; a drawing is held out of both.
DESIGNERS = {"noto": "noto", "noto-v1": "noto", "fluent": "fluent", "fluent-flat": "fluent"}
UNSEEN_FAMILY = "twemoji"
_UNSEEN = (
    "noto:1f6e9 fluent:1f6b2 noto:1f985 fluent:1f99c noto:26f5 fluent:1f6e5 noto:1f9f4 fluent:1f37e fluent:1f68c "
    "noto:1f68d noto:1f697 fluent:1f699 noto:1f408 fluent:1f431 fluent:1fa91 fluent:1f404 noto:1f42e fluent:1f37d "
    "noto:1f415 fluent:1f429 fluent:1f40e noto:1f6f5 fluent:1f9cd noto:1f469 noto:1f6b6 noto:1fab4 fluent:1f411 "
    "fluent:1f6cb noto:1f686 fluent:1f682 fluent:1f5a5 noto:1f4fa"
)
UNSEEN_DRAWINGS = frozenset(tuple(entry.split(":")) for entry in _UNSEEN.split())


@dataclass(frozen=True)
class Drawing:
    """One pictogram: (h, w, 4) uint8 RGBA, cropped to what is drawn, longer side `SIDE`."""

    name: str  # class, background word, or '' for clutter
    family: str
    code: str
    pixels: NDArray[np.uint8]

    @property
    def world(self) -> str:
        """`family` (never trained on), `drawing` (held out of a family trained on) or `seen`."""
        if self.family == UNSEEN_FAMILY:
            return "family"
        return "drawing" if (DESIGNERS.get(self.family, self.family), self.code) in UNSEEN_DRAWINGS else "seen"


class Family:
    """A set of pictograms: Noto's font file, a folder of SVG or WebP by code point, or of an icon set's JSON."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.icons: dict[str, Any] = {}
        if path.is_file():
            self.font = ImageFont.truetype(str(path), FONT_SIZE)
        elif (path / "icons.json").is_file():
            self.icons = json.loads((path / "icons.json").read_text("utf-8"))

    def render(self, code: str, icon_name: str | None) -> Image.Image | None:
        """One drawing as RGBA, or None where the family lacks it."""
        if self.path.is_file():
            return self._from_font(code)
        if self.icons:
            return self._from_icons(FX_NAMES.get(code, icon_name) if self.name == "fxemoji" else icon_name)
        for stem in (code, f"{code}-fe0f"):
            for path in (self.path / f"{stem}.webp", self.path / f"{stem}.svg"):
                if path.is_file():
                    return Image.open(path).convert("RGBA") if path.suffix == ".webp" else _rasterise(path.read_text())
        return None

    def _from_font(self, code: str) -> Image.Image | None:
        image = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
        draw = ImageDraw.Draw(image)
        text = chr(int(code, 16))
        # The variation selector asks for the coloured drawing of signs that text has too.
        draw.text((10, 16), text, font=self.font, embedded_color=True)
        pixels = np.asarray(image)
        return image if pixels[..., 3].any() and np.ptp(pixels[..., :3]) > 0 else None

    def _from_icons(self, name: str | None) -> Image.Image | None:
        icons, aliases = self.icons["icons"], self.icons.get("aliases", {})
        if name in aliases:
            name = aliases[name]["parent"]
        if name not in icons:
            return None
        width, height = (icons[name].get(key, self.icons.get(key, 128)) for key in ("width", "height"))
        body = icons[name]["body"]
        return _rasterise(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{body}</svg>')


def _rasterise(svg: str) -> Image.Image:
    import cairosvg

    png = cairosvg.svg2png(bytestring=svg.encode(), output_width=SIDE * 2, output_height=SIDE * 2)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def _trim(image: Image.Image) -> NDArray[np.uint8] | None:
    box = image.getchannel("A").point(lambda value: 255 * (value > 20)).getbbox()
    if box is None:
        return None
    image = image.crop(box)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    pixels = np.asarray(image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA"))
    return np.ascontiguousarray(pixels)


def load_drawings(families: dict[str, Path], names: Path | None, cache: Path) -> list[Drawing]:
    """All drawings of all families, rendered once and kept in `cache` (.npz).

    names: folder of an icon set whose chars.json tells the common English name of a code point.
    """
    if cache.is_file():
        with np.load(cache) as stored:
            heads = [head.split("|") for head in stored["heads"].tolist()]
            return [Drawing(name, family, code, stored[str(i)]) for i, (name, family, code) in enumerate(heads)]
    chars = json.loads((names / "chars.json").read_text("utf-8")) if names else {}
    wanted = [
        (name, code) for table in (CLASS_CODES, BACKGROUND_CODES) for name in table for code in table[name].split()
    ]
    wanted += [("", code) for code in CLUTTER_CODES.split()]
    drawings = []
    for family_name, path in families.items():
        family = Family(family_name, path)
        for name, code in wanted:
            image = family.render(code, chars.get(code) or chars.get(f"{code}-fe0f"))
            if image is not None and (pixels := _trim(image)) is not None:
                drawings.append(Drawing(name, family_name, code, pixels))
    cache.parent.mkdir(parents=True, exist_ok=True)
    titles = np.array(["|".join((d.name, d.family, d.code)) for d in drawings])
    arrays: dict[str, Any] = {str(index): d.pixels for index, d in enumerate(drawings)}
    np.savez_compressed(cache, heads=titles, **arrays)
    return drawings


def main() -> None:
    """Render all drawings into a file that composing and training take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="drawings.npz to write")
    parser.add_argument("--family", action="append", required=True, metavar="NAME=PATH", help="may be repeated")
    parser.add_argument("--names", type=Path, help="folder of an icon set with chars.json, for names of code points")
    arguments = parser.parse_args()
    families = {name: Path(path) for name, _, path in (entry.partition("=") for entry in arguments.family)}
    drawings = load_drawings(families, arguments.names, arguments.out)
    print(f"{arguments.out}: {len(drawings)} drawings of {len({drawing.family for drawing in drawings})} families")


if __name__ == "__main__":
    main()
