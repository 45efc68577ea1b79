"""Tags that look wrong: those that nothing in a photograph supports, and classes that are there without a tag.

Judged by what a model has left on disk, no model is loaded: scores of all classes, as `excel-cam tags --predict` keeps
them, and class maps, as `excel-cam generate --save-cams` does. Which of it errs, tag or model, a person has to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from excel_cam.errors import DataError
from excel_cam.labels.class_maps import read_maps
from excel_cam.labels.label_files import LabelFiles
from excel_cam.tags.lookup import Tags
from excel_cam.tags.scores import Scores, read_scores

SUPPORT_SHARE = 0.01  # of a photograph's greatest score, below which a tag may be without support
LEAST_THERE = 0.5  # score from which on a class may be there without a tag
LEAST_IMAGES = 3  # with a tag, before the usual score of a class says anything
EMPTY_MAP = 0.02  # of 0..1, below which a class map shows nothing anywhere


@dataclass(frozen=True)
class Suspicion:
    """A tag, or a class without one, that looks wrong: the code of its finding, the image, and the 0-based class."""

    code: str
    name: str
    index: int


def read_scores_of(path: Path, class_names: Sequence[str]) -> Scores:
    """The scores in a file of `excel-cam tags --predict` by image; raises `DataError` where it is of other classes."""
    found = read_scores(path)
    if found.class_names != tuple(class_names):
        raise DataError(
            f"{path}: scores of {len(found.class_names)} classes, beginning {found.class_names[0]}, but the labels "
            f"have {len(class_names)}, beginning {class_names[0]}; check --dataset or --classes"
        )
    return {name: one.scores for name, one in found.photographs.items()}


def judge_by_scores(tags: Tags, scores: Scores) -> list[Suspicion]:
    """What the scores say against the tags of the images that have both, in the tags' order.

    A tag is without support where its score is below `SUPPORT_SHARE` of the photograph's greatest and below what half
    of the photographs without that tag have. A class is there untagged where its score is the photograph's greatest,
    at least `LEAST_THERE`, and what half of the photographs with that tag do not reach. Other photographs of the same
    folder are the measure, so that a class for which the model scores low everywhere is no suspicion.
    """
    names = [name for name in tags if name in scores]
    if not names:
        return []
    of_all = np.stack([scores[name] for name in names])
    tagged = np.zeros(of_all.shape, bool)
    for row, name in zip(tagged, names, strict=True):
        row[list(tags[name])] = True
    greatest = of_all.max(axis=1, keepdims=True)
    unsupported = tagged & (of_all < SUPPORT_SHARE * greatest) & (of_all < _usual(of_all, ~tagged, LEAST_IMAGES, -1))
    there = ~tagged & (of_all == greatest) & (of_all >= LEAST_THERE)
    there &= of_all >= _usual(of_all, tagged, LEAST_IMAGES, 2)
    return [
        Suspicion(code, names[row], int(index))
        for code, found in (("tag-without-support", unsupported), ("class-there-untagged", there))
        for row, index in np.argwhere(found)
    ]


def _usual(scores: NDArray[np.float64], among: NDArray[np.bool_], least: int, otherwise: float) -> NDArray[np.float64]:
    """(K,) medians of each class's scores over the images of `among`; `otherwise` where these are fewer than least."""
    chosen = [scores[images, index] for index, images in enumerate(among.T)]
    return np.array([np.median(values) if len(values) >= least else otherwise for values in chosen])


def judge_by_maps(tags: Tags, cams: LabelFiles, class_count: int) -> list[Suspicion]:
    """The tags whose class map shows nothing: its greatest value is below `EMPTY_MAP`.

    That is all that maps can tell of tags: only tagged classes have one, and each is stretched by itself. Images
    without a file of maps are passed over. Raises `DataError` where one is damaged, or none of the images has one.
    """
    with_maps = set(cams.names())
    found, names = [], [name for name in tags if name in with_maps]
    for name in names:
        maps = read_maps(cams.file(name), class_count)
        shown = dict(zip(maps.keys, maps.maps, strict=True))
        found += [
            Suspicion("tag-without-support", name, index)
            for index in tags[name]
            if index in shown and shown[index].max() < EMPTY_MAP
        ]
    if tags and not names:
        raise DataError(f"{cams}: no class maps (.npz) of any of the {len(tags):,} images; check --cams")
    return found
