"""What reaches a terminal, a pipe, a full disk or nothing at all; and how whatever goes wrong ends in one line."""

from __future__ import annotations

import ast
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import excel_cam as package
from excel_cam.cli import main
from excel_cam.wording import quoted, shown

Run = Callable[..., Result]
ESCAPES = "\x1b[31m", "\x9b2J", "\r", "\u202egpj", "\x07"


def start(*arguments: object, shell: str = '"$@"', **options: Any) -> subprocess.CompletedProcess[bytes]:
    """The program as a process of its own, by way of a shell line in which "$@" stands for it."""
    program = [sys.executable, "-m", "excel_cam", *(str(argument) for argument in arguments)]
    options = {"capture_output": True, "timeout": 120} | options
    return subprocess.run(["sh", "-c", shell, "sh", *program], **options)


def seen_on_terminal(*arguments: object, **environment: str) -> str:
    """What the program writes to a terminal, standard output and error together."""
    upper, lower = pty.openpty()
    program = [sys.executable, "-m", "excel_cam", *(str(argument) for argument in arguments)]
    process = subprocess.Popen(program, stdout=lower, stderr=lower, env=os.environ | environment)
    os.close(lower)
    content = b""
    try:
        while block := os.read(upper, 4096):
            content += block
    except OSError:
        pass  # Linux ends a terminal so
    process.wait()
    os.close(upper)
    return content.decode("utf-8", "surrogateescape")


def knowledge_file(path: Path, word: str) -> Path:
    entry = {"name": "cat", "prompt": "cat", "sentences": ["it has ears"]}
    path.write_text(json.dumps({"dataset": word, "template": "a {}.", "classes": [entry], "background": []}))
    return path


def test_text_leaves_through_one_module() -> None:
    folder = Path(package.__file__).parent
    for path in folder.rglob("*.py"):
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text("utf-8")))
                 if isinstance(node, ast.Call)}  # fmt: skip
        assert not calls & {"click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"}, path


@pytest.mark.parametrize("escape", ESCAPES)
def test_terminals_are_shown_escapes(tmp_path: Path, escape: str) -> None:
    """In results of standard output, in errors of our own, and in those of the command line's parser."""
    labels = tmp_path / "labels"
    labels.mkdir()
    Image.new("L", (4, 4), 99).save(labels / f"a{escape}b.png")
    spelt = shown(f"a{escape}b")
    for command in (
        ("doctor", labels, "--dataset", "voc"),
        ("doctor", tmp_path / f"a{escape}b"),
        ("tags", "--from", tmp_path, "--dataset", f"a{escape}b", "--out", "x.csv"),
    ):
        text = seen_on_terminal(*command).replace("\r\n", "\n")
        assert escape not in text
        assert spelt in text or repr(f"a{escape}b")[1:-1] in text


def test_json_stays_json_on_a_terminal_of_another_encoding(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    Image.new("L", (4, 4), 99).save(labels / "caf\u00e9 \U0001f600\x9b.png")
    for environment in ({}, {"PYTHONIOENCODING": "ascii"}):
        text = seen_on_terminal("doctor", labels, "--dataset", "voc", "--json", **environment)
        line = next(line for line in text.splitlines() if line.startswith("{"))
        assert "\x9b" not in line
        names = json.dumps(json.loads(line)["findings"])
        assert json.dumps("caf\u00e9 \U0001f600\x9b")[1:-1] in names


def test_piped_paths_are_exact_whatever_the_encoding(tmp_path: Path, arguments: list[str]) -> None:
    out = tmp_path / "caf\u00e9 \u2026\udcff"
    result = start(*arguments, "--out", out, "--quiet", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0, result.stderr
    paths = [Path(os.fsdecode(line)) for line in result.stdout.splitlines()]
    assert len(paths) == 6
    assert all(path.is_file() for path in paths)


def test_other_text_is_escaped_where_an_encoding_lacks_it(tmp_path: Path) -> None:
    base = knowledge_file(tmp_path / "base.json", "caf\u00e9 \u2026")
    result = start("kb", "show", base, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(b"caf\\u00e9 \\u2026: 1 classes")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("shell", ['"$@" >/dev/full', '"$@" >&-'])
def test_output_that_cannot_be_written_ends_in_a_line_after_the_work(
    tmp_path: Path, arguments: list[str], shell: str
) -> None:
    result = start(*arguments, "--out", tmp_path / "labels", "--quiet", shell=shell)
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1
    assert result.stderr.startswith(b"Error: standard output cannot be written: ")
    assert json.loads((tmp_path / "labels" / "run.json").read_text())["state"] == "complete"
    assert len(list((tmp_path / "labels").glob("*.png"))) == 6
    assert start("presets", shell=shell).returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_help_into_a_full_disk_is_one_line() -> None:
    result = start("--help", shell='"$@" >/dev/full')
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize("shell", ['"$@" 2>/dev/full', '"$@" 2>&-', '"$@" <&- 2>&-'])
def test_messages_that_cannot_be_written_change_nothing(tmp_path: Path, arguments: list[str], shell: str) -> None:
    assert start("doctor", tmp_path / "none", shell=shell).returncode == 1
    if "<&-" in shell:  # the first file that a run opens could get a closed stream's number
        result = start(*arguments, "--out", tmp_path / "labels", shell=shell)
        assert result.returncode == 0
        assert len(result.stdout.splitlines()) == 6


def test_a_fault_of_the_program_is_one_line_and_debug_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> None:
        raise KeyError("one\ntwo \x1b[31m")

    monkeypatch.setattr("excel_cam.knowledge.base.find_knowledge", fail)
    result = CliRunner().invoke(main.cli, ["kb", "show", "voc"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "fault of the program (KeyError: " in result.stderr
    assert "--debug" in result.stderr
    for arguments, environment in ((["--debug"], {}), ([], {"EXCEL_CAM_DEBUG": "1"})):
        result = CliRunner().invoke(main.cli, [*arguments, "kb", "show", "voc"], env=environment)
        assert result.exit_code == 1
        assert "Traceback" in result.stderr
        assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "/a\x1b/b"), "Error: /a\\u001b/b: No space left on device\n"),
        (MemoryError(), "Error: not enough memory; close other programs, or do less at a time\n"),
    ],
)
def test_errors_of_the_machine_are_named_for_what_they_are(
    monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail(_name: str) -> None:
        raise error

    monkeypatch.setattr("excel_cam.knowledge.base.find_knowledge", fail)
    result = CliRunner().invoke(main.cli, ["kb", "show", "voc"])
    assert (result.exit_code, result.stderr) == (1, line)


@pytest.mark.parametrize(
    ("more", "said"), [([], "goes on from here"), (["--overwrite"], "with --overwrite the same command starts again")]
)
def test_an_interruption_says_what_the_same_command_would_do(
    monkeypatch: pytest.MonkeyPatch, excel_cam: Run, arguments: list[str], tmp_path: Path, more: list[str], said: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("excel_cam.cli.outcome.settle", stop)
    result = excel_cam(*arguments, "--out", tmp_path / "labels", *more)
    assert result.exit_code == 130
    assert said in result.stderr


@pytest.mark.parametrize(("option", "value"), [("--batch-size", 10**30), ("--batch-size", 10**9), ("--workers", 10**9)])
def test_giant_numbers_are_refused(
    excel_cam: Run, arguments: list[str], tmp_path: Path, option: str, value: int
) -> None:
    result = excel_cam(*arguments, "--out", tmp_path / "labels", option, value)
    assert result.exit_code == 2
    assert "1<=x<=1024" in result.stderr


def test_quoting_takes_no_longer_for_what_is_nested() -> None:
    value: Any = []
    for _ in range(60):
        value = [value, value]  # 2 ** 60 ends
    assert len(quoted(value)) == 101
    value = {}
    value["self"] = value
    assert quoted(value).startswith("{'self': {'self': ")
    assert quoted((1,)) == "(1,)"
    assert quoted({"a": [1, 2.5, None, True], "b": ()}) == "{'a': [1, 2.5, None, True], 'b': ()}"
    assert quoted([]) == "[]"


NOBODY = """
import pwd

def nobody(*_):
    raise KeyError("uid not found")

pwd.getpwuid = pwd.getpwnam = nobody
"""


@pytest.mark.parametrize("home", [None, "a file"])
def test_a_user_without_home_or_name_gets_labels_and_one_line(
    tmp_path: Path, arguments: list[str], home: str | None
) -> None:
    """As in a container that runs as a number alone: no entry in the list of users, or a home that is none."""
    names = ("HOME", "USER", "LOGNAME", "EXCEL_CAM_CACHE", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOBODY)
    environment["PYTHONPATH"] = f"{tmp_path / 'site'}{os.pathsep}{Path(package.__file__).parent.parent}"
    if home is not None:
        (tmp_path / "home").write_text(home)
        environment["HOME"] = str(tmp_path / "home")
    result = start(*arguments, "--out", tmp_path / "labels", env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 6
    assert result.stderr.count(b"without a cache") == 1
    assert b"Traceback" not in result.stderr
    assert not (tmp_path / "~").exists()


def test_parts_that_killed_calls_left_are_swept(tmp_path: Path, excel_cam: Run) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    labels, photographs = tmp_path / "labels", tmp_path / "photographs"
    for folder in (labels, photographs):
        folder.mkdir()
        Image.new("L", (8, 8), 1).save(folder / "a.png")
    host = socket.gethostname().replace(".", "-")
    parts = [tmp_path / f".page.html.{host}.{process.pid}.part", labels / f".a.png.{host}.{process.pid}.part"]
    for part in parts:
        part.write_bytes(b"half")
    result = excel_cam("view", labels, "--images", photographs, "--dataset", "voc", "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.stderr
    excel_cam("doctor", labels, "--dataset", "voc")
    assert [part.exists() for part in parts] == [False, True]  # looking alone changes nothing
    excel_cam("doctor", labels, "--dataset", "voc", "--fix")
    assert [part.exists() for part in parts] == [False, False]


def test_cells_that_a_spreadsheet_would_compute_are_kept_and_said(tmp_path: Path, excel_cam: Run) -> None:
    source, classes, out = tmp_path / "tags.json", tmp_path / "classes.txt", tmp_path / "tags.csv"
    classes.write_text("+cmd\ndog\n")
    source.write_text(json.dumps({"a": ["+cmd"], "@b": ["dog"]}))
    result = excel_cam("tags", "--from", source, "--classes", classes, "--out", out)
    assert result.exit_code == 0
    assert "take 2 cells of it for formulas, first '@b'" in result.stderr
    again = tmp_path / "again.json"
    assert excel_cam("tags", "--from", out, "--classes", classes, "--out", again).exit_code == 0
    assert json.loads(again.read_text()) == {"a": ["+cmd"], "@b": ["dog"]}
    assert "formulas" not in excel_cam("tags", "--from", out, "--classes", classes, "--out", tmp_path / "x.json").stderr
