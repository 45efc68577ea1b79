"""One training step: crops and tags → labels → losses → weights (steps 11 and 12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from excel_cam.classes import IGNORE
from excel_cam.learnt.labels import GRID_DTYPE, class_maps, crop_labels, patch_affinity
from excel_cam.learnt.network import Network
from excel_cam.learnt.relation import mean_of_image, relation_attention, relation_scores
from excel_cam.learnt.training.losses import DIVERSITY_WEIGHT, diversity_loss, enlarge, pair_targets, segmentation_loss
from excel_cam.learnt.training.pooling import Pool
from excel_cam.learnt.training.settings import TrainingSettings
from excel_cam.method.calibration import StaticPass, encode_static, grid_side
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.settings import Settings

BETAS, EPSILON = (0.9, 0.999), 1e-8  # AdamW's


@dataclass(frozen=True, kw_only=True)
class CropBatch:
    """What a step learns from, on the model's device.

    images: (n, 3, S, S) float32, normalised. guides: (n, 3, S, S) float32, the crops' bytes / 255. tags: 0-based, of
    the whole photographs. factors: (n, C) float32, of the channels (step 8.3). ignored: (n, S, S) bool, pixels that
    nothing is learnt from, or None.
    """

    images: Tensor
    guides: Tensor
    tags: Sequence[Sequence[int]]
    factors: Tensor
    ignored: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a step comes to: the two losses, scalars with gradients, over all processes, and what they are taken of.

    label: (n, S, S) uint8. target: (n, N, N) uint8, see `pair_targets`. sigma: (n, N, N) float32 in 0..1.
    """

    segmentation: Tensor
    diversity: Tensor
    label: Tensor
    target: Tensor
    sigma: Tensor

    @property
    def total(self) -> Tensor:
        """What is made smaller (step 12.3)."""
        return self.segmentation + DIVERSITY_WEIGHT * self.diversity


class Learner:
    """A network, the frozen model it learns from, and its optimiser."""

    def __init__(
        self, model: ClipModel, bank: TextBank, settings: Settings, training: TrainingSettings, network: Network,
        pool: Pool = Pool(),  # noqa: B008 - frozen
    ) -> None:  # fmt: skip
        self.model = model
        self.settings = settings
        self.training = training
        self.network = network.to(model.device)
        self.pool = pool
        self.classes = bank.foreground
        self.size = grid_side(settings.size, model.patch) * model.patch  # S, of crops
        self._text = torch.from_numpy(bank.text).to(model.device, GRID_DTYPE)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=training.rate, betas=BETAS, eps=EPSILON, weight_decay=training.decay
        )
        self.averages: dict[str, Tensor] = {}  # of the weights, by name, where they are averaged
        if training.average:
            self.averages = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}

    def losses(self, batch: CropBatch, step: int) -> Losses:
        """The losses of a step, counted from 0, in the phase it belongs to; nothing is changed."""
        static = encode_static(
            self.model.visual, batch.images, self.settings.calibrated_blocks, slots=self.training.slots
        )
        features = self.network.adapter(static.slots, batch.factors)
        own_mean = self.training.relation_mean == "image"
        relation = relation_scores(features, mean_of_image if own_mean else self.pool.mean)
        sigma = torch.sigmoid(relation)
        scores = self.network.decoder(features, round(features.shape[1] ** 0.5))
        enlarged = enlarge(scores, batch.images.shape[-1])
        label = self._label(batch, static, relation.detach(), sigma.detach(), step)
        shown = label
        if step >= self.training.first_own_step:
            # All classes take part, not only the tagged ones.
            shown = _without(batch.ignored, enlarged.detach().argmax(dim=1).to(torch.uint8))
        target = pair_targets(shown, self.model.patch, self.training.radius)
        return Losses(
            segmentation=segmentation_loss(enlarged, label, self.pool.sum),
            diversity=diversity_loss(sigma, target, self.pool.sum),
            label=label, target=target, sigma=sigma,
        )  # fmt: skip

    @torch.no_grad()
    def _label(self, batch: CropBatch, static: StaticPass, relation: Tensor, sigma: Tensor, step: int) -> Tensor:
        """(n, S, S) uint8: from static maps at first, from the calibration being learnt later (step 11.1)."""
        assert static.attention is not None  # asked for
        is_dynamic = step >= self.training.first_dynamic_step
        tokens = static.tokens(self.model.visual, relation_attention(relation) if is_dynamic else None)
        label = crop_labels(
            class_maps(tokens, self._text, self.classes, self.settings.feature_norm),
            patch_affinity(static.attention, sigma if is_dynamic else None),
            batch.tags, batch.guides, self.training.box_threshold, self.settings.background_power,
            self.settings.uses_par,
        )  # fmt: skip
        return _without(batch.ignored, label)

    def advance(self, batch: CropBatch, step: int) -> tuple[Losses, bool]:
        """Take a step; returns its losses and whether the weights have moved: a loss that is not finite moves none."""
        losses = self.losses(batch, step)
        total = losses.total
        if not torch.isfinite(total):
            return losses, False
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.pool.average_gradients(self.network.parameters())
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate_at(step)
        self.optimiser.step()
        for name, average in self.averages.items():
            average.lerp_(self.network.get_parameter(name).detach(), 1 - self.training.average)
        return losses, True

    def trained_weights(self) -> dict[str, Tensor]:
        """The weights to be used: averages where they are kept, else the last."""
        return self.averages or {name: tensor.detach() for name, tensor in self.network.named_parameters()}


def _without(ignored: Tensor | None, label: Tensor) -> Tensor:
    """A uint8 label with 255 where pixels are ignored; a plain tensor that a graph may hold."""
    return label.clone() if ignored is None else torch.where(ignored, IGNORE, label).to(torch.uint8)
