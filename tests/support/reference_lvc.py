"""Slow reference of the trained half, steps 8 to 13, in float64; numpy and scipy only, clarity over speed.

Written from the text, on top of `reference` (steps 1 to 6). One image at a time; Z is (N, C). Letters as there, and:
C channels of the adapter, R relation scores, sigma = logistic(R), R~ relation attention, (N, N) each.
"""

from __future__ import annotations

import numpy as np
import reference
from numpy.typing import NDArray
from reference import Array, Weights
from scipy.special import expit, log_softmax, softmax


def static_pass(
    weights: Weights, inputs: Array, heads: int, calibrated_blocks: int, slots: str = "paper",
    relation: Array | None = None, via_side: int | None = None,
) -> dict[str, Array]:  # fmt: skip
    """Steps 2, 3 and 8.1: `slots` (depth, N, width), `tokens` F (1 + N, D), `attention` (last six, N, N).

    The release's views are kept as views here: arrays that later blocks add to in place. relation: R~, for step 9.3.
    """
    weights, blocks = reference.prepare(weights)
    if via_side is not None:
        weights["positional_embedding"] = resized_positions(weights["positional_embedding"], via_side)
    tokens = reference.embed_patches(np.asarray(inputs, np.float64), weights)
    views, outputs, maps = [], [], []
    path = tokens.copy()
    for index, block in enumerate(blocks):
        is_calibrated = index >= len(blocks) - calibrated_blocks
        queries, keys, values = reference.project_heads(tokens, weights, block, heads)
        own = [reference.similarity(queries[head], keys[head]) for head in range(heads)]
        if is_calibrated:
            if index == len(blocks) - calibrated_blocks:
                path = views[-1] if views else tokens.copy()  # the very array of the last view
                tokens = tokens.copy()
            shared = []
            for _head in range(heads):
                correlation = reference.intra_correlation(queries, keys, values)
                if relation is not None:
                    correlation[1:, 1:] += heads * relation
                shared.append(correlation)
            path += reference.mix_values(shared, values, weights, block)
        maps.append((np.sum if is_calibrated else np.mean)(own, axis=0))
        attended = reference.mix_values(own, values, weights, block)
        if is_calibrated:
            tokens += attended  # in place: into the last view too, but for the first of these blocks
        else:
            tokens = tokens + attended
        tokens = tokens + reference.multilayer_perceptron(tokens, weights, block, True)
        views.append(tokens)
        outputs.append(tokens.copy())
    both = np.concatenate([tokens[:1], path[1:]])
    return {
        "slots": np.stack([view[1:] for view in (views if slots == "paper" else outputs)]),
        "tokens": reference.layer_norm(both, weights, "ln_post") @ weights["proj"],
        "attention": np.stack(maps[-6:])[:, 1:, 1:],
    }


def resized_positions(positions: Array, side: int) -> Array:
    """Step 13.2: (1 + g * g, width) positions on another grid, (1 + side * side, width)."""
    own = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].reshape(own, own, -1).transpose(2, 0, 1)
    resized = reference.bilinear_resize(grid, side, side)
    return np.vstack([positions[:1], resized.reshape(len(grid), -1).T])


def adapt(weights: Weights, slots: Array, factors: Array | None = None) -> Array:
    """Steps 8.2, 8.3: (depth, N, width) -> Z (N, C)."""
    parts = []
    for index, tokens in enumerate(slots):
        hidden = np.maximum(reference.linear(tokens, weights, f"adapter.{index}.proj"), 0)
        parts.append(reference.linear(hidden, weights, f"adapter.{index}.proj_2"))
    features = reference.linear(np.concatenate(parts, axis=1), weights, "adapter.fuse")
    return features if factors is None else features * factors


def relate(features: list[Array], pooled: bool = True) -> list[Array]:
    """Step 9.1: Z of each image of a batch -> R of each; the mean over all of them, or over each."""
    unit = [z / np.maximum(np.sqrt((z**2).sum(axis=1, keepdims=True)), 1e-12) for z in features]
    cosines = [z @ z.T for z in unit]
    means = [np.mean(cosines)] * len(cosines) if pooled else [np.mean(cosine) for cosine in cosines]
    return [3 * (cosine - mean) for cosine, mean in zip(cosines, means, strict=True)]


def relation_attention(scores: Array) -> Array:
    """Step 9.2: R -> R~."""
    return softmax(np.where(scores < 0, -np.inf, scores), axis=1)


def decode(weights: Weights, features: Array, heads: int, blocks: int) -> Array:
    """Step 10: Z (N, C) -> scores (1 + K, h, w)."""
    weights = {name.replace("in_proj_", "in_proj."): np.float64(value) for name, value in weights.items()}
    tokens = features
    for index in range(blocks):
        name = f"decoder.{index}"
        queries, keys, values = reference.project_heads(tokens, weights, name, heads)
        maps = [reference.similarity(queries[head], keys[head]) for head in range(heads)]
        tokens = tokens + reference.mix_values(maps, values, weights, name)
        tokens = tokens + reference.multilayer_perceptron(tokens, weights, name, True)
    side = round(len(tokens) ** 0.5)
    return reference.linear(tokens, weights, "decoder.pred").T.reshape(-1, side, side)


def mix(attention: Array, sigma: Array) -> Array:
    """Step 11.2: (blocks, N, N) and sigma -> A' (N, N)."""
    sums = np.array([(sigma - one).sum() for one in attention])
    kept = [one for one, value in zip(attention, sums, strict=True) if value <= sums.mean()]
    return np.sum(kept, axis=0) / (len(kept) + 1e-5) * sigma


def spread(maps: Array, affinity: Array, threshold: float) -> Array:
    """Step 5 from an affinity of patches: maps (c, h, w) -> (c, h, w)."""
    transition = reference.transition_matrix(np.pad(affinity, ((1, 0), (1, 0))))
    return np.stack([reference.refine_map(transition, reference.box_mask(one, threshold), one) for one in maps])


def pair_targets(label: NDArray, patch: int, radius: int) -> NDArray:
    """Step 11.5: (S, S) -> (N, N) of 1 same, 0 different, 255 too far or ignored."""
    side = len(label) // patch
    places = [(y, x) for y in range(side) for x in range(side)]
    target = np.full((len(places),) * 2, 255, np.uint8)
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            one, other = label[y * patch, x * patch], label[v * patch, u * patch]
            if abs(y - v) <= radius and abs(x - u) <= radius and 255 not in (one, other):
                target[i, j] = one == other
    return target


def segmentation_loss(scores: list[Array], labels: list[NDArray]) -> float:
    """Step 12.3: scores (1 + K, S, S) and labels (S, S) of a batch, pooled."""
    sums, counts = [0.0, 0.0], [0, 0]
    for one, label in zip(scores, labels, strict=True):
        logarithms = log_softmax(one, axis=0)
        for y, x in np.argwhere(label != 255):
            part = int(label[y, x] > 0)
            sums[part] -= logarithms[label[y, x], y, x]
            counts[part] += 1
    return sum(total / (count + 1e-6) for total, count in zip(sums, counts, strict=True)) / 2


def diversity_loss(sigmas: list[Array], targets: list[NDArray]) -> float:
    """Step 12.3: sigma (N, N) and targets (N, N) of a batch, pooled."""
    same = sum(((1 - s) * (t == 1)).sum() for s, t in zip(sigmas, targets, strict=True))
    different = sum((s * (t == 0)).sum() for s, t in zip(sigmas, targets, strict=True))
    counts = [sum(int((t == value).sum()) for t in targets) for value in (1, 0)]
    return 0.5 * same / (counts[0] + 1) + 0.5 * different / (counts[1] + 1)


def training_step(
    tower: Weights, trained: Weights, text: Array, pixels: NDArray, tags: list[list[int]], factors: Array,
    *, classes: int, heads: int, decoder_heads: int, decoder_blocks: int, calibrated_blocks: int = 5,
    slots: str = "paper", phase: str = "static", pooled: bool = True, radius: int = 8, threshold: float = 0.79,
    patch: int = 8, ignored: NDArray | None = None,
) -> dict[str, list]:  # fmt: skip
    """Steps 8 to 12.3 of a batch of uint8 crops (n, S, S, 3): labels, targets, sigmas and the two losses."""
    inputs = [reference.normalise_pixels(one) for one in pixels]
    size = pixels.shape[1]
    found = [static_pass(tower, one, heads, calibrated_blocks, slots) for one in inputs]
    features = [adapt(trained, one["slots"], keep) for one, keep in zip(found, factors, strict=True)]
    relations = relate(features, pooled)
    sigmas = [expit(relation) for relation in relations]
    scores = [
        reference.bilinear_resize(decode(trained, one, decoder_heads, decoder_blocks), size, size) for one in features
    ]
    labels = []
    for index, one in enumerate(found):
        tokens, affinity = one["tokens"], one["attention"].mean(axis=0)
        if phase != "static":
            attention = relation_attention(relations[index])
            second = static_pass(tower, inputs[index], heads, calibrated_blocks, relation=attention)
            tokens, affinity = second["tokens"], mix(one["attention"], sigmas[index])
        label = np.zeros((size, size), np.uint8)
        if tags[index]:
            side = size // patch
            maps = reference.cam_maps(tokens, text)[:, :classes][:, tags[index]].T.reshape(-1, side, side)
            stacked = reference.label_maps(spread(maps, affinity, threshold), size, size)
            stacked = reference.par(pixels[index].transpose(2, 0, 1) / 255, stacked)
            label = reference.choose_label(stacked, tags[index])
        if ignored is not None:
            label = np.where(ignored[index], 255, label).astype(np.uint8)
        labels.append(label)
    shown = labels
    if phase == "own":
        shown = [one.argmax(axis=0).astype(np.uint8) for one in scores]
        if ignored is not None:
            shown = [np.where(hidden, 255, one) for hidden, one in zip(ignored, shown, strict=True)]
    targets = [pair_targets(label, patch, radius) for label in shown]
    return {
        "label": labels,
        "target": targets,
        "sigma": sigmas,
        "segmentation": [segmentation_loss(scores, labels)],
        "diversity": [diversity_loss(sigmas, targets)],
    }


def take_crop(pixels: NDArray, scaled: NDArray, mirrored: bool, pad: tuple, corner: tuple, side: int) -> NDArray:
    """Step 12.1, pixel by pixel, from a photograph that is scaled already; (H, W, 3) -> (side, side, 3)."""
    height, width = scaled.shape[:2]
    crop = np.zeros((side, side, 3), np.uint8)
    for y in range(side):
        for x in range(side):
            row, column = y + corner[0] - pad[0], x + corner[1] - pad[1]
            if 0 <= row < height and 0 <= column < width:
                crop[y, x] = scaled[row, width - 1 - column if mirrored else column]
    return crop


def join_mirror(image: Array, mirrored: Array) -> Array:
    """Step 13.1: maps (K, h, w) of an image and of its mirror image -> (K, h, w)."""
    joined = np.maximum(image, mirrored[:, :, ::-1])
    joined = joined - joined.min(axis=(1, 2), keepdims=True)
    return joined / (joined.max(axis=(1, 2), keepdims=True) + 1e-5)


def lvc_label(
    tower: Weights, trained: Weights, text: Array, photograph: NDArray, tags: list[int], size: int,
    *, classes: int, heads: int, calibrated_blocks: int = 5, threshold: float = 0.79, patch: int = 8,
) -> tuple[Array, NDArray]:  # fmt: skip
    """Step 13.1: a photograph -> the stacked maps before the argmax, and the label (H, W)."""
    inputs = reference.preprocess(photograph, size)
    views = [inputs, inputs[:, :, ::-1]]
    found = [static_pass(tower, view, heads, calibrated_blocks) for view in views]
    features = [adapt(trained, one["slots"]) for one in found]
    maps, side = [], size // patch
    for view, relation in zip(views, relate(features), strict=True):
        tokens = static_pass(tower, view, heads, calibrated_blocks, relation=relation_attention(relation))["tokens"]
        maps.append(reference.cam_maps(tokens, text)[:, :classes].T.reshape(-1, side, side))
    joined = join_mirror(*maps)
    affinity = mix(found[0]["attention"], expit(relate(features[:1])[0]))
    height, width = photograph.shape[:2]
    stacked = reference.label_maps(spread(joined[tags], affinity, threshold), height, width)
    guide = reference.bilinear_resize(inputs, height, width, corners=True)
    stacked = reference.par(guide, stacked)
    return stacked, reference.choose_label(stacked, tags)


def segment(
    tower: Weights, trained: Weights, photograph: NDArray, size: int, scales: tuple[float, ...],
    *, heads: int, decoder_heads: int, decoder_blocks: int, calibrated_blocks: int = 5, variant: str = "voc",
    via_side: int | None = None, patch: int = 8,
) -> Array:  # fmt: skip
    """Step 13.2: a photograph -> mean scores (1 + K, H, W), of variant coco at a fifth of its sides."""
    height, width = photograph.shape[:2]
    if variant == "coco":
        height, width = int(0.2 * height), int(0.2 * width)
    means = []
    for scale in scales:
        inputs = reference.preprocess(photograph, round(scale * size / patch) * patch)
        both = []
        for view in (inputs, inputs[:, :, ::-1]):
            slots = static_pass(tower, view, heads, calibrated_blocks, via_side=via_side)["slots"]
            scores = decode(trained, adapt(trained, slots), decoder_heads, decoder_blocks)
            both.append(reference.bilinear_resize(scores, height, width))
        alone = variant == "voc" and scale == 1
        means.append(both[0] if alone else (both[0] + both[1][:, :, ::-1]) / 2)
    return np.mean(means, axis=0)
