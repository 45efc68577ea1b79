"""Things of the house that icon sets draw seldom, drawn by chance: tables, sofas, chairs, bottles, screens and pots."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Generator = np.random.Generator
Colour = tuple[int, int, int]
CANVAS = 384  # pixels of a picture's side
EACH = 24  # drawings of each class
FAMILY = "furniture"


def _colour(rng: Generator) -> Colour:
    woods = ((150, 100, 60), (105, 70, 45), (190, 150, 100), (225, 220, 210), (60, 60, 65))
    base = np.array(woods[rng.integers(len(woods))] if rng.random() < 0.6 else rng.integers(30, 230, 3))
    return tuple(int(v) for v in (base + rng.normal(0, 12, 3)).clip(0, 255))  # type: ignore[return-value]


def _darker(colour: Colour, share: float = 0.75) -> Colour:
    return tuple(int(v * share) for v in colour)  # type: ignore[return-value]


def _table(rng: Generator, draw: ImageDraw.ImageDraw) -> str:
    colour, top = _colour(rng), rng.uniform(40, 140)
    width, thick = rng.uniform(300, CANVAS - 10), rng.uniform(14, 40)
    left, bottom = (CANVAS - width) / 2, rng.uniform(260, 370)
    kind = rng.integers(4)
    if kind == 0:  # seen from above, laid
        draw.ellipse((10, top, CANVAS - 10, top + 250), fill=colour, outline=_darker(colour), width=8)
        for x in (60.0, 160.0, 260.0):
            draw.ellipse((x, top + 70, x + 70, top + 125), fill=(245, 245, 245), outline=(190, 190, 190), width=4)
        return "plate"
    if kind == 1:  # round, on one leg
        draw.ellipse((left, top, left + width, top + thick * 2), fill=colour)
        draw.rectangle((185, top + thick, 199, bottom), fill=_darker(colour))
        draw.polygon(((120, bottom), (264, bottom), (192, bottom - 40)), fill=_darker(colour, 0.6))
        return "round"
    legs = rng.uniform(12, 34)
    splay = rng.uniform(-20, 25)
    for x, side in ((left + 15, 1.0), (left + width - 15 - legs, -1.0)):
        foot = x - side * splay
        draw.polygon(((x, top), (x + legs, top), (foot + legs * 0.8, bottom), (foot, bottom)), fill=_darker(colour))
    for between in (0.25, 0.68) if rng.random() < 0.5 else ():
        x = left + width * between
        draw.rectangle((x, top, x + legs * 0.7, bottom - 45), fill=_darker(colour, 0.6))
    if kind == 2:  # a top in perspective
        draw.polygon(((left + 50, top - 30), (left + width - 50, top - 30), (left + width, top + thick),
                      (left, top + thick)), fill=colour)  # fmt: skip
        draw.rectangle((left, top + thick, left + width, top + thick + 12), fill=_darker(colour))
    else:
        draw.rectangle((left, top, left + width, top + thick), fill=colour)
    if rng.random() < 0.35:  # a cloth
        cloth = tuple(int(v) for v in rng.integers(120, 256, 3))
        draw.polygon(((left, top), (left + width, top), (left + width - 8, top + thick + 50), (192, top + thick + 25),
                      (left + 8, top + thick + 50)), fill=cloth)  # fmt: skip
    return "table"


def _sofa(rng: Generator, draw: ImageDraw.ImageDraw) -> str:
    colour, seats = _colour(rng), int(rng.integers(2, 4))
    back, arm = rng.uniform(70, 150), rng.uniform(35, 70)
    round_ = rng.uniform(8, 40)
    for x in (45.0, 320.0):
        draw.rectangle((x, 270, x + 22, 310), fill=_darker(colour, 0.4))
    draw.rounded_rectangle((25, back, 359, 270), round_, fill=_darker(colour, 0.85))
    step = (CANVAS - 2 * arm) / seats
    for place in range(seats):
        box = (arm + place * step + 3, 185, arm + (place + 1) * step - 3, 235)
        draw.rounded_rectangle((box[0], back + 10, box[2], 190), 14, fill=colour, outline=_darker(colour, 0.7), width=4)
        draw.rounded_rectangle(box, 12, fill=colour, outline=_darker(colour, 0.7), width=4)
    for x in (2, CANVAS - arm - 2):
        draw.rounded_rectangle((x, rng.uniform(135, 165), x + arm, 280), round_, fill=_darker(colour, 0.92))
    draw.rectangle((20, 236, 364, 275), fill=_darker(colour, 0.8))
    return "plain"


def _chair(rng: Generator, draw: ImageDraw.ImageDraw) -> str:
    colour, seat = _colour(rng), rng.uniform(190, 230)
    leg = rng.uniform(10, 24)
    if rng.random() < 0.5:  # from the side
        draw.polygon(((90, seat), (90 + leg, seat), (60 + leg, 10), (60, 10)), fill=colour)
        draw.rounded_rectangle((85, seat, 290, seat + rng.uniform(14, 36)), 6, fill=_darker(colour, 0.85))
        for x, foot in ((92, 75), (275 - leg, 290)):
            draw.polygon(((x, seat), (x + leg, seat), (foot + leg, 375), (foot, 375)), fill=_darker(colour))
        return "plain"
    for x in (80, 300 - leg):
        draw.rectangle((x, 20, x + leg, 375), fill=_darker(colour))
    if rng.random() < 0.5:
        for y in np.linspace(30, 150, int(rng.integers(2, 5))):
            draw.rectangle((80, y, 300, y + 22), fill=colour)
    else:
        draw.rounded_rectangle((75, 15, 305, 160), rng.uniform(5, 60), fill=colour)
    draw.polygon(((80, seat - 20), (300, seat - 20), (325, seat + 25), (55, seat + 25)), fill=_darker(colour, 0.9))
    for x in (60, 318 - leg):
        draw.rectangle((x, seat + 10, x + leg, 382), fill=_darker(colour, 0.8))
    return "plain"


def _bottle(rng: Generator, draw: ImageDraw.ImageDraw) -> str:
    glass = ((30, 90, 50), (110, 60, 20), (120, 190, 210), (210, 225, 230), (150, 30, 40))
    colour = glass[rng.integers(len(glass))]
    half, neck = rng.uniform(45, 80), rng.uniform(14, 26)
    shoulder, foot = rng.uniform(110, 190), 378
    curve = rng.uniform(20, 70)
    outline = [(-half, foot), (-half, shoulder + curve), (-neck - (half - neck) * 0.4, shoulder + curve * 0.3),
               (-neck, shoulder), (-neck, 20)]  # fmt: skip
    points = [(192 + x, y) for x, y in outline] + [(192 - x, y) for x, y in reversed(outline)]
    draw.polygon(points, fill=colour)
    draw.rectangle(
        (192 - neck - 4, 6, 192 + neck + 4, rng.uniform(30, 60)), fill=tuple(int(v) for v in rng.integers(20, 240, 3))
    )
    if rng.random() < 0.7:
        draw.rectangle((192 - half, 230, 192 + half, 320), fill=tuple(int(v) for v in rng.integers(150, 256, 3)))
    draw.line((192 - half * 0.65, shoulder + curve + 10, 192 - half * 0.65, 360), fill=(245, 250, 250), width=7)
    return "wine" if colour[1] < 120 else "plastic"


def _screen(rng: Generator, draw: ImageDraw.ImageDraw) -> str:
    frame, height = _darker(_colour(rng), rng.uniform(0.2, 1)), rng.uniform(190, 270)
    border = rng.uniform(8, 26)
    old = rng.random() < 0.45
    top = 80 if old else 20
    draw.rounded_rectangle((5, top, 379, top + height), rng.uniform(2, 34) if old else 8, fill=frame)
    right = 300 if old and rng.random() < 0.7 else 379 - border
    picture = tuple(int(v) for v in rng.integers(10, 240, 3))
    draw.rounded_rectangle((5 + border, top + border, right, top + height - border), 18 if old else 3, fill=picture)
    if rng.random() < 0.5:
        draw.polygon(
            ((40, top + border + 12), (120, top + border + 12), (70, top + 110), (40, top + 110)), fill=(235, 245, 250)
        )
    if old:
        for x in (110, 275):
            draw.line((192, top, x, 5), fill=frame, width=7)
        for y in (top + 50, top + 100) if right == 300 else ():
            draw.ellipse((320, y, 355, y + 35), fill=_darker(frame, 0.5), outline=(220, 220, 220), width=4)
        return "tv"
    draw.rectangle((172, top + height, 212, top + height + 45), fill=_darker(frame))
    draw.rounded_rectangle((110, top + height + 40, 274, top + height + 58), 6, fill=frame)
    return "monitor"


def _plant(rng: Generator, draw: ImageDraw.ImageDraw) -> str:
    green = (int(rng.integers(20, 110)), int(rng.integers(100, 190)), int(rng.integers(20, 90)))
    rim = rng.uniform(225, 270)
    for angle in rng.uniform(-1.25, 1.25, int(rng.integers(5, 12))):
        length, wide = rng.uniform(120, 220), rng.uniform(14, 34)
        tip = (192 + length * np.sin(angle), rim - length * np.cos(angle))
        middle = (192 + length * 0.55 * np.sin(angle), rim - length * 0.55 * np.cos(angle))
        across = (wide * np.cos(angle), wide * np.sin(angle))
        leaf = ((192, rim), (middle[0] - across[0], middle[1] - across[1]), tip,
                (middle[0] + across[0], middle[1] + across[1]))  # fmt: skip
        shade = rng.uniform(0.75, 1.1)
        draw.polygon(leaf, fill=tuple(int(min(255, v * shade)) for v in green), outline=_darker(green, 0.6))
    pot = (190, 100, 60) if rng.random() < 0.5 else _colour(rng)
    half, narrow = rng.uniform(65, 100), rng.uniform(0.6, 0.95)
    draw.polygon(
        ((192 - half, rim), (192 + half, rim), (192 + half * narrow, 378), (192 - half * narrow, 378)), fill=pot
    )
    draw.rectangle((192 - half - 8, rim - 10, 192 + half + 8, rim + 18), fill=_darker(pot, 0.85))
    return "leaf"


_PAINTERS: dict[str, Callable[[Generator, ImageDraw.ImageDraw], str]] = {
    "diningtable": _table, "sofa": _sofa, "chair": _chair, "bottle": _bottle, "tvmonitor": _screen,
    "pottedplant": _plant,
}  # fmt: skip


def paint_furniture(seed: int = 0) -> list[tuple[str, str, str, Image.Image]]:
    """`EACH` drawings of each class painted here: class, kind, a name, and the RGBA picture."""
    painted = []
    for name, paint in _PAINTERS.items():
        for number in range(EACH):
            rng = np.random.default_rng((seed, number, *name.encode()))
            image = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
            kind = paint(rng, ImageDraw.Draw(image))
            painted.append((name, kind, f"{name}-{number}", image))
    return painted
