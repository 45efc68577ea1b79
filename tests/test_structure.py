"""What holds the package together: who may import whom, what is public, what is said about commands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import excel_cam

PACKAGE = Path(excel_cam.__file__).parent
PUBLIC = [
    "PRESETS", "ClipModel", "Evaluation", "ExcelCamError", "KnowledgeBase", "Labeller", "Settings", "TextBank",
    "__version__", "build_text_bank", "evaluate_labels", "load_model", "prompts_alone", "read_image", "read_knowledge",
    "shipped_knowledge",
]  # fmt: skip
STEPS = {
    "method.images", "method.calibration", "method.cam", "method.affinity", "method.par", "method.crf",
    "method.label_map",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """The package's own modules that a module imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules = [node.module or "" for node in nodes]
    return {module.removeprefix("excel_cam.") for module in modules if module.startswith("excel_cam.")}


@pytest.mark.parametrize("step", sorted(STEPS))
def test_steps_do_not_import_steps(step: str) -> None:
    assert not imported(PACKAGE / f"{step.replace('.', '/')}.py") & STEPS


def test_only_labellers_the_sweep_of_their_last_steps_and_the_segmenter_join_steps() -> None:
    joining = {f"{path.parent.name}.{path.stem}" for path in PACKAGE.rglob("*.py") if len(imported(path) & STEPS) > 1}
    assert joining == {
        "run.labeller", "evaluation.sweep_labels", "learnt.labels", "learnt.labeller", "learnt.segmenter",
    }  # fmt: skip


def test_the_public_names_are_these_and_all_there() -> None:
    assert sorted(excel_cam.__all__) == sorted(PUBLIC)
    for name in excel_cam.__all__:
        assert getattr(excel_cam, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = excel_cam.nothing


def test_generated_weights_are_the_same_every_time(tiny_model: tuple[Path, Path]) -> None:
    import torch
    from generate_weights import random_state_dict

    stored = torch.load(tiny_model[1], weights_only=True)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in random_state_dict(str(tiny_model[0])).items())
