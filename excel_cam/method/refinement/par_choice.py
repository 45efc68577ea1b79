"""Whether a step of refinement on a CPU is computed by plain torch or by a loop that numba compiles (extra `fast`)."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[..., Tensor]
Shapes = tuple[tuple[int, ...], ...]
UNCOMPILED = 3  # photographs that take no longer than to load the compiler


class CompiledWhereEqual:
    """Compiled loops where the extra `fast` is installed and gives the same bytes, else plain torch.

    They start late, as a few photographs are done before the compiler is loaded. For each step and shape both ways are
    tried on values drawn by chance: vector instructions differ among processors, and end rows and planes in ways of
    their own; a photograph may be too plain to show it.
    """

    def __init__(self) -> None:
        self.photographs = 0
        self.equal: dict[tuple[str, Shapes], bool] = {}

    def __call__(self, step: str, shapes: Shapes, plain: Step, compiled: Step) -> Step:
        """One of two ways to compute a step, each of which can be called with tensors of these shapes alone."""
        if self.photographs <= UNCOMPILED or not has_compiler():
            return plain
        if (step, shapes) not in self.equal:
            chance = torch.Generator().manual_seed(0)
            drawn = [torch.rand(shape, generator=chance) for shape in shapes]
            self.equal[step, shapes] = torch.equal(compiled(*drawn), plain(*drawn))
        return compiled if self.equal[step, shapes] else plain


@functools.cache
def has_compiler() -> bool:
    """Whether numba is there and compiles here; tried once, and said where it does not."""
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        from excel_cam.method.compiled.par_loops import compile_loops

        compile_loops()
    except Exception as error:  # a compiler that does not fit numpy or the processor raises whatever it meets
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"refinement in plain torch, its loops cannot be compiled: {reason}", stacklevel=2)
        return False
    return True
