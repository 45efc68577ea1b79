"""When a region takes a class: the settings of the vote, with their ranges."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from excel_cam.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class VoteSettings:
    """When a region takes a class.

    region_share: it takes the value that holds more than this share of it. component_share: else it joins the component
    of a class of which it covers at least this share. fill_ignored: whether a vote also decides pixels of 255.
    """

    region_share: float = 0.5
    component_share: float = 0.85
    fill_ignored: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.region_share <= 1:
            raise SettingsError(f"region_share is {self.region_share:g}; expected between 0 and 1")
        if not 0 < self.component_share <= 1:
            raise SettingsError(f"component_share is {self.component_share:g}; expected above 0 and at most 1")

    def identity(self) -> dict[str, Any]:
        """What decides labels, as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class RegionChoice:
    """Which regions vote, and how. path: a folder of files, or one file of all images.

    allow_missing: whether labels without regions stay as they are, instead of nothing being done at all.
    """

    path: Path
    settings: VoteSettings = field(default_factory=VoteSettings)
    allow_missing: bool = False

    def record(self) -> dict[str, Any]:
        """What a run's record says of it."""
        return {"from": str(self.path), **self.settings.identity()}
