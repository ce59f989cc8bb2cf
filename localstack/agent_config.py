"""The boot agent's configuration file; `README.md` describes its keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import BuilderSettings
from builder import settings_from_config as builder_from_config
from fates import Rule, rule_from_config
from identity import Image, image_from_config
from lease_watch import WatchSettings, settings_from_config

KEYS = {
    "endpoint",
    "region",
    "regions",
    "state_dir",
    "images",
    "boot_delay",
    "poll_interval",
    "fates",
    "lease_watch",
    "builder",
}


@dataclass(frozen=True)
class Settings:
    """A valid configuration."""

    endpoint: str
    regions: tuple[str, ...]
    state_dir: Path
    images: Mapping[str, Image]
    # Both in seconds.
    boot_delay: float
    poll_interval: float
    fates: tuple[Rule, ...]
    lease_watch: WatchSettings
    builder: BuilderSettings


class ConfigFile:
    """The file, read again whenever its content changes."""

    def __init__(self, path: Path) -> None:
        """Reads it for the first time; raises ValueError or OSError."""
        self._path = path
        self._text = path.read_text()
        self.settings = parse(self._text, path.parent)

    def reload(self) -> None:
        """Takes a change over. Raises ValueError, once per change, and keeps the last good one."""
        try:
            text = self._path.read_text()
        except OSError:
            return  # It is being replaced.
        if text != self._text:
            self._text = text
            self.settings = parse(text, self._path.parent)


def parse(text: str, folder: Path) -> Settings:
    """Reads the text of a file in `folder`; raises ValueError."""
    raw: dict[str, Any] = json.loads(text)
    unknown = set(raw) - KEYS
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    missing = {"endpoint", "state_dir"} - set(raw)
    if missing:
        raise ValueError(f"missing: {', '.join(sorted(missing))}")
    if ("region" in raw) == ("regions" in raw):
        raise ValueError("give either region or regions")
    return Settings(
        endpoint=raw["endpoint"],
        regions=tuple(raw["regions"] if "regions" in raw else [raw["region"]]),
        state_dir=(folder / raw["state_dir"]).resolve(),
        images={ami: image_from_config(image) for ami, image in raw.get("images", {}).items()},
        boot_delay=float(raw.get("boot_delay", 0.5)),
        poll_interval=float(raw.get("poll_interval", 0.25)),
        fates=tuple(rule_from_config(rule) for rule in raw.get("fates", [])),
        lease_watch=settings_from_config(raw.get("lease_watch", {})),
        builder=builder_from_config(raw.get("builder", {})),
    )
