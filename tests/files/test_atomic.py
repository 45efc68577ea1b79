"""Files that are whole or not there, hashes that do not depend on spelling, and where the cache lies."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excel_cam.errors import OutputError
from excel_cam.files import atomic
from excel_cam.files.atomic import (
    cache_folder,
    hash_file,
    hash_json,
    json_bytes,
    json_line,
    remove_stale_parts,
    replacing,
    write_atomically,
)
from excel_cam.wording import first_lines

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_process_id() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def part_of(process_id: object, host: str | None = None, name: str = "a.b.png") -> str:
    """A temporary name as another process would have chosen it."""
    return f".{name}.{atomic._host() if host is None else host}.{process_id}.part"


def test_write_replaces_the_whole_content_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "label.png"
    write_atomically(path, b"old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert names_in(path.parent) == ["label.png"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_failed_write_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: BaseException
) -> None:
    path = tmp_path / "label.png"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise fault

    def write_half(part: Path, content: bytes) -> None:
        with part.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise fault

    if step == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(Path, "write_bytes", write_half)
    expected = OutputError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_atomically(path, b"new content")
    monkeypatch.undo()
    if expected is OutputError:
        assert str(caught.value) == f"{path} cannot be written: No space left on device"
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["label.png"]


def test_a_reader_sees_only_the_old_file_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "label.png"
    path.write_bytes(b"old")
    rename = os.replace

    def check_then_rename(part: Path, target: Path) -> None:
        assert target.read_bytes() == b"old"
        assert part.parent == target.parent  # a rename is atomic within one file system only
        assert part.read_bytes() == b"new"
        rename(part, target)

    monkeypatch.setattr(os, "replace", check_then_rename)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    path = tmp_path / "taken" / "label.png"
    with pytest.raises(OutputError) as caught:
        write_atomically(path, b"new")
    assert str(caught.value).startswith(f"{path} cannot be written: ")
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == ["taken"]


def test_path_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "label.png"
    path.mkdir()
    with pytest.raises(OutputError, match=r"label\.png cannot be written: "):
        write_atomically(path, b"new")
    assert names_in(tmp_path) == ["label.png"]


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user writes anywhere")
        with pytest.raises(OutputError, match=r"label\.png cannot be written: Permission denied"):
            write_atomically(folder / "label.png", b"new")
    finally:
        folder.chmod(0o700)


def test_name_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written: File name too long"):
        write_atomically(tmp_path / ("n" * 256), b"new")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["n" * 255, "\u00e9" * 127, "n" * 200 + ".png"])
def test_a_name_as_long_as_there_may_be_is_written(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as part:
        part.write_bytes(b"new")
        assert part.parent == tmp_path
        assert len(os.fsencode(part.name)) < 255
    assert (tmp_path / name).read_bytes() == b"new"
    assert names_in(tmp_path) == [name]


def test_the_part_of_a_long_name_is_found_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        dead = dead_process_id()
        patched.setattr(os, "getpid", lambda: dead)
        with pytest.raises(SystemExit), replacing(tmp_path / ("n" * 255)) as part:
            kept = part
            raise SystemExit
    kept.write_bytes(b"half")
    remove_stale_parts(tmp_path)
    assert names_in(tmp_path) == []


def test_only_parts_of_dead_processes_of_this_machine_are_stale(tmp_path: Path) -> None:
    dead = dead_process_id()
    kept = [
        part_of(os.getpid()),
        part_of(1),  # another user's process, or one that always runs
        part_of(dead, host="another-machine"),
        part_of(f"x{dead}"),
        ".hidden.part",
        "label.png",
        f"label.png.{atomic._host()}.{dead}.part",  # not hidden: not ours
    ]
    for name in [*kept, part_of(dead), part_of(dead, name="c")]:
        (tmp_path / name).write_bytes(b"half")
    below = tmp_path / "below"
    below.mkdir()
    (below / part_of(dead)).write_bytes(b"half")
    remove_stale_parts(tmp_path)
    assert names_in(tmp_path) == sorted([*kept, "below"])
    assert names_in(below) == [part_of(dead)]


def test_parts_of_a_machine_with_dots_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node7.cluster.example.org")
    dead = dead_process_id()
    monkeypatch.setattr(os, "getpid", lambda: dead)
    monkeypatch.setattr(os, "replace", lambda *_: None)  # as if killed before the rename
    write_atomically(tmp_path / "label.png", b"new")
    assert len(names_in(tmp_path)) == 1
    remove_stale_parts(tmp_path)
    assert names_in(tmp_path) == []


def test_odd_names_that_look_like_parts_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / part_of(dead_process_id())).mkdir()  # a folder
    for odd in ("²", "-1", ""):
        (tmp_path / part_of(odd)).write_bytes(b"")
    before = names_in(tmp_path)
    remove_stale_parts(tmp_path)
    assert names_in(tmp_path) == before


def test_a_process_id_beyond_the_systems_range_is_dead(tmp_path: Path) -> None:
    (tmp_path / part_of(10**30)).write_bytes(b"")
    remove_stale_parts(tmp_path)
    assert names_in(tmp_path) == []


def test_stale_parts_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    remove_stale_parts(tmp_path / "nowhere")


def test_part_of_a_killed_run_is_found_stale(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from excel_cam.files import atomic\n"
        "os.replace = lambda *_: os._exit(9)\n"
        "atomic.write_atomically(Path(sys.argv[1]), b'new')"
    )
    path = tmp_path / "2007.000001.png"
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[2], check=False)
    assert len(names_in(tmp_path)) == 1
    assert not path.exists()
    remove_stale_parts(tmp_path)
    assert names_in(tmp_path) == []


def test_hash_file_is_sha256_also_beyond_one_block(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4097  # a little over one block of 1 MiB
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    assert hash_file(path) == hashlib.sha256(content).hexdigest()


def test_hash_json_of_a_worked_example() -> None:
    assert hash_json({"b": [1, "é"], "a": None}) == hashlib.sha256('{"a":null,"b":[1,"é"]}'.encode()).hexdigest()


def test_hash_json_does_not_depend_on_the_order_of_keys_but_on_everything_else() -> None:
    assert hash_json({"a": 1, "b": {"c": 2, "d": 3}}) == hash_json({"b": {"d": 3, "c": 2}, "a": 1})
    assert hash_json((1, 2)) == hash_json([1, 2])
    variants = ([1, 2], [2, 1], [12], ["1", "2"], [[1], 2], {"1": 2}, [1, 2, None], [1, True])
    assert len({hash_json(value) for value in variants}) == len(variants)


@given(value=JSON_VALUES)
def test_json_written_is_json_read(value: object) -> None:
    assert json.loads(json_bytes(value)) == value
    assert json.loads(json_line(value)) == value
    assert json_line(value).index("\n") == len(json_line(value)) - 1
    assert hash_json(json.loads(json_line(value))) == hash_json(value)


def test_names_that_are_not_unicode_can_be_written_and_hashed() -> None:
    name = os.fsdecode(b"photo\xff.jpg")
    assert json.loads(json_bytes({"name": name})) == {"name": name}
    assert json.loads(json_line({"name": name}).encode()) == {"name": name}
    assert hash_json(name) != hash_json(os.fsdecode(b"photo\xfe.jpg"))


def test_json_has_no_values_that_other_readers_refuse() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"share": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_line([float("inf")])


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "HOME/.cache/excel-cam"),
        ("linux", {"XDG_CACHE_HOME": "/big/cache"}, "/big/cache/excel-cam"),
        ("linux", {"XDG_CACHE_HOME": ""}, "HOME/.cache/excel-cam"),
        ("darwin", {}, "HOME/Library/Caches/excel-cam"),
        ("darwin", {"XDG_CACHE_HOME": "/big/cache"}, "HOME/Library/Caches/excel-cam"),
        ("win32", {}, "HOME/AppData/Local/excel-cam/cache"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/excel-cam/cache"),
        ("linux", {"EXCEL_CAM_CACHE": "/own", "XDG_CACHE_HOME": "/big/cache"}, "/own"),
        ("darwin", {"EXCEL_CAM_CACHE": "~/own"}, "HOME/own"),
        ("win32", {"EXCEL_CAM_CACHE": "/own", "LOCALAPPDATA": "/local"}, "/own"),
    ],
)
def test_cache_folder_of_each_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("EXCEL_CAM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert str(cache_folder()) == expected.replace("HOME", str(tmp_path))


def test_first_lines_counts_the_rest() -> None:
    assert first_lines([]) == ""
    assert first_lines(["a", "b", "c"]) == "a, b, c"
    assert first_lines((str(number) for number in range(1003)), limit=2) == "0, 1 and 1,001 more"


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_link_planted_at_a_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    out.mkdir()
    (out / part_of(os.getpid(), name="label.png")).symlink_to(victim)
    write_atomically(out / "label.png", b"new")
    assert victim.read_text() == "precious"
    assert (out / "label.png").read_bytes() == b"new"
    assert not (out / "label.png").is_symlink()
    (out / part_of(os.getpid(), name="other.png")).mkdir()
    with pytest.raises(OutputError):
        write_atomically(out / "other.png", b"new")


def test_a_user_without_home_has_no_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(_path: object = None) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("EXCEL_CAM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert sys.platform == "win32" or cache_folder() is None
    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.setenv("EXCEL_CAM_CACHE", "~/somewhere")
    assert cache_folder() is None
