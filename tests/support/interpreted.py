"""Triton kernels through Triton's interpreter, which needs no GPU, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

requires_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def run_interpreted(script: str) -> str:
    """What a script prints whose kernels are interpreted."""
    environ = os.environ | {"TRITON_INTERPRET": "1"}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ)
    assert result.returncode == 0, result.stderr
    return result.stdout
