"""excel-cam: segmentation labels from image-level labels, without training.

    from excel_cam import Labeller

    labeller = Labeller.from_pretrained(dataset="voc")
    result = labeller.label("photo.jpg", ["cat", "sofa"])
    result.label   # (H, W) uint8: 0 background, 8 cat, 18 sofa; in a notebook the result shows as a picture

    adapter = read_adapter(Path("lvc-voc"), labeller.model)   # what `train` has learnt
    mask = Segmenter(labeller.model, adapter).segment([image])[0]

Names are imported on first use, so that `import excel_cam` alone stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from excel_cam.errors import ExcelCamError
    from excel_cam.evaluation.evaluate import evaluate_labels
    from excel_cam.evaluation.scores import Evaluation
    from excel_cam.files.images.photographs import read_image
    from excel_cam.knowledge.base import KnowledgeBase, prompts_alone, read_knowledge, shipped_knowledge
    from excel_cam.learnt.checkpoint import read_adapter
    from excel_cam.learnt.segmenter import Segmenter
    from excel_cam.model.clip import ClipModel, load_model
    from excel_cam.model.text_bank import TextBank, build_text_bank
    from excel_cam.notebook.labeller import Labeller
    from excel_cam.notebook.result import LabelledImage
    from excel_cam.settings import PRESETS, ModelChoice, Settings

_HOME = {
    "ClipModel": "model.clip",
    "Evaluation": "evaluation.scores",
    "ExcelCamError": "errors",
    "KnowledgeBase": "knowledge.base",
    "LabelledImage": "notebook.result",
    "Labeller": "notebook.labeller",
    "Segmenter": "learnt.segmenter",
    "read_adapter": "learnt.checkpoint",
    "ModelChoice": "settings",
    "PRESETS": "settings",
    "Settings": "settings",
    "TextBank": "model.text_bank",
    "build_text_bank": "model.text_bank",
    "evaluate_labels": "evaluation.evaluate",
    "load_model": "model.clip",
    "prompts_alone": "knowledge.base",
    "read_image": "files.images.photographs",
    "read_knowledge": "knowledge.base",
    "shipped_knowledge": "knowledge.base",
}

__all__ = [
    "PRESETS",
    "ClipModel",
    "Evaluation",
    "ExcelCamError",
    "KnowledgeBase",
    "LabelledImage",
    "Labeller",
    "ModelChoice",
    "Segmenter",
    "Settings",
    "TextBank",
    "__version__",
    "build_text_bank",
    "evaluate_labels",
    "load_model",
    "prompts_alone",
    "read_adapter",
    "read_image",
    "read_knowledge",
    "shipped_knowledge",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'excel_cam' has no attribute '{name}'")
    return getattr(importlib.import_module(f"excel_cam.{_HOME[name]}"), name)
