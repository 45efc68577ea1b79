"""A small set of labels to look at, with names that try to break out of the page, and a reader of such pages."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from drawn import draw_photograph
from PIL import Image

from excel_cam.labels.class_maps import write_maps

CLASSES = ("red <b>panda</b>", "tea & \"pot\" 'x'", "猫")
STAR = "sub/ほし <img src=x onerror=alert(1)>"
NAMES = ["alike", "half", "ignored", "lone", "missed", STAR]  # sorted


@dataclass(frozen=True)
class Viewable:
    """Folders of labels, photographs, truth (all but "lone") and class maps, and their class list."""

    root: Path
    labels: Path = field(init=False)
    images: Path = field(init=False)
    truth: Path = field(init=False)
    cams: Path = field(init=False)
    classes: Path = field(init=False)

    def __post_init__(self) -> None:
        for name in ("labels", "images", "truth", "cams"):
            object.__setattr__(self, name, self.root / name)
        object.__setattr__(self, "classes", self.root / "classes.txt")

    def arguments(self, *more: object) -> list[object]:
        """The command with everything that belongs to the labels."""
        return [*self.plain("--truth", self.truth, "--cams", self.cams), *more]

    def plain(self, *more: object) -> list[object]:
        """The command with labels and photographs alone."""
        return ["view", self.labels, "--images", self.images, "--classes", self.classes, *more]


def masks() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(label, truth) by name; every one has 40 x 60 or 60 x 40 pixels."""
    empty = np.zeros((40, 60), np.uint8)
    panda = empty.copy()
    panda[10:30, 10:40] = 1
    half = panda.copy()
    half[10:30, 25:40] = 2  # half of the panda is taken for a pot
    ignored = panda.copy()
    ignored[:20] = 255
    tall = np.zeros((60, 40), np.uint8)
    tall[20:50, 5:35] = 3
    found = {
        "alike": (panda, panda), "half": (half, panda), "ignored": (ignored, panda), "lone": (panda, panda),
        "missed": (empty, panda), STAR: (tall, tall),
    }  # fmt: skip
    return {name: (label.copy(), truth.copy()) for name, (label, truth) in found.items()}


def make_viewable(root: Path) -> Viewable:
    """Write the set. Doubt from its maps is 0 but for "half", 0.75, and STAR, 0.25."""
    made = Viewable(root)
    for index, (name, (label, truth)) in enumerate(masks().items()):
        for folder in (made.labels, made.images, made.truth, made.cams):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label).save(made.labels / f"{name}.png")
        draw_photograph(*label.shape, index).save(made.images / f"{name}.jpg", quality=92)
        if name != "lone":
            Image.fromarray(truth).save(made.truth / f"{name}.png")
        keys, maps = maps_of(name)
        write_maps(made.cams / f"{name}.npz", maps, keys, label.shape, "0" * 32)
    made.classes.write_text("\n".join(CLASSES) + "\n", "utf-8")
    return made


def maps_of(name: str) -> tuple[list[int], np.ndarray]:
    """Classes (0-based) and (c, 2, 2) maps; scores are these maps and 1 less the greatest."""
    sure = np.array([[[0.0, 0.0], [1.0, 1.0]]])
    if name == "half":  # two equal maps: close wherever background is not far above both
        return [0, 1], np.array([[[1.0, 0.0], [0.5, 0.5]]] * 2)
    if name == STAR:
        return [2], np.array([[[0.0, 0.52], [1.0, 1.0]]])
    return ([], np.zeros((0, 2, 2))) if name == "missed" else ([0], sure)


class PageReader(HTMLParser):
    """What a page holds: its elements with their attributes, and the text in each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []  # (innermost element, text)
        self._open: list[str] = []
        self.feed(text)
        assert self._open == [], "elements that are not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "link", "img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The attributes of every such element."""
        return [
            found for name, found in self.elements
            if name == tag and all(found.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]  # fmt: skip

    @property
    def text(self) -> str:
        """All text, but scripts and styles."""
        return " ".join(" ".join(text.split()) for tag, text in self.texts if tag not in ("script", "style"))


def picture_of(uri: str) -> Image.Image:
    """The picture in a `data:` address."""
    head, content = uri.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    picture = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    picture.load()
    return picture
