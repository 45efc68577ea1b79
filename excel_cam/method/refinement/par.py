"""Pixel-adaptive refinement (PAR): let maps follow the photograph's colours (step 6.3)."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from excel_cam.method.kernels import can_build
from excel_cam.method.refinement.par_choice import CompiledWhereEqual
from excel_cam.method.threads import in_threads, threads_here

DILATIONS = (1, 2, 4, 8, 12, 24)  # pixels
DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
OFFSETS = tuple((d * y, d * x) for d in DILATIONS for y, x in DIRECTIONS)  # 48 neighbours (down, right), pixels
REACH = max(DILATIONS)  # 24 pixels of replicate padding
ITERATIONS = 20
SHARPNESS = 0.3  # deviations at which a neighbour's weight has fallen to 1/e, for colour and position alike
POSITION_WEIGHT = 0.01
GROWTH = (1 + POSITION_WEIGHT) ** ITERATIONS  # 1.22: what maps of 1 everywhere become, as the weights sum to 1.01
EPSILON = 1e-8
GROUPED_VALUES = 2**24  # values of the planes that are refined at a time: 64 MiB, three times in memory
KEPT_VALUES = 2**26  # of affinities whose memory a thread keeps, 256 MiB: those of photographs of 1.4 megapixels
STRIP_ROWS = 32  # rows whose affinities are computed at a time
MIN_ROWS = 16  # of such a strip: fewer cost more in calls than the cache saves
STRIP_VALUES = 2**19  # of all planes, that a CPU averages at a time: 2 MiB, so that they stay near its cores


@torch.inference_mode()
def pixel_adaptive_refinement(image: Tensor, maps: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Average maps over each pixel's 48 neighbours, weighted by likeness of colour, again and again.

    image: (..., 3, H, W) float32, normalised colours. maps: (..., c, H, W) float32, background first.
    Returns (..., c, H, W) float32. The weights sum to 1.01, so values may pass 1, up to `GROWTH`.
    """
    if maps.ndim == 3:
        return _refine_one(image, maps, iterations)
    if maps.device.type == "cuda" and _has_kernel(maps.device):
        return _refine_with_kernel(image, maps, iterations)
    return torch.stack([_refine_one(*pair, iterations) for pair in zip(image, maps, strict=True)])


_choose = CompiledWhereEqual()


class _Workspace(threading.local):
    """Memory for affinities on a CPU, a thread's own, kept from photograph to photograph.

    To be given fresh memory page by page takes as long as a third of what is computed into it.
    """

    def __init__(self) -> None:
        self._values = torch.empty(0)

    def planes(self, image: Tensor) -> Tensor:
        """(48, H, W) of any values, which hold until the next call. image: (..., H, W)."""
        shape = (len(OFFSETS), *image.shape[-2:])
        if (count := math.prod(shape)) > KEPT_VALUES:
            return image.new_empty(shape)
        if count > self._values.numel():
            self._values = image.new_empty(count)
        return self._values[:count].view(shape)


_workspace = _Workspace()


def _refine_one(image: Tensor, maps: Tensor, iterations: int) -> Tensor:
    on_cpu = maps.device.type == "cpu"
    _choose.photographs += on_cpu
    affinities = _affinities(image, _workspace.planes(image) if on_cpu else None)
    refined = torch.empty_like(maps)
    most = max(1, GROUPED_VALUES // maps[0].numel())
    # No plane knows of another, so that groups of them give the same values in less memory.
    for part, out in zip(maps.split(most), refined.split(most), strict=True):
        average = _way_to_average(part) if on_cpu else _average
        out.copy_(average(part, affinities, iterations))
    return refined


def _way_to_average(maps: Tensor) -> Callable[[Tensor, Tensor, int], Tensor]:
    def compiled(maps: Tensor, affinities: Tensor, rounds: int = 1) -> Tensor:
        from excel_cam.method.compiled.par_loops import average_planes

        return average_planes(_pad(maps), affinities, rounds, OFFSETS, REACH)

    planes, height, width = maps.shape
    rows = min(height, MIN_ROWS)  # enough to tell, as all rows are computed alike
    return _choose("averages", ((planes, rows, width), (len(OFFSETS), rows, width)), _average, compiled)


def _average(maps: Tensor, affinities: Tensor, rounds: int = 1) -> Tensor:
    """Rounds of averaging: (c, H, W) planes to (c, H, W) weighted sums over the neighbours of sums of the round before.

    Two padded copies are read and written in turn, so that views of all neighbours and memory for the sums are made
    once: on a CPU other threads wait while they are. Rows of all planes lie beside each other, so that a row of
    affinities is near when the next plane needs it.
    """
    source = _pad(maps).transpose(0, 1).contiguous().transpose(0, 1)
    target = torch.empty_like(source)
    height, width = affinities.shape[1:]
    on_cpu = maps.device.type == "cpu"
    strips = _strips(height, max(1, STRIP_VALUES // (len(maps) * width))) if on_cpu else [range(height)]
    there = [_strip_average(source, target, affinities, rows) for rows in strips]
    back = [_strip_average(target, source, affinities, rows) for rows in strips]
    for number in range(rounds):
        in_threads(lambda average: average(), back if number % 2 else there)
    return _within(target if rounds % 2 else source)


def _strip_average(source: Tensor, target: Tensor, affinities: Tensor, rows: range) -> Callable[[], None]:
    """One round for some rows of padded planes, (c, H + 2 · `REACH`, W + 2 · `REACH`): what writes them, padded again.

    On a CPU strip by strip: each sum is read and written 48 times, which its caches serve faster than its memory.
    """
    strip = source[:, rows.start : rows.stop + 2 * REACH]
    neighbours = [
        (_shifted(strip, offset), weights)
        for offset, weights in zip(OFFSETS, affinities[:, rows.start : rows.stop], strict=True)
    ]
    lines = target[:, REACH + rows.start : REACH + rows.stop]
    sums = lines[..., REACH:-REACH]
    edges = [(lines[..., :REACH], sums[..., :1]), (lines[..., -REACH:], sums[..., -1:])]
    if rows.start == 0:
        edges.append((target[:, :REACH], lines[:, :1]))
    if rows.stop == affinities.shape[1]:
        edges.append((target[:, -REACH:], lines[:, -1:]))

    def average() -> None:
        sums.zero_()
        for neighbour, weights in neighbours:
            sums.addcmul_(neighbour, weights)
        for edge, values in edges:
            edge.copy_(values)

    return average


def _strips(height: int, most: int) -> list[range]:
    """Rows in strips of about `most`, as many for every thread; no row's sums depend on where strips begin."""
    threads = threads_here()
    count = threads * math.ceil(height / (threads * most))
    rows = max(MIN_ROWS, math.ceil(height / count))
    return [range(top, min(height, top + rows)) for top in range(0, height, rows)]


def guide_image(image: Tensor, network_input: Tensor, source: str) -> Tensor:
    """The (3, H, W) colours that guide refinement.

    image: (3, H, W) normalised photograph. network_input: (3, S, S). source: `original` for the photograph, `resized`
    for the network's input scaled back up, which is what the release does.
    """
    if source == "original":
        return image
    return F.interpolate(network_input[None], size=image.shape[1:], mode="bilinear", align_corners=True)[0]


@functools.cache
def _has_kernel(device: torch.device) -> bool:
    """Whether the fused kernel can be built for a CUDA device; tried once. Raises as `can_build` does."""

    def trial() -> Tensor:
        return _refine_with_kernel(torch.zeros(1, 3, 4, 4, device=device), torch.zeros(1, 2, 4, 4, device=device), 1)

    return can_build("refinement", device, (7, 0), trial)


def _refine_with_kernel(images: Tensor, maps: Tensor, iterations: int) -> Tensor:
    from excel_cam.method.refinement.par_kernel import Neighbourhood, par_fused

    neighbourhood = Neighbourhood(*_neighbourhood(images.device), SHARPNESS, EPSILON)
    return par_fused(images, maps, neighbourhood, iterations)


@functools.cache
def _neighbourhood(device: torch.device) -> tuple[Tensor, Tensor]:
    """On a device: offsets (48, 2) int32, down and right, and the neighbours' weights by position, (48,) float32."""
    offsets = torch.tensor(OFFSETS, dtype=torch.int32)
    return offsets.to(device), (POSITION_WEIGHT * _position_weights()).to(device)


def _affinities(image: Tensor, out: Tensor | None = None) -> Tensor:
    """(48, H, W) float32: each neighbour's weight, softmax(colour) + 0.01 · softmax(position); in `out` if given."""
    padded = _pad(image)
    height, width = image.shape[1:]
    on_cpu = image.device.type == "cpu"
    position = _neighbourhood(image.device)[1].view(-1, 1, 1)
    affinities = image.new_empty((len(OFFSETS), height, width)) if out is None else out

    def compute(top: int) -> None:
        centre = image[:, top : top + rows]
        strip = padded[:, top : top + centre.shape[1] + 2 * REACH]
        terms = _way_to_colour_terms(strip, centre) if on_cpu else _colour_terms
        colour = torch.softmax(terms(strip, centre), dim=0)
        torch.add(colour, position, out=affinities[:, top : top + rows])

    # Strip by strip, so that the differences of all neighbours stay in a CPU's cache: several times faster.
    rows = STRIP_ROWS if on_cpu else height
    in_threads(compute, range(0, height, rows))
    return affinities


def _way_to_colour_terms(padded: Tensor, centre: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def compiled(padded: Tensor, centre: Tensor) -> Tensor:
        from excel_cam.method.compiled.par_loops import colour_terms, squared_deviations

        scales = _colour_scales(squared_deviations(padded, centre, OFFSETS, REACH))
        return colour_terms(padded, centre, scales, OFFSETS, REACH)

    return _choose("colour terms", (tuple(padded.shape), tuple(centre.shape)), _colour_terms, compiled)


def _colour_terms(padded: Tensor, centre: Tensor) -> Tensor:
    """(48, rows, W): minus the squared difference to each neighbour in units of 0.3 deviations, mean over channels."""
    count = len(OFFSETS)
    # Differences to the centre have the neighbours' own deviation, and keep small deviations exact in float32.
    differences = torch.stack([_shifted(padded, offset) for offset in OFFSETS]).sub_(centre)  # (48, 3, rows, W)
    mean = differences.sum(dim=0) / count
    squared = torch.zeros_like(mean)
    for difference in differences:  # torch.std reduces over the first axis several times slower than this
        excess = difference - mean
        squared.addcmul_(excess, excess)
    red, green, blue = _colour_scales(squared)
    squares = differences.square_()
    return (squares[:, 0] * red).addcmul_(squares[:, 1], green).addcmul_(squares[:, 2], blue)


def _colour_scales(squared_deviations: Tensor) -> Tensor:
    """What squared differences are multiplied by, of the shape of the neighbours' squared deviations, summed."""
    deviation = (squared_deviations / (len(OFFSETS) - 1)).sqrt()
    return -1 / (3 * ((deviation + EPSILON) * SHARPNESS) ** 2)


def _position_weights() -> Tensor:
    """(48,) float32, sum 1: nearer neighbours weigh more; the same at every pixel."""
    distances = torch.tensor(OFFSETS, dtype=torch.float32).norm(dim=1)
    return torch.softmax(-((distances / (distances.std() + EPSILON) / SHARPNESS) ** 2), dim=0)


def _pad(planes: Tensor) -> Tensor:
    """(c, H, W) with `REACH` pixels of replicate padding on all sides."""
    return F.pad(planes[None], (REACH,) * 4, mode="replicate")[0]


def _shifted(padded: Tensor, offset: tuple[int, int]) -> Tensor:
    """A view of padded planes in which each pixel shows its neighbour at `offset` (down, right)."""
    down, right = offset
    height, width = padded.shape[-2] - 2 * REACH, padded.shape[-1] - 2 * REACH
    return padded[..., REACH + down : REACH + down + height, REACH + right : REACH + right + width]


def _within(padded: Tensor) -> Tensor:
    """A view of padded planes without their padding."""
    return _shifted(padded, (0, 0))
