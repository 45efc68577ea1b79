"""The one place that joins the steps: photographs and their tags → label maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from excel_cam.classes import IGNORE
from excel_cam.errors import MachineError, not_finite
from excel_cam.method.affinity import spread_maps, transition_matrix
from excel_cam.method.calibration import DenseFeatures, grid_side
from excel_cam.method.cam import class_activation_maps
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.label_map import (
    agreed_label_map,
    enlarged_strips,
    label_map,
    stack_background,
    stack_constant_backgrounds,
    upsample_maps,
    with_each_background,
)
from excel_cam.method.memory import tells_of_memory
from excel_cam.method.refinement.crf import dense_crf
from excel_cam.method.refinement.par import GROWTH, guide_image, pixel_adaptive_refinement
from excel_cam.method.threads import all_threads, in_threads, one_thread, threads_here
from excel_cam.method.transfer import HostCopy, to_device
from excel_cam.method.views import View, average_over_views, chosen_views
from excel_cam.method.windows import NeighbourAttention, WindowGrid, spread_over_neighbours
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.run.windows.maps import Tower, lay_on, windowed_maps
from excel_cam.settings import Settings, check_background, check_bands, check_crf_backend

# A spread map's least and greatest value can differ by a thousandth, which step 6.1 stretches to 0..1, rounding errors
# included. On the patch grid double precision costs next to nothing and keeps those errors out of the labels.
GRID_DTYPE = torch.float64

# Photographs of one size are refined together, as many as have so many pixels: 48 float32 affinities each, 1.5 GiB.
REFINED_PIXELS = 2**23

# On a CPU photographs of at most so many pixels are labelled side by side: each takes 48 float32 affinities a pixel.
SHARED_PIXELS = 2**20

# Windows of a photograph that an accelerator takes at a time where no batch has been measured.
WINDOWS_TOGETHER = 8

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
Label = NDArray[np.uint8]  # (H, W): 0 background, index + 1 class (index without a background class), 255 ignored


@dataclass(frozen=True)
class LabelledPhotograph:
    """A label, and the class maps it comes from; both may still be under way from the device until asked for."""

    fetch_label: Callable[[], Label]
    fetch_maps: Callable[[], NDArray[np.float64]]
    input_size: tuple[int, int] | None = None  # (h · P, w · P) that windows were cut from, where there were any

    @property
    def label(self) -> Label:
        """(H, W) uint8."""
        return self.fetch_label()

    @property
    def maps(self) -> NDArray[np.float64]:
        """(c, h, w) on the patch grid, one per tag in order, as step 5 leaves them (step 4 without affinity)."""
        return self.fetch_maps()


@dataclass(frozen=True)
class _Job:
    """A photograph with its tags, and the (H, W) its label is to have."""

    photograph: Pixels
    tags: Sequence[int]
    size: tuple[int, int]


class Labeller:
    """A model, its text rows and settings, ready to label batches of photographs."""

    def __init__(self, model: ClipModel, bank: TextBank, settings: Settings) -> None:
        check_background(bank.has_background, settings)
        check_crf_backend(settings.crf_backend)
        check_bands(settings.bands)
        self.model = model
        self.has_background = bank.has_background
        self.settings = settings
        self.side = grid_side(settings.size, model.patch)
        self.size = self.side * model.patch
        self.batch_limit: int | None = None  # photographs the device's memory has been found to hold
        self.windows_together = 1 if self._goes_one_by_one() else WINDOWS_TOGETHER
        self._views = chosen_views(settings, model.patch)
        self._text = torch.from_numpy(bank.text).to(model.device, GRID_DTYPE)

    def label(self, photographs: Sequence[Pixels], tags: Sequence[Sequence[int]]) -> list[Label]:
        """Label photographs of any sizes, each with the 0-based classes present in it.

        Returns one (H, W) uint8 label per photograph, at its size; all background where there are no tags, all
        `IGNORE` (255) where there is no background class either.
        On a CPU in float32 the result does not depend on how photographs are grouped into calls, nor by the backend
        `torch` on the number of threads.
        """
        sizes = [photograph.shape[:2] for photograph in photographs]
        return [labelled.label for labelled in self.label_with_maps(photographs, tags, sizes)]

    def label_with_maps(
        self, photographs: Sequence[Pixels], tags: Sequence[Sequence[int]], sizes: Sequence[tuple[int, int]]
    ) -> list[LabelledPhotograph]:
        """As `label`, with the class maps behind each label. `sizes` are the labels' own, (H, W).

        A label larger than its photograph, which was then reduced, comes from enlarged scores.
        Raises `MachineError` where the memory does not hold one photograph; once a label or its maps are asked for,
        `ModelError` where the model's values are not finite.
        """
        results = [self._untagged(size) for size in sizes]
        tagged = [index for index, present in enumerate(tags) if len(present)]
        while tagged:
            group = self._next_group(tagged, photographs)
            try:
                labelled = self._label_group([_Job(photographs[i], tags[i], sizes[i]) for i in group])
            except (RuntimeError, MemoryError) as error:
                if not tells_of_memory(error):
                    raise
                if len(group) == 1 and self._windows_on(photographs[group[0]]) and self.windows_together > 1:
                    self.windows_together //= 2
                    continue
                if len(group) == 1:
                    raise self._too_large(photographs[group[0]], tags[group[0]]) from None
                self.batch_limit = len(group) // 2  # and so it stays: what did not fit will not fit next time
                continue
            for index, result in zip(group, labelled, strict=True):
                results[index] = result
            tagged = tagged[len(group) :]
        return results

    def _too_large(self, photograph: Pixels, tags: Sequence[int]) -> MachineError:
        height, width = photograph.shape[:2]
        return MachineError(
            f"the memory does not hold a photograph of {height} x {width} with {len(tags)} classes; free some, lower "
            f"--working-pixels (now {self.settings.working_pixels:,}), or leave this photograph out"
        )

    def _untagged(self, size: tuple[int, int]) -> LabelledPhotograph:
        value = 0 if self.has_background else IGNORE
        return LabelledPhotograph(lambda: np.full(size, value, np.uint8), lambda: np.zeros((0, self.side, self.side)))

    def _next_group(self, tagged: list[int], photographs: Sequence[Pixels]) -> list[int]:
        """The first of the photographs that are left, as many as go through the model together or side by side."""
        most = min(len(tagged), self.batch_limit or len(tagged))
        if self._goes_one_by_one() and 2 * most < threads_here():
            return tagged[:1]  # few threads would have one each
        for place, index in enumerate(tagged[:most]):
            if self._goes_alone(photographs[index]):
                return tagged[: max(1, place)]
        return tagged[:most]

    def _goes_one_by_one(self) -> bool:
        # One photograph fills a CPU's caches, and matrix products of another height may round differently: going one
        # by one costs no time and makes every batch size give the same bytes.
        return self.model.device.type == "cpu"

    def _goes_alone(self, photograph: Pixels) -> bool:
        """Whether a photograph has a batch of windows, or needs a CPU's memory and threads for itself."""
        height, width = photograph.shape[:2]
        return self._windows_on(photograph) is not None or (self._goes_one_by_one() and height * width > SHARED_PIXELS)

    def _windows_on(self, photograph: Pixels) -> WindowGrid | None:
        return lay_on(photograph.shape[:2], self.settings.windows, self.side, self.model.patch)

    def _label_group(self, jobs: Sequence[_Job]) -> list[LabelledPhotograph]:
        """Label photographs that go together: in one forward pass, on a CPU each in a thread of its own."""
        if not self._goes_one_by_one():
            return self._label_batch(jobs)
        with one_thread():
            return [labelled for (labelled,) in in_threads(self._label_batch, [[job] for job in jobs])]

    @torch.inference_mode()
    def _label_batch(self, jobs: Sequence[_Job]) -> list[LabelledPhotograph]:
        """Label photographs in one forward pass. On CUDA this returns before the device has done all of it."""
        device = self.model.device
        uploaded = [to_device(job.photograph, torch.uint8, device) for job in jobs]
        normalised = [normalise(pixels, self.settings.normalisation) for pixels in uploaded]
        if (grid := self._windows_on(jobs[0].photograph)) is not None:
            tower = Tower(self.model.patch, self.encode, self._score, self.windows_together)
            seen = windowed_maps(normalised[0], grid, tower, self._views)
            (labelled,) = self._label_maps(jobs, seen.maps, seen.attention, normalised, seen.canvas[None])
            return [replace(labelled, input_size=grid.input_size(self.model.patch))]
        inputs = torch.stack([resize_to_input(image, self.size) for image in normalised])
        maps, attention = self._class_maps(normalised, inputs)
        return self._label_maps(jobs, maps, attention, normalised, inputs)

    def _label_maps(
        self, jobs: Sequence[_Job], maps: Tensor, attention: Tensor | NeighbourAttention, normalised: Sequence[Tensor],
        inputs: Tensor,
    ) -> list[LabelledPhotograph]:  # fmt: skip
        """From the maps of step 4, (n, T, h, w), and A to labels: images together as far as their sizes agree."""
        tags = to_device(_evened([job.tags for job in jobs]), torch.int64, maps.device)
        refined = maps[torch.arange(len(jobs), device=maps.device)[:, None], tags]
        sound = [_all_finite(refined)]
        if self.settings.affinity:
            sound.append(_all_finite(attention.values if isinstance(attention, NeighbourAttention) else attention))
            if maps.device.type == "cpu":  # at once: boxes of what is no number would be drawn from anything
                self._require_finite(sound)
            refined = self._spread_along(refined, attention)
            sound.append(_all_finite(refined))
        verdict, values = HostCopy(torch.stack(sound)), HostCopy(refined)
        if self.settings.uses_crf:  # the host waits for the device anyway, and numpy would complain of such maps
            self._require_finite(verdict.numpy())
        results: dict[int, LabelledPhotograph] = {}
        for bucket in _alike(jobs):
            source = self.settings.par_image
            guides = torch.stack([guide_image(normalised[i], inputs[i], source) for i in bucket])
            chosen = to_device(bucket, torch.int64, maps.device)
            most = max(len(jobs[i].tags) for i in bucket)
            parts = refined[chosen, :most], tags[chosen, :most]
            labels = HostCopy(self._to_labels(*parts, guides, [jobs[i] for i in bucket]))
            for place, i in enumerate(bucket):
                results[i] = self._labelled(labels, place, values, (i, len(jobs[i].tags)), verdict)
        return [results[i] for i in range(len(jobs))]

    def _labelled(
        self, labels: HostCopy, place: int, maps: HostCopy, own: tuple[int, int], verdict: HostCopy
    ) -> LabelledPhotograph:
        """One photograph's part of a batch; whoever fetches it gets `ModelError` where the batch is not sound.

        Asked only then, so that a device need not be waited for. own: the photograph's place among the maps, and how
        many of them it has. verdict: (k,) bool, whether all was finite.
        """

        def fetch_label() -> Label:
            self._require_finite(verdict.numpy())
            return labels.numpy()[place]

        def fetch_maps() -> NDArray[np.float64]:
            self._require_finite(verdict.numpy())
            return maps.numpy()[own[0], : own[1]]

        return LabelledPhotograph(fetch_label, fetch_maps)

    def _require_finite(self, verdict: Iterable[Any]) -> None:
        if not all(verdict):
            raise not_finite("the model's maps", self.model.precision)

    def _spread_along(self, maps: Tensor, attention: Tensor | NeighbourAttention) -> Tensor:
        """Step 5: maps (n, c, h, w) to (n, c, h, w)."""
        if isinstance(attention, NeighbourAttention):
            return spread_over_neighbours(maps[0], attention, self.settings.box_threshold)[None]
        return self._spread(maps, attention)

    def _spread(self, maps: Tensor, attention: Tensor) -> Tensor:
        """Step 5: maps (n, c, h, w) and attention A, (n, 1 + N, 1 + N), to (n, c, h, w)."""
        return spread_maps(maps, transition_matrix(attention.to(GRID_DTYPE)), self.settings.box_threshold)

    def _class_maps(self, normalised: Sequence[Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of step 4, (n, T, h, w), averaged over the views, and the base view's attention A."""
        base = self.encode(inputs)

        def map_view(view: View) -> Tensor:
            if view == View(self.side, mirrored=False):
                return self._maps_on_grid(base, self.side)
            size = view.side * self.model.patch
            pixels = inputs if size == self.size else torch.stack([resize_to_input(i, size) for i in normalised])
            return self._maps_on_grid(self.encode(pixels.flip(-1) if view.mirrored else pixels), view.side)

        return average_over_views(self._views, map_view, (self.side, self.side)), base.attention

    def _maps_on_grid(self, features: DenseFeatures, side: int) -> Tensor:
        return self._score(features.tokens).transpose(1, 2).unflatten(2, (side, side))  # (n, T, h, w)

    def _score(self, tokens: Tensor) -> Tensor:
        """Step 4: F, (n, 1 + N, D), to (n, N, T)."""
        return class_activation_maps(tokens.to(GRID_DTYPE), self._text, self.settings.feature_norm)

    def encode(self, inputs: Tensor) -> DenseFeatures:
        """The calibrated forward pass of (n, 3, S, S) float32 network inputs."""
        with all_threads():  # the tower's products are the same bytes for any number of threads
            return self.model.encode_images(inputs, self.settings.attention, self.settings.calibrated_blocks)

    @torch.inference_mode()
    def rehearse(self, count: int) -> None:
        """Compute the maps of `count` blank images at once, all views of them, to learn what that takes."""
        inputs = torch.zeros(count, 3, self.size, self.size, device=self.model.device)
        self._class_maps(list(inputs), inputs)

    def _to_labels(self, maps: Tensor, tags: Tensor, guides: Tensor, jobs: Sequence[_Job]) -> Tensor:
        """Labels of photographs of one size, which are to have one size.

        maps: (m, c, h, w) on the patch grid, of the classes `tags`, (m, c). guides: (m, 3, H', W').
        Returns (m, H, W) uint8, where (H, W) is the labels' size.
        """
        maps = upsample_maps(maps, *guides.shape[2:])
        thresholds = self.settings.ignore_thresholds
        if not self.has_background:
            scores = maps
        elif thresholds is None:
            scores = stack_background(maps, self.settings.background_power)
        else:
            scores = stack_constant_backgrounds(maps, thresholds)
        if self.settings.uses_par:
            scores = pixel_adaptive_refinement(guides, scores)
        stacks = [scores] if thresholds is None else with_each_background(scores)
        if self.settings.uses_crf:
            stacks = self._dense_crf(stacks, jobs)

        def to_label(parts: Sequence[Tensor]) -> Tensor:
            labels = [label_map(part, tags, self.has_background) for part in parts]
            return labels[0] if len(labels) == 1 else agreed_label_map(*labels)

        size = jobs[0].size
        if tuple(guides.shape[2:]) == size:
            return to_label(stacks)
        strips = zip(*(enlarged_strips(stack, *size) for stack in stacks), strict=True)
        return torch.cat([to_label(parts) for parts in strips], dim=1)

    def _dense_crf(self, stacks: Sequence[Tensor], jobs: Sequence[_Job]) -> list[Tensor]:
        """The CRF's probabilities, of the shapes of `stacks`, each (m, c, H, W), by the photographs' own pixels."""
        # What PAR has made of 1 everywhere is GROWTH everywhere. A common factor of all scores changes nothing but
        # where the CRF takes the least probability; with it undone, that is the same with PAR as without.
        growth = GROWTH if self.settings.uses_par else 1.0
        probabilities = [torch.zeros_like(stack) for stack in stacks]
        scores = [(stack / growth).cpu().numpy() for stack in stacks]
        own = [len(job.tags) + self.has_background for job in jobs]  # those that come again would count twice

        def infer(place: int) -> list[NDArray[np.float32]]:
            parts = [stack[place, : own[place]] for stack in scores]
            return dense_crf(jobs[place].photograph, parts, self.settings.crf_backend)

        for place, refined in enumerate(in_threads(infer, range(len(jobs)))):
            for stack, values in zip(probabilities, refined, strict=True):
                stack[place, : own[place]] = torch.from_numpy(values)
        return probabilities


def _evened(tags: Sequence[Sequence[int]]) -> list[list[int]]:
    """As many tags for every image, the first repeated: a class that comes again at the end never wins a pixel."""
    most = max(len(one) for one in tags)
    return [[*one, *[one[0]] * (most - len(one))] for one in tags]


def _alike(jobs: Sequence[_Job]) -> Iterator[list[int]]:
    """Places of jobs with photographs of one size and labels of one size, at most `REFINED_PIXELS` together."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, job in enumerate(jobs):
        alike.setdefault((*job.photograph.shape[:2], *job.size), []).append(place)
    for (height, width, *_), places in alike.items():
        most = max(1, REFINED_PIXELS // (height * width))
        yield from (places[start : start + most] for start in range(0, len(places), most))


def _all_finite(values: Tensor) -> Tensor:
    """() bool on the values' device: whether none is infinite or no number."""
    return values.isfinite().all()
