"""The trained half against the slow reference: other seeds, sizes, head counts, depths and numbers of classes."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import reference
import reference_lvc
import torch
from drawn import draw_photograph
from small_model import arrays, small_bank, small_model, small_network

from excel_cam.errors import MachineError, ModelError
from excel_cam.learnt.checkpoint import TrainedAdapter
from excel_cam.learnt.relation import kept_maps, mean_of_image, relation_attention, relation_scores
from excel_cam.learnt.segmenter import Segmenter
from excel_cam.learnt.training.learner import CropBatch, Learner
from excel_cam.learnt.training.losses import near_pairs, pair_targets
from excel_cam.learnt.training.settings import TRAINING_PRESETS, TrainingSettings
from excel_cam.method.calibration import encode_images, encode_static
from excel_cam.method.images import normalise
from excel_cam.run.learnt_labeller import LearntLabeller
from excel_cam.settings import SegmentationSettings, Settings

FEATURES, OTHER = 1e-4, 5e-5


@pytest.fixture(scope="module", autouse=True)
def _round_positions_as_float32() -> Iterator[None]:
    before = reference.POSITION_TYPE
    reference.POSITION_TYPE = np.float32
    yield
    reference.POSITION_TYPE = before


def largest(came: Any, expected: Any) -> float:
    came = came.detach().numpy() if isinstance(came, torch.Tensor) else came
    assert came.shape == np.shape(expected)
    return float(np.abs(came - np.asarray(expected, np.float64)).max())


def drawn_batch(seed: int, side: int, tags: list[list[int]], channels: int, ignored: Any = None) -> CropBatch:
    pixels = np.stack([np.asarray(draw_photograph(side, side, seed + place)) for place in range(len(tags))])
    images = torch.stack([normalise(one, "imagenet") for one in pixels])
    random = np.random.default_rng(seed)
    factors = (random.random((len(tags), channels)) > 0.1) / np.float32(0.9)
    return CropBatch(
        images=images, guides=torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, tags=tags,
        factors=torch.from_numpy(factors.astype(np.float32)), ignored=ignored,
    )  # fmt: skip


def crop_bytes(batch: CropBatch) -> Any:
    return (batch.guides * 255).round().byte().permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(("layers", "blocks", "heads", "width"), [(7, 5, 2, 32), (6, 3, 3, 48), (4, 4, 1, 16)])
@pytest.mark.parametrize("slots", ["paper", "outputs"])
def test_slots_and_attention(layers: int, blocks: int, heads: int, width: int, slots: str) -> None:
    model = small_model(layers, layers=layers, heads=heads, width=width)
    inputs = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(blocks))
    static = encode_static(model.visual, inputs, blocks, slots=slots)
    assert static.attention is not None
    for index, image in enumerate(inputs.numpy()):
        found = reference_lvc.static_pass(arrays(model.visual), image, heads, blocks, slots)
        assert largest(static.slots[:, index], found["slots"]) < FEATURES
        assert largest(static.tokens(model.visual)[index], found["tokens"]) < FEATURES
        assert largest(static.attention[:, index], found["attention"]) < OTHER


@pytest.mark.parametrize(("layers", "blocks", "heads"), [(7, 5, 2), (5, 5, 4), (3, 1, 1)])
def test_the_shortcut_equals_a_second_pass(layers: int, blocks: int, heads: int) -> None:
    model = small_model(heads, layers=layers, heads=heads)
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    features = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(2))
    relation = relation_attention(relation_scores(features, mean_of_image))
    plain = encode_images(model.visual, inputs, blocks=blocks, relation=relation)
    shortcut = encode_static(model.visual, inputs, blocks).tokens(model.visual, relation)
    assert largest(shortcut, plain.tokens) < 1e-5
    assert largest(shortcut, encode_images(model.visual, inputs, blocks=blocks).tokens) > 0.01


@pytest.mark.parametrize("phase", ["static", "dynamic", "own"])
@pytest.mark.parametrize(
    ("seed", "side", "heads", "classes", "changes"),
    [
        (1, 40, 2, 5, {}),
        (2, 32, 4, 3, {"relation_mean": "image", "slots": "outputs"}),
        (3, 48, 1, 8, {"radius": 2, "box_threshold": 0.6}),
    ],
)
def test_a_step(phase: str, seed: int, side: int, heads: int, classes: int, changes: dict[str, Any]) -> None:
    model, bank = small_model(seed, heads=heads), small_bank(seed, classes, 3)
    network = small_network(seed, model, classes)
    from_step = {"static": (9, 9), "dynamic": (0, 9), "own": (0, 0)}[phase]
    training = TrainingSettings(
        steps=10, dynamic_from=from_step[0], own_from=from_step[1], channels=24, decoder_blocks=2, decoder_heads=3,
        **changes,
    )  # fmt: skip
    tags = [[0, 2], [], [1]]
    ignored = torch.zeros(3, side, side, dtype=torch.bool)
    ignored[0, : side // 3] = True
    batch = drawn_batch(10 * seed, side, tags, 24, ignored if seed == 3 else None)
    losses = Learner(model, bank, Settings(size=side), training, network).losses(batch, 0)
    found = reference_lvc.training_step(
        arrays(model.visual), arrays(network), bank.text, crop_bytes(batch), tags, batch.factors.numpy(),
        classes=classes, heads=heads, decoder_heads=3, decoder_blocks=2, phase=phase,
        slots=training.slots, pooled=training.relation_mean == "batch", radius=training.radius,
        threshold=training.box_threshold, ignored=ignored.numpy() if seed == 3 else None,
    )  # fmt: skip
    assert largest(losses.sigma, np.stack(found["sigma"])) < OTHER
    assert np.array_equal(losses.label.numpy(), np.stack(found["label"]))
    assert np.array_equal(losses.target.numpy(), np.stack(found["target"]))
    assert losses.segmentation.item() == pytest.approx(found["segmentation"][0], abs=OTHER)
    assert losses.diversity.item() == pytest.approx(found["diversity"][0], abs=OTHER)
    assert not losses.label[1][losses.label[1] != 255].any()  # no tag: background, and taught as such


def test_gradients_are_those_of_the_reference() -> None:
    """Along a drawn direction of all weights, the slope is that of the reference's losses in float64."""
    model, bank = small_model(5), small_bank(5, 4, 2)
    network = small_network(5, model, 4)
    training = TrainingSettings(steps=10, channels=24, decoder_blocks=2, decoder_heads=3)
    batch = drawn_batch(50, 32, [[1], [0, 3]], 24)
    losses = Learner(model, bank, Settings(size=32), training, network).losses(batch, 0)
    losses.total.backward()
    weights, random = arrays(network), np.random.default_rng(6)
    direction = {name: random.normal(size=value.shape) * 1e-6 for name, value in weights.items()}

    def total(sign: int) -> float:
        moved = {name: value + sign * direction[name] for name, value in weights.items()}
        found = reference_lvc.training_step(
            arrays(model.visual), moved, bank.text,
            crop_bytes(batch), [[1], [0, 3]], batch.factors.numpy(),
            classes=4, heads=2, decoder_heads=3, decoder_blocks=2,
        )  # fmt: skip
        return found["segmentation"][0] + 0.1 * found["diversity"][0]

    slope = sum(
        float((network.get_parameter(name).grad.double().numpy() * step).sum()) for name, step in direction.items()
    )
    assert (total(1) - total(-1)) / 2 == pytest.approx(slope, rel=1e-3)


def test_a_batch_that_comes_again_is_learnt() -> None:
    model, bank = small_model(5), small_bank(5, 4, 2)
    training = TrainingSettings(
        steps=40, warm_up=5, dynamic_from=1.0, own_from=None, channels=24, decoder_blocks=2, decoder_heads=3
    )
    learner = Learner(model, bank, Settings(size=32), training, small_network(5, model, 4))
    batch = drawn_batch(50, 32, [[1], [0, 3]], 24)
    losses = [learner.advance(batch, step)[0] for step in range(40)]
    assert losses[-1].total.item() < 0.5 * losses[0].total.item()


@pytest.mark.parametrize(("seed", "heads", "classes"), [(7, 2, 4), (8, 4, 6)])
def test_label_maps_and_segmentation(seed: int, heads: int, classes: int) -> None:
    model, bank = small_model(seed, heads=heads), small_bank(seed, classes, 3)
    network = small_network(seed, model, classes).requires_grad_(False)
    adapter = adapter_of(network, 32)
    photograph = np.asarray(draw_photograph(45, 61, seed))
    stacked, expected = reference_lvc.lvc_label(
        arrays(model.visual), arrays(network), bank.text, photograph, [0, 3], 32, classes=classes, heads=heads
    )
    label = LearntLabeller(model, bank, adapter, Settings(size=32)).label([photograph], [[0, 3]])[0]
    best = np.sort(stacked, axis=0)
    assert not ((label != expected) & (best[-1] - best[-2] > 2e-4)).any()
    for variant, positions in (("voc", "direct"), ("voc", "trained"), ("coco", "direct")):
        settings = SegmentationSettings(scales=(1, 0.75, 1.5), variant=variant, positions=positions)
        scores = Segmenter(model, adapter, settings).scores(photograph)
        found = reference_lvc.segment(
            arrays(model.visual), arrays(network), photograph, 32, (1, 0.75, 1.5), heads=heads, decoder_heads=3,
            decoder_blocks=2, variant=variant, via_side=4 if positions == "trained" else None,
        )  # fmt: skip
        assert largest(scores, found) < OTHER


def adapter_of(network: Any, size: int, **changes: Any) -> TrainedAdapter:
    description = SimpleNamespace(
        settings=Settings(size=size), training=TrainingSettings(), shape=network.shape, classes=("a", "b")
    )
    for name, value in changes.items():
        setattr(description, name, value)
    return TrainedAdapter(network, cast(Any, description))


def test_labels_do_not_depend_on_what_shares_a_batch() -> None:
    """Nor on its order or size: one by one on a CPU; together, as on an accelerator, but for rounding."""
    model, bank = small_model(9), small_bank(9, 4, 2)
    adapter = adapter_of(small_network(9, model, 4).requires_grad_(False), 32)
    photographs = [np.asarray(draw_photograph(30 + 9 * i, 60 - 7 * i, i)) for i in range(4)]
    tags = [[0], [], [1, 3], [2]]
    labeller = LearntLabeller(model, bank, adapter, Settings(size=32))
    together = labeller.label(photographs, tags)
    alone = [labeller.label([one], [present])[0] for one, present in zip(photographs, tags, strict=True)]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    assert not together[1].any()
    inputs = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batched, single = labeller.class_maps(inputs), labeller.class_maps(inputs[1:2])
    for whole, part in zip(batched, single, strict=True):
        assert largest(whole[1:2], part) < OTHER
    segmenter = Segmenter(model, adapter, SegmentationSettings(scales=(1.0, 0.75)))
    for one, label in zip(photographs, segmenter.segment(photographs), strict=True):
        assert np.array_equal(label, segmenter.segment([one])[0])


def test_reduced_photographs_get_labels_of_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excel_cam.method.label_map.STRIP_VALUES", 2000)  # many strips
    model, bank = small_model(9), small_bank(9, 4, 2)
    adapter = adapter_of(small_network(9, model, 4).requires_grad_(False), 32)
    photograph = np.asarray(draw_photograph(40, 60, 1))
    label = (
        LearntLabeller(model, bank, adapter, Settings(size=32))
        .label_with_maps([photograph], [[0, 2]], [(123, 181)])[0]
        .label
    )
    assert label.shape == (123, 181)
    assert set(np.unique(label)) <= {0, 1, 3}
    for changes in ({}, {"variant": "coco"}, {"crf": True}):
        segmenter = Segmenter(model, adapter, SegmentationSettings(scales=(1.0,), **changes))
        assert segmenter.segment([photograph], [(123, 181)])[0].shape == (123, 181)
    scores = Segmenter(model, adapter, SegmentationSettings(scales=(1.0,))).scores(photograph)
    assert np.array_equal(segmenter_label(model, adapter, photograph), scores.argmax(dim=0).numpy())


def segmenter_label(model: Any, adapter: TrainedAdapter, photograph: Any) -> Any:
    return Segmenter(model, adapter, SegmentationSettings(scales=(1.0,))).segment([photograph])[0]


@pytest.mark.parametrize("refine", ["none", "crf", "par+crf"])
def test_refinements_of_label_maps(refine: str) -> None:
    model, bank = small_model(9), small_bank(9, 4, 2)
    adapter = adapter_of(small_network(9, model, 4).requires_grad_(False), 32)
    photograph = np.asarray(draw_photograph(40, 60, 1))
    label = LearntLabeller(model, bank, adapter, Settings(size=32, refine=refine)).label([photograph], [[0, 2]])[0]
    assert set(np.unique(label)) <= {0, 1, 3}
    doubtful = Settings(size=32, refine=refine, ignore_thresholds=(0.2, 0.8))
    assert (LearntLabeller(model, bank, adapter, doubtful).label([photograph], [[0, 2]])[0] == 255).any()


def test_pairs_within_a_square() -> None:
    assert int(near_pairs(20, 20, 8, torch.device("cpu")).sum()) == 71_824
    label = torch.randint(0, 3, (1, 24, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    label[0, 0, 8] = 255
    square = torch.cat([label, torch.zeros(1, 16, 40, dtype=torch.uint8)], dim=1)
    assert np.array_equal(pair_targets(square, 8, 1)[0].numpy(), reference_lvc.pair_targets(square[0].numpy(), 8, 1))


def test_a_relation_of_features_that_are_all_alike_is_a_number() -> None:
    for features in (torch.ones(1, 9, 4), torch.zeros(1, 9, 4)):
        attention = relation_attention(relation_scores(features, mean_of_image))
        assert torch.isfinite(attention).all()
        assert largest(attention.sum(dim=-1), np.ones((1, 9))) < 1e-6
    assert kept_maps(torch.full((6, 1, 3, 3), 0.1)).any()


def test_rates_and_phases_of_the_presets() -> None:
    voc, coco = TRAINING_PRESETS["voc"], TRAINING_PRESETS["coco"]
    assert (voc.first_dynamic_step, voc.first_own_step) == (14_000, 24_000)
    assert (coco.first_dynamic_step, coco.first_own_step) == (30_000, 100_000)
    assert voc.rate_at(0) == pytest.approx(1e-9)
    assert voc.rate_at(50) == pytest.approx(1e-3 * (1 - 50 / 30_000))
    assert coco.rate_at(199) == pytest.approx(1e-3 * (1 - (1 / 200) * (1 - 1e-6)))
    short = TrainingSettings(steps=30)
    assert (short.first_dynamic_step, short.first_own_step) == (14, 24)
    assert TrainingSettings(steps=30, dynamic_from=7).first_dynamic_step == 7


def test_a_batch_that_memory_does_not_hold_is_segmented_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator: all at once, halved where memory is short, and what was found stays."""
    model = small_model(9)
    adapter = adapter_of(small_network(9, model, 4).requires_grad_(False), 32)
    photographs = [np.asarray(draw_photograph(30 + 9 * i, 60 - 7 * i, i)) for i in range(5)]
    sizes = [photograph.shape[:2] for photograph in photographs]
    for crf in (False, True):
        segmenter = Segmenter(model, adapter, SegmentationSettings(scales=(1.0, 0.75), crf=crf))
        expected, whole, tried = segmenter.segment(photographs), segmenter._segment_group, []
        monkeypatch.setattr(segmenter, "_most_together", lambda left, own=segmenter: min(left, own.batch_limit or left))

        def small_memory(group: Any, of: Any, whole: Any = whole, tried: list[int] = tried) -> Any:
            tried.append(len(group))
            if len(group) > 2:
                raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
            return whole(group, of)

        together = [label.numpy() for label in segmenter.segment_batch(photographs, sizes)]
        monkeypatch.setattr(segmenter, "_segment_group", small_memory)
        halved = [label.numpy() for label in segmenter.segment_batch(photographs, sizes)]
        for labels in (together, halved):
            differing = [(one != other).mean() for one, other in zip(labels, expected, strict=True)]
            assert max(differing) < 0.001
        assert tried == [5, 2, 2, 1]
        assert segmenter.batch_limit == 2
        monkeypatch.setattr(segmenter, "_segment_group", lambda *_: small_memory(range(3), []))
        with pytest.raises(MachineError, match=r"does not hold a photograph of 30 x 60 in all its views; .*--scales"):
            segmenter.segment_batch(photographs[:1], sizes[:1])


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize(("precision", "words"), [("fp32", "not finite even in fp32"), ("bf16", "finite in bf16: its")])
def test_scores_that_overflow_make_no_mask(crf: bool, precision: str, words: str) -> None:
    model = dataclasses.replace(small_model(9), precision=precision)
    network = small_network(9, model, 4).requires_grad_(False)
    for weights in network.decoder.parameters():
        weights.mul_(1e30)
    segmenter = Segmenter(model, adapter_of(network, 32), SegmentationSettings(scales=(1.0,), crf=crf))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ModelError, match=words):
            segmenter.segment([np.asarray(draw_photograph(30, 60, 1))])


def test_a_segmenter_rehearses_all_its_views(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(9)
    adapter = adapter_of(small_network(9, model, 4).requires_grad_(False), 32)
    segmenter = Segmenter(model, adapter, SegmentationSettings(scales=(0.75, 1.5)))
    seen, decode = [], segmenter._decode
    monkeypatch.setattr(segmenter, "_decode", lambda pixels, side: seen.append(len(pixels)) or decode(pixels, side))
    segmenter.rehearse(3)
    assert seen == [6, 6]  # each with its mirror image
