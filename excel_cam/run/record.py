"""What a run writes of itself into `run.json`: settings and their sources, versions, model, knowledge, work."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import excel_cam
from excel_cam.labels.identity import Identity

if TYPE_CHECKING:
    from excel_cam.model.clip import ClipModel
    from excel_cam.run.settle import Settled

_VERSIONED = ("torch", "open_clip_torch", "numpy", "pillow", "scipy", "pydensecrf2")


def run_record(settled: Settled, identity: Identity, model: ClipModel, batch_size: int) -> dict[str, Any]:
    """The run record, less its state."""
    import torch  # loaded by now: a model is there

    request, data, settings = settled.request, settled.data, identity.known["settings"]
    work = request.work
    libraries = _VERSIONED if model.backend == "torch" else (*_VERSIONED, model.backend)
    return {
        "excel_cam": excel_cam.__version__,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in libraries}},
        "dataset": {
            "name": data.name, "root": str(data.root), "found": settled.root_found, "split": data.split,
            "images": settled.images_in_all, "tags": data.tags_source,
            **({} if data.predicted_tags is None else {"predicted_tags": asdict(data.predicted_tags)}),
        },
        "settings": {key: {"value": settings[key], "from": request.setting_sources[key]} for key in settings},
        "model": {
            "name": model.name, "weights": str(model.weights), "sha256": model.fingerprint,
            "device": str(model.device), "precision": model.precision,
        },
        **_learnt_parts(settled, identity),
        **({} if request.regions is None else {"regions": request.regions.record()}),
        "work": {
            "batch_size": batch_size, "asked_batch_size": work.batch_size, "workers": work.workers,
            "threads": torch.get_num_threads(), "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
            "shard": None if work.shard.is_whole else f"{work.shard} ({work.shard.source})",
        },
        "asked": settled.asked,
        "identity": {"known": identity.known, "resolved": identity.resolved},
    }  # fmt: skip


def _learnt_parts(settled: Settled, identity: Identity) -> dict[str, Any]:
    """The sentences, where there is text, and the trained adapter, where there is one."""
    parts: dict[str, Any] = {}
    if settled.knowledge is not None:
        parts["knowledge"] = {
            "dataset": settled.knowledge.dataset, "sha256": identity.known["knowledge"],
            "background_class": settled.knowledge.has_background,
        }  # fmt: skip
    if settled.request.adapter is not None:
        parts["adapter"] = {"file": str(settled.request.adapter), "sha256": identity.known["adapter"]}
    return parts


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
