"""The pages say what is there: help texts, commands, options, links, paths, extras; and the front page stays short."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from help_blocks import BLOCK, README, documented_commands, renew

from excel_cam.cli.main import cli

ROOT = Path(__file__).parent.parent
FOLDERS = ("excel_cam", "examples", "kb", "tests")
FRONT_PAGE = ROOT / "README.md"
FRONT_PAGE_LINES = 280
ROOM_PAGES = sorted(
    path for folder in FOLDERS for name in ("README.md", "MODEL_CARD.md") for path in (ROOT / folder).rglob(name)
)
PAGES = [FRONT_PAGE, *ROOM_PAGES]
# Options of other programs that the pages name: pip, torchrun, sbatch, ruff, IRN's, CLIP-ES's and SAM's own scripts.
FOREIGN_OPTIONS = {"--nproc-per-node", "--array", "--check", "--cam_out_dir", "--split_file", "--index-url",
                   "--convert-to-rle", "--max-restarts", "--requeue", "--no-kill", "--kill-on-bad-exit"}  # fmt: skip
WRITTEN = {"excel_cam_dataset.py", "load_in_fiftyone.py"}  # by a command, into a user's folder

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")
LINK = re.compile(r"\]\((?P<inline>[^)\s]+)\)|<img[^>]*\ssrc=\"(?P<picture>[^\"]+)\"")
PATH = re.compile(r"(\.\./)*[\w.-]+(/[\w.-]+)*/?")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def commands(group: click.Group = cli, prefix: str = "") -> dict[str, click.Command]:
    """Every command by its name, such as `generate` or `kb build`."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        path = f"{prefix}{name}"
        found |= commands(command, f"{path} ") if isinstance(command, click.Group) else {path: command}
    return found


def options_of(command: click.Command) -> set[str]:
    declared = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    return declared | {"--help", "-h"}


def options_of_scripts() -> set[str]:
    """The options that the scripts under examples/ declare, in Python or in a shell's `case`."""
    found = set()
    for path in (ROOT / "examples").rglob("*.py"):
        for names in re.findall(r'(?:click\.option|add_argument)\(\s*((?:"[^"]*",\s*)+)', path.read_text("utf-8")):
            found |= set(OPTION.findall(names))
    for path in (ROOT / "examples").rglob("*.sh"):
        for cases in re.findall(r"^ *(-[-\w| ]*)\)", path.read_text("utf-8"), re.MULTILINE):
            found |= set(OPTION.findall(cases))
    return found


def extras() -> set[str]:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    return set(settings["options.extras_require"])


def written(page: Path) -> str:
    """A page without its help blocks, which the commands write."""
    return BLOCK.sub("", page.read_text("utf-8"))


def prose(page: Path) -> str:
    return FENCE.sub("", written(page))


def shell_lines(page: Path) -> Iterator[str]:
    """The lines to be pasted into a shell, continued lines as one, without remarks."""
    for fence in FENCE.finditer(written(page)):
        if fence["language"] == "sh":
            for line in fence["code"].replace("\\\n", " ").splitlines():
                yield re.sub(r"(^|\s)#.*", "", line)
    yield from re.findall(r"`((?:\S+ )*excel-cam [^`]*)`", prose(page))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def wrong_links(page: Path) -> list[str]:
    wrong = []
    for match in LINK.finditer(prose(page)):
        target = match["inline"] or match["picture"]
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


def wrong_paths(page: Path) -> list[str]:
    """What looks like a path of the repository, as inline code or in a command, and is none.

    A path is looked for beside the page, in the project's folder and in the package. It looks like the repository's
    where it begins with one of its folders, or names a Python file or a page; users' folders do not. The text of a link
    is left to its target.
    """
    named = re.findall(r"`([^`\n]+)`", re.sub(r"\[`[^`\n]+`\]\(", "(", prose(page)))
    called = [word for line in shell_lines(page) for word in line.split() if not word.endswith(".md")]
    wrong = []
    for path in named + called:
        is_ours = path.split("/")[0] in (*FOLDERS, ".ci") and "/" in path
        if not PATH.fullmatch(path) or path in WRITTEN or not (is_ours or path.endswith((".py", ".md"))):
            continue
        if not any((base / path).exists() for base in (page.parent, ROOT, ROOT / "excel_cam")):
            wrong.append(path)
    return wrong


def wrong_command_lines(page: Path) -> list[str]:
    """Options that follow a command of excel-cam and are not that command's."""
    wrong = []
    for line in shell_lines(page):
        for part in re.split(r"&&|[|;>]", re.sub(r"'[^']*'", "''", line)):
            called = re.search(r"(?:^|[\s/])(?:excel-cam|-m excel_cam) (.*)", part)
            if called is None:
                continue
            words = [word for word in shlex.split(called[1]) if word != "..."]
            name = " ".join(words[:2]) if words[:1] == ["kb"] else " ".join(words[:1])
            if name in options_of(cli) or "_source" in line:
                continue
            if name not in commands():
                wrong.append(f"excel-cam {name}")
                continue
            given = {word.split("=")[0] for word in words if word.startswith("--")}
            wrong += [f"excel-cam {name} {flag}" for flag in sorted(given - options_of(commands()[name]))]
    return wrong


def test_help_blocks_are_current() -> None:
    text = README.read_text("utf-8")
    assert renew(text) == text, "run `python examples/help_blocks.py --write`"


def test_every_command_is_documented() -> None:
    assert set(commands()) <= set(documented_commands(README.read_text("utf-8")))


def test_the_front_page_is_read_in_five_minutes() -> None:
    assert len(FRONT_PAGE.read_text("utf-8").splitlines()) <= FRONT_PAGE_LINES


@pages
def test_links_lead_somewhere(page: Path) -> None:
    assert wrong_links(page) == []


@pages
def test_paths_are_there(page: Path) -> None:
    assert wrong_paths(page) == []


@pages
def test_extras_can_be_installed(page: Path) -> None:
    named = re.findall(r"(?:excel-cam|'\.|\"\.)\[([\w,]+)\]", written(page))
    assert {extra for names in named for extra in names.split(",")} <= extras()


@pages
def test_options_are_some_commands(page: Path) -> None:
    known = {flag for command in commands().values() for flag in options_of(command)}
    known |= options_of_scripts() | FOREIGN_OPTIONS | options_of(cli)
    assert sorted(set(OPTION.findall(written(page))) - known) == []


@pages
def test_command_lines_give_a_command_its_own_options(page: Path) -> None:
    assert wrong_command_lines(page) == []


def test_what_is_wrong_in_a_page_is_found(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(
        "# A page\n\n## One `thing`, two\n\n[well](#one-thing-two) [gone](#three) [lost](lost/README.md)\n"
        "`excel_cam/nowhere.py` `excel_cam/errors.py` `labels/`\n\n"
        "```sh\nexcel-cam doctor labels/ --dataset voc --shard 0/4   # --remark\npython examples/lost.py\n```\n"
        "`excel-cam kb build --quiet` `excel-cam kb bulid`\n"
    )
    assert wrong_links(page) == ["#three", "lost/README.md"]
    assert wrong_paths(page) == ["excel_cam/nowhere.py", "examples/lost.py"]
    assert wrong_command_lines(page) == ["excel-cam doctor --shard", "excel-cam kb bulid"]
