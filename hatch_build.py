"""Put the documentation site into the wheel, as `damocles/site`, if `make docs` has built it; without it the wheel has none."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds what is built to what is packed; what an environment links to its clone needs no copy."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folder."""
        site = Path(self.root) / "site"
        if version != "editable" and (site / "index.html").exists():
            build_data["force_include"][str(site)] = "damocles/site"
