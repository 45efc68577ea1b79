"""Which data sets are found without a `--root`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from excel_cam.data.coco import find_coco_root
from excel_cam.data.masked import find_masked_root
from excel_cam.data.voc import find_voc_root
from excel_cam.errors import UsageError


def found_data_sets(environ: Mapping[str, str]) -> dict[str, tuple[Path, str]]:
    """By name, the folder of each data set that is there and how it was found.

    environ: variables such as EXCEL_CAM_VOC_ROOT; without one the usual places below the working folder are tried.
    """
    searches = {
        "voc": lambda: find_voc_root(None, environ),
        "coco": lambda: find_coco_root(None, environ),
        "context": lambda: find_masked_root("context", None, environ, {}),
        "ade20k": lambda: find_masked_root("ade20k", None, environ, {}),
        "cityscapes": lambda: find_masked_root("cityscapes", None, environ, {}),
    }
    found = {}
    for name, search in searches.items():
        try:
            found[name] = search()
        except UsageError:
            continue  # not there: nothing to tell
    return found
