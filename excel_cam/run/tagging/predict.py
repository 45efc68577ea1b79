"""`excel-cam tags --predict` as functions: photographs and class names → scores on disk → a file of tags.

Scores are kept beside the tags file as they come, so that a run that was stopped goes on, and other tags are chosen by
other rules without looking at a photograph again.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from excel_cam.data.dataset import Sample
from excel_cam.data.source import Source
from excel_cam.data.untagged import open_untagged
from excel_cam.errors import DataError, OutputError
from excel_cam.files.atomic import check_writable, hash_json, remove_stale_parts
from excel_cam.files.images.photographs import Photograph, read_photograph
from excel_cam.files.machine import raise_if_machine
from excel_cam.files.processors import default_workers
from excel_cam.labels.claims import Work, claimed
from excel_cam.labels.identity import known_identity, resolved_identity
from excel_cam.model.prepare import prepare_text
from excel_cam.model.remembered import model_identity, recall, remember
from excel_cam.run.execute import decoded_batches
from excel_cam.run.photographs.classes import ClassChoice
from excel_cam.run.tagging.choose import TagRule, calibrate
from excel_cam.settings import ModelChoice, Settings
from excel_cam.tags.lookup import Tags
from excel_cam.tags.match import match_names
from excel_cam.tags.predicted import tags_by_hand
from excel_cam.tags.read import read_tags
from excel_cam.tags.scores import PhotographScores, read_scores, scores_path, writing_scores
from excel_cam.tags.write import write_tags
from excel_cam.wording import Report, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from excel_cam.run.tagging.tagger import Tagger

FORMAT = 1  # raised with every change of what scores the same photograph gets


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is to be tagged, as asked for.

    images: a folder. out: the tags file; the scores go beside it. calibrate: a file of tags of some of the images.
    borrowing: whether classes without sentences are enriched by the others', as `prepare_text` has it.
    """

    images: Path
    names_from: str | None
    classes: ClassChoice
    borrowing: bool
    model: ModelChoice
    settings: Settings
    rule: TagRule
    calibrate: Path | None
    out: Path
    overwrite: bool


@dataclass(frozen=True)
class Scored:
    """What became of one photograph: scored now, kept from before, or failed with a reason."""

    name: str
    scores: PhotographScores | None
    kept: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class PredictedTags:
    """What was written: the tags, the rule that chose them, and what else is worth telling."""

    tags: Tags
    rule: TagRule
    notes: tuple[str, ...]


def photographs_to_tag(prediction: Prediction) -> tuple[Sample, ...]:
    """The photographs, by name; raises `ExcelCamError` for what has to be mended before the model is loaded."""
    out = prediction.out
    check_writable(out.parent)
    source = Source(dataset="folder", root=prediction.images, names_from=prediction.names_from)
    samples = open_untagged(source)[0].samples
    given = _given_tags(prediction, {sample.name for sample in samples})
    if out.exists():
        _refuse_by_hand(out, prediction.classes.names, given)
    return samples


def _refuse_by_hand(out: Path, class_names: Sequence[str], given: Tags) -> None:
    """Raise `OutputError` where a tags file that is to be replaced holds what a person gave or corrected."""
    try:
        by_hand = tags_by_hand(out, class_names)
    except DataError:
        return  # of other classes, or no tags at all: --overwrite was asked for
    if undone := [name for name, indices in by_hand.items() if given.get(name) != indices]:
        raise OutputError(
            f"{out}: the tags of {len(undone):,} of its images were given or corrected by hand, first "
            f"{quoted(undone[0])}, which prediction would undo; choose another --out, or move it away"
        )


def score_photographs(
    prediction: Prediction, samples: Sequence[Sample], report: Report
) -> Generator[Scored, None, None]:
    """Score what is left to score, and yield every photograph's outcome, in order.

    Raises `OutputError` where the scores there were made otherwise and are not to be replaced, or another run writes
    them.
    """
    path = scores_path(prediction.out)
    with claimed({path.parent: Work(names=(path.name, prediction.out.name))}) as claims:
        remove_stale_parts(path.parent)
        stamps = {sample.name: _stamp(sample.image_path) for sample in samples}
        recalled = recall(prediction.model)
        if recalled is not None:  # what was finished before is known for it without loading the model
            kept = _kept_scores(path, prediction, _made_with(prediction, recalled[1]), stamps)
            if kept.keys() >= stamps.keys():
                yield from (Scored(sample.name, kept[sample.name], kept=True) for sample in samples)
                return
        tagger, made_with = _prepare(prediction, report)
        kept = _kept_scores(path, prediction, made_with, stamps)
        with writing_scores(path, made_with, prediction.classes.names, kept.values()) as writer:
            for sample, found in _scored(prediction, samples, kept, tagger, report):
                if found is None:
                    yield Scored(sample.name, kept[sample.name], kept=True)
                elif isinstance(found, str):
                    yield Scored(sample.name, None, reason=found)
                else:
                    claims.require()
                    yield Scored(sample.name, writer.add(PhotographScores(sample.name, stamps[sample.name], found)))


def _scored(
    prediction: Prediction, samples: Sequence[Sample], kept: Collection[str], tagger: Tagger, report: Report
) -> Generator[tuple[Sample, NDArray[np.float64] | str | None], None, None]:
    """Samples in their order with their scores, why one cannot be read, or None for one that is kept.

    Photographs are decoded ahead of their time, in threads. On a CPU they are scored one by one, for a matrix product
    of another height may round differently.
    """

    def read(sample: Sample) -> Photograph:
        return read_photograph(sample.image_path, prediction.settings.working_pixels)

    batch_size, workers = _batch_size(tagger, report), default_workers()
    decoders = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for batch in decoded_batches(
            samples, decoders, read, lambda sample: sample.name in kept, batch_size, batch_size + workers
        ):
            pixels = [photograph.pixels for _, photograph in batch if isinstance(photograph, Photograph)]
            scores = iter(tagger.score_batch(pixels))
            for sample, photograph in batch:
                yield sample, next(scores) if isinstance(photograph, Photograph) else photograph
    finally:
        decoders.shutdown(wait=True, cancel_futures=True)


def _batch_size(tagger: Tagger, report: Report) -> int:
    if tagger.model.device.type == "cpu":
        return 1
    from excel_cam.run.batch_size import automatic_batch_size

    batch_size = automatic_batch_size(tagger)
    report(f"batches of {batch_size} (auto)")
    return batch_size


def write_predicted(prediction: Prediction, scored: Sequence[Scored]) -> PredictedTags:
    """Choose tags by the scores and write the file, whole. Tags that are given for calibration stay as given.

    Raises `DataError` where the tags for calibration do not fit, `OutputError` where the file cannot be written.
    """
    names, rule, notes = prediction.classes.names, prediction.rule, list[str]()
    scores = {one.name: one.scores.scores for one in scored if one.scores is not None}
    given = _given_tags(prediction, {one.name for one in scored})
    if prediction.calibrate is not None:
        source = str(prediction.calibrate)
        found = calibrate(scores, given, source)
        rule = TagRule(threshold=found.value)
        notes.append(
            f"calibrated on {len(given):,} images of {source}: --threshold {found.value:g}, with the best F1 there, "
            f"{100 * found.f1:.1f}; their own tags stay as given"
        )
    # A photograph that cannot be read has a line all the same: a run over the folder then records it as failed.
    chosen = {one.name: rule.choose(scores[one.name]) if one.name in scores else () for one in scored}
    predicted: Mapping[str, Mapping[int, float]] = {
        name: {index: float(scores[name][index]) for index in indices}
        for name, indices in chosen.items()
        if name not in given
    }
    tags = {name: given.get(name, indices) for name, indices in chosen.items()}
    write_tags(prediction.out, tags, names, None, predicted)
    return PredictedTags(tags, rule, tuple(notes))


def _given_tags(prediction: Prediction, known: set[str]) -> Tags:
    """The tags to calibrate on, if any, by the names of photographs; `DataError` for one that is not among them."""
    path = prediction.calibrate
    if path is None:
        return {}
    given = match_names(read_tags(path, prediction.classes.names), known, str(path))
    if not given:
        raise DataError(f"{path}: no images in it; give the tags of some of the photographs")
    if missing := [name for name in given if name not in known]:
        raise DataError(
            f"{path}: {len(missing):,} of its {len(given):,} names are not among --images, first {quoted(missing[0])}; "
            "take them out, or check --images and --list"
        )
    return given


def _kept_scores(
    path: Path, prediction: Prediction, made_with: str, stamps: Mapping[str, str]
) -> dict[str, PhotographScores]:
    """The scores that are there and would be made alike, less those of photographs that were changed since.

    Those of photographs that this run does not look at stay too. Raises `OutputError` where there are others, unless
    they are to be replaced.
    """
    try:
        found = read_scores(path) if path.exists() else None
    except DataError as error:
        if not prediction.overwrite:
            raise OutputError(f"{error}, or add --overwrite to replace it") from None
        found = None
    if found is None or (found.made_with != made_with and prediction.overwrite):
        return {}
    if found.made_with != made_with:
        raise OutputError(
            f"{path} holds scores of other classes, sentences, settings or weights; add --overwrite to replace them, "
            "or choose another --out"
        )
    scores = found.photographs.values()
    return {one.name: one for one in scores if stamps.get(one.name, one.photograph) == one.photograph}


def _prepare(prediction: Prediction, report: Report) -> tuple[Tagger, str]:
    """The model with its text rows, and the hash of all that decides its scores."""
    from excel_cam.run.tagging.tagger import Tagger

    knowledge = prediction.classes.knowledge
    model, bank = prepare_text(prediction.model, knowledge, prediction.settings, report, borrowing=prediction.borrowing)
    resolved = resolved_identity(model.fingerprint, model.precision, model.backend)
    remember(prediction.model, model.name, resolved)
    return Tagger(model, bank, prediction.settings), _made_with(prediction, resolved)


def _made_with(prediction: Prediction, resolved: Mapping[str, object]) -> str:
    known = known_identity(
        prediction.settings, knowledge=prediction.classes.knowledge.content(), model=model_identity(prediction.model),
        png_mode="", command="tags", borrowing=prediction.borrowing,
    )  # fmt: skip
    return hash_json({"format": FORMAT, "known": known, "resolved": dict(resolved)})


def _stamp(path: Path) -> str:
    """What tells that a photograph's file is still the one that was scored; "" for one that is not there."""
    try:
        status = path.stat()
    except OSError as error:
        raise_if_machine(error, path)
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
