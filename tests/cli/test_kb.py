"""`kb list`, `show`, `diff`, `prompts` and `write --answers` as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chat_server import CLASSES, good_answer, good_sentences
from click.testing import Result
from drawn import draw_photograph
from PIL import Image

from excel_cam.knowledge.base import KnowledgeBase, read_knowledge, shipped_knowledge

Run = Callable[..., Result]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("forklift\ncoral: reef coral\nkayak\nlife jacket\ncrane: construction crane\n")
    return path


def answers_file(tmp_path: Path, count: int = 20) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(good_answer(name, count) + "\n" for name in CLASSES))
    return path


def test_list_counts_what_is_shipped(excel_cam: Run) -> None:
    lines = excel_cam("kb", "list").stdout.splitlines()
    assert "voc            20        400                25" in lines


def test_show_a_knowledge_base_and_a_class(excel_cam: Run) -> None:
    text = excel_cam("kb", "show", "voc").stdout
    assert "    3         20  bird (prompt: bird avian)" in text
    assert "background words: ground, land" in text
    lines = excel_cam("kb", "show", "voc", "Dog").stdout.splitlines()
    assert lines[:2] == ["dog: label 12", "prompt: a clean origami dog."]
    assert lines[2:] == [f"{n:>3}  {s}" for n, s in enumerate(shipped_knowledge("voc").classes[11].sentences, start=1)]
    result = excel_cam("kb", "show", "voc", "dgo")
    assert result.exit_code == 2
    assert "voc has no class 'dgo'; it has aeroplane" in result.stderr
    result = excel_cam("kb", "show", "voc", "--attributes")
    assert result.exit_code == 2
    assert "name it after the knowledge base" in result.stderr


def test_show_attributes_by_their_nearest_sentences(
    tmp_path: Path, excel_cam: Run, model_arguments: list[str], tiny_model: tuple[Path, Path]
) -> None:
    from excel_cam.model.clip import load_model
    from excel_cam.model.text_bank import build_text_bank
    from excel_cam.model.text_rows import sentence_rows
    from excel_cam.settings import ModelChoice, Settings

    path = tmp_path / "kb.json"
    entries = [{"name": name, "sentences": good_sentences(name, 6)} for name in CLASSES]
    path.write_text(json.dumps({"dataset": "x", "template": "a {}.", "classes": entries, "background": ["sky"]}))
    result = excel_cam(
        "kb", "show", path, "kayak", "--attributes", "--clusters", 8, "--top", 2, "--nearest", 1, *model_arguments
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()[8:]
    assert lines[0] == "strongest of 8 attributes:"

    base = read_knowledge(path)
    model = load_model(ModelChoice(str(tiny_model[0]), weights=tiny_model[1]))
    bank = build_text_bank(base, model, Settings(clusters=8))
    similarity = bank.bank.T @ bank.plain[2]
    best = int(similarity.argmax())
    rows = sentence_rows(base, model)
    nearest = int(((rows - bank.bank[:, best]) ** 2).sum(axis=1).argmin())
    texts = [(entry.name, sentence) for entry in base.classes for sentence in entry.sentences]
    assert lines[2].strip() == "{}: {}".format(*texts[nearest])
    weights = np.exp(similarity)
    share = weights[best] / weights.sum()  # floor(0.1 · 8) = 0 attributes are dropped
    assert lines[1].strip() == f"1. share {share:.4%} ({8 * share:.3f} x even)"
    assert len(lines) == 5


def test_attributes_need_sentences(tmp_path: Path, excel_cam: Run, model_arguments: list[str]) -> None:
    path = tmp_path / "kb.json"
    entries = [{"name": "kayak", "sentences": []}]
    path.write_text(json.dumps({"dataset": "x", "template": "a {}.", "classes": entries, "background": []}))
    result = excel_cam("kb", "show", path, "kayak", "--attributes", *model_arguments)
    assert result.exit_code == 1
    assert "has no sentences" in result.stderr


def test_diff_tells_every_kind_of_difference(tmp_path: Path, excel_cam: Run) -> None:
    assert excel_cam("kb", "diff", "voc", "voc").stdout == "no differences\n"
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    entries = [{"name": name, "sentences": ["one.", "two."]} for name in ("kayak", "crane", "coral")]
    first.write_text(
        json.dumps({"dataset": "x", "template": "a {}.", "classes": entries, "background": ["sky", "sea"]})
    )
    changed = [
        {"name": "crane", "prompt": "big crane", "sentences": ["one.", "three."]},
        {"name": "kayak", "sentences": ["one.", "two."]},
        {"name": "forklift", "sentences": []},
    ]
    second.write_text(
        json.dumps({"dataset": "x", "template": ["a {}.", "the {}."], "classes": changed, "background": ["sky"],
                    "background_class": False})
    )  # fmt: skip
    assert excel_cam("kb", "diff", first, second).stdout.splitlines() == [
        "+ template: the {}.",
        "~ background_class: true -> false",
        "- background word: sea",
        "- class: coral",
        "+ class: forklift",
        "~ the classes stand in another order: labels differ",
        "~ crane: prompt: crane -> big crane",
        "- crane: sentence: two.",
        "+ crane: sentence: three.",
    ]


def test_prompts_are_json_lines_or_text(excel_cam: Run, classes: Path) -> None:
    asked = excel_cam("kb", "prompts", "--classes", classes, "--json").stdout
    lines = [json.loads(line) for line in asked.splitlines()]
    assert [line["class"] for line in lines] == CLASSES
    assert "coral (reef coral)" in lines[1]["prompt"]
    assert "forklift, coral, kayak, life jacket." in lines[4]["prompt"]
    result = excel_cam("kb", "prompts", "--classes", classes, "--sentences", 7, "--per-prompt", 3)
    heads = [line for line in result.stdout.splitlines() if line.startswith("---")]
    assert heads == ["--- prompt 1 of 2 ---", "--- prompt 2 of 2 ---"]
    asked_of = [line for line in result.stdout.splitlines() if line.startswith("- ")]
    assert asked_of[1] == '- "coral" (reef coral): 7 sentences.'
    assert len(asked_of) == 5
    assert "next: put the answers into answers.jsonl" in result.stderr
    result = excel_cam("kb", "prompts", "--classes", classes, "--json", "--per-prompt", 3)
    assert result.exit_code == 2


def test_the_answer_to_a_prompt_for_several_classes_is_read(tmp_path: Path, excel_cam: Run, classes: Path) -> None:
    lines = [json.dumps({"class": name, "sentences": good_sentences(name, 20)}) for name in CLASSES]
    answers = tmp_path / "answers.txt"
    answers.write_text("Sure:\n```json\n" + "\n".join(lines[:3]) + "\n```\n\n[" + ",\n".join(lines[3:]) + "]\n")
    result = excel_cam("kb", "write", "--classes", classes, "--answers", answers, "--out", tmp_path / "my.json")
    assert result.exit_code == 0, result.stderr
    assert read_knowledge(tmp_path / "my.json").sentence_count == 100


def test_a_sentence_of_purpose_is_doubted(tmp_path: Path, excel_cam: Run, model_arguments: list[str]) -> None:
    sentences = ["it lifts heavy loads for builders", "it lifts a long steel arm with a hook over roofs"]
    record = {
        "dataset": "mine", "template": "a {}.", "background": ["sky"],
        "classes": [{"name": "crane", "sentences": sentences}],
    }  # fmt: skip
    (tmp_path / "my.json").write_text(json.dumps(record))
    result = excel_cam("kb", "check", tmp_path / "my.json")
    assert result.exit_code == 0, result.output
    assert "says what it is for, not what it looks like" in result.stdout
    assert result.stdout.count("warning:") == 1


def test_answers_by_hand_become_a_knowledge_base(tmp_path: Path, excel_cam: Run, classes: Path) -> None:
    out = tmp_path / "my.json"
    result = excel_cam(
        "kb", "write", "--classes", classes, "--answers", answers_file(tmp_path), "--out", out,
        "--template", "a photo of a {}.", "--template", "a {} outdoors.", "--background", "sea, Kayak, sand",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    base = read_knowledge(out)
    assert base.templates == ("a photo of a {}.", "a {} outdoors.")
    assert base.background == ("sea", "sand")
    assert (base.dataset, base.has_background) == ("my", True)
    assert [(entry.name, entry.prompt) for entry in base.classes][1] == ("coral", "reef coral")
    assert all(entry.sentences == tuple(good_sentences(entry.name, 20)) for entry in base.classes)
    assert json.loads(out.read_text())["provenance"]["author"] == "by hand (answers.jsonl)"
    assert excel_cam("kb", "check", out).exit_code == 0
    again = ["kb", "write", "--classes", classes, "--answers", tmp_path / "answers.jsonl", "--out", out]
    result = excel_cam(*again)
    assert result.exit_code == 1
    assert "is there already; add --overwrite" in result.stderr
    assert excel_cam(*again, "--overwrite", "--no-background").exit_code == 0
    assert not read_knowledge(out).has_background


def test_what_is_missing_by_hand_is_prompted_for(tmp_path: Path, excel_cam: Run, classes: Path) -> None:
    answers = answers_file(tmp_path)
    lines = answers.read_text().splitlines()[:4]
    bad = ["a kayak of yellow plastic hangs from it", *good_sentences("crane", 18)]
    answers.write_text("\n".join(lines) + "\n" + json.dumps({"class": "crane", "sentences": bad}) + "\n")
    arguments = ["--classes", classes, "--answers", answers]
    result = excel_cam("kb", "write", *arguments, "--out", tmp_path / "my.json")
    assert result.exit_code == 1
    assert "refused: \"a kayak of yellow plastic hangs from it\" (names the class 'kayak')" in result.stderr
    assert "sentences are missing for crane (18 of 20); `excel-cam kb prompts" in result.stderr
    assert "--at-least 18" in result.stderr
    (prompt,) = excel_cam("kb", "prompts", *arguments, "--json").stdout.splitlines()
    assert json.loads(prompt)["prompt"].startswith("Write 2 sentences")
    more = json.dumps({"class": "crane", "sentences": good_sentences("crane", 2, start=18)})
    answers.write_text(answers.read_text() + more + "\n")
    assert excel_cam("kb", "prompts", *arguments).stdout == ""
    assert excel_cam("kb", "write", *arguments, "--out", tmp_path / "my.json").exit_code == 0
    assert read_knowledge(tmp_path / "my.json").classes[4].sentences == tuple(good_sentences("crane", 20))


def test_a_written_base_does_not_bear_the_name_of_a_shipped_one(
    tmp_path: Path, excel_cam: Run, classes: Path, model_arguments: list[str]
) -> None:
    out = tmp_path / "voc.json"  # 112 attributes are the paper's for voc, of 400 sentences and not of 100
    excel_cam("kb", "write", "--classes", classes, "--answers", answers_file(tmp_path), "--out", out)
    result = excel_cam("kb", "build", "--kb", out, *model_arguments)
    assert result.exit_code == 0, result.output
    assert "28 attributes" in result.stderr


def test_options_of_a_language_model_are_refused_with_answers(tmp_path: Path, excel_cam: Run, classes: Path) -> None:
    result = excel_cam(
        "kb", "write", "--classes", classes, "--answers", answers_file(tmp_path), "--out", tmp_path / "my.json",
        "--rounds", 2,
    )  # fmt: skip
    assert result.exit_code == 2
    assert "--rounds is for --llm-url" in result.stderr


def test_class_names_to_labels(tmp_path: Path, excel_cam: Run, classes: Path, model_arguments: list[str]) -> None:
    out = tmp_path / "my.json"
    excel_cam("kb", "write", "--classes", classes, "--answers", answers_file(tmp_path), "--out", out)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, name in enumerate(("a", "b")):
        draw_photograph(48, 64, index).save(photos / f"{name}.jpg")
    (tmp_path / "tags.csv").write_text("name,classes\na,kayak;crane\nb,life jacket\n")
    result = excel_cam(
        "generate", "--dataset", "folder", "--root", photos, "--classes", classes, "--tags", tmp_path / "tags.csv",
        "--kb", out, "--out", tmp_path / "labels", "--size", 64, "--json", *model_arguments,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "28 attributes" in result.stderr  # round(0.28 * 100)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "labels" / "a.png")))) <= {0, 3, 5}
    names = [set(json.loads(line)["classes"]) for line in result.stdout.splitlines()]
    assert names[0] <= {"background", "kayak", "crane"}
    assert names[1] <= {"background", "life jacket"}


def test_reading_commands_do_not_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from excel_cam.cli.main import cli\n"
        "for line in ('kb list', 'kb show voc dog', 'kb diff voc voc', 'kb write --help'):\n"
        "    assert CliRunner().invoke(cli, line.split()).exit_code == 0\n"
        "assert not {'torch', 'openai', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_every_knowledge_base_that_is_written_can_be_read(tmp_path: Path) -> None:
    from excel_cam.knowledge.selection import write_knowledge

    for index, base in enumerate((shipped_knowledge("voc"), _odd_base())):
        path = tmp_path / f"{index}.json"
        write_knowledge(path, base, {"author": "a test"})
        assert read_knowledge(path) == base


def _odd_base() -> KnowledgeBase:
    from excel_cam.knowledge.base import empty_knowledge

    return empty_knowledge("é", ("sky", "ground"), ("sky", "ground"), ("a {}.", "the {}."), [], has_background=False)


def test_attributes_are_as_many_as_the_model_records(excel_cam: Run) -> None:
    result = excel_cam("kb", "show", "voc", "cat", "--attributes", "--model", "excel-cam-demo")
    assert result.exit_code == 0, result.stderr
    assert "strongest of 40 attributes:" in result.stdout
