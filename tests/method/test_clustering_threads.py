"""k-means gives the same bytes in every process, whatever the number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from excel_cam.method.clustering import cluster_centres

CODE = """
import hashlib, numpy as np
from excel_cam.method.clustering import cluster_centres
points = np.random.default_rng(5).normal(size=(300, 64))
points /= np.linalg.norm(points, axis=1, keepdims=True)
print(hashlib.sha256(cluster_centres(points, 40).tobytes()).hexdigest())
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_same_bytes_in_every_process_and_with_any_threads(threads: str) -> None:
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    digest = subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | counts, capture_output=True, text=True, check=True
    ).stdout.strip()
    points = np.random.default_rng(5).normal(size=(300, 64))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert digest == hashlib.sha256(cluster_centres(points, 40).tobytes()).hexdigest()
