"""How far an output folder is, whatever kind of folder it is."""

from __future__ import annotations

from pathlib import Path

from excel_cam.errors import DataError
from excel_cam.files.storage import Place
from excel_cam.labels.records import is_packed
from excel_cam.labels.status.standing import Standing, plain_standing


def standing_of(labels: Path | Place) -> Standing:
    """How far an output folder is; raises `DataError` where nothing has been labelled into it.

    Raises `OutputError` for damaged records too, and `UsageError` for shards without pyarrow.
    """
    if is_packed(labels):
        from excel_cam.labels.packed.status import packed_standing  # with numpy, which a folder of files does not need

        return packed_standing(labels)
    standing = plain_standing(labels) if isinstance(labels, Path) else None
    if standing is None:
        raise DataError(
            f"{labels}: no run has written here: there is no run.json; give the --out of `excel-cam generate` or "
            "`segment`"
        )
    return standing
