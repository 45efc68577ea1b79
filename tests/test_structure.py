"""What holds the package together: who may import whom, what is public, what is said about commands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import excel_cam

PACKAGE = Path(excel_cam.__file__).parent
# Steps of the method know settings, classes and errors, never one another; only the pipeline joins them.
STEPS = {"images", "calibration", "cam", "affinity", "refine", "crf", "labels"}
SHARED = {"settings", "classes", "errors", "permutohedral"}  # the last is arithmetic alone
PUBLIC = [
    "PRESETS", "ClipModel", "Evaluation", "ExcelCamError", "KnowledgeBase", "Labeller", "Settings", "TextBank",
    "__version__", "build_text_bank", "evaluate_labels", "load_model", "prompts_alone", "read_image", "read_knowledge",
    "shipped_knowledge",
]  # fmt: skip


def imported(module: str, at_top: bool = False) -> set[str]:
    """The package's own modules that a module imports, anywhere or only when it is itself imported."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    nodes = tree.body if at_top else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("excel_cam."):
            found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("step", sorted(STEPS))
def test_steps_do_not_import_steps(step: str) -> None:
    assert imported(step) <= SHARED | {f"{step}_kernel"}
    assert imported(step, at_top=True) <= SHARED  # a kernel is imported where it can run


def test_only_the_pipeline_and_the_sweep_of_its_last_steps_join_steps() -> None:
    joining = {path.stem for path in PACKAGE.glob("*.py") if len(imported(path.stem) & STEPS) > 1}
    assert joining == {"pipeline", "sweep_labels"}


@pytest.mark.parametrize(
    "module",
    [
        "evaluate",
        "compare",
        "sweep",
        "masks",
        "records",
        "tags",
        "datasets",
        "doctor",
        "doctor_masks",
        "export",
        "export_masks",
        "view",
        "view_measure",
        "view_page",
        "view_source",
        "view_strip",
        "view_thumbnails",
    ],
)
def test_what_works_on_files_imports_no_model(module: str) -> None:
    assert not imported(module) & (STEPS | {"pipeline", "clip_model", "text_bank"})


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
