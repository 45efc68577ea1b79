"""Files of tags that say that they were predicted, in every form; and files of scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excel_cam.errors import DataError
from excel_cam.tags.predicted import predicted_note, read_predicted, tags_by_hand
from excel_cam.tags.read import read_tags
from excel_cam.tags.scores import read_scores
from excel_cam.tags.write import write_tags

CLASSES = ("cat", "red panda", "3")
ROWS = st.dictionaries(
    st.sampled_from(["a", "sub/b", "c 1", "ほし"]),
    st.dictionaries(st.integers(0, 2), st.floats(0, 1).map(lambda value: float(f"{value:.4g}"))),
    min_size=1,
)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
@settings(max_examples=15)
@given(rows=ROWS)
def test_scores_come_back_and_tags_are_read_as_ever(
    rows: Mapping[str, Mapping[int, float]], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tags") / f"tags{suffix}"
    tags = {name: tuple(sorted(scores)) for name, scores in rows.items()}
    write_tags(path, tags, CLASSES, predicted=rows)
    assert read_tags(path, CLASSES) == tags
    assert read_predicted(path, CLASSES) == rows
    note = predicted_note(path, CLASSES)
    assert note is not None
    assert (note.images, note.corrected) == (len(rows), 0)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".npy"])
def test_given_tags_are_not_marked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tags{suffix}"
    write_tags(path, {"a": (0,), "b": ()}, CLASSES)
    assert read_predicted(path, CLASSES) is None
    assert predicted_note(path, CLASSES) is None


def test_corrected_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("Name,Classes,Predicted_Scores\na,cat,cat:0.5\nb,,cat:0.4\nc,cat;3,3:0.2;cat:0.1\nd,cat,\n")
    # d has a class and no score: it was given.
    assert str(predicted_note(path, CLASSES)) == "predicted, not given (3 images, 1 corrected by hand)"
    assert tags_by_hand(path, CLASSES) == {"b": (), "d": (0,)}


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [("cat", "expected scores such as cat:0.83"), ("cat:high", "found 'cat:high'"), ("dog:0.5", "'dog' is not one of"),
     ("cat:nan", "found nan")],
)  # fmt: skip
def test_scores_that_are_none_are_told_with_their_line(tmp_path: Path, cell: str, complaint: str) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(f"name,classes,predicted_scores\na,cat,{cell}\n")
    with pytest.raises(DataError, match=complaint) as caught:
        read_predicted(path, CLASSES)
    assert str(caught.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "not a file of tag scores"),
        ("name,classes\n", "expected a line of tag scores"),
        ('{"name": "a", "classes": ["cat"]}\n', "not a file of tag scores"),
        ('{"excel_cam": "tag scores", "made_with": "x", "classes": ["cat"]}\n{"name": "a"}\n', ":2: expected a name"),
        ('{"excel_cam": "tag scores", "made_with": "x", "classes": ["cat"]}\n'
         '{"name": "a", "photograph": "", "scores": [1.5]}\n', "1 scores within 0..1"),
        ('{"excel_cam": "tag scores", "made_with": "x", "classes": ["cat"]}\n'
         '{"name": "../a", "photograph": "", "scores": [0.5]}\n', "leaves the root"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_scores_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    (path := tmp_path / "a.scores.jsonl").write_text(content)
    with pytest.raises(DataError, match=complaint) as caught:
        read_scores(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("file", "text"), [("a.csv", "name,classes\na,cat\n"), ("a.jsonl", '{"name": "a", "classes": []}\n')]
)
def test_a_file_of_given_tags_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str
) -> None:
    (tmp_path / file).write_text(text)
    monkeypatch.setattr("excel_cam.tags.predicted.read_text", lambda *_: pytest.fail("all of it was read"))
    assert read_predicted(tmp_path / file, ("cat",)) is None
