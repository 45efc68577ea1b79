"""How good predicted tags are, what labels made of them lose, and how often doctor's suspicions of tags are right.

    python examples/predict_tags.py --root SET --model clip.json --weights clip.safetensors --out table.md
    python examples/predict_tags.py                                   # the 48 scenes that come with the package

SET holds JPEGImages, SegmentationClass and tags.csv, as examples/pictograms/scenes.py writes them. Three tables, all
with 95 % intervals over images drawn anew (bootstrap, the same draws for every row):

- tags by `excel-cam tags --predict`, by the class token of the whole photograph (plain CLIP), and always the commonest
  classes: mean average precision, and F1 of all pairs of image and class. A threshold for a half of the images is the
  best one of the other half.
- mIoU of labels from predicted tags (default rule) beside those from the true ones.
- tags that look wrong: in a tenth of the images a true tag is taken away or a false one added, by chance; of what
  `excel-cam doctor --tags` then names, how much is such an error, and how many of the errors it names. What it names
  besides counts as wrong. By scores over 50 plantings, by class maps over `--plantings`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from excel_cam import build_text_bank, load_model, read_image, shipped_knowledge
from excel_cam.classes import VOC_CLASSES
from excel_cam.data.voc import open_voc
from excel_cam.doctor.tags import Suspicion, judge_by_maps, judge_by_scores
from excel_cam.evaluation.bootstrap import class_counts, draw_counts, interval, mean_iou
from excel_cam.evaluation.scores import confusion_matrix
from excel_cam.evaluation.tagging import average_precisions, best_threshold, f1_score
from excel_cam.files.images.masks import read_mask
from excel_cam.labels.class_maps import write_maps
from excel_cam.labels.label_files import open_maps
from excel_cam.model.words_file import recorded_settings
from excel_cam.run.labeller import Labeller
from excel_cam.run.tagging.choose import TagRule
from excel_cam.run.tagging.tagger import Tagger
from excel_cam.settings import ModelChoice, Settings
from excel_cam.shipped import DEMO_ROOT, SHIPPED_MODEL

DRAWS = 1000
PLANTINGS = 50  # by scores, which cost nothing once they are there
SHARE = 0.1  # of the images, in which an error is planted
COUNT = len(VOC_CLASSES)

Tags = dict[str, tuple[int, ...]]
Matrix = NDArray[np.float64]


@dataclass
class Scenes:
    """Images with what is true of them, and what a model sees in them; rows of the arrays are the names in order."""

    tags: Tags
    photographs: list[NDArray[np.uint8]]
    masks: list[NDArray[np.uint8]]
    scores: Matrix
    whole: Matrix

    @property
    def truth(self) -> NDArray[np.bool_]:
        """(n, K) whether each image shows each class."""
        return rows_of(self.tags)

    @property
    def by_name(self) -> dict[str, Matrix]:
        """Each image's scores."""
        return dict(zip(self.tags, self.scores, strict=True))


def rows_of(tags: Tags) -> NDArray[np.bool_]:
    """(n, K) whether each image has each tag."""
    rows = np.zeros((len(tags), COUNT), bool)
    for row, indices in zip(rows, tags.values(), strict=True):
        row[list(indices)] = True
    return rows


def look(root: Path, tagger: Tagger, limit: int | None) -> Scenes:
    """Read and score the images of a data set in VOC's layout."""
    samples = open_voc(root, "train", root / "tags.csv", None).samples[:limit]
    photographs = [read_image(sample.image_path) for sample in samples]
    folder = root / "SegmentationClass"
    masks = [read_mask(folder / f"{sample.name}.png", COUNT).astype(np.uint8) for sample in samples]
    scores = np.stack([tagger.score(pixels) for pixels in tqdm(photographs, unit=" image")])
    whole = np.stack([tagger.score_whole(pixels) for pixels in photographs])
    return Scenes({sample.name: sample.tags for sample in samples}, photographs, masks, scores, whole)


def crossed(truth: NDArray[np.bool_], scores: Matrix) -> NDArray[np.bool_]:
    """Tags by a threshold that is the best one of the other half of the images."""
    chosen = np.zeros(truth.shape, bool)
    for half in (0, 1):
        chosen[half::2] = scores[half::2] >= best_threshold(truth[1 - half :: 2], scores[1 - half :: 2]).value
    return chosen


def tag_table(scenes: Scenes) -> Iterator[str]:
    """mAP and F1 of predicted tags beside two baselines."""
    truth = scenes.truth
    commonest = np.broadcast_to(truth.mean(axis=0), truth.shape)
    rule = TagRule()
    rows: list[tuple[str, Matrix, NDArray[np.bool_]]] = []
    for name, scores in (("predicted", scenes.scores), ("whole-image CLIP score", scenes.whole)):
        rows.append((f"{name}, best threshold of the other half", scores, crossed(truth, scores)))
        by_rule = {str(place): rule.choose(row) for place, row in enumerate(scores)}
        rows.append((f"{name}, default rule", scores, rows_of(by_rule)))
    most = np.argsort(-truth.mean(axis=0), kind="stable")[: max(1, round(truth.sum(axis=1).mean()))]
    always = np.zeros(truth.shape, bool)
    always[:, most] = True
    rows.append((f"always the {len(most)} commonest classes", commonest, always))
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(truth), size=len(truth)) for _ in range(DRAWS)]
    yield "| tags | mAP | 95 % | F1 | 95 % |\n|---|---|---|---|---|"
    for name, scores, chosen in rows:
        yield f"| {name} | {mean_precision(truth, scores, draws)} | {f1_of_choice(truth, chosen, draws)} |"


def mean_precision(truth: NDArray[np.bool_], scores: Matrix, draws: Sequence[NDArray[Any]]) -> str:
    """mAP over the classes that are there, and its interval."""
    return with_interval(lambda at: float(np.nanmean(average_precisions(truth[at], scores[at]))), draws)


def f1_of_choice(truth: NDArray[np.bool_], chosen: NDArray[np.bool_], draws: Sequence[NDArray[Any]]) -> str:
    """F1 of tags, and its interval."""
    return with_interval(lambda at: f1_score(truth[at], chosen[at]), draws)


def with_interval(score: Callable[[NDArray[np.integer[Any]]], float], draws: Sequence[NDArray[Any]]) -> str:
    """A score of all images and its 95 % interval, in percent, as two cells."""
    found = interval(np.array([score(at) for at in draws]))
    return f"{100 * score(np.arange(len(draws[0]))):.1f} | {100 * found.low:.1f} … {100 * found.high:.1f}"


def label_table(scenes: Scenes, labeller: Labeller) -> Iterator[str]:
    """mIoU of labels from true and from predicted tags."""
    rule, counts = TagRule(), []
    sets: dict[str, list[tuple[int, ...]]] = {
        "true tags": list(scenes.tags.values()), "predicted tags": [rule.choose(row) for row in scenes.scores],
    }  # fmt: skip
    for tags in sets.values():
        per_image = []
        for pixels, present, mask in zip(tqdm(scenes.photographs, unit=" label"), tags, scenes.masks, strict=True):
            label = labeller.label([pixels], [present])[0]
            per_image.append(class_counts(confusion_matrix(label, mask, COUNT, "background")))
        counts.append(np.stack(per_image))
    drawn = [mean_iou(draws) for draws in draw_counts(counts)]
    yield "| labels from | mIoU | 95 % | against true tags |\n|---|---|---|---|"
    for name, of_set, draws in zip(sets, counts, drawn, strict=True):
        found, lost = interval(draws), interval(draws - drawn[0])
        against = "" if of_set is counts[0] else f"{100 * lost.low:+.1f} … {100 * lost.high:+.1f}"
        score = 100 * float(mean_iou(of_set.sum(axis=0)))
        yield f"| {name} | {score:.1f} | {100 * found.low:.1f} … {100 * found.high:.1f} | {against} |"


def plant(tags: Tags, seed: int) -> tuple[Tags, set[Suspicion]]:
    """Tags with an error in a tenth of the images, by chance, and what a perfect doctor would say of them."""
    rng, planted, errors = np.random.default_rng(seed), dict(tags), set()
    names = list(tags)
    for place in rng.choice(len(names), max(1, round(SHARE * len(names))), replace=False):
        name = names[place]
        present = tags[name]
        if present and rng.random() < 0.5:
            index, code = int(rng.choice(present)), "class-there-untagged"
            planted[name] = tuple(tag for tag in present if tag != index)
        else:
            absent = [index for index in range(COUNT) if index not in present]
            index, code = int(rng.choice(absent)), "tag-without-support"
            planted[name] = tuple(sorted({*present, index}))
        errors.add(Suspicion(code, name, index))
    return planted, errors


def suspicion_table(scenes: Scenes, labeller: Labeller, plantings: int) -> Iterator[str]:
    """Precision and recall of doctor's suspicions on planted errors."""
    yield "| finding | from | named | of which planted | precision | of the planted ones | by chance |"
    yield "|---|---|---|---|---|---|---|"
    by_scores: list[tuple[list[Suspicion], set[Suspicion]]] = []
    for seed in range(PLANTINGS):
        planted, errors = plant(scenes.tags, seed)
        by_scores.append((judge_by_scores(planted, scenes.by_name), errors))
    by_maps: list[tuple[list[Suspicion], set[Suspicion]]] = []
    with tempfile.TemporaryDirectory() as folder:
        cams = Path(folder)
        save_maps(scenes, scenes.tags, scenes.tags, labeller, cams)
        for seed in tqdm(range(plantings), unit=" planting"):
            planted, errors = plant(scenes.tags, seed)
            changed = [name for name in planted if planted[name] != scenes.tags[name]]
            save_maps(scenes, planted, changed, labeller, cams)
            by_maps.append((judge_by_maps(planted, open_maps(cams), COUNT), errors))
            save_maps(scenes, scenes.tags, changed, labeller, cams)
    tagged = sum(map(len, scenes.tags.values()))
    pairs = {"tag-without-support": tagged, "class-there-untagged": len(scenes.tags) * COUNT - tagged}
    for code, source, runs in (
        ("tag-without-support", "scores", by_scores), ("class-there-untagged", "scores", by_scores),
        ("tag-without-support", "class maps", by_maps),
    ):  # fmt: skip
        named = sum(one.code == code for found, _ in runs for one in found)
        right = sum(one.code == code and one in errors for found, errors in runs for one in found)
        planted_ones = sum(one.code == code for _, errors in runs for one in errors)
        precision = f"{100 * right / named:.1f} %" if named else "-"
        chance = 100 * planted_ones / len(runs) / pairs[code]
        yield (
            f"| {code} | {source} | {named / len(runs):.1f} | {right / len(runs):.1f} | {precision} | "
            f"{100 * right / max(1, planted_ones):.1f} % | {chance:.1f} % |"
        )


def save_maps(scenes: Scenes, tags: Tags, names: Sequence[str] | Tags, labeller: Labeller, cams: Path) -> None:
    """Save the class maps of some images, as `excel-cam generate --save-cams` does."""
    places = {name: place for place, name in enumerate(scenes.tags)}
    for name in names:
        pixels = scenes.photographs[places[name]]
        result = labeller.label_with_maps([pixels], [tags[name]], [pixels.shape[:2]])[0]
        write_maps(cams / f"{name}.npz", result.maps, tags[name], pixels.shape[:2], "0" * 32)


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=DEMO_ROOT, help="Data set; the demo's if left out.")
@click.option("--model", default=SHIPPED_MODEL, show_default=True, help="As for excel-cam.")
@click.option("--weights", type=click.Path(path_type=Path), help="As for excel-cam.")
@click.option("--limit", type=click.IntRange(min=2), help="Only so many images, the first ones.")
@click.option("--plantings", type=click.IntRange(min=1), default=10, show_default=True, help="For class maps.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the tables there too.")
def main(
    root: Path, model: str, weights: Path | None, limit: int | None, plantings: int, out: Path | None
) -> None:  # fmt: skip
    """Measure predicted tags, labels made of them, and suspicions of tags."""
    settings = Settings(**recorded_settings(model))
    clip = load_model(ModelChoice(model, weights=weights))
    bank = build_text_bank(shipped_knowledge("voc"), clip, settings)
    scenes = look(root, Tagger(clip, bank, settings), limit)
    labeller = Labeller(clip, bank, settings)
    # Of maps nothing but their values counts here: refinement, which takes most of the time, comes after them.
    plain = Labeller(clip, bank, Settings(**recorded_settings(model), refine="none"))
    lines = [f"{root.name}: {len(scenes.tags)} images, {scenes.truth.sum() / len(scenes.tags):.2f} tags each", ""]
    for table in (tag_table(scenes), label_table(scenes, labeller), suspicion_table(scenes, plain, plantings)):
        lines += [*table, ""]
    text = "\n".join(lines)
    click.echo(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
