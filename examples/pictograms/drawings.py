"""The drawings scenes are made of: which pictogram shows which VOC class, in which family, and what training may see.

python sources.py --into sources/
python drawings.py --sources sources/ --out run/drawings.npz
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from furniture import FAMILY, paint_furniture
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from shapes import split_by_shape
from sources import FAMILIES, Source

ICONS = Path(__file__).parent / "icons.csv"
SIDE = 192  # pixels of a drawing's longer side, as kept
FONT_SIZE = 109  # the only size of the bitmaps in Noto's font

# Code points by class, in the order VOC lists its classes, and by the kind of drawing (see `attributes.py`).
CLASS_KINDS = {
    "aeroplane": {"top": "2708", "small": "1f6e9", "take": "1f6eb 1f6ec"},
    "bicycle": {"side": "1f6b2"},
    "bird": {"song": "1f426 1f424 1f425", "parrot": "1f99c", "eagle": "1f985", "duck": "1f986", "dove": "1f54a",
             "owl": "1f989", "hen": "1f413 1f414", "penguin": "1f427", "swan": "1f9a2", "flamingo": "1f9a9",
             "peacock": "1f99a", "turkey": "1f983"},
    "boat": {"sail": "26f5", "motor": "1f6a4 1f6e5", "row": "1f6f6", "ferry": "26f4 1f6a2"},
    "bottle": {"wine": "1f37e", "lotion": "1f9f4", "baby": "1f37c"},
    "bus": {"side": "1f68c", "front": "1f68d", "trolley": "1f68e", "van": "1f690"},
    "car": {"side": "1f697 1f6fb", "suv": "1f699", "taxi": "1f695 1f696", "front": "1f698", "police": "1f693 1f694",
            "race": "1f3ce"},
    "cat": {"side": "1f408", "head": "1f431 1f638 1f63a 1f63c"},
    "chair": {"plain": "1fa91", "seat": "1f4ba"},
    "cow": {"side": "1f404", "head": "1f42e", "ox": "1f402 1f403"},
    "diningtable": {"plate": "1f37d"},
    "dog": {"side": "1f415 1f9ae", "head": "1f436", "poodle": "1f429"},
    "horse": {"side": "1f40e", "head": "1f434", "toy": "1f3a0"},
    "motorbike": {"bike": "1f3cd", "scooter": "1f6f5"},
    "person": {"body": "1f9cd 1f930 1f934 1f478", "head": "1f9d1 1f468 1f469 1f466 1f467 1f476 1f9d2 1f471 1f46e 1f477",
               "old": "1f474 1f475 1f9d3", "beard": "1f9d4 1f385", "walk": "1f6b6", "run": "1f3c3",
               "dance": "1f57a 1f483"},
    "pottedplant": {"leaf": "1fab4", "cactus": "1f335"},
    "sheep": {"side": "1f411", "ram": "1f40f"},
    "sofa": {"lamp": "1f6cb"},
    "train": {"front": "1f686 1f688", "steam": "1f682", "carriage": "1f683 1f68b", "fast": "1f684 1f685",
              "tram": "1f68a 1f69d 1f69e"},
    "tvmonitor": {"tv": "1f4fa", "computer": "1f5a5"},
}  # fmt: skip
CLASS_CODES = {name: " ".join(kinds.values()) for name, kinds in CLASS_KINDS.items()}
KINDS_BY_CODE = {
    code: kind for kinds in CLASS_KINDS.values() for kind, codes in kinds.items() for code in codes.split()
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


# Drawings whose likes training never sees: every drawing of the same class and of nearly their shape is held out.
_UNSEEN = (
    "noto:1f6e9 fluent:1f6b2 noto:1f985 fluent:1f99c noto:26f5 fluent:1f6e5 noto:1f9f4 fluent:1f37e fluent:1f68c "
    "noto:1f68d noto:1f697 fluent:1f699 noto:1f408 fluent:1f431 fluent:1fa91 fluent:1f404 noto:1f42e fluent:1f37d "
    "noto:1f415 fluent:1f429 fluent:1f40e noto:1f6f5 fluent:1f9cd noto:1f469 noto:1f6b6 noto:1fab4 fluent:1f411 "
    "fluent:1f6cb noto:1f686 fluent:1f682 fluent:1f5a5 noto:1f4fa"
)
UNSEEN_DRAWINGS = frozenset(tuple(entry.split(":")) for entry in _UNSEEN.split())


@dataclass(frozen=True)
class Drawing:
    """One pictogram: (h, w, 4) uint8 RGBA, cropped to what is drawn, longer side `SIDE`.

    world: `seen` (training may see it), `drawing` (held out with all of its shape), `margin` (held out, but like one
    that is seen: not scored either), `family` (Twemoji) or `outside`.
    """

    name: str  # class, background word, or '' for clutter
    family: str
    code: str
    pixels: NDArray[np.uint8]
    kind: str = ""
    world: str = "seen"

    @property
    def inked(self) -> bool:
        """Whether it is drawn in one colour, which a scene may then choose."""
        return not np.ptp(self.pixels[self.pixels[..., 3] > 20][:, :3], axis=0).any()


class Family:
    """A set of pictograms: a font, a folder of SVG, WebP, GIF or PNG, or an icon set's JSON."""

    def __init__(self, source: Source, path: Path, names: dict[str, str]) -> None:
        self.source, self.path, self.names = source, path, names
        self.icons: dict[str, Any] = {}
        self.fonts: list[ImageFont.FreeTypeFont] = []
        if source.kind == "font":
            files = [path] if path.is_file() else sorted(path.glob(source.pattern))
            self.fonts = [ImageFont.truetype(str(file), FONT_SIZE) for file in files]
        elif source.kind == "icons":
            self.icons = json.loads((path / "icons.json").read_text("utf-8"))

    def by_code(self, code: str) -> Image.Image | None:
        """The drawing of a code point as RGBA, or None where the family lacks it."""
        if self.fonts:
            return self._from_fonts(code)
        if self.icons:
            name = self.names.get(code) or self.names.get(f"{code}-fe0f")
            return self.by_name(FX_NAMES.get(code, name) if self.source.family == "fxemoji" else name)
        for stem in (code, f"{code}-fe0f"):
            for path in (self.path / f"{stem}.webp", self.path / f"{stem}.svg"):
                if path.is_file():
                    return Image.open(path).convert("RGBA") if path.suffix == ".webp" else _rasterise(path.read_text())
        return None

    def by_name(self, name: str | None) -> Image.Image | None:
        """The drawing of an icon's or a file's name as RGBA, or None where the family lacks it."""
        if name is None:
            return None
        if not self.icons:
            path = self.path / name
            if not path.is_file():
                return None
            return _rasterise(path.read_text()) if path.suffix == ".svg" else Image.open(path).convert("RGBA")
        icons, aliases = self.icons["icons"], self.icons.get("aliases", {})
        if name in aliases:
            name = aliases[name]["parent"]
        if name not in icons:
            return None
        icon = icons[name]
        left, top = (icon.get(key, self.icons.get(key, 0)) for key in ("left", "top"))
        width, height = (icon.get(key, self.icons.get(key, 16)) for key in ("width", "height"))
        box = f"{left} {top} {width} {height}"
        return _rasterise(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" color="#000">{icon["body"]}</svg>')

    def _from_fonts(self, code: str) -> Image.Image | None:
        text = chr(int(code, 16))
        for font in self.fonts:
            image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
            draw = ImageDraw.Draw(image)
            # A glyph that the font lacks is drawn as an empty box; the one of an unused code point shows which.
            if not self.source.coloured and bytes(font.getmask(text)) == bytes(font.getmask("\U000ffffe")):
                continue
            draw.text((24, 20), text, font=font, fill=(0, 0, 0, 255), embedded_color=self.source.coloured)
            pixels = np.asarray(image)
            # A coloured font has signs that text has too; these are drawn in one colour and are not meant.
            if pixels[..., 3].any() and (not self.source.coloured or np.ptp(pixels[..., :3]) > 0):
                return image
        return None


def _rasterise(svg: str) -> Image.Image:
    try:
        import cairosvg
    except ImportError:
        raise ImportError("drawings in SVG need cairosvg, which is not installed: pip install cairosvg") from None

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


def read_icons(path: Path = ICONS) -> list[tuple[str, str, str, str]]:
    """Class, kind, family and name of every drawing that is chosen by name, not by code point."""
    with path.open(newline="") as file:
        return [
            (row["class"], row["kind"], row["family"], name)
            for row in csv.DictReader(file)
            for name in row["icons"].split()
        ]


def render_drawings(sources: Path, families: dict[str, Source] | None = None) -> list[Drawing]:
    """All drawings of all families in a folder that `sources.py` filled, each with the world it belongs to."""
    families = FAMILIES if families is None else families
    wanted = [
        (name, KINDS_BY_CODE.get(code, ""), code)
        for table in (CLASS_CODES, BACKGROUND_CODES)
        for name in table
        for code in table[name].split()
    ]
    wanted += [("", "", code) for code in CLUTTER_CODES.split()]
    chosen = read_icons()
    # The icon set of one family tells the names of code points for all sets by name.
    spelt = sources / "fluent-flat" / "chars.json"
    names = json.loads(spelt.read_text("utf-8")) if spelt.is_file() else {}
    drawings = []
    for family, source in families.items():
        if not (sources / family).exists():
            raise FileNotFoundError(f"{sources / family}: not there; fetch it with: python sources.py --into {sources}")
        own = Family(source, sources / family / source.inner, names)
        entries = [(*entry, True) for entry in wanted] if source.emoji else []
        entries += [(name, kind, icon, False) for name, kind, owner, icon in chosen if owner == family]
        for name, kind, code, by_code in entries:
            image = own.by_code(code) if by_code else own.by_name(code)
            if image is not None and (pixels := _trim(image)) is not None:
                drawings.append(Drawing(name, family, code, pixels, kind, source.world))
    for name, kind, code, image in paint_furniture():
        pixels = _trim(image)
        assert pixels is not None
        drawings.append(Drawing(name, FAMILY, code, pixels, kind))
    by_shape = split_by_shape(
        [(d.name, d.pixels[..., 3]) for d in drawings],
        [d.name in CLASS_KINDS and (d.family, d.code) in UNSEEN_DRAWINGS for d in drawings],
    )
    return [
        dataclasses.replace(d, world=world) if d.world == "seen" else d
        for d, world in zip(drawings, by_shape, strict=True)
    ]


def save_drawings(path: Path, drawings: list[Drawing]) -> None:
    """Keep drawings in one file (.npz)."""
    titles = np.array(["|".join((d.name, d.family, d.code, d.kind, d.world)) for d in drawings])
    arrays: dict[str, Any] = {str(index): d.pixels for index, d in enumerate(drawings)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, heads=titles, **arrays)
    part.replace(path)


def load_drawings(path: Path) -> list[Drawing]:
    """Drawings as `save_drawings` kept them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; render it with: python drawings.py --sources DIR --out {path}")
    with np.load(path) as stored:
        heads = [head.split("|") for head in stored["heads"].tolist()]
        if not heads or len(heads[0]) != 5:
            raise ValueError(f"{path}: drawings of an earlier version; render them again with drawings.py")
        return [
            Drawing(name, family, code, stored[str(i)], kind, world)
            for i, (name, family, code, kind, world) in enumerate(heads)
        ]


def main() -> None:
    """Render all drawings into a file that composing and training take, and check that every class has some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="folder that sources.py filled")
    parser.add_argument("--out", type=Path, required=True, help="drawings.npz to write")
    arguments = parser.parse_args()
    try:
        drawings = render_drawings(arguments.sources)
    except (OSError, ImportError) as error:
        parser.error(str(error))
    for world in ("seen", "drawing", "family"):
        own = {drawing.name for drawing in drawings if drawing.world == world}
        if absent := sorted(set(CLASS_KINDS) - own):
            parser.error(
                f"no drawing of {', '.join(absent)} in the world '{world}': {arguments.sources} is not complete"
            )
    save_drawings(arguments.out, drawings)
    counts = {
        world: sum(d.world == world for d in drawings) for world in ("seen", "drawing", "margin", "family", "outside")
    }
    told = ", ".join(f"{count} {world}" for world, count in counts.items())
    print(f"{arguments.out}: {len(drawings)} drawings of {len({d.family for d in drawings})} families ({told})")


if __name__ == "__main__":
    main()
