"""What decides a label, once: everything that its stamp and the refusal to mix labels are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from excel_cam.files.atomic import hash_file, hash_json
from excel_cam.settings import SegmentationSettings, Settings

# Which labels this program makes of the same photograph, tags, settings, sentences and weights. Raise it with every
# change that gives other label values anywhere beyond rounding (`tests/run/test_labels_version.py` tells), and say so
# in the changelog: labels of another version are then refused, not continued.
LABELS_VERSION = 1


@dataclass(frozen=True)
class Identity:
    """Everything besides photograph and tags that decides a label's bytes, as JSON can hold it.

    `known` is known from the command and files alone. `resolved` needs the model: weights fingerprint and precision.
    """

    known: dict[str, Any]
    resolved: dict[str, Any]

    def stamp(self, tags: tuple[int, ...], regions: str | None = None, **more: str) -> str:
        """32 hexadecimal digits that change when any of it, or the image's tags, change.

        regions: hash of those of the image, None without any; it counts where regions vote. more: hashes of what else
        decides this one label.
        """
        voting = {"regions": regions} if "regions" in self.known else {}
        of_image = {"tags": list(tags), **voting, **more}
        return hash_json({"known": self.known, "resolved": self.resolved, **of_image})[:32]


def known_identity(
    settings: Settings, *, knowledge: dict[str, Any], model: str, png_mode: str, **more: Any
) -> dict[str, Any]:
    """What decides labels and is known without the model.

    knowledge: content of the knowledge base. model: its name, with whatever tells its configuration. more: what a
    command adds, such as the classes in label order.
    """
    values = settings.group("text") | settings.group("image")
    version = {} if LABELS_VERSION == 1 else {"labels_version": LABELS_VERSION}  # the first one was not written down
    return {
        "settings": {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()},
        "knowledge": hash_json(knowledge), "model": model, "png_mode": png_mode, **version, **more,
    }  # fmt: skip


def segment_identity(
    segmentation: SegmentationSettings, working_pixels: int, *, adapter: Path, model: str, png_mode: str,
    classes: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """What decides the labels of a trained segmenter and is known without the model. adapter: the file."""
    settings = asdict(segmentation) | {"scales": list(segmentation.scales), "working_pixels": working_pixels}
    if not segmentation.crf:
        del settings["crf_backend"]
    version = {} if LABELS_VERSION == 1 else {"labels_version": LABELS_VERSION}
    return {
        "command": "segment", "settings": settings, "adapter": hash_file(adapter), "model": model,
        "png_mode": png_mode, "classes": list(classes), **version,
    }  # fmt: skip


def vote_identity(
    source: Mapping[str, Any] | None, *, classes: Sequence[str], png_mode: str, regions: Mapping[str, Any]
) -> Identity:
    """What decides the labels of a vote, besides each label and its regions.

    source: the identity of the labels that regions vote on, where a run recorded one; all that it says stays said, so
    that whoever asks for the settings of these labels finds them. regions: the settings of the vote.
    """
    before = {} if source is None else dict(source)
    known = {
        **before.get("known", {}), "command": "vote", "voted_on": None if source is None else hash_json(before),
        "classes": list(classes), "png_mode": png_mode, "regions": dict(regions),
    }  # fmt: skip
    return Identity(known, before.get("resolved", {}))


def resolved_identity(weights: str, precision: str, backend: str = "torch") -> dict[str, Any]:
    """What decides labels and needs the model: the weights' fingerprint, the dtype of matrix products, the backend."""
    other = {} if backend == "torch" else {"backend": backend}  # torch was the only one, and is not written down
    return {"weights": weights, "precision": precision, **other}
