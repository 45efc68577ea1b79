"""Where a data set's folder is looked for: the option, the environment, the config file, then the usual places."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from excel_cam.errors import UsageError

_USUAL_PARENTS = ("", "data/", "datasets/")


@dataclass(frozen=True)
class RootRule:
    """How the folder of one kind of data set is recognised and found."""

    name: str  # its key in the config file's table [roots]
    variable: str  # of the environment
    inner: tuple[str, ...]  # paths below a folder that was given, which may also be the root itself
    usual: tuple[str, ...]  # paths below `.`, `data` and `datasets`
    is_root: Callable[[Path], bool]
    description: str  # of a root, for the message that there is none


def find_root(
    rule: RootRule, root: Path | None, environ: Mapping[str, str], configured: Path | None = None
) -> tuple[Path, str]:
    """The data set's folder and how it was found.

    `root` (`--root`) comes first, then the rule's variable in `environ`, then `configured`, from a config file; only
    without any of them the usual places are tried. Raises UsageError, naming every place tried, when there is none.
    """
    given = [(root, "--root")] if root is not None else []
    if not given and environ.get(rule.variable):
        given = [(Path(os.path.expanduser(environ[rule.variable])), rule.variable)]
    if not given and configured is not None:
        given = [(configured, f"[roots] {rule.name}")]
    if given:
        folder, how = given[0]
        places = [(place, how) for place in (folder, *(folder / inner for inner in rule.inner))]
    else:
        relative: Sequence[str] = [f"{parent}{usual}" for parent in _USUAL_PARENTS for usual in rule.usual]
        places = [(Path(place), f"found as ./{place}") for place in relative]
    for place, how in places:
        if rule.is_root(place):
            return place, how
    tried = ", ".join(str(place) for place, _how in places)
    source = f"{given[0][1]} {given[0][0]}" if given else f"neither --root nor {rule.variable} is given"
    raise UsageError(f"no {rule.description} in it ({source}); tried {tried}; give it with --root")
