"""`excel-cam tags --predict` as a person uses it: a folder of photographs becomes tags, marked and with scores."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import Result
from drawn import draw_photograph

from excel_cam.labels.claims import Work, claimed
from excel_cam.run.tagging import tagger
from excel_cam.tags.read import read_tags
from excel_cam.tags.scores import read_scores

Run = Callable[..., Result]
CLASSES = ("cat", "sofa", "red panda")


@pytest.fixture
def folder(tmp_path: Path, model_arguments: list[str]) -> SimpleNamespace:
    """Three drawn photographs and a class list; `command` predicts their tags."""
    images = tmp_path / "photos"
    (images / "sub").mkdir(parents=True)
    for index, name in enumerate(("a.jpg", "b.png", "sub/c.jpg")):
        draw_photograph(48, 64, index).save(images / name)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    out = tmp_path / "tags.csv"
    command = ["tags", "--predict", "--images", images, "--classes", tmp_path / "classes.txt", "--device", "cpu",
               *model_arguments]  # fmt: skip
    return SimpleNamespace(
        root=tmp_path, images=images, classes=tmp_path / "classes.txt", out=out, scores=tmp_path / "tags.scores.jsonl",
        command=command, model=model_arguments,
    )  # fmt: skip


def error_line(result: Result, status: int) -> str:
    assert result.exit_code == status, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    return line


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_folder_becomes_tags_that_everything_reads(excel_cam: Run, folder: SimpleNamespace) -> None:
    result = excel_cam(*folder.command, "--out", folder.out, "--per-image", 2)
    assert result.exit_code == 0, result.stderr
    assert "prompts alone, without sentences: red panda" in result.stderr
    assert "3 images, 6 tags of 3 classes, predicted by the best 2 of each photograph" in result.stderr
    rows, scores = rows_of(folder.out), read_scores(folder.scores)
    assert [row["name"] for row in rows] == ["a", "b", "sub/c"]
    tags = read_tags(folder.out, CLASSES)
    for row in rows:
        own = scores.photographs[row["name"]].scores
        assert tags[row["name"]] == tuple(sorted(np.argsort(-own)[:2]))
        shown = dict(part.split(":") for part in row["predicted_scores"].split(";"))
        assert {name: float(value) for name, value in shown.items()} == pytest.approx(
            {CLASSES[index]: own[index] for index in tags[row["name"]]}, rel=1e-3
        )
    # The next command that it names labels with them, and says in its record what they are.
    labels = folder.root / "labels"
    generate = ["generate", "--dataset", "folder", "--root", folder.images, "--classes", folder.classes, "--tags",
                folder.out, "--out", labels, "--size", "64", "--device", "cpu", *folder.model]  # fmt: skip
    labelled = excel_cam(*generate)
    assert labelled.exit_code == 0, labelled.stderr
    note = "predicted, not given (3 images)"
    assert f"tags of {folder.out}: {note}" in labelled.stderr
    assert json.loads((labels / "run.json").read_text())["dataset"]["predicted_tags"] == {"images": 3, "corrected": 0}
    page = folder.root / "report.html"
    assert excel_cam("view", labels, "--images", folder.images, "--out", page).exit_code == 0
    assert f"The classes of each image were {note}." in page.read_text()
    assert f"tags: {note}" in excel_cam("doctor", labels).stdout.splitlines()
    record = json.loads(excel_cam("doctor", labels, "--tags", folder.out, "--json").stdout)
    assert record["predicted_tags"] == note


def test_the_next_command_is_told_with_the_model_that_was_given(excel_cam: Run, folder: SimpleNamespace) -> None:
    told = excel_cam(*folder.command, "--out", folder.out).stderr.split("next: excel-cam ")[1]
    words = shlex.split(told.splitlines()[0])
    assert [str(word) for word in folder.model] == [word for word in words if word in map(str, folder.model)]


def test_given_tags_leave_no_trace_of_prediction(excel_cam: Run, folder: SimpleNamespace) -> None:
    folder.out.write_text("name,classes\na,cat\nb,\nsub/c,sofa\n")
    labels = folder.root / "labels"
    excel_cam("generate", "--dataset", "folder", "--root", folder.images, "--classes", folder.classes, "--tags",
              folder.out, "--out", labels, "--size", "64", "--device", "cpu", *folder.model)  # fmt: skip
    assert "predicted_tags" not in json.loads((labels / "run.json").read_text())["dataset"]
    assert "predicted" not in excel_cam("doctor", labels, "--tags", folder.out).stdout


def test_a_person_corrects_the_file_and_is_not_undone(excel_cam: Run, folder: SimpleNamespace) -> None:
    command = [*folder.command, "--out", folder.out, "--per-image", 1]
    excel_cam(*command)
    rows = rows_of(folder.out)
    with folder.out.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        for row in rows:
            other = next(name for name in CLASSES if name != row["classes"])
            writer.writerow(row | ({"classes": other} if row["name"] == "b" else {}))
    corrected = folder.out.read_bytes()
    line = error_line(excel_cam(*command, "--overwrite"), 1)
    assert line == (
        f"Error: {folder.out}: the tags of 1 of its images were given or corrected by hand, first 'b', which "
        "prediction would undo; choose another --out, or move it away"
    )
    assert folder.out.read_bytes() == corrected
    converted = folder.root / "other.json"
    said = excel_cam("tags", "--from", folder.out, "--classes", folder.classes, "--out", converted).stderr
    assert f"tags of {folder.out} are predicted, not given: and marked so" in said or "and marked so" in said
    records = {record["name"]: record for record in json.loads(converted.read_text())}
    assert records["b"]["classes"] != list(records["b"]["predicted_scores"])
    assert read_tags(converted, CLASSES) == read_tags(folder.out, CLASSES)


def test_it_goes_on_where_it_was_stopped_and_chooses_anew_at_once(
    excel_cam: Run, folder: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[tuple[int, ...]] = []
    whole = tagger.Tagger.score_batch

    def stopping(self: tagger.Tagger, photographs: list[np.ndarray]) -> list[np.ndarray]:
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.extend(photograph.shape for photograph in photographs)
        return whole(self, photographs)

    monkeypatch.setattr(tagger.Tagger, "score_batch", stopping)
    command = [*folder.command, "--out", folder.out]
    assert excel_cam(*command).exit_code != 0
    assert not folder.out.exists()
    half = folder.scores.read_bytes()
    assert len(half.splitlines()) == 3
    folder.scores.write_bytes(half[:-20])  # as a machine leaves it that lost its power
    scored.clear()
    scored_twice = excel_cam(*command, "--threshold", 0.001)
    assert scored_twice.exit_code == 0, scored_twice.stderr
    assert len(scored) == 2  # the one that was cut off, and the one that was not reached
    assert "(2 new, 1 kept)" in scored_twice.stderr
    monkeypatch.setattr("excel_cam.model.clip.load_model", None)  # nothing is left to load it for
    again = excel_cam(*command, "--per-image", 1, "--overwrite")
    assert again.exit_code == 0, again.stderr
    assert "(0 new, 3 kept)" in again.stderr
    assert all(len(indices) == 1 for indices in read_tags(folder.out, CLASSES).values())


def test_changed_photographs_are_scored_anew_and_other_classes_refused(
    excel_cam: Run, folder: SimpleNamespace
) -> None:  # fmt: skip
    command = [*folder.command, "--out", folder.out]
    excel_cam(*command)
    draw_photograph(30, 30, 7).save(folder.images / "a.jpg")
    assert "(1 new, 2 kept)" in excel_cam(*command, "--overwrite").stderr
    folder.classes.write_text("cat\nsofa\n")
    folder.out.unlink()
    line = error_line(excel_cam(*command), 1)
    assert line.startswith(f"Error: {folder.scores} holds scores of other classes, sentences, settings or weights;")
    assert "(3 new, 0 kept)" in excel_cam(*command, "--overwrite").stderr


def test_calibration_takes_the_best_threshold_and_keeps_what_was_given(
    excel_cam: Run, folder: SimpleNamespace
) -> None:  # fmt: skip
    known = folder.root / "known.csv"
    known.write_text("name,classes\na.jpg,cat\nsub/c,cat;sofa\n")
    result = excel_cam(*folder.command, "--out", folder.out, "--calibrate", known)
    assert result.exit_code == 0, result.stderr
    scores = {name: one.scores for name, one in read_scores(folder.scores).photographs.items()}
    truth = {("a", 0), ("sub/c", 0), ("sub/c", 1)}
    best = (0.0, 0.0)
    for threshold in {value for name in ("a", "sub/c") for value in scores[name]}:
        chosen = {(name, index) for name in ("a", "sub/c") for index in range(3) if scores[name][index] >= threshold}
        best = max(best, (2 * len(chosen & truth) / (len(chosen) + len(truth)), threshold))
    assert f"--threshold {best[1]:g}, with the best F1 there, {100 * best[0]:.1f}" in result.stderr
    tags = read_tags(folder.out, CLASSES)
    assert (tags["a"], tags["sub/c"]) == ((0,), (0, 1))
    assert tags["b"] == tuple(np.flatnonzero(scores["b"] >= best[1]))
    assert [row["name"] for row in rows_of(folder.out) if row["predicted_scores"]] == (["b"] if tags["b"] else [])
    # What was given is in the way of another prediction, unless it is given again.
    line = error_line(excel_cam(*folder.command, "--out", folder.out, "--overwrite"), 1)
    assert "the tags of 2 of its images were given or corrected by hand, first 'a'" in line
    assert excel_cam(*folder.command, "--out", folder.out, "--calibrate", known, "--overwrite").exit_code == 0


def test_a_photograph_that_cannot_be_read_stops_nothing(excel_cam: Run, folder: SimpleNamespace) -> None:
    (folder.images / "b.png").write_bytes(b"no picture")
    result = excel_cam(*folder.command, "--out", folder.out)
    assert result.exit_code == 3
    assert "failed: b: " in result.stderr
    assert "1 photographs could not be read; their lines have no classes" in result.stderr
    assert read_tags(folder.out, CLASSES)["b"] == ()
    assert all(indices for name, indices in read_tags(folder.out, CLASSES).items() if name != "b")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--threshold", "0"], 2, "--threshold 0: scores lie within 0..1; give one above 0, such as 0.5"),
        (["--threshold", "0.5", "--per-image", "1"], 2, "give one of --per-image, --threshold and --calibrate"),
        (["--from", "tags.csv"], 2, "give --from FOLDER|FILE, or --predict --images FOLDER"),
        (["--calibrate", "none.csv"], 1, "none.csv: this tags file cannot be read: No such file or directory"),
        (["--out", "tags.npy"], 2, "a .npy has no place for scores; write .csv, .json or .jsonl"),
        (["--kb", "voc"], 1, "the knowledge base 'voc' has no class red panda, which"),
        (["--images", "nowhere"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(
    excel_cam: Run, folder: SimpleNamespace, options: list[str], status: int, message: str
) -> None:
    assert message in error_line(excel_cam(*folder.command, "--out", folder.out, *options), status)
    assert not folder.out.exists()
    assert not folder.scores.exists()


def test_calibration_tags_have_to_be_of_the_photographs(excel_cam: Run, folder: SimpleNamespace) -> None:
    (known := folder.root / "known.csv").write_text("name,classes\na,cat\nd,cat\n")
    line = error_line(excel_cam(*folder.command, "--out", folder.out, "--calibrate", known), 1)
    assert line.startswith(f"Error: {known}: 1 of its 2 names are not among --images, first 'd';")


def test_two_runs_do_not_write_one_file(excel_cam: Run, folder: SimpleNamespace) -> None:
    with claimed({folder.root: Work(names=("tags.scores.jsonl",))}):
        assert "at work on the same" in error_line(excel_cam(*folder.command, "--out", folder.out), 1)


def test_who_does_not_know_the_classes_is_told_the_command(excel_cam: Run, folder: SimpleNamespace) -> None:
    line = error_line(excel_cam("label", folder.images / "a.jpg"), 2)
    assert "`excel-cam tags --predict --images FOLDER --classes classes.txt --out tags.csv`" in line
    untagged = excel_cam("generate", "--dataset", "folder", "--root", folder.images, "--classes", folder.classes,
                         "--out", folder.root / "labels")  # fmt: skip
    assert "`excel-cam tags --predict` lets the model say" in error_line(untagged, 2)
    assert "--predict --images FOLDER" in error_line(excel_cam("tags", "--out", folder.out), 2)
    assert "--per-image goes with --predict" in error_line(
        excel_cam("tags", "--from", folder.images, "--per-image", 2, "--out", folder.out), 2
    )
