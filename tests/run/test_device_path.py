"""What runs on a GPU, as far as a CPU can run it: batched boxes and labels, the fused kernel, batch sizes."""

from __future__ import annotations

import dataclasses
import importlib.util
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn import draw_photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from interpreted import requires_triton, run_interpreted
from text_rows import voc_bank

from excel_cam import Settings
from excel_cam.files.images.photographs import Photograph
from excel_cam.method.affinity import box_mask, box_masks_on_device
from excel_cam.method.images import normalise, resize_to_input
from excel_cam.method.refinement import par
from excel_cam.method.transfer import HostCopy, to_device
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.run.batch_size import CPU_BATCH, LARGEST_BATCH, automatic_batch_size, largest_batch
from excel_cam.run.execute import Pace, Stages, overlapped, pace_on
from excel_cam.run.labeller import LabelledPhotograph, Labeller, _Job

TAGS = ((7, 17), (14,), (0, 11, 14, 19), (2, 3, 4), (5, 6))
SIZES = ((60, 97), (97, 60), (60, 97), (60, 97), (40, 40))


# ---- boxes


@settings(max_examples=60, deadline=None)
@given(
    planes=npst.arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))),
    threshold=st.sampled_from([0.0, 0.4, 0.79]),
    seed=st.integers(0, 99),
)
def test_boxes_on_a_device_are_those_of_scipy(planes: np.ndarray, threshold: float, seed: int) -> None:
    """Random regions, with random heights above and below the threshold."""
    maps = np.where(planes, 1.0, np.random.default_rng(seed).random(planes.shape) * 0.9)
    expected = np.stack([box_mask(plane, threshold) for plane in maps])
    assert np.array_equal(box_masks_on_device(torch.from_numpy(maps), threshold).numpy(), expected)


@pytest.mark.parametrize("size", [9, 20, 41])
def test_a_winding_region_is_one_box(size: int) -> None:
    """Rows joined at alternating ends: the longest way that labels can have to travel."""
    plane = np.zeros((size, size))
    plane[::2] = 1
    plane[1::4, -1] = plane[3::4, 0] = 1
    expected = box_mask(plane, 0.79)
    assert expected[:-1, :-1].all()
    assert np.array_equal(box_masks_on_device(torch.from_numpy(plane)[None], 0.79)[0].numpy(), expected)


# ---- labels of a batch


@pytest.fixture(scope="module")
def bank(model: ClipModel) -> TextBank:
    return voc_bank(model, Settings(attributes="none"))


def from_maps(labeller: Labeller, which: list[int], sizes: list[tuple[int, int]]) -> list[LabelledPhotograph]:
    """The part after the forward pass, for maps and attention that are the same however images are grouped."""
    random = torch.Generator().manual_seed(5)
    side, classes = labeller.side, 45
    maps = torch.rand(len(TAGS), classes, side, side, generator=random, dtype=torch.float64)
    attention = torch.rand(len(TAGS), 1 + side**2, 1 + side**2, generator=random) + 0.01
    photographs = [np.asarray(draw_photograph(*SIZES[i], i)) for i in which]
    jobs = [_Job(photo, TAGS[i], size) for photo, i, size in zip(photographs, which, sizes, strict=True)]
    normalised = [normalise(photo, "imagenet") for photo in photographs]
    inputs = torch.stack([resize_to_input(image, labeller.size) for image in normalised])
    return labeller._label_maps(jobs, maps[which], attention[which], normalised, inputs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"par_image": "original"},
        {"ignore_thresholds": (0.3, 0.6)},
        {"refine": "none"},
        {"affinity": False},
        {"refine": "crf"},
    ],
    ids=str,
)
def test_a_batch_is_labelled_as_its_images_are_one_by_one(
    model: ClipModel, bank: TextBank, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs of several sizes and numbers of tags, two of them enlarged to one size: equal to the pixel."""
    labeller = Labeller(model, bank, dataclasses.replace(Settings(size=96, attributes="none"), **changes))
    sizes = [*SIZES[:2], (120, 194), (120, 194), SIZES[4]]
    together = from_maps(labeller, [0, 1, 2, 3, 4], sizes)
    monkeypatch.setattr("excel_cam.run.labeller.REFINED_PIXELS", 7000)
    in_parts = from_maps(labeller, [0, 1, 2, 3, 4], sizes)
    for index, found in enumerate(together):
        (alone,) = from_maps(labeller, [index], [sizes[index]])
        assert found.label.shape == sizes[index]
        assert np.array_equal(found.label, alone.label)
        assert np.array_equal(in_parts[index].label, alone.label)
        np.testing.assert_allclose(found.maps, alone.maps, rtol=1e-12)
        assert len(found.maps) == len(TAGS[index])


def test_copies_of_a_cpu_tensor_are_the_tensor() -> None:
    tensor = to_device([3, 1], torch.int64, torch.device("cpu"))
    assert HostCopy(tensor).numpy().tolist() == [3, 1]


# ---- the fused kernel

KERNEL_CHECK = """
import torch
from excel_cam.method.refinement.par import _refine_with_kernel, pixel_adaptive_refinement
random = torch.Generator().manual_seed(0)
smooth = torch.randn(2, 3, 3, 4, generator=random)
images = torch.nn.functional.interpolate(smooth, size=(13, 21), mode="bilinear")
images = images + 0.05 * torch.randn(images.shape, generator=random)
images[1, :, :6, :9] = 0.25  # no deviation at all
maps = torch.rand(2, 3, 13, 21, generator=random)
from excel_cam.method.refinement import par_kernel
fused = _refine_with_kernel(images, maps, 3)
par_kernel.PLANES = 2
assert torch.equal(_refine_with_kernel(images, maps, 3), fused)  # in groups of planes
plain = pixel_adaptive_refinement(images, maps, 3)
assert (plain - maps).abs().max() > 0.1
for planes, tile in ((1, (16, 32)), (5, (8, 16)), (9, (16, 32))):
    par_kernel.PLANES, par_kernel.TILE = 8, tile
    maps = torch.rand(2, planes, 13, 21, generator=random)
    apart = (_refine_with_kernel(images, maps, 1) - pixel_adaptive_refinement(images, maps, 1)).abs().max()
    assert apart < 1e-5, (planes, apart)
print(float((fused - plain).abs().max()))
"""


@pytest.mark.slow
@requires_triton
def test_the_fused_kernel_refines_as_plain_torch_does() -> None:
    """Through Triton's interpreter, which needs no GPU; two images, of one tile and of several, planes in groups."""
    assert float(run_interpreted(KERNEL_CHECK)) < 1e-5


# ---- batch sizes


def test_batch_sizes_follow_from_memory() -> None:
    mib = 2**20
    assert largest_batch(free=8000 * mib, few=150 * mib, more=350 * mib) == 32  # 100 each, 50 fixed: 39 fit
    assert largest_batch(free=150_000 * mib, few=150 * mib, more=350 * mib) == LARGEST_BATCH
    assert largest_batch(free=100 * mib, few=150 * mib, more=350 * mib) == 1
    assert largest_batch(free=0, few=0, more=0) == 1


def test_on_a_cpu_the_batch_is_fixed(model: ClipModel, bank: TextBank) -> None:
    labeller = Labeller(model, bank, Settings(size=96, attributes="none"))
    assert automatic_batch_size(labeller) == CPU_BATCH


def test_on_a_gpu_the_batch_is_measured(model: ClipModel, bank: TextBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pretended device on which 4 images fit: 100 bytes each and 20 besides, of 900 that are free."""
    labeller = Labeller(model, bank, Settings(size=96, attributes="none", flip=True))
    encoded: list[int] = []
    encode = labeller.encode

    def count(inputs: torch.Tensor) -> object:
        encoded.append(len(inputs))
        return encode(inputs)

    monkeypatch.setattr(labeller, "encode", count)
    labeller.rehearse(2)
    assert encoded == [2, 2]  # both views

    pretended = dataclasses.replace(model, device=torch.device("cuda"))
    monkeypatch.setattr(labeller, "model", pretended)
    monkeypatch.setattr(labeller, "rehearse", encoded.append)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 7)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 7 + 20 + 100 * encoded[-1])
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (900, 2000))
    assert automatic_batch_size(labeller) == 4

    said = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    for error in (torch.OutOfMemoryError("out of memory"), RuntimeError(said)):
        monkeypatch.setattr(labeller, "rehearse", raising(error))
        assert automatic_batch_size(labeller) == 1
    monkeypatch.setattr(labeller, "rehearse", raising(RuntimeError("another fault")))
    with pytest.raises(RuntimeError, match="another fault"):
        automatic_batch_size(labeller)


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_memory_that_is_short_for_a_while_does_not_cost_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    device = torch.device("cpu")  # pretended to be a GPU
    par._has_kernel.cache_clear()
    try:
        monkeypatch.setattr(par, "_refine_with_kernel", raising(torch.OutOfMemoryError("out of memory")))
        with pytest.raises(torch.OutOfMemoryError):
            par._has_kernel(device)
        monkeypatch.setattr(par, "_refine_with_kernel", lambda *_: None)
        assert par._has_kernel(device)
        par._has_kernel.cache_clear()
        monkeypatch.setattr(par, "_refine_with_kernel", raising(RuntimeError("no compiler")))
        with pytest.warns(UserWarning, match="cannot be built: no compiler"):
            assert not par._has_kernel(device)
        assert not par._has_kernel(device)  # and says so once
    finally:
        par._has_kernel.cache_clear()


def test_a_gpu_has_as_many_threads_that_write_as_decode() -> None:
    assert [pace_on("cpu", workers) for workers in (1, 8)] == [Pace(1, 1, 1), Pace(8, 2, 1)]
    assert [pace_on("cuda", workers) for workers in (1, 8)] == [Pace(1, 1, 2), Pace(8, 8, 2)]


def test_batches_are_handed_over_before_labels_are_waited_for() -> None:
    """Labels that are under way until the device has done two more batches: a run that waited sooner would not end."""
    begun = threading.Semaphore(0)
    images = [SimpleNamespace(tags=(1,), number=number) for number in range(9)]

    def label(photographs: Sequence[Photograph], _tags: object) -> list[int]:
        begun.release()
        return list(range(len(photographs)))

    def write(image: SimpleNamespace, _photograph: object, _result: int) -> bool:
        return image.number >= 3 or begun.acquire(timeout=5)

    pixels = np.zeros((4, 4, 3), np.uint8)
    stages = Stages(read=lambda _: Photograph(pixels, (4, 4), 1), label=label, write=write)
    found = list(overlapped(images, stages, is_done=lambda _: False, batch_size=3, pace=pace_on("cuda", 4)))
    assert [state for _, state in found] == [True] * 9
