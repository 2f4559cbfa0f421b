"""The time to the first finished sector of the demo, on a machine that has no parameters and on one that has them."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure
from damocles.parameters import catalog
from damocles.stores import journal

DEMO = Path(__file__).parents[1] / "demo" / "demo.py"


def figures() -> Iterator[Figure]:
    """Run the demo twice."""
    with tempfile.TemporaryDirectory() as parameters:
        yield Figure(
            name="demo: first sector finished, parameters made too",
            value=_first_finished(parameters) / 60,
            unit="min",
            at_most=6,
        )
        yield Figure(
            name="demo: first sector finished, parameters there", value=_first_finished(parameters) / 60, unit="min"
        )


def _first_finished(parameters: str) -> float:
    """Return the seconds from the start to what the stores have recorded."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "demo"
        began = time.time()
        subprocess.run(
            [sys.executable, str(DEMO), "--dir", str(base)],
            env={**os.environ, catalog.CACHE_VARIABLE: parameters},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        entries = [entry for store in base.glob("store*") for entry in journal.read(store)]
        return min(entry.at for entry in entries if entry.event == "Finalized") - began
