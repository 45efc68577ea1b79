"""`examples/predict_tags.py`: errors planted in tags are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
from predict_tags import COUNT, crossed, plant

TAGS = {f"image{place}": (place % COUNT, (place + 3) % COUNT) for place in range(40)} | {"empty": ()}


@pytest.mark.parametrize("seed", range(5))
def test_a_tenth_of_the_images_gets_an_error_that_is_told(seed: int) -> None:
    planted, errors = plant(TAGS, seed)
    assert (planted, errors) == plant(TAGS, seed)
    changed = {name for name in TAGS if planted[name] != TAGS[name]}
    assert len(changed) == len(errors) == 4
    for error in errors:
        before, after = set(TAGS[error.name]), set(planted[error.name])
        assert before ^ after == {error.index}
        assert error.code == ("class-there-untagged" if error.index in before else "tag-without-support")


def test_no_image_helps_to_choose_its_own_threshold() -> None:
    truth = np.array([[1], [0], [0], [1], [1], [0]], bool)
    scores = np.array([[0.9], [0.2], [0.1], [0.6], [0.7], [0.5]])
    # Even ones: 0.7 is best there; odd ones: 0.6. Each half is judged by the other's.
    assert crossed(truth, scores)[:, 0].tolist() == [True, False, False, False, True, False]
