"""What training makes small: how far images are from texts, and patches and maps from what they show."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from captions import Targets
from compose import CLASSES
from passes import Seen
from torch import Tensor

from excel_cam.method.affinity import SINKHORN_ROUNDS, box_masks
from excel_cam.method.cam import CLASS_TOKEN_SHARPNESS
from excel_cam.settings import MAP_EPSILON, Settings

CLASS_WEIGHT = 2
PATCH_SCALE = 12.0  # of the cosines between patches and texts
PATCH_SHARE = 0.05  # of the patches in which a thing the image shows must be found
PATCH_WEIGHT, PLACE_WEIGHT = 3.0, 0.5
COVER_WEIGHT = 3.0  # of the patches' loss where they learn from masks
MAP_WEIGHT = 3.0  # of the maps' loss, there
READ_WEIGHT = 20.0  # of the loss of what is read from the maps, there
BACKGROUND = 0.5  # of a stretched map, where the class gives way to the background
SHARPNESS = 10.0  # of a stretched map's distance to such a value
SPREAD_SHARE = 0.7  # of the maps after affinity in that loss: it is these that labels come from
MISSED = 3.0  # how much a thing's patch that is not read weighs in them, against one read that is none of the thing
FAR = 0.05  # of the sum that says how far patches are from the right side, beside the soft IoU
LEAST_AREA = 8.0  # patches added to a thing's own, by which that sum is divided, lest tiny things outweigh all others
ATTENTION_WEIGHT = 20.0  # of the loss of the attention along which maps are spread, there
LEAST_COVER = 0.5  # patches of a class in an image, from which on its map is to show it


def patch_cover(masks: Tensor, patch: int = 16) -> Tensor:
    """(n, h, w) uint8 label values to (n, N, classes) float32: the share of each patch's pixels of each class."""
    values = len(CLASSES) + 1
    pixels = masks.unfold(1, patch, patch).unfold(2, patch, patch).flatten(3).flatten(0, 2).long()
    first = values * torch.arange(len(pixels), device=masks.device)[:, None]
    counts = torch.bincount((first + pixels).flatten(), minlength=values * len(pixels))
    return counts.view(len(masks), -1, values)[..., 1:].float() / patch**2


def sigmoid_loss(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, targets: Targets) -> Tensor:
    """Every image against every text: several may match. Class texts, which come first, count `CLASS_WEIGHT` times."""
    logits = F.normalize(images.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T * scale.exp() + bias
    matches = torch.from_numpy(targets.matches).to(logits.device)
    known = torch.from_numpy(targets.known).to(logits.device)
    loss = F.binary_cross_entropy_with_logits(logits, matches, reduction="none") * known
    loss[:, : len(CLASSES)] *= CLASS_WEIGHT
    return loss.sum() / len(images)


def patch_loss(
    patches: Tensor, texts: Tensor, targets: Targets, cover: Tensor | None, other: Tensor | None = None
) -> Tensor:
    """How far the patches are from showing what they show, as a cross-entropy over class names and background words.

    patches: (n, N, D). texts: one row per class, then one per background word. Without `cover` (see `patch_cover`),
    image-level labels alone speak: every patch shows one of the things the image shows, and each of these is somewhere.
    other: (D,) a row for backgrounds that have no name, learnt with the towers and no part of the model.
    """
    count = len(texts)
    rows = texts.float() if other is None else torch.cat([texts.float(), other[None]])
    chances = (PATCH_SCALE * F.normalize(patches, dim=-1) @ F.normalize(rows, dim=-1).T).log_softmax(dim=-1)
    matches = torch.from_numpy(targets.matches[:, :count]).to(chances.device)
    known = torch.from_numpy(targets.known[:, :count]).to(chances.device)
    present = matches * known
    absent = (known - present).bool()
    # Where the image shows no background that has a name, what no class covers may be any of them.
    absent[:, len(CLASSES) :] &= ~absent[:, len(CLASSES) :].all(dim=1, keepdim=True)
    if other is not None:
        absent = torch.cat([absent, absent.new_zeros(len(absent), 1)], dim=1)
    allowed = chances.masked_fill(absent[:, None], -torch.inf)
    if cover is not None:
        background = allowed[..., len(CLASSES) :].logsumexp(dim=-1)
        return -((chances[..., : len(CLASSES)] * cover).sum(dim=-1) + background * (1 - cover.sum(dim=-1))).mean()
    best = max(3, round(PATCH_SHARE * chances.shape[1]))
    found = chances[..., :count].topk(best, dim=1).values.logsumexp(dim=1) - math.log(best)
    shown = (found * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
    return -(allowed.logsumexp(dim=-1).mean(dim=1) + PLACE_WEIGHT * shown).mean()


def map_loss(patches: Tensor, texts: Tensor, cover: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """How far the maps of all classes are from what covers the patches, as a cross-entropy of each patch and class.

    A map is what the method reads (step 4): a patch's similarity to the class less its mean similarity to all rows. The
    loss of `patch_loss` compares rows within a patch; this one makes a class's map lower where the class is not.
    """
    similarities = F.normalize(patches, dim=-1) @ F.normalize(texts.float(), dim=-1).T
    maps = similarities[..., : len(CLASSES)] - similarities.mean(dim=-1, keepdim=True)
    loss = F.binary_cross_entropy_with_logits(scale.exp() * maps + bias, cover, reduction="none")
    return loss.sum(dim=-1).mean()


def read_loss(seen: Seen, texts: Tensor, targets: Targets, cover: Tensor) -> Tensor:
    """How far what the method reads from the maps of the classes shown is from what covers the patches.

    For the maps before affinity and after it, each stretched to 0..1 as steps 4 to 6.1 do: what their soft IoU lacks,
    so that a small thing counts as much as a large one, and how far patches are from the right side of the threshold.
    Only this loss sees that one high patch of the background, or one low one of the thing, moves the threshold for all
    others. After affinity the threshold is where the class gives way to the background, and a patch missed weighs
    `MISSED` times: where the towers are in doubt, the best IoU takes patches that are less likely the thing's than not.
    Before affinity it is that of the boxes from within which maps are spread, which are to hold the thing alone.
    """
    shown = torch.from_numpy((targets.matches * targets.known)[:, : len(CLASSES)]).to(cover.device) > 0
    images, classes = torch.nonzero(shown & (cover.sum(dim=1) > LEAST_COVER), as_tuple=True)
    if not len(images):
        return cover.new_zeros(())
    maps = class_maps(seen.tokens, texts)[images, :, classes]
    covered = cover[images, :, classes]
    spread = spread_maps(maps, transitions(seen.attention)[images])
    first = _read(maps, covered, Settings().box_threshold, missed=1.0)
    second = _read(spread, covered, BACKGROUND, missed=MISSED)
    return (1 - SPREAD_SHARE) * first + SPREAD_SHARE * second


def attention_loss(attention: Tensor, cover: Tensor) -> Tensor:
    """How much of the attention between patches goes to patches that show something else: minus the logarithm of the
    share that does not, the mean over patches of things and the mean over those of the background, added.

    attention: (n, N, N). Left alone, the attention of so small a tower tells things from the background but not one
    thing from another, and the transitions of step 5.1 spread the map of one to the other.
    """
    shares = torch.cat([1 - cover.sum(dim=-1, keepdim=True), cover], dim=-1)  # the background first
    alike = shares @ shares.transpose(1, 2)
    kept = ((attention * alike).sum(dim=-1) / attention.sum(dim=-1)).clamp_min(1e-4).log()
    things = 1 - shares[..., 0]
    parts = [(kept * weights).sum() / weights.sum().clamp_min(1) for weights in (things, shares[..., 0])]
    return -(parts[0] + parts[1])


def enrich(texts: Tensor, sentences: Tensor) -> Tensor:
    """The classes' rows enriched from a bank of sentences (step 1.5, all of it kept), the other rows as they are.

    No gradient goes into the names this way: what masks teach goes into the sentences, and names learn from whole
    images, as a CLIP's do. texts: (T, D), classes first. sentences: (B, D). Returns (T, D) unit rows.
    """
    rows, bank = F.normalize(texts.float(), dim=-1), F.normalize(sentences.float(), dim=-1)
    names = rows[: len(CLASSES)].detach()
    hunted = torch.softmax(names @ bank.T, dim=-1) @ bank
    return torch.cat([F.normalize(names + hunted, dim=-1), rows[len(CLASSES) :]])


def class_maps(tokens: Tensor, texts: Tensor) -> Tensor:
    """The maps of all classes (step 4.4) with gradients: (n, 1 + N, D) to (n, N, classes)."""
    similarities = tokens @ F.normalize(texts.float(), dim=-1).T
    presence = torch.softmax(CLASS_TOKEN_SHARPNESS * similarities[:, 0], dim=-1)
    weighted = similarities * (presence / presence.mean(dim=-1, keepdim=True))[:, None]
    return _stretch(weighted[..., : len(CLASSES)] - weighted.mean(dim=-1, keepdim=True))[:, 1:]


def transitions(attention: Tensor) -> Tensor:
    """R (step 5.1) with gradients: (n, N, N) attention between patches to (n, N, N)."""
    matrix = attention
    for _ in range(SINKHORN_ROUNDS):
        matrix = matrix / matrix.sum(dim=1, keepdim=True)
        matrix = matrix / matrix.sum(dim=2, keepdim=True)
    matrix = (matrix + matrix.transpose(1, 2)) / 2
    return matrix @ matrix


def spread_maps(maps: Tensor, transition: Tensor) -> Tensor:
    """Maps after affinity (step 5.3) with gradients: (p, N) and each one's (N, N) to (p, N). Boxes have none."""
    side = math.isqrt(maps.shape[1])
    boxes = box_masks(maps.detach().reshape(-1, side, side), Settings().box_threshold).flatten(1)
    return (transition @ (maps * boxes)[..., None])[..., 0]


def _stretch(maps: Tensor) -> Tensor:
    """(p, tokens, ...) to 0..1 over the tokens."""
    low = maps.amin(dim=1, keepdim=True)
    return (maps - low) / (maps.amax(dim=1, keepdim=True) - low + MAP_EPSILON)


def _read(maps: Tensor, covered: Tensor, threshold: float, missed: float) -> Tensor:
    """covered: (p, N), the share of each patch. threshold: of a map's 0..1. missed: weight of the thing's patches."""
    over = SHARPNESS * (_stretch(maps) - threshold)
    chances = over.sigmoid()
    both = (chances * covered).sum(dim=1)
    iou = both / ((chances + covered).sum(dim=1) - both)
    wrong = missed * F.softplus(-over) * covered + F.softplus(over) * (1 - covered)
    far = wrong.sum(dim=1) / (covered.sum(dim=1) + LEAST_AREA)
    return 1 - iou.mean() + FAR * far.mean()
