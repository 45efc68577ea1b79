"""The joined steps on a generated model, against the independent reference; batches, sizes, switches."""

from __future__ import annotations

import dataclasses
import os
import time

import numpy as np
import pytest
import reference
import torch
from drawn import draw_photograph
from text_rows import voc_bank

from excel_cam import Settings
from excel_cam.classes import IGNORE
from excel_cam.errors import MachineError, ModelError
from excel_cam.method.calibration import encode_images
from excel_cam.method.cam import class_activation_maps
from excel_cam.method.refinement import par
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.run.labeller import Labeller

PARITY = os.environ.get("EXCEL_CAM_PARITY")
SETTINGS = Settings(size=96)
TAGS = ((7, 17), (14,), (), (0, 11, 14), (2, 3, 4, 5))
SIZES = ((60, 97), (97, 60), (40, 40), (131, 75), (75, 130))


@pytest.fixture(scope="module")
def bank(model: ClipModel) -> TextBank:
    return voc_bank(model, SETTINGS)


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    return [np.asarray(draw_photograph(*size, seed)) for seed, size in enumerate(SIZES)]


def reference_weights(model: ClipModel) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.visual.state_dict().items()}


def disagreement(ours: np.ndarray, found: dict[str, np.ndarray], last: str) -> int:
    """Pixels that differ although the reference's two best scores are further apart than float32 can blur."""
    if last not in found:  # no tags: the reference has no scores
        return int((ours != found["label"]).sum())
    best = np.sort(found[last], axis=0)
    return int(((ours != found["label"]) & (best[-1] - best[-2] > 2e-4)).sum())


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({}, {}),
        ({"normalisation": "clip"}, {"normalisation": "clip"}),
        ({"calibrated_blocks": 2}, {"calibrated_blocks": 2}),
        ({"feature_norm": "token"}, {"norm": "token"}),
        ({"box_threshold": 0.4}, {"threshold": 0.4}),
        ({"background_power": 3.0}, {"power": 3.0}),
        ({"refine": "none"}, {"refinement": "none"}),
        ({"par_image": "original"}, {"par_source": "original"}),
        ({"size": 64}, {"size": 64}),
    ],
    ids=lambda value: ",".join(value) or "paper" if isinstance(value, dict) else None,
)
def test_labels_equal_the_reference(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray], changes: dict, arguments: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(reference, "POSITION_TYPE", np.float32)
    settings = dataclasses.replace(SETTINGS, **changes)
    labels = Labeller(model, bank, settings).label(photographs, TAGS)
    arguments = {"size": 96, **arguments}
    for photograph, tags, ours in zip(photographs, TAGS, labels, strict=True):
        found = reference.label(
            photograph, reference_weights(model), bank.plain, 20, list(tags), bank=bank.bank, head_width=32, **arguments
        )
        assert ours.shape == photograph.shape[:2]
        assert ours.dtype == np.uint8
        assert disagreement(ours, found, "cams" if settings.refine == "none" else "par") == 0


def test_without_affinity_the_plain_maps_are_labelled(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray]
) -> None:
    settings = dataclasses.replace(SETTINGS, affinity=False, refine="none")
    ours = Labeller(model, bank, settings).label(photographs[:1], TAGS[:1])[0]
    inputs = torch.from_numpy(reference.preprocess(photographs[0], 96)).float()[None]
    maps = class_activation_maps(encode_images(model.visual, inputs).tokens, torch.from_numpy(bank.text))[0]
    present = maps.numpy()[:, list(TAGS[0])].T.reshape(-1, 6, 6)
    scores = reference.label_maps(present, *photographs[0].shape[:2])
    expected = reference.choose_label(scores, list(TAGS[0]))
    best = np.sort(scores, axis=0)
    assert not ((ours != expected) & (best[-1] - best[-2] > 1e-3)).any()


def test_grouping_and_order_change_no_pixel(model: ClipModel, bank: TextBank, photographs: list[np.ndarray]) -> None:
    labeller = Labeller(model, bank, SETTINGS)
    together = labeller.label(photographs, TAGS)
    alone = [labeller.label([photograph], [tags])[0] for photograph, tags in zip(photographs, TAGS, strict=True)]
    backwards = labeller.label(photographs[::-1], TAGS[::-1])[::-1]
    for first, second, third in zip(together, alone, backwards, strict=True):
        assert np.array_equal(first, second)
        assert np.array_equal(first, third)


def test_a_true_batch_gives_the_same_labels(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path an accelerator takes: one forward pass for images of several sizes and numbers of tags."""
    labeller = Labeller(model, bank, SETTINGS)
    alone = labeller.label(photographs, TAGS)
    monkeypatch.setattr(labeller, "_goes_one_by_one", lambda: False)
    for first, second in zip(alone, labeller.label(photographs, TAGS), strict=True):
        assert (first != second).mean() < 1e-3


def test_a_batch_that_memory_does_not_hold_is_halved(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    labeller = Labeller(model, bank, SETTINGS)
    expected = labeller.label(photographs, TAGS)
    whole, tried = labeller._label_batch, []

    def small_memory(jobs: list[object]) -> list[object]:
        tried.append(len(jobs))
        if len(jobs) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return whole(jobs)

    monkeypatch.setattr(labeller, "_goes_one_by_one", lambda: False)
    monkeypatch.setattr(labeller, "_label_batch", small_memory)
    labels = labeller.label(photographs, TAGS)
    assert tried == [4, 2, 1, 1, 1, 1]  # four of the five photographs have tags
    assert all(np.array_equal(a, b) for a, b in zip(labels, expected, strict=True))
    tried.clear()
    labeller.label(photographs, TAGS)
    assert tried == [1, 1, 1, 1]  # what did not fit is not tried again
    with pytest.raises(MachineError, match="memory does not hold"):  # one photograph that does not fit is an error
        monkeypatch.setattr(labeller, "_label_batch", lambda jobs: small_memory([*jobs, *jobs]))
        labeller.label(photographs[:1], TAGS[:1])


def test_photographs_go_side_by_side_on_a_cpu_as_far_as_memory_goes(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    labeller = Labeller(model, bank, SETTINGS)
    expected = labeller.label(photographs, TAGS)
    whole, at_work, most, held = labeller._label_batch, [], [], [2]

    def small_memory(jobs: list[object]) -> list[object]:
        at_work.append(1)
        most.append(len(at_work))
        try:
            time.sleep(0.05)  # as long as another thread takes to begin
            if len(at_work) > held[0]:
                raise MemoryError("no memory")
            return whole(jobs)
        finally:
            at_work.pop()

    monkeypatch.setattr(labeller, "_label_batch", small_memory)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for held[0], limit in ((2, None), (1, 1)):
            labels = labeller.label(photographs, TAGS)
            assert all(np.array_equal(a, b) for a, b in zip(labels, expected, strict=True))
            assert max(most) == 2
            assert labeller.batch_limit == limit
        most.clear()
        labeller.label(photographs, TAGS)
        assert max(most) == 1  # what memory did not hold is not tried again
    finally:
        torch.set_num_threads(before)


def test_a_large_photograph_has_the_threads_for_itself(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    labeller, groups = Labeller(model, bank, SETTINGS), []
    expected, together = labeller.label(photographs, TAGS), labeller._label_group
    sizes = sorted(photograph.shape[0] * photograph.shape[1] for photograph in photographs)
    monkeypatch.setattr("excel_cam.run.labeller.SHARED_PIXELS", sizes[-1] - 1)
    monkeypatch.setattr(labeller, "_label_group", lambda jobs: groups.append(len(jobs)) or together(jobs))
    labels = labeller.label(photographs, TAGS)
    assert 1 in groups
    assert sum(groups) == sum(bool(tags) for tags in TAGS)
    assert len(groups) > 1
    assert all(np.array_equal(a, b) for a, b in zip(labels, expected, strict=True))


def test_ignore_thresholds_mark_doubt_only(model: ClipModel, bank: TextBank, photographs: list[np.ndarray]) -> None:
    def label(low: float, high: float) -> np.ndarray:
        settings = dataclasses.replace(SETTINGS, ignore_thresholds=(low, high))
        return Labeller(model, bank, settings).label(photographs[:1], TAGS[:1])[0]

    narrow, wide = label(0.45, 0.5), label(0.2, 0.8)
    assert set(np.unique(wide)) <= {0, 8, 18, IGNORE}
    assert 0 < (narrow == IGNORE).sum() < (wide == IGNORE).sum()
    sure = wide != IGNORE
    assert np.array_equal(narrow[sure], wide[sure])  # what is sure between far bounds is sure between near ones


@pytest.mark.parametrize("attention", ["qk", "vv", "v"])
def test_the_attention_of_the_last_blocks_matters(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray], attention: str
) -> None:
    ours = Labeller(model, bank, SETTINGS).label(photographs[:1], TAGS[:1])[0]
    other = Labeller(model, bank, dataclasses.replace(SETTINGS, attention=attention)).label(photographs[:1], TAGS[:1])
    assert (ours != other[0]).any()


def test_the_input_is_the_nearest_multiple_of_the_patch(model: ClipModel, bank: TextBank) -> None:
    assert Labeller(model, bank, Settings(size=320)).size == 320
    assert Labeller(model, bank, Settings(size=90)).size == 96
    assert Labeller(model, bank, Settings(size=87)).size == 80


@pytest.mark.skipif(not PARITY, reason="EXCEL_CAM_PARITY names no folder of recorded intermediate results (.npz)")
@pytest.mark.parametrize("name", ["same_grid", "resized_grid", "reduced_image", "empty_box"])
def test_recorded_results_of_another_implementation(name: str) -> None:
    """Every intermediate of a recorded run: tokens within 1e-4, all else within 5e-5, labels equal but for ties."""
    from open_clip.transformer import QuickGELU, VisionTransformer

    from excel_cam.method.affinity import box_mask, spread_maps, transition_matrix
    from excel_cam.method.enrichment import enrich_rows
    from excel_cam.method.images import normalise, resize_to_input
    from excel_cam.method.label_map import label_map, stack_background, upsample_maps
    from excel_cam.method.refinement.par import pixel_adaptive_refinement

    with np.load(f"{PARITY}/{name}.npz") as file:
        stored = dict(file)
    state = {
        key.removeprefix("weights/").removeprefix("visual."): torch.from_numpy(value)
        for key, value in stored.items()
        if key.startswith("weights/")
    }
    width, patch = state["class_embedding"].shape[0], state["conv1.weight"].shape[-1]
    layers = len({key.split(".")[2] for key in state if key.startswith("transformer.")})
    side = round((len(state["positional_embedding"]) - 1) ** 0.5)
    ratio = state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / width
    visual = VisionTransformer(
        side * patch, patch, width, layers, width // 64, ratio, output_dim=state["proj"].shape[1], act_layer=QuickGELU
    )
    visual.load_state_dict(state)

    def check(key: str, ours: torch.Tensor | np.ndarray) -> None:
        ours = np.asarray(ours, np.float64)
        assert ours.shape == stored[key].shape, key
        assert np.abs(ours - stored[key]).max() < (1e-4 if key == "tokens" else 5e-5), key

    foreground, tags, (height, width) = int(stored["foreground"]), stored["tags"].tolist(), stored["image"].shape[:2]
    enriched = stored["text"].astype(np.float64)
    enriched[:foreground] = enrich_rows(enriched[:foreground], stored["bank"].astype(np.float64), 0.9, 1.0)
    check("enriched", enriched)
    inputs = resize_to_input(normalise(stored["image"], "imagenet"), int(stored["size"]))
    check("input", inputs)
    features = encode_images(visual, inputs[None])
    check("tokens", features.tokens[0])
    check("attention", features.attention[0])
    maps = class_activation_maps(features.tokens, torch.from_numpy(stored["enriched"]).float())[0]
    check("maps", maps)
    transition = transition_matrix(features.attention)[0]
    check("transition", transition)
    grid = int(stored["size"]) // patch
    present = maps.T[tags].reshape(-1, grid, grid)
    check("box_masks", np.stack([box_mask(plane.numpy(), 0.79) for plane in present]))
    refined = spread_maps(present, transition)
    check("refined", refined)
    scores = stack_background(upsample_maps(refined, height, width), 1.0)
    check("cams", scores)
    guide = torch.nn.functional.interpolate(inputs[None], size=(height, width), mode="bilinear", align_corners=True)[0]
    scores = pixel_adaptive_refinement(guide, scores)
    check("par", scores)
    best = np.sort(stored["par"], axis=0)
    differ = label_map(scores, tags).numpy() != stored["label"]
    assert not (differ & (best[-1] - best[-2] > 1e-5)).any()
    assert differ.sum() <= 1


def test_planes_refined_in_groups_are_the_same_to_the_bit(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many tags on a large photograph need: no more planes than a group's are padded at a time."""
    image, maps = torch.rand(3, 41, 57), torch.rand(11, 41, 57)
    whole = par.pixel_adaptive_refinement(image, maps)
    labels = Labeller(model, bank, SETTINGS).label(photographs, TAGS)
    padded: list[int] = []
    pad = par._pad

    def count(planes: torch.Tensor) -> torch.Tensor:
        padded.append(len(planes))
        return pad(planes)

    monkeypatch.setattr(par, "GROUPED_VALUES", 4 * 41 * 57 + 5)
    monkeypatch.setattr(par, "_pad", count)
    assert torch.equal(par.pixel_adaptive_refinement(image, maps), whole)
    assert max(padded) == 4
    for first, second in zip(Labeller(model, bank, SETTINGS).label(photographs, TAGS), labels, strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("affinity", [True, False])
def test_maps_that_are_no_numbers_are_told_of_before_the_crf(
    model: ClipModel, bank: TextBank, photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, affinity: bool
) -> None:
    labeller = Labeller(model, bank, dataclasses.replace(SETTINGS, refine="crf", affinity=affinity))
    whole = labeller._class_maps

    def spoilt(*images: object) -> tuple[torch.Tensor, torch.Tensor]:
        maps, attention = whole(*images)
        return maps * float("nan"), attention

    monkeypatch.setattr(labeller, "_class_maps", spoilt)
    monkeypatch.setattr("excel_cam.run.labeller.dense_crf", lambda *_: pytest.fail("the CRF has them"))
    with pytest.raises(ModelError, match="not finite even in fp32"):
        labeller.label(photographs[:1], TAGS[:1])
