"""Which data sets are found without a `--root`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from excel_cam.data.coco import find_coco_root
from excel_cam.data.masked import find_masked_root
from excel_cam.data.voc import find_voc_root
from excel_cam.errors import UsageError


def found_data_sets(environ: Mapping[str, str], roots: Mapping[str, Path]) -> dict[str, tuple[Path, str]]:
    """By name, the folder of each data set that is there and how it was found.

    environ: variables such as EXCEL_CAM_VOC_ROOT; roots: folders by data set from a config file. Without either the
    usual places below the working folder are tried.
    """
    searches = {
        "voc": lambda: find_voc_root(None, environ, roots.get("voc")),
        "coco": lambda: find_coco_root(None, environ, roots.get("coco")),
        "context": lambda: find_masked_root("context", None, environ, roots),
        "ade20k": lambda: find_masked_root("ade20k", None, environ, roots),
        "cityscapes": lambda: find_masked_root("cityscapes", None, environ, roots),
    }
    found = {}
    for name, search in searches.items():
        try:
            found[name] = search()
        except UsageError:
            if name in roots:  # somebody says that it is there
                found[name] = roots[name], "config file; no such data set there"
    return found
