"""Class maps by a learnt calibration, each photograph seen with its mirror image (step 13.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from excel_cam.errors import ModelError, SettingsError
from excel_cam.learnt.checkpoint import TrainedAdapter
from excel_cam.learnt.labels import GRID_DTYPE, class_maps, patch_affinity
from excel_cam.learnt.relation import mean_of_image, mean_of_views, relation_attention, relation_scores
from excel_cam.learnt.training.settings import check_learnable
from excel_cam.method.calibration import encode_static
from excel_cam.method.threads import all_threads
from excel_cam.model.clip import ClipModel
from excel_cam.model.text_bank import TextBank
from excel_cam.settings import Settings

MIRROR_EPSILON = 1e-5  # added to the greatest value of the two views' maps


class LearntMaps:
    """A model, its text rows and a trained adapter: what takes the place of steps 2.2 to 5.1 in labelling."""

    def __init__(self, model: ClipModel, bank: TextBank, adapter: TrainedAdapter, settings: Settings) -> None:
        """Raises `SettingsError` or `ModelError` where settings, text rows and adapter do not go together."""
        check_learnable(settings, bank.has_background)
        check_fits(adapter, bank, settings)
        self.model = model
        self.adapter = adapter
        self.settings = settings
        self._classes = bank.foreground
        self._text = torch.from_numpy(bank.text).to(model.device, GRID_DTYPE)

    @torch.inference_mode()
    def class_maps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and affinity that step 5 goes on from, each image seen with its mirror image alone.

        inputs: (n, 3, S, S) float32, normalised. Returns the K classes' maps, (n, K, h, w) float64, and A′ of step
        11.2, (n, N, N) float64.
        """
        views = torch.stack([inputs, inputs.flip(-1)], dim=1).flatten(0, 1)
        slots = self.adapter.description.training.slots
        with all_threads():
            static = encode_static(self.model.visual, views, self.settings.calibrated_blocks, slots=slots)
        assert static.attention is not None  # asked for
        features = self.adapter.network.adapter(static.slots).unflatten(0, (-1, 2))  # (n, 2, N, C)
        own_mean = self.adapter.description.training.relation_mean == "image"
        relation = relation_attention(relation_scores(features, mean_of_image if own_mean else mean_of_views))
        tokens = static.tokens(self.model.visual, relation.flatten(0, 1))
        maps = class_maps(tokens, self._text, self._classes, self.settings.feature_norm).unflatten(0, (-1, 2))
        sigma = torch.sigmoid(relation_scores(features[:, 0], mean_of_image))
        return join_mirror(maps[:, 0], maps[:, 1]), patch_affinity(static.attention[:, ::2], sigma)


def join_mirror(image: Tensor, mirrored: Tensor) -> Tensor:
    """The greater of an image's maps and its mirror image's, turned back, stretched to 0..1: (..., h, w) twice."""
    joined = torch.maximum(image, mirrored.flip(-1))
    joined = joined - joined.amin(dim=(-2, -1), keepdim=True)
    return joined / (joined.amax(dim=(-2, -1), keepdim=True) + MIRROR_EPSILON)


def check_fits(adapter: TrainedAdapter, bank: TextBank, settings: Settings) -> None:
    """Raise `ModelError` or `SettingsError` where an adapter was trained for other classes or another image side."""
    description = adapter.description
    names = tuple(bank.names[: bank.foreground])
    if len(names) != description.shape.classes:
        raise ModelError(
            f"the adapter was trained for {description.shape.classes} classes, but the text bank has {len(names)}; "
            "label the data set it was trained for"
        )
    for name in ("calibrated_blocks", "normalisation"):
        theirs, ours = getattr(description.settings, name), getattr(settings, name)
        if theirs != ours:
            flag = "--" + name.replace("_", "-")
            raise SettingsError(f"{flag} is {ours}, but the adapter was trained with {theirs}; leave it so")
