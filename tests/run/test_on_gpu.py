"""On a real GPU: the same labels as on a CPU, in every way there is to make them; what happens where memory is short.

Half a minute in all; `-s` shows shares of equal pixels, batch sizes and where the host waits.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from drawn import draw_photograph
from gpu import requires_cuda
from killed import kill_one
from packed_photographs import read_members, write_tars
from PIL import Image

from excel_cam import (
    ClipModel,
    Segmenter,
    Settings,
    TextBank,
    build_text_bank,
    load_model,
    read_adapter,
    read_image,
    shipped_knowledge,
)
from excel_cam import Labeller as NotebookLabeller
from excel_cam.classes import VOC_CLASSES
from excel_cam.data.voc import open_demo
from excel_cam.errors import MachineError
from excel_cam.labels.class_maps import read_maps
from excel_cam.method.affinity import box_mask, box_masks, spread_maps, transition_matrix
from excel_cam.method.images import normalise
from excel_cam.method.refinement import par
from excel_cam.model.words_file import recorded_settings
from excel_cam.run.batch_size import LARGEST_BATCH, _peak_bytes, automatic_batch_size
from excel_cam.run.labeller import Labeller
from excel_cam.run.tagging.tagger import Tagger
from excel_cam.settings import ModelChoice
from excel_cam.shipped import DEMO_ADAPTER, DEMO_FOLDER, SHIPPED_MODEL
from excel_cam.tags.scores import read_scores

pytestmark = requires_cuda

Run = Callable[..., Result]
DEVICE = "cuda"
DEVICES = "all"
SETTINGS = dataclasses.replace(Settings(), **recorded_settings(SHIPPED_MODEL))
SCENES = open_demo(None).samples
ALIKE = 0.999  # least share of equal pixels: sums in another order move few of them


def told(text: str) -> None:
    print(f"  {text}", file=sys.stderr)


def alike(first: Sequence[np.ndarray], second: Sequence[np.ndarray], what: str) -> float:
    """The share of equal pixels of all labels together."""
    equal = pixels = 0
    for one, other in zip(first, second, strict=True):
        assert one.shape == other.shape
        equal, pixels = equal + int((one == other).sum()), pixels + one.size
    told(f"{100 * equal / pixels:.4f} % of {pixels:,} pixels equal: {what}")
    return equal / pixels


def maps_apart(pairs: Iterable[tuple[np.ndarray, np.ndarray]], what: str) -> int:
    """How many class maps differ; a patch on the threshold of a box may move all of its class's map."""
    worst, apart, count = 0.0, 0, 0
    for expected, found in pairs:
        assert found.shape == expected.shape
        for one, other in zip(expected, found, strict=True):
            difference = float(np.abs(one - other).max() / max(one.max(), 1e-12))
            worst, apart, count = max(worst, difference), apart + (difference > 2e-3), count + 1
    told(f"{apart} of {count} class maps differ, the worst by {worst:.1e} of its maximum: {what}")
    return apart


def pngs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def decoded(folder: Path) -> list[np.ndarray]:
    found = []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as label:
            found.append(np.asarray(label))
    return found


# ---- refinement


@pytest.fixture(scope="module")
def kernel() -> None:
    """The fused kernel is there, and nothing is said of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert par._has_kernel(torch.device(DEVICE, 0))


def guides_and_maps(count: int, planes: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Drawn photographs, the last of them of one colour where there are several, and maps between 0 and 1."""
    images = [normalise(np.asarray(draw_photograph(height, width, seed)), "imagenet") for seed in range(count)]
    if count > 1:
        images[-1] = torch.full_like(images[-1], 0.25)
    return torch.stack(images).contiguous(), torch.rand(
        count, planes, height, width, generator=torch.Generator().manual_seed(planes)
    )


@pytest.mark.parametrize(
    ("count", "planes", "height", "width"),
    [
        (1, 1, 1, 1), (1, 2, 1, 97), (2, 3, 97, 1), (3, 2, 13, 21), (2, 1, 16, 16), (1, 64, 31, 47), (2, 65, 33, 29),
        (1, 70, 61, 83), (2, 5, 375, 500),
    ],
)  # fmt: skip
def test_the_fused_kernel_refines_as_plain_torch_does_here_and_on_a_cpu(
    kernel: None, count: int, planes: int, height: int, width: int
) -> None:
    images, maps = guides_and_maps(count, planes, height, width)
    rounds = par.ITERATIONS if height * planes < 2000 else 5
    on_cpu = par.pixel_adaptive_refinement(images, maps, rounds)
    here = images.to(DEVICE), maps.to(DEVICE)
    fused = par._refine_with_kernel(*here, rounds)
    plain = torch.stack([par.pixel_adaptive_refinement(*pair, rounds) for pair in zip(*here, strict=True)])
    assert fused.shape == maps.shape
    for name, other in (("plain torch here", plain.cpu()), ("on a CPU", on_cpu)):
        differences = (fused.cpu() - other).abs()
        told(f"{count} x {planes} x {height} x {width}: at most {float(differences.max()):.1e} from {name}")
        assert differences.max() < 1e-3
        assert differences.mean() < 1e-5


def test_the_kernel_is_what_refines_batches(kernel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    images, maps = (part.to(DEVICE) for part in guides_and_maps(2, 3, 20, 30))
    monkeypatch.setattr(par, "_refine_one", lambda *_: pytest.fail("plain torch"))
    assert par.pixel_adaptive_refinement(images, maps).shape == maps.shape


# ---- boxes and affinity


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (20, 20), (41, 41), (130, 257)])
@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.79])
def test_boxes_are_those_of_scipy(size: tuple[int, int], threshold: float) -> None:
    random = np.random.default_rng(size[0])
    maps = random.random((12, *size)) * (random.random((12, *size)) < 0.6)
    maps[0] = 0
    maps[1] = 1
    maps[2, ::2] = 1  # a winding region
    maps[2, 1::4, -1] = maps[2, 3::4, 0] = 1
    expected = np.stack([box_mask(plane, threshold) for plane in maps])
    assert np.array_equal(box_masks(torch.from_numpy(maps).to(DEVICE), threshold).cpu().numpy(), expected)


def test_maps_are_spread_as_on_a_cpu() -> None:
    random = torch.Generator().manual_seed(1)
    attention = torch.rand(3, 1 + 256, 1 + 256, generator=random, dtype=torch.float64) + 0.01
    maps = torch.rand(3, 4, 16, 16, generator=random, dtype=torch.float64)
    expected, found = transition_matrix(attention), transition_matrix(attention.to(DEVICE))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(spread_maps(maps.to(DEVICE), found).cpu(), spread_maps(maps, expected))


# ---- the command, over the demo's scenes


@pytest.fixture(scope="module")
def kept() -> dict[tuple[object, ...], Path]:
    return {}


@pytest.fixture
def demo(
    excel_cam: Run, kept: dict[tuple[object, ...], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Label the demo's scenes, once for each choice of options: a folder with `labels` and `cams`."""

    def label(*options: object) -> Path:
        if options not in kept:
            folder = tmp_path_factory.mktemp("demo")
            places = ("--out", folder / "labels", "--save-cams", folder / "cams")
            result = excel_cam("generate", "--dataset", "demo", *places, *options)
            assert result.exit_code == 0, result.stderr
            record = json.loads((folder / "labels" / "run.json").read_text())
            told(f"{record['seconds']} s, batches of {record['work']['batch_size']}: {' '.join(map(str, options))}")
            kept[options] = folder
        return kept[options]

    return label


EXACT = ("--device", DEVICE, "--precision", "fp32")


@pytest.fixture
def on_cpu(demo: Callable[..., Path]) -> Path:
    return demo("--device", "cpu")


@pytest.mark.parametrize("batch", ["auto", "1", "5"])
def test_labels_in_float32_are_those_of_a_cpu_in_every_batch(
    demo: Callable[..., Path], on_cpu: Path, batch: str
) -> None:
    found = demo(*EXACT, "--batch-size", batch)
    assert pngs(found / "labels").keys() == pngs(on_cpu / "labels").keys()
    assert alike(decoded(found / "labels"), decoded(on_cpu / "labels"), f"fp32, batch {batch}, and a CPU") >= ALIKE
    pairs = []
    for path in sorted((on_cpu / "cams").glob("*.npz")):
        expected, came = read_maps(path, 20), read_maps(found / "cams" / path.name, 20)
        assert came.keys == expected.keys
        pairs.append((expected.maps, came.maps))
    assert maps_apart(pairs, f"fp32, batch {batch}") <= 3
    record = json.loads((found / "labels" / "run.json").read_text())
    assert record["model"]["device"].startswith(DEVICE)
    assert record["state"] == "complete"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_labels_in_low_precision_stay_close(demo: Callable[..., Path], precision: str) -> None:
    exact = demo(*EXACT, "--batch-size", "auto")
    found = demo("--device", DEVICE, "--precision", precision)
    assert alike(decoded(found / "labels"), decoded(exact / "labels"), f"{precision} and fp32") >= 0.97


# ---- every other way to a label


@pytest.fixture(scope="module")
def models() -> tuple[ClipModel, ClipModel]:
    """On a CPU, and here."""
    cpu, gpu = (load_model(ModelChoice(SHIPPED_MODEL, device=name, precision="fp32")) for name in ("cpu", DEVICE))
    return cpu, gpu


@pytest.fixture(scope="module")
def bank(models: tuple[ClipModel, ClipModel], tmp_path_factory: pytest.TempPathFactory) -> TextBank:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXCEL_CAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return build_text_bank(shipped_knowledge("voc"), models[0], SETTINGS)


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    return [read_image(sample.image_path) for sample in SCENES[:48:4]]


TAGS = [sample.tags for sample in SCENES[:48:4]]

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"refine": "none"},
    "guided by the photograph": {"par_image": "original"},
    "no affinity": {"affinity": False},
    "no affinity, plain": {"affinity": False, "refine": "none"},
    "views": {"scales": (0.75, 1.0, 1.5), "flip": True},
    "doubt": {"ignore_thresholds": (0.3, 0.6)},
    "doubt, plain": {"ignore_thresholds": (0.3, 0.6), "refine": "none"},
    "qk": {"attention": "qk"},
    "vv": {"attention": "vv"},
    "v": {"attention": "v"},
    "two blocks": {"calibrated_blocks": 2},
    "token norm": {"feature_norm": "token"},
    "power": {"background_power": 2.0},
    "windows": {"windows": 160},
    "windows and views": {"windows": 250, "scales": (0.75, 1.5), "flip": True},
    "windows, no affinity": {"windows": 160, "affinity": False, "refine": "none"},
}


def both_ways(
    models: tuple[ClipModel, ClipModel], bank: TextBank, changes: dict[str, Any], photographs: Sequence[np.ndarray],
    tags: Sequence[Sequence[int]], sizes: Sequence[tuple[int, int]] | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:  # fmt: skip
    """Labels on a CPU and here; class maps are compared on the way."""
    sizes = sizes or [photograph.shape[:2] for photograph in photographs]
    found = []
    for model in models:
        labeller = Labeller(model, bank, dataclasses.replace(SETTINGS, **changes))
        found.append(labeller.label_with_maps(photographs, tags, sizes))
    for first, second in zip(*found, strict=True):
        assert first.input_size == second.input_size
    assert maps_apart([(first.maps, second.maps) for first, second in zip(*found, strict=True)], str(changes)) <= 1
    first_labels, second_labels = ([one.label for one in part] for part in found)
    return first_labels, second_labels


@pytest.mark.parametrize("way", WAYS)
def test_every_setting_gives_the_labels_of_a_cpu(
    models: tuple[ClipModel, ClipModel], bank: TextBank, photographs: list[np.ndarray], way: str
) -> None:
    count = 1 if "windows" in WAYS[way] else 2
    labels = both_ways(models, bank, WAYS[way], photographs[:count], TAGS[:count])
    assert alike(*labels, way) >= 0.998


@pytest.mark.parametrize("refine", ["crf", "par+crf"])
@pytest.mark.parametrize("backend", ["numpy", "pydensecrf2"])
def test_the_crf_gives_the_labels_of_a_cpu(
    models: tuple[ClipModel, ClipModel], bank: TextBank, photographs: list[np.ndarray], refine: str, backend: str
) -> None:
    if backend == "pydensecrf2":
        pytest.importorskip("pydensecrf", reason="the extra `crf` is not installed")
    small = [photograph[100:196, 80:208] for photograph in photographs[:2]]
    changes = {"refine": refine, "crf_backend": backend}
    assert alike(*both_ways(models, bank, changes, small, TAGS[:2]), f"{refine} by {backend}") >= 0.998


def test_large_photographs_all_classes_and_no_background(
    models: tuple[ClipModel, ClipModel], bank: TextBank, photographs: list[np.ndarray]
) -> None:
    parts = [photograph[:300, :300] for photograph in photographs[:6]]
    large = np.concatenate([np.concatenate(parts[:3], axis=1), np.concatenate(parts[3:], axis=1)])
    tags = [sorted({tag for own in TAGS[:6] for tag in own})]
    for name, changes in (("large, windows", {"windows": "auto"}), ("large, whole", {})):
        assert alike(*both_ways(models, bank, changes, [large], tags), name) >= 0.998
    twice = [(2 * photograph.shape[0], 2 * photograph.shape[1]) for photograph in photographs[:2]]
    for name, changes in (("enlarged", {}), ("enlarged doubt", {"ignore_thresholds": (0.3, 0.6)})):
        assert alike(*both_ways(models, bank, changes, photographs[:2], TAGS[:2], twice), name) >= 0.998
    everything = [range(20), range(20)]
    assert alike(*both_ways(models, bank, {}, photographs[:2], everything), "20 classes") >= 0.998
    without = dataclasses.replace(bank, has_background=False)
    assert alike(*both_ways(models, without, {}, photographs[:3], TAGS[:3]), "no background class") >= 0.998


def test_photographs_of_all_sizes_go_together_as_they_go_alone(
    models: tuple[ClipModel, ClipModel], bank: TextBank, photographs: list[np.ndarray]
) -> None:
    sizes = [(1, 1), (1, 200), (97, 60), (60, 97), (60, 97), (300, 301)]
    drawn = [np.asarray(draw_photograph(*size, seed)) for seed, size in enumerate(sizes)]
    drawn.append(np.full((50, 70, 3), 90, np.uint8))
    tags = [(3,), (1, 2), (), (4, 5, 6), (7,), tuple(range(20)), (9, 14)]
    labeller = Labeller(models[1], bank, SETTINGS)
    together = labeller.label([*photographs, *drawn], [*TAGS, *tags])
    alone = [labeller.label([one], [own])[0] for one, own in zip([*photographs, *drawn], [*TAGS, *tags], strict=True)]
    assert alike(together, alone, "together and alone") >= 0.998
    assert not together[len(photographs) + 2].any()


def waits_of(work: Callable[[], object], what: str) -> int:
    """How often the host waits for all of the device in the work, which is done once before to have what it keeps."""
    work()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = Counter(f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchronizing" in str(one.message))
    told(f"the host waits {sum(waits.values())} times to {what}: {dict(waits)}")
    return sum(waits.values())


def test_the_host_hardly_waits_for_the_device(
    models: tuple[ClipModel, ClipModel], bank: TextBank, photographs: list[np.ndarray]
) -> None:
    labeller, sizes = Labeller(models[1], bank, SETTINGS), [photograph.shape[:2] for photograph in photographs]
    assert waits_of(lambda: labeller.label_with_maps(photographs, TAGS, sizes), "label 12 photographs") <= 6
    found = labeller.label_with_maps(photographs, TAGS, sizes)
    assert all(labelled.label.shape == size for labelled, size in zip(found, sizes, strict=True))


def test_segmenting_and_tagging_do_not_wait_for_every_photograph(
    models: tuple[ClipModel, ClipModel], bank: TextBank, photographs: list[np.ndarray]
) -> None:
    segmenter, sizes = (
        Segmenter(models[1], read_adapter(DEMO_ADAPTER, models[1])),
        [one.shape[:2] for one in photographs],
    )
    assert waits_of(lambda: segmenter.segment_batch(photographs, sizes), "segment 12 photographs") < 12
    tagger = Tagger(models[1], bank, SETTINGS)
    assert waits_of(lambda: tagger.score_batch(photographs), "score 12 photographs") < 12
    alone = [tagger.score(photograph) for photograph in photographs]
    np.testing.assert_allclose(tagger.score_batch(photographs), alone, atol=1e-3)


# ---- memory


@pytest.fixture
def bounded() -> Iterator[Callable[[int], None]]:
    """Let this process have so many bytes of the device's memory; all of it again after the test."""

    def bound(size: int) -> None:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(size / torch.cuda.get_device_properties(0).total_memory, 0)

    yield bound
    torch.cuda.set_per_process_memory_fraction(1.0, 0)
    torch.cuda.empty_cache()


def memory_of(work: Callable[[], object]) -> tuple[int, int]:
    """The most memory that torch holds while the work is done, with what it keeps for later, and without.

    The work is done in the first; a bound below the second it cannot keep, however memory is parted.
    """
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()


def too_little_for_all(work: Callable[[int], object], count: int) -> int:
    """A bound that holds photographs one by one, but not `count` at once. work: so many at a time."""
    enough, _ = memory_of(lambda: work(1))
    _, needed = memory_of(lambda: work(count))
    told(f"{enough:,} bytes hold one photograph at a time, {needed:,} are needed for {count}")
    assert enough < needed
    return (enough + needed) // 2


def test_the_batch_size_follows_the_free_memory(models: tuple[ClipModel, ClipModel], bank: TextBank) -> None:
    labeller = Labeller(models[1], bank, SETTINGS)
    largest = automatic_batch_size(labeller)
    first, again = (_peak_bytes(labeller, 1) for _ in range(2))
    told(f"automatic batch size {largest}; one photograph takes {first:,} and {again:,} bytes")
    assert abs(first - again) <= 2**20
    assert largest == LARGEST_BATCH  # of a model so small
    torch.cuda.empty_cache()
    free, _total = torch.cuda.mem_get_info()
    sizes = []
    for left in (600, 200, 80):  # MiB
        filling = torch.empty(max(1, free - left * 2**20), dtype=torch.uint8, device=DEVICE)
        sizes.append(automatic_batch_size(labeller))
        del filling
        torch.cuda.empty_cache()
    told(f"automatic batch sizes with 600, 200 and 80 MiB free: {sizes}")
    assert all(size in (1, 2, 4, 8, 16, 32, 64) for size in sizes)
    assert largest >= sizes[0] >= sizes[1] >= sizes[2]
    assert sizes[2] < largest


# Of one size, so that all are refined at once, and so many that they take far more memory than one of them.
MANY = 48


def many(photographs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
    places = [place % len(photographs) for place in range(MANY)]
    return [photographs[place][:320, :320] for place in places], [TAGS[place] for place in places]


def test_a_batch_that_memory_does_not_hold_is_halved(
    models: tuple[ClipModel, ClipModel], bank: TextBank, photographs: list[np.ndarray],
    bounded: Callable[[int], None],
) -> None:  # fmt: skip
    labeller = Labeller(models[1], bank, SETTINGS)
    batch, tags = many(photographs)

    def label(most: int) -> list[np.ndarray]:
        starts = range(0, MANY, most)
        return [one for at in starts for one in labeller.label(batch[at : at + most], tags[at : at + most])]

    expected = label(MANY)
    bound = too_little_for_all(label, MANY)
    bounded(bound)
    labels = label(MANY)
    told(f"in {bound:,} bytes: {labeller.batch_limit} at a time")
    assert labeller.batch_limit is not None
    assert 1 <= labeller.batch_limit < MANY
    assert alike(labels, expected, "with halved batches and whole ones") >= ALIKE
    torch.cuda.empty_cache()
    bounded(torch.cuda.memory_reserved() + 2**20)
    large = np.tile(batch[0], (5, 5, 1))
    with pytest.raises(MachineError, match=r"the memory does not hold a photograph of 1600 x 1600") as caught:
        labeller.label([large], tags[:1])
    assert "\n" not in str(caught.value)
    bounded(4 * bound)
    assert alike(label(MANY), expected, "after memory was short, and before") >= ALIKE


def test_a_batch_to_segment_that_memory_does_not_hold_is_halved(
    models: tuple[ClipModel, ClipModel], photographs: list[np.ndarray], bounded: Callable[[int], None]
) -> None:
    segmenter = Segmenter(models[1], read_adapter(DEMO_ADAPTER, models[1]))
    batch, _ = many(photographs)

    def segment(most: int) -> list[np.ndarray]:
        parts = [batch[at : at + most] for at in range(0, MANY, most)]
        begun = [segmenter.segment_batch(part, [one.shape[:2] for one in part]) for part in parts]
        return [label.numpy() for labels in begun for label in labels]

    expected = segment(MANY)
    bound = too_little_for_all(segment, MANY)
    bounded(bound)
    labels = segment(MANY)
    told(f"in {bound:,} bytes: {segmenter.batch_limit} at a time")
    assert segmenter.batch_limit is not None
    assert 1 <= segmenter.batch_limit < MANY
    assert alike(labels, expected, "segmented in halved batches and whole ones") >= ALIKE


def test_a_device_too_small_for_the_model_is_one_line(
    excel_cam: Run, tmp_path: Path, bounded: Callable[[int], None]
) -> None:
    bounded(2**20)
    result = excel_cam("generate", "--dataset", "demo", "--device", DEVICE, "--out", tmp_path / "labels")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    told(line)
    assert "memory does not hold" in line


# ---- which device, and processes that die


@pytest.fixture
def few(tmp_path: Path) -> list[object]:
    """The command that labels eight scenes one by one, less --out and the device."""
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{sample.name}\n" for sample in SCENES[:8]))
    return ["generate", "--dataset", "demo", "--list", names, "--precision", "fp32", "--batch-size", "1"]


@pytest.fixture
def one_by_one(demo: Callable[..., Path]) -> dict[str, bytes]:
    """The labels of an undisturbed run, one photograph at a time."""
    return pngs(demo(*EXACT, "--batch-size", "1") / "labels")


@pytest.mark.parametrize("device", [f"{DEVICE}:0", "auto"])
def test_other_names_of_the_device_give_the_same_bytes(
    excel_cam: Run, few: list[object], one_by_one: dict[str, bytes], tmp_path: Path, device: str
) -> None:
    result = excel_cam(*few, "--device", device, "--out", tmp_path / "labels")
    assert result.exit_code == 0, result.stderr
    found = pngs(tmp_path / "labels")
    assert found == {name: one_by_one[name] for name in found}
    assert len(found) == 8
    record = json.loads((tmp_path / "labels" / "run.json").read_text())
    assert record["model"]["device"].startswith(DEVICE)


def test_a_killed_process_of_the_device_is_replaced(
    excel_cam: Run, few: list[object], one_by_one: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_one(monkeypatch)
    result = excel_cam(*few, "--devices", DEVICES, "--out", tmp_path / "labels")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("its process died (killed by SIGKILL); another takes its place") == 1
    found = pngs(tmp_path / "labels")
    assert found == {name: one_by_one[name] for name in found}
    assert len(found) == 8
    record = json.loads((tmp_path / "labels" / "run.json").read_text())
    assert all(name.startswith(DEVICE) for name in record["work"]["devices"])


def test_a_run_that_is_killed_goes_on(excel_cam: Run, one_by_one: dict[str, bytes], tmp_path: Path) -> None:
    arguments = ["generate", "--dataset", "demo", *EXACT, "--batch-size", "1", "--out", str(tmp_path / "labels")]
    process = subprocess.Popen(
        [sys.executable, "-m", "excel_cam", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    there = len(pngs(tmp_path / "labels"))
    told(f"{there} labels were there when the run was killed")
    result = excel_cam(*arguments)
    assert result.exit_code == 0, result.stderr
    assert pngs(tmp_path / "labels") == one_by_one
    assert 1 <= there < len(one_by_one)


# ---- the other commands


def test_tars_become_tars(excel_cam: Run, one_by_one: dict[str, bytes], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra `shards`)")
    tags = {sample.name: " ".join(VOC_CLASSES[tag] for tag in sample.tags) for sample in SCENES[:6]}
    tars = write_tars(tmp_path / "tars", SCENES[0].image_path.parents[1], tags, 3)
    out = tmp_path / "packed"
    result = excel_cam("generate", "--root", tars / "*.tar", "--dataset", "voc", "--model", SHIPPED_MODEL, *EXACT,
                       "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    members = read_members(out.glob("*.tar"))
    assert members.keys() == {f"{name}.png" for name in tags}
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "single").mkdir()
    for name, content in members.items():
        (tmp_path / "unpacked" / name).write_bytes(content)
        (tmp_path / "single" / name).write_bytes(one_by_one[name])
    assert alike(decoded(tmp_path / "unpacked"), decoded(tmp_path / "single"), "from tars, and from a folder") >= ALIKE


def test_tags_are_predicted_as_on_a_cpu(excel_cam: Run, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for sample in SCENES[:6]:
        shutil.copy(sample.image_path, images)
    (tmp_path / "classes.txt").write_text("\n".join(VOC_CLASSES) + "\n")
    found = []
    for place, device in enumerate(("cpu", DEVICE)):
        result = excel_cam("tags", "--predict", "--images", images, "--classes", tmp_path / "classes.txt", "--model",
                           SHIPPED_MODEL, "--device", device, "--precision", "fp32", "--out",
                           tmp_path / f"tags{place}.csv")  # fmt: skip
        assert result.exit_code == 0, result.stderr
        found.append(read_scores(tmp_path / f"tags{place}.scores.jsonl").photographs)
    for name, expected in found[0].items():
        np.testing.assert_allclose(found[1][name].scores, expected.scores, atol=1e-3)


@pytest.mark.parametrize("command", ["generate", "segment"])
def test_the_trained_half_labels_as_on_a_cpu(excel_cam: Run, tmp_path: Path, command: str) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{sample.name}\n" for sample in SCENES[::8]))
    for place, device in enumerate(("cpu", DEVICE)):
        result = excel_cam(command, "--dataset", "demo", "--lvc", "demo", "--list", names, "--device", device,
                           "--precision", "fp32", "--out", tmp_path / str(place))  # fmt: skip
        assert result.exit_code == 0, result.stderr
    assert alike(decoded(tmp_path / "1"), decoded(tmp_path / "0"), f"{command} with the trained half") >= ALIKE


TRAIN = (
    "train", "--dataset", "demo", "--precision", "fp32", "--steps", 4, "--warm-up", 1, "--batch", 2, "--channels", 16,
    "--decoder-blocks", 1, "--decoder-heads", 2, "--radius", 2, "--checkpoint-every", 2, "--dynamic-from", 1,
    "--own-from", 3, "--workers", 1,
)  # fmt: skip


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_training_loses_what_it_does_on_a_cpu_and_goes_on(
    excel_cam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from excel_cam.learnt.training.learner import Learner

    for name, device in (("cpu", "cpu"), ("gpu", DEVICE)):
        result = excel_cam(*TRAIN, "--device", device, "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
    told(f"losses on a CPU {losses(tmp_path / 'cpu')}, here {losses(tmp_path / 'gpu')}")
    assert losses(tmp_path / "gpu") == pytest.approx(losses(tmp_path / "cpu"), rel=0.02)
    advance = Learner.advance

    def interrupted(self: Learner, batch: Any, step: int) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return advance(self, batch, step)

    monkeypatch.setattr(Learner, "advance", interrupted)
    assert excel_cam(*TRAIN, "--device", DEVICE, "--out", tmp_path / "stopped").exit_code == 130
    monkeypatch.setattr(Learner, "advance", advance)
    assert excel_cam(*TRAIN, "--device", DEVICE, "--out", tmp_path / "stopped").exit_code == 0
    whole, resumed = (tmp_path / name / "adapter.safetensors" for name in ("gpu", "stopped"))
    told(f"a resumed training has the same bytes: {whole.read_bytes() == resumed.read_bytes()}")
    expected, found = load_file(whole), load_file(resumed)
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, rtol=0, atol=1e-4)


def test_values_that_half_precision_cannot_hold_are_one_line(excel_cam: Run, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(DEMO_FOLDER / f"{SHIPPED_MODEL}.safetensors")
    (tensor,) = [tensor for tensor in state if tensor.endswith("conv1.weight")]
    state[tensor] = state[tensor].float() * 1e8
    save_file(state, tmp_path / "spoilt.safetensors")
    for name, more in (("one", ()), ("other", ("--no-affinity", "--refine", "none"))):
        result = excel_cam("generate", "--dataset", "demo", "--model", SHIPPED_MODEL, "--weights",
                           tmp_path / "spoilt.safetensors", "--device", DEVICE, "--precision", "fp16", *more, "--out",
                           tmp_path / name)  # fmt: skip
        assert result.exit_code == 1
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
        assert "in fp16: its values pass what fp16 can hold; use --precision fp32" in line
        assert not pngs(tmp_path / name)


def test_in_python_labels_are_those_of_the_command(photographs: list[np.ndarray], on_cpu: Path) -> None:
    labeller = NotebookLabeller.from_pretrained(dataset="demo", device=DEVICE, precision="fp32")
    found = labeller.label(photographs, TAGS)
    expected = []
    for sample in SCENES[:48:4]:
        with Image.open(on_cpu / "labels" / f"{sample.name}.png") as label:
            expected.append(np.asarray(label))
    assert alike([one.label for one in found], expected, "in Python, and on a CPU") >= ALIKE
    single = labeller.label(photographs[0], TAGS[0])
    assert single.maps.shape[0] == len(TAGS[0])
    assert f"on {DEVICE}" in repr(labeller)


def test_a_single_photograph_a_dry_run_and_what_there_is(excel_cam: Run, few: list[object], tmp_path: Path) -> None:
    photograph = shutil.copy(SCENES[0].image_path, tmp_path)
    result = excel_cam("label", photograph, "--classes", VOC_CLASSES[SCENES[0].tags[0]], "--model", SHIPPED_MODEL,
                       "--device", DEVICE, "--out", tmp_path / "labels")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    result = excel_cam(*few, "--device", DEVICE, "--dry-run", "--out", tmp_path / "none")
    assert result.exit_code == 0, result.stderr
    assert f" on {DEVICE}" in result.stdout
    if DEVICE == "cuda":
        (line,) = [line for line in excel_cam("info").stdout.splitlines() if line.startswith("device")]
        told(line)
        assert torch.cuda.get_device_name(0) in line
