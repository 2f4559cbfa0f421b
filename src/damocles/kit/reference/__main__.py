"""Write what is made from the source into the documentation: `python -m damocles.kit.reference [docs] [--check]`.

Such a part stands between `<!-- made: NAME -->` and `<!-- /made -->`; what is around it is written by people.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from damocles.cli import manager, worker
from damocles.kit.reference import commands, served, settings
from damocles.manager.alerts import config as alerts_config
from damocles.manager.config import adopt
from damocles.manager.config import model as manager_config
from damocles.worker.config import model as worker_config

_MADE = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(<!-- /made -->)", re.DOTALL)

PARTS: Mapping[str, Callable[[], str]] = {
    "commands-worker": lambda: commands.commands(worker.parser()),
    "commands-manager": lambda: commands.commands(manager.parser()),
    "config-worker": lambda: settings.settings(worker_config.Config),
    "config-store": lambda: settings.settings(worker_config.HotConfig, heading="###"),
    "config-manager": lambda: settings.settings(manager_config.Config, adopt.note_of),
    "config-alerts": lambda: settings.settings(alerts_config.File, heading="###"),
    "metrics-worker": served.metrics_of_worker,
    "metrics-manager": served.metrics_of_manager,
    "alerts": served.alerts,
    "exit-codes": served.exit_codes,
    "levels": served.levels,
    "codes": served.codes,
    "calls": served.calls,
    "methods": served.wire_methods,
    "values": served.wire_values,
}


def made(text: str) -> str:
    """Return a page with its made parts as the source has them now."""
    return _MADE.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n\n{part[3]}", text)


def names_in(text: str) -> list[str]:
    """Return the names of the made parts of a page."""
    return [name for _, name, _ in _MADE.findall(text)]


def main(arguments: list[str] | None = None) -> int:
    """Write the pages that have changed; with `--check` only name them, and return 1 if there are some."""
    parser = argparse.ArgumentParser(prog="python -m damocles.kit.reference", description=__doc__)
    parser.add_argument("docs", nargs="?", type=Path, default=Path("docs"), help="default: docs")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not as it should be")
    given = parser.parse_args(arguments)
    stale = {page: now for page, text in _pages(given.docs) if (now := made(text)) != text}
    for page, text in stale.items():
        if given.check:
            print(f"{page} is not as the source has it: make reference", file=sys.stderr)
        else:
            page.write_text(text)
            print(page)
    return int(given.check and bool(stale))


def _pages(docs: Path) -> list[tuple[Path, str]]:
    return [(page, text) for page in sorted(docs.rglob("*.md")) if names_in(text := page.read_text())]


if __name__ == "__main__":
    sys.exit(main())
