"""Dense CRF: let maps follow the photograph's own pixels, near and far (step 6.5).

Fully connected, Potts, mean field (Krähenbühl and Koltun 2011), with the settings most of the field uses. Two backends
that agree to 1e-3 in probability: `numpy`, in this package, and `pydensecrf2`, the usual C++ package, where installed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from excel_cam.method.refinement.permutohedral import Floats, GaussianFilter
from excel_cam.settings import check_crf_backend

ITERATIONS = 10
LEAST_PROBABILITY = np.float32(1e-5)
SMOOTH_DEVIATION, SMOOTH_WEIGHT = 1, 3  # pixels; neighbouring pixels like the same class
COLOUR_POSITION_DEVIATION, COLOUR_DEVIATION, COLOUR_WEIGHT = 67, 3, 4  # pixels, 0..255; so do those of one colour


def dense_crf(pixels: NDArray[np.uint8], stacks: Sequence[Floats], backend: str = "numpy") -> list[Floats]:
    """Class probabilities of a photograph's pixels, for each stack of maps.

    pixels: (H, W, 3) uint8 RGB. stacks: (c, H, W) float32 maps in 0..1, which need not sum to 1; what depends on the
    photograph alone is computed once for all stacks. Returns (c, H, W) float32 that sum to 1 over c, per stack.
    On a CPU, in one thread; equal input gives equal bytes. Raises `SettingsError` where the backend is not installed,
    or a side of the photograph is too long for the lattice.
    """
    logarithms = [np.log(np.maximum(maps, LEAST_PROBABILITY)) for maps in stacks]
    if backend == "pydensecrf2":
        return [_infer_with_package(pixels, logarithm) for logarithm in logarithms]
    smooth, colour = _filters(pixels)
    return [_infer(smooth, colour, logarithm) for logarithm in logarithms]


def _filters(pixels: NDArray[np.uint8]) -> tuple[GaussianFilter, GaussianFilter]:
    """The two kernels over a photograph's pixels: of position, and of position and colour."""
    height, width = pixels.shape[:2]
    rows, columns = np.indices((height, width), np.float32).reshape(2, -1)
    positions = np.stack([columns, rows])
    colours = pixels.reshape(-1, 3).T.astype(np.float32)
    both = [positions / np.float32(COLOUR_POSITION_DEVIATION), colours / np.float32(COLOUR_DEVIATION)]
    return GaussianFilter(positions / np.float32(SMOOTH_DEVIATION)), GaussianFilter(np.concatenate(both))


def _infer(smooth: GaussianFilter, colour: GaussianFilter, logarithm: Floats) -> Floats:
    """Mean field from minus the unary energies, (c, H, W)."""
    unary = np.ascontiguousarray(logarithm.reshape(len(logarithm), -1).T)  # (N, c)
    probabilities = _softmax(unary)
    for _ in range(ITERATIONS):
        near, alike = smooth.apply(probabilities), colour.apply(probabilities)
        probabilities = _softmax(unary + np.float32(SMOOTH_WEIGHT) * near + np.float32(COLOUR_WEIGHT) * alike)
    return np.ascontiguousarray(probabilities.T).reshape(logarithm.shape)


def _softmax(rows: Floats) -> Floats:
    """Softmax of each row of (N, c)."""
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _infer_with_package(pixels: NDArray[np.uint8], logarithm: Floats) -> Floats:
    """The same by the C++ package."""
    check_crf_backend("pydensecrf2")
    from pydensecrf.densecrf import DenseCRF2D

    height, width = pixels.shape[:2]
    crf = DenseCRF2D(width, height, len(logarithm))
    crf.setUnaryEnergy(np.ascontiguousarray(-logarithm.reshape(len(logarithm), -1)))
    crf.addPairwiseGaussian(sxy=SMOOTH_DEVIATION, compat=SMOOTH_WEIGHT)
    colours = np.array(pixels, order="C")  # a copy: the package refuses an array that may not be written to
    crf.addPairwiseBilateral(COLOUR_POSITION_DEVIATION, COLOUR_DEVIATION, colours, COLOUR_WEIGHT)
    return np.array(crf.inference(ITERATIONS), np.float32).reshape(logarithm.shape)
