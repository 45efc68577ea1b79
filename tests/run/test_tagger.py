"""Photographs scored together, as on a GPU, and one by one, as on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn import draw_photograph
from text_rows import voc_bank

from excel_cam import Settings
from excel_cam.errors import MachineError, ModelError
from excel_cam.model.clip import ClipModel
from excel_cam.run.batch_size import CPU_BATCH, automatic_batch_size
from excel_cam.run.tagging.tagger import Tagger

SETTINGS = Settings(size=64)
SIZES = ((60, 97), (97, 60), (40, 40), (131, 75), (75, 130))


@pytest.fixture
def tagger(model: ClipModel) -> Tagger:
    return Tagger(model, voc_bank(model, SETTINGS), SETTINGS)


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    return [np.asarray(draw_photograph(*size, seed)) for seed, size in enumerate(SIZES)]


def test_a_batch_has_the_scores_of_its_photographs_and_is_halved_where_memory_is_short(
    tagger: Tagger, photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, whole, tried = [tagger.score(one) for one in photographs], tagger._score_together, []
    np.testing.assert_allclose(tagger.score_batch(photographs), expected, atol=1e-5)

    def small_memory(group: list[np.ndarray]) -> list[np.ndarray]:
        tried.append(len(group))
        if len(group) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(group)

    monkeypatch.setattr(tagger, "_score_together", small_memory)
    np.testing.assert_allclose(tagger.score_batch(photographs), expected, atol=1e-5)
    assert tried == [5, 2, 2, 1]
    assert tagger.score_batch([]) == []
    monkeypatch.setattr(tagger, "_score_together", lambda _: small_memory(photographs))
    with pytest.raises(MachineError, match="does not hold a photograph of 60 x 97"):
        tagger.score_batch(photographs[:1])


def test_scores_that_are_no_numbers_are_one_line(
    tagger: Tagger, photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tagger, "_text", tagger._text * float("nan"))
    with pytest.raises(ModelError, match="scores are not finite even in fp32"):
        tagger.score_batch(photographs[:2])


def test_a_tagger_can_be_rehearsed(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, whole = [], tagger._probabilities
    monkeypatch.setattr(tagger, "_probabilities", lambda images: seen.append(len(images)) or whole(images))
    tagger.rehearse(3)
    assert seen == [3]
    assert automatic_batch_size(tagger) >= CPU_BATCH  # a labeller's; scores are computed one by one there
