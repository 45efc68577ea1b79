"""How much of a photograph each class covers, as `excel-cam label` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from excel_cam.classes import IGNORE
from excel_cam.run.photos import Labelled


def share_record(result: Labelled, names: Sequence[str]) -> dict[str, Any]:
    """One labelled photograph as JSON can hold it; shares of the pixels, 0..1."""
    shares = result.shares
    classes = {name: round(shares.get(value, 0.0), 6) for value, name in enumerate(("background", *names))}
    return {
        "name": result.place.photograph.stem, "photograph": str(result.place.photograph),
        "path": str(result.place.label), "overlay": str(result.place.overlay), "classes": classes,
        "ignored": round(shares.get(IGNORE, 0.0), 6), "kept": result.kept,
    }  # fmt: skip


def share_text(result: Labelled, names: Sequence[str]) -> str:
    """One labelled photograph on one line: "photo.png  cat 23.1 %, sofa 40.0 %, background 36.9 %"."""
    shares = result.shares
    parts = [f"{name} {100 * shares.get(value, 0.0):.1f} %" for value, name in enumerate(names, start=1)]
    parts.append(f"background {100 * shares.get(0, 0.0):.1f} %")
    if IGNORE in shares:
        parts.append(f"ignored {100 * shares[IGNORE]:.1f} %")
    return f"{result.place.label}  {', '.join(parts)}{' (kept)' if result.kept else ''}"
