"""The examples in the docstrings of the public names, on the demo's model, which is loaded once."""

from __future__ import annotations

import doctest
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import excel_cam
from excel_cam.model import clip
from excel_cam.shipped import DEMO_IMAGES

EXEMPT = {"__version__"}  # a text, which has no docstring
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


@pytest.fixture(scope="module", autouse=True)
def _one_model() -> Iterator[None]:
    """Whoever loads the demo's model gets the same one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip, "load_model", functools.wraps(clip.load_model)(functools.cache(clip.load_model)))
        yield


@functools.cache
def names() -> dict[str, Any]:
    """What the examples have at hand besides their imports."""
    labeller = excel_cam.Labeller.from_pretrained(dataset="demo")
    photo = DEMO_IMAGES / "drawing_000.jpg"
    public = {name: getattr(excel_cam, name) for name in excel_cam.__all__}
    return {**public, "labeller": labeller, "model": labeller.model, "photo": photo, "Path": Path, "np": np}


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a public name: in its docstring and in those of its methods."""
    found = doctest.DocTestFinder(recurse=True).find(getattr(excel_cam, name), name, globs={**names()})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", sorted({*excel_cam.__all__} - EXEMPT - {"PRESETS"}))
def test_examples_of_the_public_names_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert inspect.getdoc(getattr(excel_cam, name))
    tests = examples(name)
    assert tests, f"{name} has no example"
    for test in tests:
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=OPTIONS)
        runner.run(test, out=report.append)
        assert not runner.failures, "".join(report)
