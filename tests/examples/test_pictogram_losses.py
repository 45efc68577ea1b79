"""The losses that train the demo's model, each computed a second way, and the passes that they read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from captions import Captions
from described_scenes import scene_of
from losses import (
    PATCH_SCALE,
    PATCH_SHARE,
    PLACE_WEIGHT,
    SHARPNESS,
    SPREAD_SHARE,
    attention_loss,
    class_maps,
    enrich,
    map_loss,
    patch_cover,
    patch_loss,
    read_loss,
    sigmoid_loss,
    spread_maps,
    transitions,
)
from passes import CALIBRATED, Seen, encode_pixels
from train import CONFIG

from excel_cam.method import affinity as method_affinity
from excel_cam.method.affinity import transition_matrix
from excel_cam.method.calibration import encode_images
from excel_cam.method.cam import class_activation_maps
from excel_cam.method.enrichment import enrich_rows
from excel_cam.method.images import normalise

KNOWLEDGE = Path(__file__).parents[2] / "kb" / "voc.json"


def test_the_loss_is_the_sigmoid_loss_of_the_known_pairs() -> None:
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(0), [scene_of({0}), scene_of({1}, doubtful={0})])
    count = len(targets.texts)
    images, texts = torch.zeros(2, 4), torch.zeros(count, 4)
    images[:, 0] = texts[:, 1] = 1  # every pair at a right angle: logits are the bias
    loss = sigmoid_loss(images, texts, torch.tensor(2.0), torch.tensor(-1.0), targets)
    weight = np.where(np.arange(count) < 20, 2, 1) * targets.known
    pairs = np.where(targets.matches == 1, np.log1p(np.exp(1)), np.log1p(np.exp(-1)))
    assert float(loss) == pytest.approx((weight * pairs).sum() / 2, rel=1e-5)


def test_training_sees_what_the_method_will_see() -> None:
    torch.manual_seed(3)
    towers = open_clip.CLIP(**{**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "vocab_size": 9}}).eval()
    pixels = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        seen = encode_pixels(towers.visual, pixels)
    inputs = torch.stack([normalise(image.permute(1, 2, 0).numpy(), "imagenet") for image in pixels])
    features = encode_images(towers.visual, inputs, "svc", CALIBRATED)
    torch.testing.assert_close(seen.images, features.tokens[:, 0], atol=2e-5, rtol=1e-4)
    normalised = features.tokens / features.tokens.norm(dim=1, keepdim=True)
    torch.testing.assert_close(seen.tokens, normalised, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(seen.attention, features.attention[:, 1:, 1:], atol=2e-5, rtol=1e-4)


def test_cover_is_the_share_of_each_patch() -> None:
    masks = np.zeros((1, 32, 48), np.uint8)
    masks[0, :8, :32] = 3  # the upper half of the first two patches of the first row
    masks[0, 16:, 40:] = 20  # the right half of the last patch of the second row
    cover = patch_cover(torch.from_numpy(masks))
    assert cover.shape == (1, 6, 20)
    assert np.argwhere(cover[0].numpy()).tolist() == [[0, 2], [1, 2], [5, 19]]
    assert cover[0, 0, 2] == cover[0, 5, 19] == 0.5


@pytest.mark.parametrize("with_other", [False, True])
@pytest.mark.parametrize("with_cover", [False, True])
def test_the_patches_loss_computed_a_second_way(with_cover: bool, with_other: bool) -> None:
    rng = np.random.default_rng(5)
    scenes = [scene_of({0, 4}, doubtful={7}), scene_of({2}, shown={"sky"}, unclear={"tree"}), scene_of({3})]
    targets = Captions(KNOWLEDGE).targets(rng, scenes)
    patches, texts = rng.normal(size=(3, 100, 6)), rng.normal(size=(46, 6))
    cover = rng.dirichlet(np.ones(21), (3, 100))[..., :20]
    given = [torch.from_numpy(array).float() for array in (patches, texts, cover)]
    other = given[1][45] if with_other else None
    loss = patch_loss(given[0], given[1][:45], targets, given[2] if with_cover else None, other)
    rows = texts if with_other else texts[:45]

    expected = []
    for image in range(3):
        terms, chances = [], []
        for patch in patches[image]:
            logits = [PATCH_SCALE * patch @ t / np.linalg.norm(patch) / np.linalg.norm(t) for t in rows]
            chances.append(np.exp(logits) / np.exp(logits).sum())
        matches, known = targets.matches[image, :45], targets.known[image, :45]
        may_be = (matches == 1) | (known == 0)
        if not may_be[20:].any():
            may_be[20:] = True  # a background that has no name may be taken for any, not for a class
        may_be = np.append(may_be, np.ones(int(with_other), bool))
        for place, chance in enumerate(chances):
            if with_cover:
                own = cover[image, place]
                rest = (1 - own.sum()) * np.log(chance[20:][may_be[20:]].sum())
                terms.append((own * np.log(chance[:20])).sum() + rest)
            else:
                terms.append(np.log(chance[may_be].sum()))
        total = np.mean(terms)
        if not with_cover:
            best = round(PATCH_SHARE * 100)
            found = [
                np.log(np.sort(np.array(chances)[:, j])[-best:].mean()) for j in range(45) if matches[j] and known[j]
            ]
            total += PLACE_WEIGHT * np.mean(found)
        expected.append(-total)
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_maps_loss_computed_a_second_way() -> None:
    rng = np.random.default_rng(6)
    patches, texts = rng.normal(size=(2, 9, 6)), rng.normal(size=(45, 6))
    cover = rng.dirichlet(np.ones(21), (2, 9))[..., :20]
    scale, bias = torch.tensor(1.5), torch.tensor(-2.0)
    loss = map_loss(*(torch.from_numpy(array).float() for array in (patches, texts, cover)), scale, bias)
    total = 0.0
    for image in range(2):
        for place in range(9):
            patch = patches[image, place] / np.linalg.norm(patches[image, place])
            similar = [patch @ text / np.linalg.norm(text) for text in texts]
            for index in range(20):
                chance = 1 / (1 + np.exp(2 - np.exp(1.5) * (similar[index] - np.mean(similar))))
                share = cover[image, place, index]
                total -= share * np.log(chance) + (1 - share) * np.log(1 - chance)
    assert float(loss) == pytest.approx(total / 18, rel=1e-4)


def test_a_plain_background_is_not_pressed_into_classes() -> None:
    """Image-level labels alone, a background without a name: patches that show none of the classes cost nothing."""
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(0), [scene_of({3})])
    texts = torch.eye(45)
    patches = texts[40].repeat(1, 100, 1)  # all like one background word
    patches[0, :5] = texts[3]
    assert float(patch_loss(patches, texts, targets, None)) < 0.01


def seen_by_chance(count: int, side: int) -> Seen:
    """What a batch could leave behind."""
    torch.manual_seed(4)
    tokens = F.normalize(torch.randn(count, 1 + side * side, 6), dim=1)
    return Seen(tokens[:, 0], tokens, torch.rand(count, side * side, side * side))


def test_training_reads_maps_as_the_method_does() -> None:
    seen, texts = seen_by_chance(2, 5), F.normalize(torch.randn(45, 6), dim=1)
    ours = class_maps(seen.tokens, texts)
    maps = class_activation_maps(seen.tokens, texts)[..., :20]
    torch.testing.assert_close(ours, maps, atol=1e-4, rtol=1e-4)
    attention = F.pad(seen.attention, (1, 0, 1, 0), value=0.5)  # the class token is left out
    transition = transition_matrix(attention)
    torch.testing.assert_close(transitions(seen.attention), transition)
    planes = maps[:, :, :3].transpose(1, 2)  # three classes of each image
    grids = planes.reshape(2, 3, 5, 5)
    by_method = method_affinity.spread_maps(grids, transition)
    by_training = spread_maps(planes.reshape(6, 25), transition.repeat_interleave(3, dim=0))
    torch.testing.assert_close(by_training, by_method.reshape(6, 25))


def test_rows_are_enriched_as_the_method_does() -> None:
    torch.manual_seed(8)
    texts, sentences = torch.randn(25, 6), torch.randn(9, 6)
    rows, bank = (F.normalize(part.double(), dim=1).numpy() for part in (texts, sentences))
    ours = enrich(texts, sentences).numpy()
    np.testing.assert_allclose(ours[:20], enrich_rows(rows[:20], bank.T, keep=1.0, strength=1.0), atol=1e-5)
    np.testing.assert_allclose(ours[20:], rows[20:], atol=1e-6)


def test_masks_teach_the_sentences_and_not_the_names() -> None:
    torch.manual_seed(8)
    texts, sentences = torch.randn(45, 6, requires_grad=True), torch.randn(9, 6, requires_grad=True)
    (enrich(texts, sentences) * torch.randn(45, 6)).sum().backward()
    assert texts.grad is not None
    assert sentences.grad is not None
    assert not texts.grad[:20].any()
    assert texts.grad[20:].all()
    assert sentences.grad.all()


def test_the_loss_of_what_is_read_computed_a_second_way() -> None:
    seen, texts = seen_by_chance(2, 6), torch.randn(45, 6)
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(0), [scene_of({0, 4}, doubtful={7}), scene_of({2})])
    cover = torch.from_numpy(np.random.default_rng(7).dirichlet(np.ones(21), (2, 36))[..., :20]).float()
    cover[1, :, 2] = 0.01  # too little of it for a map
    loss = read_loss(seen, texts, targets, cover)
    total = 0.0
    for index in (0, 4):
        first = class_maps(seen.tokens, texts)[:1, :, index]
        spread = spread_maps(first, transitions(seen.attention)[:1])
        for read, share, level, weight in ((first, 1 - SPREAD_SHARE, 0.79, 1), (spread, SPREAD_SHARE, 0.5, 3)):
            plane, covered = read[0].double().numpy(), cover[0, :, index].double().numpy()
            chance = 1 / (1 + np.exp(-SHARPNESS * ((plane - plane.min()) / np.ptp(plane) - level)))
            far = -(weight * covered * np.log(chance) + (1 - covered) * np.log(1 - chance)).sum() / (covered.sum() + 8)
            both = (chance * covered).sum()
            total += share * (1 - both / (chance.sum() + covered.sum() - both) + 0.05 * far)
    assert float(loss) == pytest.approx(total / 2, rel=1e-3)


def test_the_loss_of_what_is_read_teaches_both_the_features_and_the_attention() -> None:
    seen = seen_by_chance(1, 4)
    parts = seen.tokens.requires_grad_(), seen.attention.requires_grad_()
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(0), [scene_of({0})])
    cover = torch.zeros(1, 16, 20)
    cover[0, 5:7, 0] = 1
    read_loss(Seen(seen.images, *parts), torch.randn(45, 6), targets, cover).backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in parts)


def test_the_attentions_loss_by_hand() -> None:
    """Four patches: two of a cat, one of a dog, one of the background; each row's attention is as it stands."""
    cover = torch.zeros(1, 4, 20)
    cover[0, :2, 7] = cover[0, 2, 11] = 1
    attention = torch.tensor([[[4.0, 1, 2, 1], [1, 1, 1, 1], [0.1, 0.2, 0.6, 0.1], [1, 0, 0, 3]]])
    own = [5 / 8, 2 / 4, 0.6, 3 / 4]  # of the cat's, the cat's, the dog's and the background's patch
    expected = -np.mean(np.log(own[:3])) - np.log(own[3])
    assert float(attention_loss(attention, cover)) == pytest.approx(expected, rel=1e-5)


def test_scenes_that_show_no_class_cost_nothing_to_read() -> None:
    targets = Captions(KNOWLEDGE).targets(np.random.default_rng(0), [scene_of(set())])
    assert float(read_loss(seen_by_chance(1, 4), torch.randn(45, 6), targets, torch.zeros(1, 16, 20))) == 0
