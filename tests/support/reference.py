"""Slow reference of the method, steps 1 to 6, in float64; numpy and scipy only, clarity over speed.

Letters as in excel_cam/method/README.md: H, W pixels; S input side; P patch side; h = w = S / P; N = h * w;
D joint width; K foreground rows; T text rows; B attributes. Grids are row-major: n = y * w + x.
Remarks "Reading:" say which of two readings of the method's wording the parity files confirm.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit, softmax

Array = NDArray[np.float64]
Weights = dict[str, NDArray]
PIXEL_STATISTICS = {  # mean and standard deviation per channel, in 1 / 255 of the range 0..255
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
POSITION_TYPE: type = np.float64  # np.float32 rounds resize positions as float32 programs do
DILATIONS = (1, 2, 4, 8, 12, 24)
DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


# ---- shared arithmetic
def sample_positions(source: int, target: int, corners: bool) -> tuple:
    """Steps 2.1, 2.2, 6.1, 6.3: per output index the lower, upper input index, upper share."""
    real = POSITION_TYPE
    index: Array = np.arange(target, dtype=real)
    if corners:
        position = index * (real(source - 1) / real(max(target - 1, 1)))
    else:
        position = (index + real(0.5)) * (real(source) / real(target)) - real(0.5)
    position = np.clip(position, 0, source - 1)
    lower = np.floor(position).astype(int)
    return lower, np.minimum(lower + 1, source - 1), (position - lower).astype(np.float64)


def bilinear_resize(planes: NDArray, height: int, width: int, corners: bool = False) -> Array:
    """Steps 2.1, 2.2, 6.1, 6.3: (..., a, b) -> (..., height, width), no antialias."""
    planes = np.asarray(planes, dtype=np.float64)
    top, bottom, down = sample_positions(planes.shape[-2], height, corners)
    left, right, across = sample_positions(planes.shape[-1], width, corners)
    rows = planes[..., top, :] * (1 - down)[:, None] + planes[..., bottom, :] * down[:, None]
    return rows[..., left] * (1 - across) + rows[..., right] * across


def prepare(weights: Weights) -> tuple[dict, list[str]]:
    """Weights in float64, `in_proj_x` named `in_proj.x` like other layers; the block names."""
    doubles = {key.replace("in_proj_", "in_proj."): np.float64(weights[key]) for key in weights}
    count = sum(name.endswith("in_proj.weight") for name in doubles)
    return doubles, [f"transformer.resblocks.{index}" for index in range(count)]


def layer_norm(tokens: Array, weights: Weights, name: str) -> Array:
    """Introduction: layer norm with epsilon 1e-5 over the last axis, (n, width) -> (n, width)."""
    mean = tokens.mean(axis=-1, keepdims=True)
    variance = ((tokens - mean) ** 2).mean(axis=-1, keepdims=True)
    standard = (tokens - mean) / np.sqrt(variance + 1e-5)
    return standard * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(tokens: Array, weights: Weights, name: str) -> Array:
    """Sections 2, 3: (n, inside), weight (outside, inside) -> (n, outside)."""
    return tokens @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def multilayer_perceptron(tokens: Array, weights: Weights, block: str, quick_gelu: bool) -> Array:
    """Step 2.3: mlp(ln_2(x)), QuickGELU x * sigmoid(1.702 x) or the exact GELU; (n, width)."""
    inner = linear(layer_norm(tokens, weights, f"{block}.ln_2"), weights, f"{block}.mlp.c_fc")
    gate = expit(1.702 * inner) if quick_gelu else 0.5 * (1 + erf(inner / np.sqrt(2)))
    return linear(inner * gate, weights, f"{block}.mlp.c_proj")


def project_heads(tokens: Array, weights: Weights, block: str, heads: int) -> list[list[Array]]:
    """Section 3: queries, keys, values of ln_1(x): three lists of `heads` arrays (n, d)."""
    joined = linear(layer_norm(tokens, weights, f"{block}.ln_1"), weights, f"{block}.attn.in_proj")
    return [np.split(part, heads, axis=1) for part in np.split(joined, 3, axis=1)]


def similarity(left: Array, right: Array, mask: Array | float = 0.0) -> Array:
    """Section 3: softmax over the last axis of left right^T / sqrt(d), (n, d) twice -> (n, n)."""
    return softmax(left @ right.T / np.sqrt(left.shape[1]) + mask, axis=1)


def mix_values(maps: list[Array], values: list[Array], weights: Weights, block: str) -> Array:
    """Section 3: out_proj(concat over heads of map v), heads x (n, n), (n, d) -> (n, width)."""
    mixed = [attention @ value for attention, value in zip(maps, values, strict=True)]
    return linear(np.concatenate(mixed, axis=1), weights, f"{block}.attn.out_proj")


# ---- section 1: text side
def text_tower(weights: Weights, token_ids: NDArray, heads: int, quick_gelu: bool = True) -> Array:
    """Steps 1.1, 1.3: token ids (n, 77) -> embeddings (n, D), not normalised."""
    weights, blocks = prepare(weights)
    embeddings = []
    for ids in np.asarray(token_ids):
        tokens = weights["token_embedding.weight"][ids]
        tokens = tokens + weights["positional_embedding"][: len(ids)]
        causal = np.triu(np.full((len(ids), len(ids)), -np.inf), k=1)
        for block in blocks:
            queries, keys, values = project_heads(tokens, weights, block, heads)
            maps = [similarity(queries[head], keys[head], causal) for head in range(heads)]
            tokens = tokens + mix_values(maps, values, weights, block)
            tokens = tokens + multilayer_perceptron(tokens, weights, block, quick_gelu)
        end_of_text = int(np.argmax(ids))  # the end-of-text token has the highest id
        final = layer_norm(tokens, weights, "ln_final")[end_of_text]
        embeddings.append(final @ weights["text_projection"])
    return np.stack(embeddings)


def enrich(plain: NDArray, bank: NDArray, foreground: int, keep: float = 0.9, strength: float = 1.0) -> Array:
    """Step 1.5: plain unit rows (T, D), bank (D, B) -> rows (T, D), first `foreground` enriched."""
    rows, bank = np.array(plain, dtype=np.float64), np.asarray(bank, dtype=np.float64)
    # Reading: the literal double product; 1 - 0.9 lies under 0.1, so B = 50 drops 4 (untested).
    dropped = int(np.floor((1.0 - keep) * bank.shape[1]))
    for index in range(foreground):
        similarities = rows[index] @ bank
        lowest = np.argsort(similarities, kind="stable")[:dropped]
        similarities[lowest] = -np.inf
        fused = rows[index] + strength * (bank @ softmax(similarities))
        rows[index] = fused / np.linalg.norm(fused)
    return rows


# ---- sections 2 and 3: image side and static visual calibration
def normalise_pixels(image: NDArray, normalisation: str = "imagenet") -> Array:
    """Step 2.1, first half: uint8 (H, W, 3) -> (3, H, W)."""
    mean, deviation = 255 * np.array(PIXEL_STATISTICS[normalisation])
    return ((np.asarray(image, dtype=np.float64) - mean) / deviation).transpose(2, 0, 1)


def preprocess(image: NDArray, size: int, normalisation: str = "imagenet") -> Array:
    """Step 2.1: uint8 (H, W, 3) -> normalised input (3, S, S)."""
    return bilinear_resize(normalise_pixels(image, normalisation), size, size)


def embed_patches(inputs: Array, weights: Weights) -> Array:
    """Step 2.2: input (3, S, S) -> tokens (1 + N, width), class token first, after ln_pre."""
    kernel = weights["conv1.weight"]
    side = kernel.shape[-1]
    rows, columns = inputs.shape[1] // side, inputs.shape[2] // side
    tokens = [weights["class_embedding"]]
    for y in range(rows):
        for x in range(columns):
            patch = inputs[:, y * side : (y + 1) * side, x * side : (x + 1) * side]
            tokens.append(np.tensordot(kernel, patch, axes=3))
    positions = weights["positional_embedding"]
    own_side = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].reshape(own_side, own_side, -1).transpose(2, 0, 1)
    resized = bilinear_resize(grid, rows, columns).reshape(len(grid), -1).T
    return layer_norm(np.stack(tokens) + np.vstack([positions[:1], resized]), weights, "ln_pre")


def intra_correlation(queries: list[Array], keys: list[Array], values: list[Array]) -> Array:
    """Section 3: the mean of the q-q, k-k and v-v softmaxes, summed over heads -> (1+N, 1+N)."""
    triples = zip(queries, keys, values, strict=True)
    means = [np.mean([similarity(part, part) for part in triple], axis=0) for triple in triples]
    return np.sum(means, axis=0)


def image_tower(
    weights: Weights, inputs: NDArray, calibrated_blocks: int = 5, attention_maps: int = 6,
    head_width: int = 64, quick_gelu: bool = True,
) -> tuple[Array, Array]:  # fmt: skip
    """Sections 2, 3: input (3, S, S) -> tokens F (1 + N, D) and attention A (1 + N, 1 + N)."""
    weights, blocks = prepare(weights)
    tokens = embed_patches(np.asarray(inputs, dtype=np.float64), weights)
    heads = tokens.shape[1] // head_width
    calibrated, kept = tokens, []
    for index, block in enumerate(blocks):
        in_calibration = index >= len(blocks) - calibrated_blocks
        queries, keys, values = project_heads(tokens, weights, block, heads)
        maps = [similarity(queries[head], keys[head]) for head in range(heads)]
        if in_calibration:
            shared = [intra_correlation(queries, keys, values)] * heads  # one matrix, every head
            calibrated = calibrated + mix_values(shared, values, weights, block)
        if index >= len(blocks) - attention_maps:
            kept.append((np.sum if in_calibration else np.mean)(maps, axis=0))
        tokens = tokens + mix_values(maps, values, weights, block)
        tokens = tokens + multilayer_perceptron(tokens, weights, block, quick_gelu)
        if not in_calibration:
            calibrated = tokens  # the path branches off where the first calibrated block begins
    both = np.concatenate([tokens[:1], calibrated[1:]])
    return layer_norm(both, weights, "ln_post") @ weights["proj"], np.mean(kept, axis=0)


# ---- section 4: patch-text CAM
def cam_maps(tokens: NDArray, text: NDArray, norm: str = "channel", chunk: int = 64) -> Array:
    """Steps 4.1-4.4: F (1 + N, D), text rows (T, D) -> maps (N, T) in [0, 1]."""
    tokens, text = np.asarray(tokens, np.float64), np.asarray(text, np.float64)
    axis = {"channel": 0, "token": 1}[norm]
    tokens = tokens / np.linalg.norm(tokens, axis=axis, keepdims=True)  # 4.1
    probabilities = softmax(2 * (text @ tokens[0]))  # 4.2
    row_weights = probabilities / probabilities.mean()
    scores = []
    for start in range(0, len(tokens), chunk):  # 4.3, literally: n x T x D
        products = row_weights[:, None] * tokens[start : start + chunk, None, :] * text
        scores.append((products - products.mean(axis=1, keepdims=True)).sum(axis=2))
    score = np.concatenate(scores)
    maps = np.zeros_like(score)
    for row in range(score.shape[1]):  # 4.4, extremes over all 1 + N tokens
        low, high = score[:, row].min(), score[:, row].max()
        if high > low:
            maps[:, row] = (score[:, row] - low) / (high - low)
    return maps[1:]


# ---- section 5: class-aware affinity
def transition_matrix(attention: NDArray) -> Array:
    """Step 5.1: A (1 + N, 1 + N) -> R (N, N)."""
    matrix = np.asarray(attention, dtype=np.float64)[1:, 1:]
    for _ in range(3):  # Reading: three times the pair, columns then rows; averaged only after
        matrix = matrix / matrix.sum(axis=0, keepdims=True)
        matrix = matrix / matrix.sum(axis=1, keepdims=True)
    matrix = (matrix + matrix.T) / 2
    return matrix @ matrix


def flood_fill(active: NDArray, start: tuple[int, int], seen: NDArray) -> list[tuple[int, int]]:
    """Step 5.2: cells (y, x) of the 8-connected component at `start`, marked in `seen` (h, w)."""
    waiting, component = [start], []
    seen[start] = True
    while waiting:
        y, x = waiting.pop()
        component.append((y, x))
        for dy, dx in DIRECTIONS:
            there = (y + dy, x + dx)
            inside = 0 <= there[0] < active.shape[0] and 0 <= there[1] < active.shape[1]
            if inside and active[there] and not seen[there]:
                seen[there] = True
                waiting.append(there)
    return component


def box_mask(class_map: NDArray, threshold: float = 0.79) -> Array:
    """Step 5.2: one class's map (h, w) -> mask (h, w) of 0 and 1."""
    height, width = class_map.shape
    grey = np.floor(255 * np.asarray(class_map, dtype=np.float64)).astype(np.uint8)
    active = grey > np.floor(threshold * int(grey.max()))
    seen = np.zeros((height, width), dtype=bool)
    mask = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            if active[y, x] and not seen[y, x]:
                component = flood_fill(active, (y, x), seen)
                rows, columns = zip(*component, strict=True)
                y0, x0 = min(rows), min(columns)
                # Reading: one past the component's last row (column), and only then clipped.
                y1, x1 = min(max(rows) + 1, height - 1), min(max(columns) + 1, width - 1)
                mask[y0:y1, x0:x1] = 1
    return mask


def refine_map(transition: Array, mask: Array, class_map: Array) -> Array:
    """Step 5.3: R (N, N), mask (h, w), map (h, w) -> refined map (h, w)."""
    within = np.asarray(transition, dtype=np.float64) * mask.reshape(1, -1)
    return (within @ class_map.reshape(-1)).reshape(mask.shape)


# ---- section 6: labels
def label_maps(refined: NDArray, height: int, width: int, power: float = 1.0) -> Array:
    """Steps 6.1, 6.2: refined (C, h, w) -> background and classes (1 + C, H, W)."""
    scaled = []
    for plane in np.asarray(refined, dtype=np.float64):
        plane = plane - plane.min()  # Reading: max(x) below is taken after this subtraction
        scaled.append(bilinear_resize(plane / (1e-7 + plane.max()), height, width))
    classes = np.stack(scaled)
    background = (1 - classes.max(axis=0)) ** power
    return np.concatenate([background[None], classes])


def neighbours(planes: Array) -> list[Array]:
    """Step 6.3: (C, H, W) -> 48 shifted copies (C, H, W): dilation by dilation, 8 directions."""
    height, width = planes.shape[1:]
    shifted = []
    for dilation in DILATIONS:
        padded = np.pad(planes, ((0, 0), (dilation,) * 2, (dilation,) * 2), mode="edge")
        for dy, dx in DIRECTIONS:
            y, x = dilation * (1 + dy), dilation * (1 + dx)
            shifted.append(padded[:, y : y + height, x : x + width])
    return shifted


def par_affinity(image: Array) -> Array:
    """Step 6.3: image (3, H, W) -> affinity (48, H, W)."""
    around = neighbours(image)
    mean = np.mean(around, axis=0)
    # Reading: the variance is per channel, without the centre; squared terms are averaged.
    variance = sum((neighbour - mean) ** 2 for neighbour in around) / (len(around) - 1)
    terms = [np.abs(neighbour - image) / (np.sqrt(variance) + 1e-8) / 0.3 for neighbour in around]
    colour = [-(term**2).mean(axis=0) for term in terms]
    distances = np.array([step * np.hypot(dy, dx) for step in DILATIONS for dy, dx in DIRECTIONS])
    position = -((distances / (distances.std(ddof=1) + 1e-8) / 0.3) ** 2)
    return softmax(np.stack(colour), axis=0) + 0.01 * softmax(position)[:, None, None]


def par(image: NDArray, maps: NDArray, iterations: int = 20) -> Array:
    """Step 6.3: image (3, H, W), maps (C, H, W) -> refined maps (C, H, W)."""
    affinity = par_affinity(np.asarray(image, dtype=np.float64))
    refined = np.asarray(maps, dtype=np.float64)
    for _ in range(iterations):
        pairs = zip(affinity, neighbours(refined), strict=True)
        refined = sum(weight * neighbour for weight, neighbour in pairs)
    return refined


def choose_label(stacked: Array, tags: list[int]) -> NDArray[np.uint8]:
    """Step 6.4: background and present classes (1 + C, H, W) -> label (H, W)."""
    values = np.array([0] + [tag + 1 for tag in tags], dtype=np.uint8)
    return values[np.argmax(stacked, axis=0)]


def label(
    image: NDArray, weights: Weights, text: NDArray, foreground: int, tags: list[int], size: int,
    bank: NDArray | None = None, keep: float = 0.9, strength: float = 1.0,
    normalisation: str = "imagenet", calibrated_blocks: int = 5, attention_maps: int = 6,
    head_width: int = 64, quick_gelu: bool = True, norm: str = "channel", threshold: float = 0.79,
    power: float = 1.0, refinement: str = "par", par_source: str = "input", iterations: int = 20,
) -> dict[str, NDArray]:  # fmt: skip
    """Steps 1.5-6.4: uint8 (H, W, 3), plain rows (T, D) -> every result under its npz key."""
    if refinement not in ("par", "none") or par_source not in ("input", "original"):
        raise ValueError(f"unknown refinement {refinement!r} or PAR image {par_source!r}")
    height, width = image.shape[:2]
    if not tags:  # all background, and no other result
        return {"label": np.zeros((height, width), dtype=np.uint8)}
    found: dict[str, NDArray] = {"enriched": np.asarray(text, dtype=np.float64)}
    if bank is not None:  # without a bank the rows are used as they are
        found["enriched"] = enrich(text, bank, foreground, keep, strength)
    found["input"] = preprocess(image, size, normalisation)
    found["tokens"], found["attention"] = image_tower(
        weights, found["input"], calibrated_blocks, attention_maps, head_width, quick_gelu
    )
    found["maps"] = cam_maps(found["tokens"], found["enriched"], norm)
    found["transition"] = transition_matrix(found["attention"])
    side = round(len(found["maps"]) ** 0.5)
    present = [found["maps"][:, tag].reshape(side, side) for tag in tags]
    found["box_masks"] = np.stack([box_mask(plane, threshold) for plane in present])
    pairs = zip(found["box_masks"], present, strict=True)
    found["refined"] = np.stack([refine_map(found["transition"], *pair) for pair in pairs])
    found["cams"] = stacked = label_maps(found["refined"], height, width, power)
    if refinement == "par":
        # The S x S input upsampled with corners aligned, or the original pixels normalised.
        guide = bilinear_resize(found["input"], height, width, corners=True)
        if par_source == "original":
            guide = normalise_pixels(image, normalisation)
        found["par"] = stacked = par(guide, stacked, iterations)
    found["label"] = choose_label(stacked, tags)
    return found
