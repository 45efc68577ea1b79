"""Settings from config files and the environment: precedence, checks, printing back, presets, shell completion."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from excel_cam.cli.config import tomllib
from excel_cam.data.voc import find_voc_root
from excel_cam.settings import PRESETS

Run = Callable[..., Result]
NEEDED = ("generate", "--dataset", "voc", "--out", "labels")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def printed(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.stderr
    table: dict[str, object] = tomllib.loads(result.stdout)["generate"]
    return table


def test_precedence_is_command_line_environment_config_preset(
    tmp_path: Path, excel_cam: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, '[generate]\nsize = 224\nkeep = 0.5\nstrength = 2\npreset = "tta"\nsave-cams = "cams"\n')
    monkeypatch.setenv("EXCEL_CAM_GENERATE_SIZE", "256")
    monkeypatch.setenv("EXCEL_CAM_GENERATE_KEEP", "0.6")
    result = excel_cam(*NEEDED, "--config", path, "--size", 288, "--print-config")
    table = printed(result)
    assert (table["size"], table["keep"], table["strength"], table["flip"]) == (288, 0.6, 2.0, True)
    assert table["save_cams"] == "cams"
    for line in (
        "size = 288  # command line", "keep = 0.6  # environment", f"strength = 2.0  # config file {path}",
        "flip = true  # preset tta", "refine = \"par\"  # preset tta", "workers = ", "# clusters is not set",
    ):  # fmt: skip
        assert line in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (
            "--preset",
            "tta",
            "--no-affinity",
            "--ignore-thresholds",
            "0.25,0.5",
            "--clusters",
            7,
            "--tags",
            'a "b"\\.csv',
        ),
        ("--scales", "0.5,1", "--keep", "0.1234567890123", "--png-mode", "P", "--overwrite", "--list", "-"),
    ],
)
def test_a_printed_config_reads_back_to_the_same(tmp_path: Path, excel_cam: Run, arguments: tuple[object, ...]) -> None:
    first = excel_cam(*NEEDED, *arguments, "--print-config")
    path = write(tmp_path, first.stdout)
    second = excel_cam("generate", "--config", path, "--print-config")
    assert printed(first) == printed(second)
    assert set(second.stdout.split("  # ")[1:]) != set(first.stdout.split("  # ")[1:])  # now from the file


def test_print_config_needs_no_complete_command(excel_cam: Run) -> None:
    assert "# out is not set" in excel_cam("generate", "--print-config").stdout
    assert excel_cam("kb", "build", "--print-config", "--clusters", 5).stdout.startswith("[kb.build]\ndataset = ")
    missing = excel_cam("generate", "--dataset", "voc")
    assert missing.exit_code == 2
    assert "Missing option '--out'" in missing.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[generate]\nsise = 3", "[generate] has no key 'sise' (nearest: size)"),
        ("[generat]\nsize = 320", "has no table 'generat' (nearest: generate)"),
        ("[kb.bild]\nkeep = 1", "[kb] has no table 'bild' (nearest: build)"),
        ("[kb.build]\nrefine = 'par'", "[kb.build] has no key 'refine'"),
        ("[roots]\nvok = '/data'", "[roots] has no key 'vok' (nearest: voc)"),
        ("[roots]\nvoc = 3", "[roots] voc: 3 is not the name of a folder"),
        ("roots = 3", "[roots]: 3 is not a table"),
        ("size = 320", "has no table 'size'"),
        ("generate = 320", "[generate]: 320 is not a table"),
        ("[generate]\nsize = 'big'", "[generate] size: 'big' is not a valid integer."),
        ("[generate]\nsize = 320.5", "[generate] size: 320.5 is not a valid integer."),
        ("[generate]\nsize = true", "[generate] size: True is not a valid integer."),
        ("[generate]\nkeep = '0.9'", "[generate] keep: '0.9' is not a valid float."),
        ("[generate]\nbatch_size = 0", "[generate] batch_size: 0 is not in the range 1<=x<=1024."),
        ("[generate]\nbatch_size = true", '[generate] batch_size: True is not a valid integer or "auto".'),
        ("[generate]\nbatch_size = '8'", "[generate] batch_size: '8' is not a valid integer or \"auto\"."),
        ("[generate]\nshard = '4/4'", "[generate] shard: '4/4' is not I/N with I from 0 to N - 1"),
        ("[generate]\nflip = 'yes'", "[generate] flip: 'yes' is not true or false."),
        ("[generate]\nscales = [1, 'x']", "[generate] scales: [1, 'x'] is not a list of numbers"),
        ("[generate]\nscales = []", "[generate] scales: '[]' is not numbers with commas between"),
        ("[generate]\nignore-thresholds = [0.5]", "ignore-thresholds: '[0.5]' is not two numbers"),
        ("[generate]\nrefine = 'crf9'", "[generate] refine: 'crf9' is not one of 'par', 'none'"),
        ("[generate]\nmodel = 16", "[generate] model: 16 is not a text in quotes."),
        ("[generate]\nbox-threshold = 0.5\nbox_threshold = 0.6", "'box_threshold' twice"),
        ("[generate\n", "the config file is not TOML"),
        ("[generate]\nsize = 4\n", "size is 4; expected between 32 and 4096"),
        ("[generate]\nconfig = 'x'", "[generate] has no key 'config'"),
    ],
)
def test_mistakes_name_file_table_and_key(tmp_path: Path, excel_cam: Run, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    result = excel_cam(*NEEDED, "--config", path)
    assert result.exit_code == 2
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    assert expected in error
    assert str(path) in error or "expected between" in error  # ranges are the settings' own to check


def test_a_config_file_that_cannot_be_read(tmp_path: Path, excel_cam: Run) -> None:
    (tmp_path / "latin.toml").write_bytes(b"[generate]\nout = '\xe9'")
    for path, expected in ((tmp_path / "absent.toml", "No such file"), (tmp_path / "latin.toml", "not UTF-8 text")):
        result = excel_cam(*NEEDED, "--config", path)
        assert result.exit_code == 2
        assert expected in result.stderr
        assert result.stderr.count("\n") == 1


def test_the_config_file_may_come_from_the_environment(
    tmp_path: Path, excel_cam: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCEL_CAM_CONFIG", str(write(tmp_path, "[generate]\nsize = 96\n[kb.build]\nkeep = 0.5\n")))
    assert printed(excel_cam("generate", "--print-config"))["size"] == 96
    assert "keep = 0.5  # config file" in excel_cam("kb", "build", "--print-config").stdout


def test_the_configured_root_comes_after_the_variable(tmp_path: Path) -> None:
    for name in ("given", "variable", "configured"):
        (tmp_path / name / "JPEGImages").mkdir(parents=True)
    environ = {"EXCEL_CAM_VOC_ROOT": str(tmp_path / "variable")}
    configured = tmp_path / "configured"
    assert find_voc_root(tmp_path / "given", environ, configured)[0] == tmp_path / "given"
    assert find_voc_root(None, environ, configured)[0] == tmp_path / "variable"
    assert find_voc_root(None, {}, configured) == (configured, "[roots] voc")


def test_a_run_records_where_its_settings_and_its_root_came_from(
    tmp_path: Path, voc_root: Path, excel_cam: Run, model_arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path,
        f'[generate]\nsize = 64\nrefine = "none"\ndataset = "voc"\nsplit = "train"\nattributes = "none"\n'
        f'[roots]\nvoc = "{voc_root}"\n',
    )
    monkeypatch.setenv("EXCEL_CAM_GENERATE_TAGS", str(voc_root / "tags.csv"))
    monkeypatch.setenv("EXCEL_CAM_GENERATE_BOX_THRESHOLD", "0.5")
    out = tmp_path / "out"
    result = excel_cam("generate", "--config", path, "--out", out, *model_arguments, "--quiet")
    assert result.exit_code == 0, result.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["dataset"]["found"] == "[roots] voc"
    assert record["settings"]["size"] == {"value": 64, "from": f"config file {path}"}
    assert record["settings"]["box_threshold"] == {"value": 0.5, "from": "environment"}
    assert record["settings"]["keep"] == {"value": 0.9, "from": "preset paper"}


def test_presets_are_listed_with_what_they_change(excel_cam: Run) -> None:
    lines = excel_cam("presets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert lines[1].split(maxsplit=1)[1] == "--scales 0.75,1,1.5 --flip"
    assert json.loads(excel_cam("presets", "--json").stdout) == {
        "paper": {}, "tta": {"scales": [0.75, 1.0, 1.5], "flip": True},
    }  # fmt: skip


def test_the_shell_gets_a_completion_script() -> None:
    script = subprocess.run(
        [sys.executable, "-c", "from excel_cam.cli.main import cli; cli(prog_name='excel-cam')"],
        env={"_EXCEL_CAM_COMPLETE": "zsh_source", "PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert "#compdef excel-cam" in script


def test_help_and_config_import_no_model() -> None:
    code = "import sys, excel_cam.cli.main; print(sorted({'torch', 'numpy', 'open_clip', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
