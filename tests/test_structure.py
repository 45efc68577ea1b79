"""What holds the package together: the rooms, who may import whom, what is public, what a wheel holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import excel_cam

PACKAGE = Path(excel_cam.__file__).parent
GROUND = {"", "errors", "classes", "settings", "wording", "shipped"}  # the top of the package; "" is its own __init__
LARGEST_ROOM = 14  # modules, its __init__ included

# Room -> the rooms that it may import, besides itself and the ground.
MAY_IMPORT = {
    "files": set(),
    "method": set(),
    "tags": {"files"},
    "knowledge": {"files"},
    "labels": {"files"},
    "model": {"files", "method", "knowledge"},
    "data": {"files", "tags", "knowledge"},
    "learnt": {"files", "method", "model", "labels", "data"},
    "run": {"files", "method", "tags", "knowledge", "labels", "model", "data", "learnt", "evaluation"},
    "evaluation": {"files", "method", "labels"},
    "export": {"files", "method", "labels"},
    "report": {"files", "labels", "evaluation"},
    "doctor": {"files", "tags", "labels"},
    "imports": {"files", "tags", "labels"},
    "notebook": {"files", "method", "knowledge", "labels", "model", "run"},
    "cli": {
        "files", "method", "tags", "knowledge", "labels", "model", "data", "learnt", "run", "evaluation", "export",
        "imports", "report", "doctor",
    },
}  # fmt: skip

# Library -> the rooms, or single modules, that may import it. numpy may be used anywhere.
MAY_USE = {
    # crops are scaled as Pillow scales
    "PIL": {"files", "labels", "notebook", "report", "doctor", "export", "learnt.training.crops"},
    "torch": {"method", "model", "learnt", "run", "notebook.result", "evaluation.sweep_labels", "export.maps"},
    "open_clip": {"model", "method.calibration"},
    "pyarrow": {"files.parquet", "labels.packed.index", "data.sharded.manifest"},
    "fsspec": {"files.storage", "files.remote.systems", "files.remote.web"},
    "aiohttp": {"files.remote.systems", "files.remote.web"},
    "ray": {"run.shards.ray_engine"},
    "huggingface_hub": {"model"},
    "safetensors": {"model", "learnt"},
    "triton": {"method.refinement.par_kernel", "method.compiled.attention_kernel"},
    "scipy": {"method", "report.marks", "files.annotations.outlines", "files.regions.id_maps", "labels.regions.vote"},
    "pydensecrf": {"method.refinement.crf"},
    "numba": {"method.compiled.par_loops"},
    "openvino": {"method.compiled.image_tower"},
    "pycocotools": {"export.coco"},
    "rasterio": {"files.images.rasters"},
    "openai": {"knowledge.language_model"},
    "click": {"cli"},
    "tqdm": {"cli.progress"},
    "tomli": {"cli.config"},
    "numpy": {"files", "method", "tags", "knowledge", "labels", "model", "learnt", "run", "evaluation", "export",
              "imports", "report", "doctor", "notebook"},
}  # fmt: skip

PUBLIC = [
    "PRESETS", "ClipModel", "Evaluation", "ExcelCamError", "KnowledgeBase", "LabelledImage",
    "Labeller", "ModelChoice", "Segmenter",
    "Settings", "TextBank", "__version__", "build_text_bank", "evaluate_labels", "load_model", "prompts_alone",
    "read_adapter", "read_image", "read_knowledge", "shipped_knowledge",
]  # fmt: skip


def modules(package: Path) -> dict[str, Path]:
    """Every module by its dotted name below the package: "method.cam", "errors", "method" for its __init__."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a module imports, anywhere in it and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room is meant"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner_imports(name: str, found: dict[str, Path]) -> set[str]:
    """The package's own modules that one imports; `from excel_cam import name` counts as the package itself."""
    inner = set()
    for target in imports(found[name]):
        top, _, rest = target.partition(".")
        if top == "excel_cam":
            while rest and rest not in found:  # a name out of a module
                rest = rest.rpartition(".")[0]
            inner.add(rest)
    return inner - {name}


def broken_rules(package: Path) -> list[str]:
    """Every import, and every folder, that the tables above do not allow."""
    found, broken = modules(package), []
    for name, path in found.items():
        room = name.split(".")[0]
        if path.parent == package:
            allowed, room = GROUND | ({"cli"} if name == "__main__" else set()), ""
        elif room not in MAY_IMPORT:
            broken.append(f"{room}: no such room in the table")
            continue
        else:
            allowed = GROUND | {room} | MAY_IMPORT[room]
        for target in inner_imports(name, found):
            # The public face names what lies anywhere, for type checkers alone; it imports on first use.
            if target.split(".")[0] not in allowed and name != "":
                broken.append(f"{name} imports {target}")
        for target in imports(path):
            library = target.split(".")[0]
            if library in MAY_USE and not {room, name} & MAY_USE[library]:
                broken.append(f"{name} imports {library}")
    return sorted(set(broken))


def circles(package: Path) -> list[list[str]]:
    """Modules that import one another in a circle."""
    found = modules(package)
    arrows = {name: inner_imports(name, found) - {""} for name in found if name}
    done: set[str] = set()
    loops: list[list[str]] = []

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            loops.append([*way[way.index(name) :], name])
        elif name not in done:
            for target in sorted(arrows.get(name, ())):
                visit(target, [*way, name])
            done.add(name)

    for name in arrows:
        visit(name, [])
    return loops


def test_every_import_is_one_that_the_rooms_allow() -> None:
    assert broken_rules(PACKAGE) == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circles(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("method/cam.py", "from excel_cam.labels.png import find_label\n", "method.cam imports labels.png"),
        ("method/cam.py", "def f():\n    from excel_cam.files import lists\n", "method.cam imports files.lists"),
        ("files/lists.py", "import click\n", "files.lists imports click"),
        ("errors.py", "import numpy as np\n", "errors imports numpy"),
        ("attic/box.py", "", "attic: no such room in the table"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    for kept in ("labels/png.py", "files/lists.py"):
        (tmp_path / kept).parent.mkdir(exist_ok=True)
        (tmp_path / kept).write_text("")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert broken_rules(tmp_path) == [complaint]


def test_a_circle_is_found(tmp_path: Path) -> None:
    for name, other in (("errors", "classes"), ("classes", "errors")):
        (tmp_path / f"{name}.py").write_text(f"from excel_cam.{other} import thing\n")
    assert circles(tmp_path) == [["classes", "errors", "classes"]]


def folders() -> set[Path]:
    return {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}


def test_rooms_stay_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8
    sizes = {str(folder.relative_to(PACKAGE)): len(list(folder.glob("*.py"))) for folder in folders()}
    assert {folder: size for folder, size in sizes.items() if size > LARGEST_ROOM} == {}


def test_rooms_bear_nothing_but_their_names() -> None:
    for folder in folders():
        path = folder / "__init__.py"
        assert len(ast.parse(path.read_text()).body) == 1, f"{path}: a docstring and nothing else"


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
