"""`excel-cam view` as a function: finished labels → a page for a browser, a strip for a paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from excel_cam.errors import OutputError, UsageError
from excel_cam.files.atomic import remove_stale_parts
from excel_cam.files.images.mask_folder import MaskFolder
from excel_cam.files.inputs import refuse_inputs
from excel_cam.labels.label_files import LabelFiles
from excel_cam.report.measure import measure_all
from excel_cam.report.page import Page, choose_shown, write_page
from excel_cam.report.source import ViewSource, open_view
from excel_cam.report.strip import write_strip
from excel_cam.wording import readable_size


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """What is to be shown, and where to. names None: every label. order: a key of `page.ORDERS`."""

    labels: LabelFiles
    images: Path
    class_names: tuple[str, ...]
    truth: MaskFolder | None = None
    cams: LabelFiles | None = None
    names: Sequence[str] | None = None
    out: Path | None = None
    order: str = "doubt"
    limit: int = 500
    strip: Path | None = None
    rows: int = 6
    overwrite: bool = False
    has_background: bool = True


def write_report(
    request: ReportRequest, on_image: Callable[[], None] = lambda: None,
    on_stage: Callable[[int, str], None] = lambda *_: None,
    on_unread: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:  # fmt: skip
    """Write the page and the strip that are asked for; yields a line on each once it is written.

    `on_stage` is told how many images are now measured, or drawn, `on_image` is called for each of them, `on_unread`
    with the reason for each photograph that cannot be read, which is left out. Raises `UsageError` where the command
    cannot be right, `DataError` for files that are missing, damaged or do not fit, `OutputError` where a file is in the
    way or cannot be written.
    """
    _check(request)
    for path in (request.out, request.strip):
        if path is not None:
            remove_stale_parts(path.parent)
    source = open_view(
        request.labels, request.images, request.class_names, request.cams, request.truth, request.names,
        request.has_background,
    )  # fmt: skip
    if request.strip is not None:
        refuse_inputs(request.strip, source.photographs.values(), "name")
    if request.out is not None:
        yield _write_page(request.out, request, source, on_image, on_stage, on_unread)
    if request.strip is not None:
        names = source.names[: request.rows]
        on_stage(len(names), "row")
        rows = write_strip(request.strip, source, names, on_image, on_unread)
        yield f"{request.strip}: {rows:,} rows"


def _check(request: ReportRequest) -> None:
    if request.out is None and request.strip is None:
        raise UsageError("nothing to write: give --out report.html, --strip figure.png, or both")
    if request.order == "iou" and request.truth is None:
        raise UsageError("--sort iou needs the truth: give its folder with --truth")
    folder = request.labels.folder
    for path, suffix in ((request.out, ".html"), (request.strip, ".png")):
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise UsageError(f"{path}: expected a file name that ends in {suffix}")
        if suffix == ".png" and folder is not None and path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{path} lies in {request.labels}: it would pass for a label; write it elsewhere")
        if path.exists() and not request.overwrite:
            raise OutputError(f"{path}: there already; add --overwrite to replace it, or choose another name")
        if suffix == ".png" and request.truth is not None:
            refuse_inputs(path, [request.truth.folder], "name")


def _write_page(
    out: Path, request: ReportRequest, source: ViewSource, on_image: Callable[[], None],
    on_stage: Callable[[int, str], None],
    on_unread: Callable[[str], None],
) -> str:  # fmt: skip
    on_stage(len(source.names), "measured image")
    measurements = measure_all(source, on_image)
    shown = choose_shown(measurements, request.order, request.limit)
    on_stage(len(shown), "drawn image")
    write_page(out, Page(source, measurements, shown, request.order), on_image, on_unread)
    more = "" if len(shown) == len(source.names) else f" of {len(source.names):,}, the first by {request.order}"
    return f"{out}: {len(shown):,} images{more}; {readable_size(out.stat().st_size)}"
