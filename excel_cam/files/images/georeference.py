"""Where on Earth a label lies: `NAME.png.aux.xml` beside `NAME.png`, for photographs that say where they lie.

It is the file in which GDAL keeps what a format has no place for (Persistent Auxiliary Metadata), so whatever opens
images by GDAL (QGIS, rasterio, ArcGIS) places the label itself: there is no second copy of its pixels that could differ
from it. A world file would lack the coordinate system. 255, pixels to ignore, is told as "no data".
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from excel_cam.classes import IGNORE
from excel_cam.files.atomic import write_atomically
from excel_cam.files.images.rasters import is_tiff, read_georeference

SUFFIX = ".aux.xml"
_MARK = b"<GeoTransform>"
_MOST_BYTES = 1 << 20  # that are looked through for it; programs that show a label add statistics


def georeference_path(label: Path) -> Path:
    """The file beside a label that says where it lies."""
    return label.with_name(label.name + SUFFIX)


def write_georeference(label: Path, photograph: Path) -> None:
    """Write what a photograph says of where it lies beside its label; nothing where it says nothing.

    A file of an earlier photograph is removed then. Raises `OutputError`.
    """
    if not is_tiff(photograph):
        return
    path, found = georeference_path(label), read_georeference(photograph)
    if found is None:
        if _is_there(path):
            path.unlink()
        return
    numbers = ", ".join(f"{number:.17g}" for number in found.transform)
    system = f"  <SRS>{escape(found.wkt, quote=False)}</SRS>\n" if found.wkt else ""
    text = (
        f"<PAMDataset>\n{system}  <GeoTransform>{numbers}</GeoTransform>\n"
        f'  <PAMRasterBand band="1">\n    <NoDataValue>{IGNORE}</NoDataValue>\n  </PAMRasterBand>\n</PAMDataset>\n'
    )
    write_atomically(path, text.encode())


def lacks_georeference(label: Path, photograph: Path) -> bool:
    """Whether a photograph says where it lies and the file beside its label is missing: the label is not finished."""
    return is_tiff(photograph) and not _is_there(georeference_path(label)) and read_georeference(photograph) is not None


def _is_there(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return _MARK in stream.read(_MOST_BYTES)
    except OSError:
        return False
