"""`excel-cam view` as a function: finished labels → a page for a browser, a strip for a paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from excel_cam.errors import OutputError, UsageError
from excel_cam.files.atomic import remove_stale_parts
from excel_cam.report.measure import measure_all
from excel_cam.report.page import Page, choose_shown, write_page
from excel_cam.report.source import ViewSource, open_view
from excel_cam.report.strip import write_strip
from excel_cam.wording import readable_size


@dataclass(frozen=True)
class View:
    """What is to be shown, and where to. names None: every label. order: a key of `view_page.ORDERS`."""

    labels: Path
    images: Path
    class_names: tuple[str, ...]
    truth: Path | None = None
    cams: Path | None = None
    names: Sequence[str] | None = None
    out: Path | None = None
    order: str = "doubt"
    limit: int = 500
    strip: Path | None = None
    rows: int = 6
    overwrite: bool = False


def run_view(view: View, on_image: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Write the page and the strip that are asked for; yields a line on each once it is written.

    `on_image` is called for each image measured and each drawn. Raises `UsageError` where the command cannot be
    right, `DataError` and `ImageError` for files that are missing, damaged or do not fit, `OutputError` where a file
    is in the way or cannot be written.
    """
    _check(view)
    for path in (view.out, view.strip):
        if path is not None:
            remove_stale_parts(path.parent)
    source = open_view(view.labels, view.images, view.class_names, view.cams, view.truth, view.names)
    if view.out is not None:
        yield _write_page(view.out, view, source, on_image)
    if view.strip is not None:
        names = source.names[: view.rows]
        write_strip(view.strip, source, names, on_image)
        yield f"{view.strip}: {len(names):,} rows"


def _check(view: View) -> None:
    if view.out is None and view.strip is None:
        raise UsageError("nothing to write: give --out report.html, --strip figure.png, or both")
    if view.order == "iou" and view.truth is None:
        raise UsageError("--sort iou needs the truth: give its folder with --truth")
    for path, suffix in ((view.out, ".html"), (view.strip, ".png")):
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise UsageError(f"{path}: expected a file name that ends in {suffix}")
        if suffix == ".png" and path.resolve().is_relative_to(view.labels.resolve()):
            raise UsageError(f"{path} lies in {view.labels}: it would pass for a label; write it elsewhere")
        if path.exists() and not view.overwrite:
            raise OutputError(f"{path}: there already; add --overwrite to replace it, or choose another name")


def _write_page(out: Path, view: View, source: ViewSource, on_image: Callable[[], None]) -> str:
    measurements = measure_all(source, on_image)
    shown = choose_shown(measurements, view.order, view.limit)
    write_page(out, Page(source, measurements, shown, view.order), on_image)
    more = "" if len(shown) == len(source.names) else f" of {len(source.names):,}, the first by {view.order}"
    return f"{out}: {len(shown):,} images{more}; {readable_size(out.stat().st_size)}"
